/*
 * A call, as it lies in the store, and the words the API has for what may
 * become of it. Plain data; who may change it is call_table.h's business.
 *
 * `struct call` is the hot record: fixed, small, read in place. It only ever
 * grows at its tail, and `version` tells which tail was written. What is long
 * and never changes lies in the cold record (call_cold.h).
 */
#ifndef KAP_CALL_H
#define KAP_CALL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

#define CALL_VERSION 2
#define CALL_ID_SIZE 32     /* "1720012345.88001", NUL included */
#define CALL_NUMBER_SIZE 16 /* 7..15 digits, NUL included */
#define CALL_TRUNKS_MAX 8   /* trunks one call may be tried on */
#define CALL_RECORDING_SIZE 64 /* "call-<id>-<ms>", NUL included */
#define CALL_DIGITS_MAX 32     /* that one gather collects */
#define CALL_AMD_UNIT_MS 100   /* of a call's own limit of analysis */
#define CALL_AMD_CAUSE_SIZE 32 /* "LONGGREETING-1500-1500", NUL included */

/* The order is the order of a life; names in call_state_name(). */
enum call_state {
	CALL_NONE,     /* not in the table */
	CALL_QUEUED,   /* accepted; Asterisk has not shown that it has it */
	CALL_DIALING,  /* Asterisk has it; no ringing yet */
	CALL_RINGING,  /* the far end rings */
	CALL_ANSWERED, /* picked up */
	CALL_ENDED,    /* over; kept, not shown, for what still follows */
	CALL_STATE_COUNT
};

/* How it went, for status fields; names in call_status_name(). */
enum call_status {
	CALL_STATUS_QUEUED,
	CALL_STATUS_RINGING,
	CALL_STATUS_ANSWERED,
	CALL_STATUS_COMPLETED,
	CALL_STATUS_BUSY,
	CALL_STATUS_NO_ANSWER,
	CALL_STATUS_FAILED,
	CALL_STATUS_CANCELED,
	CALL_STATUS_COUNT
};

/* Why it ended; names in call_end_reason_name(). */
enum call_end_reason {
	CALL_END_NONE,
	CALL_END_NORMAL_HANGUP,
	CALL_END_API_HANGUP,
	CALL_END_MAX_DURATION,
	CALL_END_CANCELED,
	CALL_END_BUSY,
	CALL_END_NO_ANSWER,
	CALL_END_REJECTED,
	CALL_END_INVALID_NUMBER,
	CALL_END_CONGESTION,
	CALL_END_INCOMPATIBLE,
	CALL_END_NETWORK,
	CALL_END_LOST,
	CALL_END_MEDIA_SERVER_LOST,
	CALL_END_REASON_COUNT
};

enum call_amd {
	CALL_AMD_NOAMD,
	CALL_AMD_PENDING,
	CALL_AMD_HUMAN,
	CALL_AMD_MACHINE,
	CALL_AMD_UNKNOWN,
	CALL_AMD_COUNT
};

/* Where a gather stands; the diagram is in call_gather.c. */
enum call_gather_state {
	CALL_GATHER_NONE,
	CALL_GATHER_PROMPT, /* its prompt is queued or plays */
	CALL_GATHER_DIGITS  /* the prompt is over, the time runs */
};

/* Of struct call's gather_flags. */
enum call_gather_flag {
	CALL_GATHER_NO_BARGE_IN = 1U << 0 /* digits don't stop the prompt, and
	                                     don't count while it plays */
};

