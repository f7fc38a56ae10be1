/*
 * See control_body.h. Knows no store and no socket.
 */
#include "control_body.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api_fields.h"

#define GATHER_DIGITS 1
#define GATHER_TIMEOUT_MS 10000
#define GATHER_TIMEOUT_MIN_MS 1000
#define GATHER_TIMEOUT_MAX_MS 120000
#define EXCERPT_CHARACTERS 50

/* --- texts ---------------------------------------------------------------- */

/* The bytes of the character at `text`, which is valid UTF-8; 0 at the end. */
static size_t
character_len(const char *text)
{
	const unsigned char first = (unsigned char)*text;
	size_t len = 1;

	if (first == '\0')
		return 0;
	/* what continues a character never stands alone */
	while (len < 4 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len++;
	return len;
}

static uint32_t
decode(const char *text, size_t len)
{
	const unsigned char *bytes = (const unsigned char *)text;

	if (len == 1)
		return bytes[0];
	if (len == 2)
		return (bytes[0] & 0x1fU) << 6 | (bytes[1] & 0x3fU);
	if (len == 3)
		return (bytes[0] & 0x0fU) << 12 | (bytes[1] & 0x3fU) << 6 |
		    (bytes[2] & 0x3fU);
	return 0x10000; /* nothing that matters here lies there */
}

static bool
is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character <= 0x9f) ||
	    character == 0x2028 || character == 0x2029;
}

static bool
is_space(uint32_t character)
{
	return character == ' ' || character == 0xa0 || character == 0x1680 ||
	    (character >= 0x2000 && character <= 0x200b) ||
	    character == 0x202f || character == 0x205f ||
	    character == 0x3000 || character == 0xfeff;
}

/*
 * Copy a text as it is to be spoken: no control characters, no white space at
 * its ends. Returns its characters; 0: nothing is left.
 *
 * out  room for strlen(text) + 1 bytes
 */
static size_t
clean_text(const char *text, char *out)
{
	size_t characters = 0, kept = 0, at = 0, end = 0;
	size_t len;

	for (; (len = character_len(text)) > 0; text += len) {
		const uint32_t character = decode(text, len);
		const bool blank = is_control(character);

		if (at == 0 && (blank || is_space(character)))
			continue;
		memcpy(out + at, blank ? " " : text, blank ? 1 : len);
		at += blank ? 1 : len;
		characters++;
		if (!blank && !is_space(character)) {
			end = at;
			kept = characters;
		}
	}
	out[end] = '\0';
	return kept;
}

static int
read_text(const cJSON *body, struct control_body *out,
    struct api_error *error)
{
	const char *text;
	size_t characters;

	if (api_field_text(body, "text", &text, error) != 0)
		return -KAP_INVAL;
	if (text == NULL)
		text = "";
	out->text = malloc(strlen(text) + 1);
	if (out->text == NULL)
		return api_error_set(error, API_INTERNAL_ERROR, NULL);
	characters = clean_text(text, out->text);
	if (characters == 0)
		return api_error_set(error, API_MISSING_PARAMETER,
		    "Missing required parameter: text");
	if (characters > CONTROL_TEXT_MAX)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: text is over %d characters",
		    CONTROL_TEXT_MAX);
	return 0;
}

void
control_excerpt(const char *text, char out[CONTROL_EXCERPT_SIZE])
{
	size_t at = 0;

	for (unsigned i = 0; i < EXCERPT_CHARACTERS && text[at] != '\0'; i++)
		at += character_len(text + at);
	memcpy(out, text, at);
	strncpy(out + at, text[at] != '\0' ? "..." : "", 4);
}

/* --- fields --------------------------------------------------------------- */

static int
read_call_id(const cJSON *body, struct control_body *out,
    struct api_error *error)
{
	const char *text;

	if (api_field_text(body, "callId", &text, error) != 0)
		return -KAP_INVAL;
	if (text == NULL || *text == '\0')
		return api_error_set(error, API_MISSING_PARAMETER,
		    "Missing required parameter: callId");
	/* an odd one is a call that isn't there: told behind other faults */
	if (call_id_is_valid(text))
		memcpy(out->call_id, text, strlen(text) + 1);
	return 0;
}

static int
read_target(const cJSON *body, struct control_body *out,
    struct api_error *error)
{
	const char *text;

