/*
 * Time: the wall clock for what people and clients see, the boot clock for
 * deadlines (it runs on through a suspend and never jumps).
 */
#ifndef KAP_CLOCK_H
#define KAP_CLOCK_H

#include "errors.h"

#include <stddef.h>
#include <stdint.h>

#define CLOCK_ISO_SIZE 25 /* "2026-02-17T10:20:30.000Z" and its NUL */
#define CLOCK_BOOT_ID_SIZE 37

/* Milliseconds since the epoch, UTC. */
int64_t clock_wall_ms(void);

/* Milliseconds since the machine booted, suspends included. */
int64_t clock_boot_ms(void);

/*
 * The clock of every deadline that is stored: the boot clock plus a shift
 * that the store fixes at its first open after a boot (store.c), so that
 * deadlines from before a reboot keep their meaning. Like the boot clock it
 * never jumps while the machine runs.
 */
int64_t clock_deadline_ms(void);
void clock_set_deadline_shift(int64_t shift_ms);

/* Microseconds on the monotonic clock, for measuring. */
int64_t clock_mono_us(void);

/*
 * Write a wall time as ISO 8601 in UTC with milliseconds and `Z`.
 *
 * ms   milliseconds since the epoch; outside the years 0..9999 it is clamped
 * out  CLOCK_ISO_SIZE bytes, always NUL-terminated
 */
void clock_format_iso(int64_t ms, char out[CLOCK_ISO_SIZE]);

/*
 * Read Asterisk's event timestamp ("2026-02-17T10:20:30.123+0000", any
 * offset) or our own form (`Z`).
 *
 * Returns 0 and *ms_out; -KAP_INVAL leaves it unset.
 */
KAP_MUST_USE int clock_parse_iso(const char *text, int64_t *ms_out);

/*
 * The kernel's id of this boot, for telling whether stored boot-clock
 * deadlines still mean something. Reads a file; call it at start-up only.
 *
 * Returns 0; -KAP_IO leaves `out` empty.
 */
KAP_MUST_USE int clock_boot_id(char out[CLOCK_BOOT_ID_SIZE]);

#endif