enum call_flag {
	CALL_F_INITIATED = 1U << 0,   /* call.initiated is queued */
	CALL_F_HELD = 1U << 1,        /* holds a credit of its key */
	CALL_F_WAS_ANSWERED = 1U << 2,
	CALL_F_IN_STASIS = 1U << 3,   /* the channel is in our app */
	CALL_F_BRIDGE = 1U << 4,      /* its bridge was asked for */
	CALL_F_BRIDGED = 1U << 5,     /* its channel is in the bridge */
	CALL_F_RECORD = 1U << 6,      /* it is to be recorded */
	CALL_F_RECORDING = 1U << 7,   /* Asterisk records now */
	CALL_F_RECORDED = 1U << 8,    /* a recording was begun */
	CALL_F_RECORD_DONE = 1U << 9, /* …and handed to the recorder */
	CALL_F_API_HANGUP = 1U << 10, /* /hangup asked for the end */
	CALL_F_MAX_DURATION = 1U << 11, /* the duration limit did */
	CALL_F_RING_TIMEOUT = 1U << 12, /* the ring guard did */
	CALL_F_ABANDONED = 1U << 13,  /* no reply in time: hang up what shows */
	CALL_F_USE_AMD = 1U << 14,
	CALL_F_ASYNC_AMD = 1U << 15,
	CALL_F_REFUSED = 1U << 16,    /* every trunk refused at once */
	CALL_F_HANGUP_SENT = 1U << 17, /* a hangup is in the outbox or done */
	CALL_F_CHANNEL_GONE = 1U << 18, /* a hangup found no channel */
	CALL_F_WEBHOOK = 1U << 19,    /* it has a webhook URL */
	CALL_F_RECORD_SETTLED = 1U << 20, /* the recorder has done with it */
	CALL_F_IDEMPOTENT = 1U << 21, /* an Idempotency-Key's record waits for
	                                 what becomes of it */
	CALL_F_ANSWER_TOLD = 1U << 22, /* call.answered is queued */
	CALL_F_SNOOPED = 1U << 23, /* a snoop channel was asked for, and has
	                              not been seen to end */
	CALL_F_SECOND_LEG = 1U << 24, /* dialled by /forwardcall; other_id is
	                                 the leg that it is for */
	CALL_F_TRANSFERRED = 1U << 25, /* both legs are in one bridge */
	CALL_F_CLOSE_TRUNK = 1U << 26, /* the trunk's sign is waited for */
	CALL_F_OTHER_ENDED = 1U << 27, /* the other leg's end asked for the end */
	CALL_F_LEAVING = 1U << 28, /* its channel was told to end: by anybody */
	CALL_F_RECORD_STOP = 1U << 29 /* its recording's end was asked for */
};

/* Timers of a call; their deadlines lie in the record and in STORE_TIMERS. */
enum call_timer {
	CALL_TIMER_ORIGINATE,    /* no reply to the originate */
	CALL_TIMER_GUARD,        /* ringing or hanging up takes too long */
	CALL_TIMER_MAX_DURATION,
	CALL_TIMER_RECORDING,    /* RecordingFinished never came */
	CALL_TIMER_TRUNK,        /* no sign from the carrier: the next trunk */
	CALL_TIMER_AMD,          /* the analysis takes too long */
	CALL_TIMER_GATHER,       /* no digit, or no end of the prompt */
	CALL_TIMER_COUNT
};
#define CALL_TIMER_SLOTS 8 /* room for more, without another layout */

struct call {
	uint16_t version;
	uint8_t state;        /* enum call_state */
	uint8_t status;       /* enum call_status */
	uint8_t end_reason;   /* enum call_end_reason */
	uint8_t slot;         /* worker slot whose Stasis app has it */
	uint8_t attempt;      /* 1.. : which trunk is being tried */
	uint8_t trunk_count;
	uint32_t flags;       /* enum call_flag */
	uint32_t key_id;
	uint32_t sequence;    /* of the last event made; 0: none */
	uint32_t refs;        /* commands, events and recorder's jobs that
	                         still need the record */
	uint32_t command_seq; /* of the last command put into the outbox */
	uint16_t hangup_cause; /* Q.850; 0: none told */
	uint16_t ring_timeout_s;
	uint32_t max_duration_s;
	uint8_t amd_status;   /* enum call_amd */
	uint8_t amd_total;    /* the analysis' limit in CALL_AMD_UNIT_MS,
	                         where the call has its own; else 0 */
	uint8_t amd_pad[2];
	int64_t created_ms;   /* wall clock; 0: not yet */
	int64_t ringing_ms;
	int64_t answered_ms;
	int64_t ended_ms;
	int64_t recording_ms; /* the stamp in the recording's name; 0: none */
	uint32_t recording_duration_s; /* as Asterisk told */
	uint32_t pad;
	int64_t timers[CALL_TIMER_SLOTS]; /* boot clock, ms; 0: not set */
	char id[CALL_ID_SIZE];
	char number[CALL_NUMBER_SIZE];
	char caller_id[CALL_NUMBER_SIZE]; /* empty: none */

	/* since version 2 */
	int64_t amd_decided_ms;   /* wall clock; 0: not yet */
	int64_t play_ms;          /* stamp of the last playback; 0: none */
	int64_t gather_prompt_ms; /* stamp of the gather's prompt */
	uint32_t gather_timeout_ms;
	uint8_t gather_state;     /* enum call_gather_state */
	uint8_t gather_flags;     /* enum call_gather_flag */
	uint8_t gather_expected;  /* digits, 1..CALL_DIGITS_MAX */
	char gather_finish;       /* the digit that ends it; NUL: none */
	char gather_digits[CALL_DIGITS_MAX + 8]; /* so far, NUL-terminated */
	char amd_cause[CALL_AMD_CAUSE_SIZE];     /* Asterisk's own words */
	char other_id[CALL_ID_SIZE]; /* of the call it is joined with, or is
	                                to be; empty: none */
	int64_t dialled_ms;  /* wall clock: when this attempt was begun */
	uint8_t trunks_tried; /* bit n: the n-th trunk, from 0, was dialled */
	uint8_t tried_pad[5];
	uint16_t sip_code;   /* of the last attempt's refusal; 0: none told */
};