	if (api_field_text(body, "playTo", &text, error) != 0)
		return -KAP_INVAL;
	if (text != NULL && strcmp(text, "bridge") != 0 &&
	    strcmp(text, "channel") != 0)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: playTo must be bridge or channel");
	out->target = text != NULL && strcmp(text, "channel") == 0 ?
	    CALL_PLAY_CHANNEL : CALL_PLAY_BRIDGE;
	return 0;
}

/* *present_out: whether there is one. */
static int
read_sound(const cJSON *body, struct control_body *out, bool *present_out,
    struct api_error *error)
{
	const char *text;

	*present_out = false;
	if (api_field_text(body, "file", &text, error) != 0)
		return -KAP_INVAL;
	if (text == NULL || *text == '\0')
		return 0;
	if (!sounds_name_is_valid(text))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: file must be a sound's name of "
		    "letters, digits, '_', '-' and '/', without an ending");
	memcpy(out->sound, text, strlen(text) + 1);
	*present_out = true;
	return 0;
}

static int
read_finish_key(const cJSON *body, struct call_gather *gather,
    struct api_error *error)
{
	const char *text;
	char key;

	if (api_field_text(body, "finishOnKey", &text, error) != 0)
		return -KAP_INVAL;
	if (text == NULL || *text == '\0')
		return 0;
	key = (char)toupper((unsigned char)*text);
	if (text[1] != '\0' || strchr("0123456789*#ABCD", key) == NULL)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: finishOnKey must be one of "
		    "0-9, *, #, A-D");
	gather->finish = key;
	return 0;
}

static int
read_digits(const cJSON *body, struct call_gather *gather,
    struct api_error *error)
{
	int64_t digits, timeout_ms;
	bool barge_in;

	if (api_field_whole(body, "numDigits", GATHER_DIGITS, 1,
	        CALL_DIGITS_MAX, &digits, error) != 0 ||
	    api_field_whole(body, "timeout", GATHER_TIMEOUT_MS,
	        GATHER_TIMEOUT_MIN_MS, GATHER_TIMEOUT_MAX_MS, &timeout_ms,
	        error) != 0 ||
	    read_finish_key(body, gather, error) != 0 ||
	    api_field_bool(body, "bargeIn", true, &barge_in, error) != 0)
		return -KAP_INVAL;
	gather->expected = (uint8_t)digits;
	gather->timeout_ms = (uint32_t)timeout_ms;
	if (!barge_in)
		gather->flags |= CALL_GATHER_NO_BARGE_IN;
	return 0;
}

/* --- bodies --------------------------------------------------------------- */

int
control_body_read_voice(const cJSON *body, struct control_body *body_out,
    struct api_error *error)
{
	memset(body_out, 0, sizeof(*body_out));
	if (read_call_id(body, body_out, error) != 0 ||
	    read_text(body, body_out, error) != 0 ||
	    read_target(body, body_out, error) != 0)
		return -KAP_INVAL;
	return api_field_bool(body, "interrupt", false, &body_out->interrupt,
	    error);
}

int
control_body_read_play(const cJSON *body, struct control_body *body_out,
    struct api_error *error)
{
	bool present;

	memset(body_out, 0, sizeof(*body_out));
	if (read_call_id(body, body_out, error) != 0 ||
	    read_sound(body, body_out, &present, error) != 0)
		return -KAP_INVAL;
	if (!present)
		return api_error_set(error, API_MISSING_PARAMETER,
		    "Missing required parameter: file");
	if (read_target(body, body_out, error) != 0)
		return -KAP_INVAL;
	return api_field_bool(body, "interrupt", false, &body_out->interrupt,
	    error);
}

int
control_body_read_gather(const cJSON *body, struct control_body *body_out,
    struct api_error *error)
{
	bool has_sound;

	memset(body_out, 0, sizeof(*body_out));
	if (read_call_id(body, body_out, error) != 0 ||
	    read_sound(body, body_out, &has_sound, error) != 0)
		return -KAP_INVAL;
	if (has_sound && api_field(body, "text") != NULL)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: file comes in place of text, not "
		    "with it");
	if (!has_sound && read_text(body, body_out, error) != 0)
		return -KAP_INVAL;
	if (read_digits(body, &body_out->gather, error) != 0)
		return -KAP_INVAL;
	return read_target(body, body_out, error);
}

void
control_body_clear(struct control_body *body)
{
	free(body->text);
	body->text = NULL;
}
