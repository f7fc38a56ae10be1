/*
 * What is counted and measured, and the names and words under which it is
 * shown: a counter by itself, a matrix by two labels, times by the bounds of
 * a ladder. The indexes of the rows in the statistics file are made of these
 * lists, so they are only ever appended to.
 *
 * Labels have few values. A call's id, a number or a key is never one.
 */
#ifndef KAP_STATS_LIST_H
#define KAP_STATS_LIST_H

#define STATS_NAME_SIZE 48 /* of a route or trunk, cut, NUL included */
#define STATS_ROUTES_MAX 32
#define STATS_TRUNKS_MAX 64

/*
 * X(symbol, name, help): counters without a label. The metric is
 * kaphila_<name>_total. Only ever append.
 */
#define STATS_COUNTERS(X) \
	X(http_refused, "http_refused", \
	    "Requests that the gate refused before they had a route.") \
	X(http_connections, "http_connections", "Connections taken.") \
	X(calls_created, "calls_accepted", "Calls accepted.") \
	X(calls_answered, "calls_answered", "Calls answered.") \
	X(ari_connects, "ari_connects", "Event links to Asterisk made.") \
	X(ari_bytes_lost, "ari_lost_bytes", \
	    "Event bytes lost, by the offset in the stream.") \
	X(store_commits, "store_commits", "Write transactions committed.") \
	X(store_failures, "store_commit_failures", \
	    "Write transactions that could not be committed.") \
	X(readers_cleared, "store_stale_readers_cleared", \
	    "Reader slots of dead processes that were cleared.") \
	X(recordings_stored, "recordings_stored", \
	    "Recordings moved into the store.") \
	X(recordings_failed, "recordings_given_up", "Recordings given up.") \
	X(ledger_posted, "ledger_posted", \
	    "Ledger entries posted to PostgreSQL.") \
	X(ledger_set_aside, "ledger_set_aside", \
	    "Ledger entries that PostgreSQL refused for good.") \
	X(reroutes, "calls_rerouted", \
	    "Calls that went on on another trunk, for theirs had failed.") \
	X(trunk_rests, "trunk_rests", \
	    "Times that a trunk began to rest, for its calls had failed.") \
	X(speech_hits, "speech_cache_hits", \
	    "Texts whose speech was made already.") \
	X(speech_joined, "speech_joined", \
	    "Texts asked for while their speech was being made.") \
	X(speech_unspoken, "speech_unavailable", \
	    "Texts that were not made: no engine worked, or not in time.") \
	X(speech_google_made, "speech_google_made", \
	    "Texts spoken by Google Cloud.") \
	X(speech_google_failed, "speech_google_failed", \
	    "Texts that Google Cloud failed to speak.") \
	X(speech_gtts_made, "speech_gtts_made", \
	    "Texts spoken by gTTS's endpoint.") \
	X(speech_gtts_failed, "speech_gtts_failed", \
	    "Texts that gTTS's endpoint failed to speak.") \
	X(speech_espeak_made, "speech_espeak_made", \
	    "Texts spoken by espeak-ng.") \
	X(speech_espeak_failed, "speech_espeak_failed", \
	    "Texts that espeak-ng failed to speak.")

enum stats_counter {
#define X(symbol, name, help) STATS_##symbol,
	STATS_COUNTERS(X)
#undef X
	STATS_COUNTER_COUNT
};

/*
 * X(symbol, rows, columns, name, row's label, column's label, help): counters
 * by two labels; an empty name of a label: there is no such label. What the
 * indexes mean is told at the enums below, or in call.h and call_machine.h.
 * Only ever append.
 */