/* With its indexes a live call is not to take more than 512 bytes. */
static_assert(sizeof(struct call) <= 384, "the hot record grew too large");

/* The words of the API. Never NULL. */
const char *call_state_name(enum call_state state);
const char *call_status_name(enum call_status status);
const char *call_end_reason_name(enum call_end_reason reason);
const char *call_amd_name(enum call_amd amd);

/* Shown by GET /calls, counted as active. */
bool call_is_live(const struct call *call);

/*
 * How many trunks were dialled for it: attempts are positions in its list of
 * trunks, and those that were not free are skipped.
 */
unsigned call_trunks_tried(const struct call *call);

/*
 * Whether an end tells that the trunk failed, and not the called party or the
 * number: the call may go on on the next one.
 *
 * cause     Q.850
 * sip_code  of the final answer, 0 where none was told: a 5xx is always the
 *           trunk's, whatever cause Asterisk makes of it
 */
bool call_end_is_of_trunk(unsigned cause, unsigned sip_code);

/* What became of a call's originate: what /makecall answers. */
enum call_outcome {
	CALL_OUTCOME_OPEN,    /* not known yet */
	CALL_OUTCOME_MADE,    /* Asterisk has it, or its end was sooner */
	CALL_OUTCOME_REFUSED, /* every trunk refused at once */
	CALL_OUTCOME_GIVEN_UP, /* no reply in time; hung up if it turns up */
	CALL_OUTCOME_LOST     /* over unseen: it may have rung */
};

/* Of any call but one in CALL_NONE. Once not OPEN, never OPEN again. */
enum call_outcome call_outcome(const struct call *call);

/*
 * What a hangup means (the table of causes in the API's decisions).
 *
 * answered  the call had been answered before
 * flags     enum call_flag: what asked for the end counts
 * cause     Q.850, 0..127
 */
void call_judge_end(bool answered, uint32_t flags, unsigned cause,
    enum call_status *status_out, enum call_end_reason *reason_out);

/*
 * Seconds of conversation: from the answer, rounded up, at least 1 when
 * answered, 0 when not. `until_ms` is the end, or now for a live call.
 */
uint32_t call_duration_s(const struct call *call, int64_t until_ms);

/*
 * Names that a call's parts have in Asterisk, made from the call's id and
 * read back from events.
 *
 * channel    "<id>", or "<id>-<n>" for the n-th attempt, n > 1
 * bridge     "bridge-<id>"
 * recording  "call-<id>-<ms>"
 * snoop      "amd-<id>": the channel on which AMD listens
 *
 * Playbacks' names are call_play.h's.
 */
#define CALL_NAME_SIZE (CALL_ID_SIZE + 32)
void call_channel_name(const struct call *call, char out[CALL_NAME_SIZE]);
void call_bridge_name(const char *id, char out[CALL_NAME_SIZE]);
void call_attempt_name(const char *id, unsigned attempt,
    char out[CALL_NAME_SIZE]); /* of that attempt's channel */
void call_snoop_name(const char *id, char out[CALL_NAME_SIZE]);
void call_recording_name(const struct call *call,
    char out[CALL_RECORDING_SIZE]);

/* Each returns 0, or -KAP_INVAL for a name that isn't of the form. */
KAP_MUST_USE int call_parse_channel(const char *name,
    char id_out[CALL_ID_SIZE], unsigned *attempt_out);
KAP_MUST_USE int call_parse_bridge(const char *name,
    char id_out[CALL_ID_SIZE]);
/* "<id>-<ms>", the end of a recording's or a playback's name. */
KAP_MUST_USE int call_parse_stamped(const char *text,
    char id_out[CALL_ID_SIZE], int64_t *stamp_ms_out);
KAP_MUST_USE int call_parse_snoop(const char *name,
    char id_out[CALL_ID_SIZE]);
KAP_MUST_USE int call_parse_recording(const char *name,
    char id_out[CALL_ID_SIZE], int64_t *stamp_ms_out);

/*
 * Whether text has the form of a call id: 10..12 digits, a dot, 1..19 digits.
 */
bool call_id_is_valid(const char *text);

/* Make an id. number = STORE_NEXT_CALL; node 1..999. */
void call_id_make(char out[CALL_ID_SIZE], int64_t now_ms, uint64_t number,
    unsigned node);

/* The node an id was made on, 0 if it isn't one. */
unsigned call_id_node(const char *id);

#endif
