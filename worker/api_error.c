/*
 * The table itself.
 */
#include "api_error.h"

static const struct api_code_row rows[API_CODE_COUNT] = {
	[API_OK] = { 200, "OK", "", 0 },
	[API_INVALID_JSON] = { 400, "INVALID_JSON", "Invalid JSON", 0 },
	[API_INVALID_PARAMETER] = { 400, "INVALID_PARAMETER",
	    "Invalid parameter", 0 },
	[API_MISSING_PARAMETER] = { 400, "MISSING_PARAMETER",
	    "Missing required parameter", 0 },
	[API_INVALID_NUMBER] = { 400, "INVALID_NUMBER",
	    "Invalid number: 7 to 15 digits", 0 },
	[API_INVALID_WEBHOOK_URL] = { 400, "INVALID_WEBHOOK_URL",
	    "Invalid webhookUrl", 0 },
	[API_UNAUTHORIZED_HEADER] = { 401, "UNAUTHORIZED",
	    "Missing or invalid Authorization header", 0 },
	[API_UNAUTHORIZED_KEY] = { 401, "UNAUTHORIZED", "Invalid API key", 0 },
	[API_INSUFFICIENT_CREDITS] = { 402, "INSUFFICIENT_CREDITS",
	    "Insufficient credits", 0 },
	[API_NOT_FOUND] = { 404, "NOT_FOUND", "Not found", 0 },
	[API_CALL_NOT_FOUND] = { 404, "CALL_NOT_FOUND", "Call not found", 0 },
	[API_IDEMPOTENCY_IN_PROGRESS] = { 409, "IDEMPOTENCY_IN_PROGRESS",
	    "A request with this Idempotency-Key is under way", 1 },
	[API_BODY_TOO_LARGE] = { 413, "BODY_TOO_LARGE",
	    "Request body is too large", 0 },
	[API_UNSUPPORTED_MEDIA_TYPE] = { 415, "UNSUPPORTED_MEDIA_TYPE",
	    "Content-Type must be application/json", 0 },
	[API_IDEMPOTENCY_KEY_REUSED] = { 422, "IDEMPOTENCY_KEY_REUSED",
	    "This Idempotency-Key came with another body before", 0 },
	[API_RATE_LIMIT_EXCEEDED] = { 429, "RATE_LIMIT_EXCEEDED",
	    "Rate limit exceeded", 0 },
	[API_ORIGINATION_FAILED] = { 500, "ORIGINATION_FAILED",
	    "All trunk originate attempts failed", 0 },
	[API_INTERNAL_ERROR] = { 500, "INTERNAL_ERROR",
	    "Internal server error", 0 },
	[API_NO_TRUNKS_ASSIGNED] = { 503, "NO_TRUNKS_ASSIGNED",
	    "No trunks assigned", 60 },
	[API_TELEPHONY_UNAVAILABLE] = { 503, "TELEPHONY_UNAVAILABLE",
	    "Telephony is unavailable", 2 },
	[API_TELEPHONY_TIMEOUT] = { 503, "TELEPHONY_TIMEOUT",
	    "Telephony did not answer in time", 5 },
	[API_DATABASE_UNAVAILABLE] = { 503, "DATABASE_UNAVAILABLE",
	    "Database is unavailable", 2 },
	[API_DRAINING] = { 503, "DRAINING", "Server is draining", 5 },
	[API_OVERLOADED] = { 503, "OVERLOADED",
	    "Server is overloaded", 10 },
};

const struct api_code_row *
api_code_row(enum api_code code)
{
	return &rows[code < API_CODE_COUNT ? code : API_INTERNAL_ERROR];
}
