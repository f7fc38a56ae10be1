/*
 * The bodies of /voice, /play and /gather: read, checked, and brought into
 * the form that a playback is made of.
 */
#ifndef KAP_CONTROL_BODY_H
#define KAP_CONTROL_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "api_error.h"
#include "shared/call_machine.h"
#include "sounds.h"

#define CONTROL_TEXT_MAX 4096 /* characters of a text to be spoken */

struct control_body {
	char call_id[CALL_ID_SIZE]; /* empty: no call has such a one */
	char *text;                 /* to be spoken; NULL: a sound */
	char sound[SOUNDS_NAME_MAX + 1]; /* empty: a text */
	enum call_play_target target;
	bool interrupt;
	struct call_gather gather;
};

/*
 * Each returns 0, or -KAP_INVAL with the error filled in: the first fault in
 * the order of the reference's fields. control_body_clear() frees what was
 * read, also on error. Pure.
 */
typedef int control_body_read_fn(const cJSON *body,
    struct control_body *body_out, struct api_error *error);
KAP_MUST_USE int control_body_read_voice(const cJSON *body,
    struct control_body *body_out, struct api_error *error);
KAP_MUST_USE int control_body_read_play(const cJSON *body,
    struct control_body *body_out, struct api_error *error);
KAP_MUST_USE int control_body_read_gather(const cJSON *body,
    struct control_body *body_out, struct api_error *error);

void control_body_clear(struct control_body *body);

/*
 * The first 50 characters of a text, and "..." where it is longer.
 */
#define CONTROL_EXCERPT_SIZE (50 * 4 + 4)
void control_excerpt(const char *text, char out[CONTROL_EXCERPT_SIZE]);

#endif
