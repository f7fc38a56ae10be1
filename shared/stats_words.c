/*
 * What the indexes of counters mean, in words. Reads nothing.
 */
#include "stats_words.h"

#include <assert.h>
#include <stddef.h>

#include "call.h"
#include "call_machine.h"
#include "child.h"
#include "stats.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What the indexes of the matrices have room for. */
#define X(symbol, rows, columns, name, row_label, column_label, help) \
	ROWS_##symbol = rows, COLUMNS_##symbol = columns,
enum { STATS_MATRICES(X) };
#undef X

static_assert((int)CALL_STATUS_COUNT <= ROWS_calls_ended, "no room");
static_assert((int)CALL_END_REASON_COUNT <= COLUMNS_calls_ended, "no room");
static_assert((int)CALL_CMD_COUNT <= ROWS_commands, "no room");
static_assert((int)CALL_INPUT_COUNT <= STATS_EVENT_IRRELEVANT, "no room");
static_assert(STATS_EVENT_IRRELEVANT < (int)ROWS_events, "no room");
static_assert((int)CHILD_ROLE_COUNT <= ROWS_restarts, "no room");
static_assert((int)CALL_STATE_COUNT <= STATS_CALL_STATES_MAX, "no room");

static const char *const command_results[] = {
	[STATS_COMMAND_OK] = "ok",
	[STATS_COMMAND_GONE] = "gone",
	[STATS_COMMAND_REFUSED] = "refused",
	[STATS_COMMAND_TIMEOUT] = "timeout",
	[STATS_COMMAND_LOST] = "lost",
	[STATS_COMMAND_UNSENT] = "unsent",
};

static const char *const originate_results[] = {
	[STATS_ORIGINATE_ACCEPTED] = "accepted",
	[STATS_ORIGINATE_REFUSED] = "refused",
	[STATS_ORIGINATE_UNKNOWN] = "unknown",
};

static const char *const delivery_results[] = {
	[STATS_DELIVERY_2XX] = "2xx",
	[STATS_DELIVERY_3XX] = "3xx",
	[STATS_DELIVERY_4XX] = "4xx",
	[STATS_DELIVERY_5XX] = "5xx",
	[STATS_DELIVERY_TIMEOUT] = "timeout",
	[STATS_DELIVERY_CONNECT] = "connect",
	[STATS_DELIVERY_RESOLVE] = "resolve",
	[STATS_DELIVERY_GUARD] = "guard",
	[STATS_DELIVERY_PROTOCOL] = "protocol",
	[STATS_DELIVERY_OTHER] = "other",
};

static const char *const restart_reasons[] = {
	[STATS_RESTART_PLANNED] = "planned",
	[STATS_RESTART_CRASHED] = "crashed",
	[STATS_RESTART_KILLED] = "killed",
	[STATS_RESTART_HUNG] = "hung",
	[STATS_RESTART_EXITED] = "exited",
};

static const char *const queue_names[] = {
	[STATS_QUEUE_WEBHOOKS] = "webhooks",
	[STATS_QUEUE_WEBHOOK_RETRIES] = "webhook_retries",
	[STATS_QUEUE_RECORDINGS] = "recordings",
	[STATS_QUEUE_LEDGER] = "ledger",
	[STATS_QUEUE_LEDGER_ASIDE] = "ledger_aside",
	[STATS_QUEUE_COMMANDS] = "commands",
};

static const char *
event_name(unsigned i)
{
	if (i < CALL_INPUT_COUNT)
		return call_input_name((enum call_input_kind)i);
	return i == STATS_EVENT_IRRELEVANT ? "irrelevant" : NULL;
}

const char *
stats_row_word(enum stats_matrix matrix, unsigned i)
{
	switch (matrix) {
	case STATS_calls_ended:
		return i < CALL_STATUS_COUNT ?
		    call_status_name((enum call_status)i) : NULL;
	case STATS_originates: /* trunks have names of their own */
		break;
	case STATS_commands:
		return i > 0 && i < CALL_CMD_COUNT ?
		    call_command_name((enum call_command_kind)i) : NULL;
	case STATS_events:
		return event_name(i);
	case STATS_deliveries:
		return i < COUNT_OF(delivery_results) ?
		    delivery_results[i] : NULL;
	case STATS_restarts:
		return i < CHILD_ROLE_COUNT ?
		    child_role_name((enum child_role)i) : NULL;
	case STATS_MATRIX_COUNT:
		break;
	}
	return NULL;
}

const char *
stats_column_word(enum stats_matrix matrix, unsigned i)
{
	switch (matrix) {
	case STATS_calls_ended:
		return i > 0 && i < CALL_END_REASON_COUNT ?
		    call_end_reason_name((enum call_end_reason)i) : NULL;
	case STATS_originates:
		return i < COUNT_OF(originate_results) ?
		    originate_results[i] : NULL;
	case STATS_commands:
		return i < COUNT_OF(command_results) ?
		    command_results[i] : NULL;
	case STATS_restarts:
		return i < COUNT_OF(restart_reasons) ?
		    restart_reasons[i] : NULL;
	case STATS_events:
	case STATS_deliveries:
		return i == 0 ? "" : NULL;
	case STATS_MATRIX_COUNT:
		break;
	}
	return NULL;
}

/* Ends of calls that come in the ordinary run of things. */
static bool
is_usual_end(unsigned status, unsigned reason)
{
	switch ((enum call_status)status) {
	case CALL_STATUS_COMPLETED:
		return reason == CALL_END_NORMAL_HANGUP ||
		    reason == CALL_END_API_HANGUP ||
		    reason == CALL_END_MAX_DURATION;
	case CALL_STATUS_BUSY:
		return reason == CALL_END_BUSY;
	case CALL_STATUS_NO_ANSWER:
		return reason == CALL_END_NO_ANSWER;
	case CALL_STATUS_FAILED:
		return reason >= CALL_END_REJECTED &&
		    reason <= CALL_END_MEDIA_SERVER_LOST;
	case CALL_STATUS_CANCELED:
		return reason == CALL_END_CANCELED ||
		    reason == CALL_END_API_HANGUP;
	case CALL_STATUS_QUEUED:
	case CALL_STATUS_RINGING:
	case CALL_STATUS_ANSWERED:
	case CALL_STATUS_COUNT:
		break;
	}
	return false;
}

bool
stats_is_shown_empty(enum stats_matrix matrix, unsigned row, unsigned column)
{
	switch (matrix) {
	case STATS_calls_ended:
		return is_usual_end(row, column);
	case STATS_originates:
		return row < STATS_TRUNKS_MAX;
	case STATS_commands:
	case STATS_deliveries:
	case STATS_restarts:
		return true;
	case STATS_events:
	case STATS_MATRIX_COUNT:
		break;
	}
	return false;
}

const char *
stats_queue_name(enum stats_queue queue)
{
	return queue_names[queue];
}
