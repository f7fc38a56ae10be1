/*
 * Reads STORE_TIMERS: be64 deadline, timer, call id → slot. Written by
 * call_table.c alone.
 */
#include "call_timers.h"

#include <string.h>

#define LOOK_AHEAD_MAX 64 /* others' future timers that are passed over */

/* Take a key apart; false if it isn't of the form. */
static bool
read_timer(const struct store_value *key, int64_t *deadline_out,
    struct call_due *due_out)
{
	const uint8_t *bytes = key->data;

	if (key->len < 10 || key->len - 9 >= CALL_ID_SIZE)
		return false;
	*deadline_out = (int64_t)store_get_be64(bytes);
	due_out->timer = (enum call_timer)bytes[8];
	memcpy(due_out->call_id, bytes + 9, key->len - 9);
	due_out->call_id[key->len - 9] = '\0';
	return true;
}

static unsigned
slot_of(const struct store_value *value)
{
	return value->len > 0 ? *(const uint8_t *)value->data : 0;
}

int
call_timers_due(struct store_txn *txn, unsigned slot, int64_t now_ms,
    struct call_due *due, unsigned max, int64_t *next_out)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	unsigned ahead = 0;
	int rc = store_walk(txn, STORE_TIMERS, NULL, 0, &cursor);

	*next_out = 0;
	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		struct call_due found;
		int64_t deadline_ms;
		bool own;

		if (!read_timer(&key, &deadline_ms, &found))
			continue;
		own = slot_of(&value) == slot;
		if (!own)
			deadline_ms += CALL_TIMERS_OVERDUE_MS;
		if (deadline_ms > now_ms || count == max) {
			if (*next_out == 0 || deadline_ms < *next_out)
				*next_out = deadline_ms;
			if (own || ++ahead == LOOK_AHEAD_MAX)
				break;
			continue;
		}
		due[count++] = found;
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}