#define STATS_MATRICES(X) \
	X(calls_ended, 10, 20, "calls_ended", "status", "reason", \
	    "Calls ended.") \
	X(originates, STATS_TRUNKS_MAX + 1, 3, "originates", "trunk", \
	    "result", "Replies of Asterisk to originates.") \
	X(commands, 24, STATS_COMMAND_RESULTS, "ari_commands", "command", \
	    "result", "Commands said to Asterisk, the repeated ones too.") \
	X(events, 64, 1, "ari_events", "type", "", \
	    "Events of Asterisk taken, by what they mean to a call.") \
	X(deliveries, STATS_DELIVERY_RESULTS, 1, "webhook_deliveries", \
	    "result", "", "Tries to deliver a webhook.") \
	X(restarts, 4, STATS_RESTART_REASONS, "process_restarts", "role", \
	    "reason", "Child processes that ended and were started again.")

/* X(symbol, ladder, name, help): durations, kaphila_<name>_seconds. */
#define STATS_TIMES(X) \
	X(answer_to_webhook, STATS_LADDER_LONG, "answer_to_webhook", \
	    "From a call's answer to the delivery of its call.answered.") \
	X(event_lag, STATS_LADDER_LONG, "ari_event_lag", \
	    "From Asterisk's time of an event to its taking effect.") \
	X(lock_wait, STATS_LADDER_SHORT, "store_lock_wait", \
	    "Waiting for the store's write lock.") \
	X(commit, STATS_LADDER_SHORT, "store_commit", \
	    "Committing a write transaction, the disk included.") \
	X(speech, STATS_LADDER_LONG, "speech_synthesis", \
	    "Making a text's speech, from its start to its file.")

/* How a command to Asterisk ended. */
enum stats_command_result {
	STATS_COMMAND_OK,       /* 2xx */
	STATS_COMMAND_GONE,     /* 404: nothing there any more */
	STATS_COMMAND_REFUSED,  /* any other status */
	STATS_COMMAND_TIMEOUT,
	STATS_COMMAND_LOST,     /* the link went down before the reply */
	STATS_COMMAND_UNSENT,   /* never said; it waits in the outbox */
	STATS_COMMAND_RESULTS = 8 /* room for more */
};

enum stats_originate_result {
	STATS_ORIGINATE_ACCEPTED,
	STATS_ORIGINATE_REFUSED,
	STATS_ORIGINATE_UNKNOWN /* no reply: Asterisk is asked later */
};

/* How a try to deliver a webhook ended. */
enum stats_delivery_result {
	STATS_DELIVERY_2XX,
	STATS_DELIVERY_3XX,
	STATS_DELIVERY_4XX,
	STATS_DELIVERY_5XX,
	STATS_DELIVERY_TIMEOUT,
	STATS_DELIVERY_CONNECT,  /* no connection, or it ended early */
	STATS_DELIVERY_RESOLVE,  /* the name doesn't resolve */
	STATS_DELIVERY_GUARD,    /* to an address that is not allowed */
	STATS_DELIVERY_PROTOCOL, /* TLS, or no HTTP */
	STATS_DELIVERY_OTHER,
	STATS_DELIVERY_RESULTS = 16 /* room for more */
};

/* Why a child had to be started again. The row is enum child_role. */
enum stats_restart_reason {
	STATS_RESTART_PLANNED, /* asked for */
	STATS_RESTART_CRASHED, /* by a signal of its own making */
	STATS_RESTART_KILLED,  /* by a signal from outside, or stopped by one */
	STATS_RESTART_HUNG,    /* by the watchdog */
	STATS_RESTART_EXITED,  /* by itself */
	STATS_RESTART_REASONS = 8 /* room for more */
};

enum stats_matrix {
#define X(symbol, rows, columns, name, row_label, column_label, help) \
	STATS_##symbol,
	STATS_MATRICES(X)
#undef X
	STATS_MATRIX_COUNT
};

enum stats_time {
#define X(symbol, ladder, name, help) STATS_##symbol,
	STATS_TIMES(X)
#undef X
	STATS_TIME_COUNT
};

enum stats_queue {
	STATS_QUEUE_WEBHOOKS,
	STATS_QUEUE_WEBHOOK_RETRIES,
	STATS_QUEUE_RECORDINGS,
	STATS_QUEUE_LEDGER,
	STATS_QUEUE_LEDGER_ASIDE,
	STATS_QUEUE_COMMANDS,
	STATS_QUEUE_COUNT
};

#endif
