/*
 * The errors of the API: one table of code, HTTP status and text. A code
 * never changes its meaning; clients match on it.
 */
#ifndef KAP_API_ERROR_H
#define KAP_API_ERROR_H

enum api_code {
	API_OK,
	API_INVALID_JSON,
	API_INVALID_PARAMETER,
	API_MISSING_PARAMETER,
	API_INVALID_NUMBER,
	API_INVALID_WEBHOOK_URL,
	API_TEXT_NOT_SPEAKABLE,
	API_UNAUTHORIZED_HEADER, /* the two texts of UNAUTHORIZED */
	API_UNAUTHORIZED_KEY,
	API_INSUFFICIENT_CREDITS,
	API_CALLER_ID_NOT_ALLOWED,
	API_DESTINATION_NOT_ALLOWED,
	API_NOT_FOUND,
	API_CALL_NOT_FOUND,
	API_RECORDING_NOT_FOUND,
	API_SOUND_NOT_FOUND,
	API_CALL_NOT_ANSWERED,
	API_PLAYBACK_QUEUE_FULL,
	API_CALL_ALREADY_FORWARDED,
	API_IDEMPOTENCY_IN_PROGRESS,
	API_BODY_TOO_LARGE,
	API_UNSUPPORTED_MEDIA_TYPE,
	API_IDEMPOTENCY_KEY_REUSED,
	API_RATE_LIMIT_EXCEEDED,
	API_TOO_MANY_CALLS,
	API_ORIGINATION_FAILED,
	API_INTERNAL_ERROR,
	API_NO_TRUNKS_ASSIGNED,
	API_TRUNKS_BUSY,
	API_TELEPHONY_UNAVAILABLE,
	API_TELEPHONY_TIMEOUT,
	API_AMD_UNAVAILABLE,
	API_SPEECH_UNAVAILABLE,
	API_DATABASE_UNAVAILABLE,
	API_DRAINING,
	API_OVERLOADED,
	API_CODE_COUNT
};

/* One refusal, with room for a text that names a field. */
struct api_error {
	enum api_code code;
	char text[200]; /* empty: the table's */
};

struct api_code_row {
	int status;
	const char *code;
	const char *text;
	int retry_after_s; /* 0: no Retry-After header */
};

/* Never NULL for a code of the enum. */
const struct api_code_row *api_code_row(enum api_code code);

#endif
