/*
 * The one place where anything is decided about a call: a pure function from
 * (call, what happened, now) to (call', effects). It knows no socket, no
 * database and no clock. call_machine.c has the diagram and the table.
 */
#ifndef KAP_CALL_MACHINE_H
#define KAP_CALL_MACHINE_H

#include "call.h"
#include "call_play.h"
#include "errors.h"

/* What can happen to a call. Names in call_input_name(). */
enum call_input_kind {
	/* from the API */
	CALL_IN_CREATE,       /* accepted; the call is in CALL_NONE */
	CALL_IN_HANGUP,       /* POST /hangup */
	/* replies of Asterisk to commands */
	CALL_IN_ORIGINATE_OK,
	CALL_IN_ORIGINATE_REFUSED, /* Asterisk said no at once */
	CALL_IN_BRIDGE_ADD_OK,
	CALL_IN_BRIDGE_FAILED, /* no bridge, or not into it */
	CALL_IN_RECORD_OK,
	CALL_IN_RECORD_FAILED,
	CALL_IN_HANGUP_OK,
	CALL_IN_HANGUP_GONE,  /* 404: no such channel any more */
	/* events of Asterisk */
	CALL_IN_SEEN,         /* any sign that the channel is there */
	CALL_IN_RINGING,
	CALL_IN_UP,           /* answered */
	CALL_IN_STASIS_START,
	CALL_IN_STASIS_END,
	CALL_IN_DESTROYED,    /* the channel is gone; `cause` */
	CALL_IN_RECORDING_STARTED,
	CALL_IN_RECORDING_FINISHED, /* `duration_s` */
	CALL_IN_RECORDING_ERROR,
	/* timers */
	CALL_IN_TIMER,        /* `timer` */
	/* reconcile */
	CALL_IN_LOST,         /* its channel is not there any more */
	CALL_IN_MEDIA_SERVER_LOST, /* its Asterisk was restarted */
	/* the recorder */
	CALL_IN_RECORDING_STORED, /* in the store; `duration_s`, `size_bytes` */
	CALL_IN_RECORDING_GIVEN_UP,
	/* from the API, since version 2; `play` is set */
	CALL_IN_PLAY,         /* `interrupt`: what is queued is stopped first */
	CALL_IN_GATHER,       /* `gather`; `play` is its prompt */
	CALL_IN_STOP_PLAYS,   /* without `play` */
	/* replies of Asterisk; `play`, if its record is still there */
	CALL_IN_PLAY_OK,
	CALL_IN_PLAY_REFUSED,
	CALL_IN_SNOOP_FAILED,
	/* events of Asterisk; `play` likewise */
	CALL_IN_PLAY_STARTED,
	CALL_IN_PLAY_FINISHED,
	CALL_IN_PLAY_FAILED,  /* no such sound, or nobody to play it to */
	CALL_IN_DTMF,         /* `digit`, `digit_ms` */
	CALL_IN_SNOOP_START,  /* the snoop channel is in our app */
	CALL_IN_AMD,          /* `amd`, `amd_cause` */
	CALL_IN_SNOOP_GONE,   /* the snoop channel ended */
	/* from the other leg, in the transaction of its own step: `other` */
	CALL_IN_OTHER_ANSWERED,
	CALL_IN_OTHER_ENDED,
	CALL_IN_OTHER_CREATED, /* the second leg, which is to be dialled */
	CALL_IN_PROGRESS,      /* the carrier shows that it has the call */
	CALL_IN_LEAVING,       /* the channel was told to end */
	CALL_IN_RECORD_STOP,   /* from the API: end the recording */
	CALL_IN_RECORD_STOP_OK, /* Asterisk has ended it, or has none */
	CALL_INPUT_COUNT
};

/* What a gather is to collect. */
struct call_gather {
	uint32_t timeout_ms; /* 1,000..120,000 */
	uint8_t expected;    /* 1..CALL_DIGITS_MAX */
	uint8_t flags;       /* enum call_gather_flag */
	char finish;         /* 0-9 * # A-D; NUL: none */
};

struct call_input {
	enum call_input_kind kind;
	unsigned attempt;    /* of a channel's event or reply; 0: any */
	unsigned cause;      /* Q.850 */
	unsigned sip_code;   /* DESTROYED: the carrier's answer; 0: not told */
	enum call_timer timer;
	uint32_t duration_s;
	uint64_t size_bytes;
	int64_t at_ms;       /* wall clock: when it happened */
	int64_t heard_since_ms; /* TIMER, events: since when Asterisk's
	                           events are read without a gap; wall clock,
	                           0: not told */
	/* since version 2 */
	struct call_play_id play_id; /* PLAY_*: which playback */
	const struct call_play *play; /* its record, or the one to be made;
	                                 set by call_table.c for replies and
	                                 events, NULL where it is gone */
	struct call_gather gather;
	bool interrupt;
	char digit;
	uint32_t digit_ms;
	enum call_amd amd;
	char amd_cause[CALL_AMD_CAUSE_SIZE];
	const struct call *other; /* OTHER_*: who tells, as it is by then;
	                             borrowed */
};

/* Events to the customer; the words in webhook_event_name(). */
enum call_event_kind {
	CALL_EV_INITIATED,
	CALL_EV_RINGING,
	CALL_EV_ANSWERED,
	CALL_EV_ENDED,
	CALL_EV_RECORDING_STARTED,
	CALL_EV_RECORDING_COMPLETED,
	CALL_EV_REROUTED,
	CALL_EV_AMD_RESULT,
	CALL_EV_DTMF,
	CALL_EV_GATHER_STARTED,
	CALL_EV_GATHER_PROGRESS,
	CALL_EV_GATHER_COMPLETE,
	CALL_EV_GATHER_TIMEOUT,
	CALL_EV_TTS_PLAYED,
	CALL_EV_PLAYBACK_FINISHED,
	CALL_EV_PLAYBACK_FAILED,
	CALL_EV_TRANSFERRED,
	CALL_EV_TRANSFER_FAILED,
	CALL_EV_RECORDING_STOPPED,
	CALL_EV_COUNT
};

/* How a gather ended; the words in call_gather_end_name(). */
enum call_gather_end {
	CALL_GATHER_END_NONE,
	CALL_GATHER_DIGITS_COMPLETE, /* gather.complete */
	CALL_GATHER_FINISH_KEY,
	CALL_GATHER_TIMED_OUT,       /* gather.timeout */
	CALL_GATHER_REPLACED,
	CALL_GATHER_CALL_ENDED,
	CALL_GATHER_END_COUNT
};

/*
 * What an event tells beyond the call itself. In the queue it lies in a
 * record of its own (webhook_queue.h), and only for events that have any: one
 * with a text at its end (store_text_head), so it grows before `text`.
 */
struct call_event_detail {
	uint16_t version;
	uint16_t text_at; /* the store's */
	uint8_t gather_end;  /* enum call_gather_end */
	uint8_t expected;    /* gather.*: digits */
	uint8_t other_status; /* enum call_status: transfer_failed, */
	uint8_t play_target; /* enum call_play_target */
	uint8_t stopped;     /* playback.finished: it was cut short */
	char digit;          /* dtmf.received, gather.progress */
	uint32_t digit_ms;
	uint32_t timeout_ms; /* gather.started */
	uint32_t cause;      /* Q.850: call.rerouted, transfer_failed */
	uint32_t attempt;    /* call.rerouted: the one that failed */
	uint32_t sip_code;   /* with cause; 0: not told */
	uint8_t is_sound;    /* `text` is a sound's name */
	uint8_t pad[3];
	struct call_play_id play;
	char digits[CALL_DIGITS_MAX + 8]; /* gather.*: so far */
	char other_id[CALL_ID_SIZE];      /* transfer: the other leg's */
	char text[CALL_PLAY_TEXT_SIZE];   /* gather.started, tts.played */
};
#define CALL_EVENT_DETAIL_VERSION 1

/* Commands to Asterisk; how each is said stands in worker/ari_say.c. */
enum call_command_kind {
	CALL_CMD_ORIGINATE = 1,
	CALL_CMD_HANGUP,
	CALL_CMD_BRIDGE_CREATE,
	CALL_CMD_BRIDGE_ADD, /* waits in the outbox until CALL_F_IN_STASIS */
	CALL_CMD_RECORD,
	CALL_CMD_BRIDGE_DESTROY,
	CALL_CMD_PLAY,        /* a playback: `play_id` */
	CALL_CMD_PLAY_STOP,   /* likewise */
	CALL_CMD_SNOOP,       /* waits in the outbox until CALL_F_IN_STASIS */
	CALL_CMD_SNOOP_SET,   /* what AMD is to be called with */
	CALL_CMD_SNOOP_CONTINUE, /* into the dialplan that runs AMD */
	CALL_CMD_SNOOP_HANGUP,
	CALL_CMD_BRIDGE_JOIN, /* into the other leg's bridge; waits likewise */
	CALL_CMD_RECORD_STOP,
	CALL_CMD_COUNT
};

enum call_effect_kind {
	CALL_FX_COMMAND,      /* `command` */
	CALL_FX_EVENT,        /* `event` */
	CALL_FX_TIMER_SET,    /* `timer`, `deadline_boot_ms` */
	CALL_FX_TIMER_CLEAR,  /* `timer` */
	CALL_FX_CHARGE,       /* the hold becomes the charge */
	CALL_FX_RELEASE,      /* the hold ends */
	CALL_FX_LOG,          /* the call's row in call_logs */
	CALL_FX_RECORDING_JOB, /* the recorder takes the file over */
	CALL_FX_RECORDING_LOG, /* its row in recordings */
	CALL_FX_RECORDING_SETTLED, /* the recorder needs the call no more */
	CALL_FX_DROP_COMMANDS, /* what still waits in the outbox is void */
	/* since version 2 */
	CALL_FX_PLAY,         /* `play`: its record is made, and its command */
	CALL_FX_PLAY_STATE,   /* `play_id`, `play_state` */
	CALL_FX_PLAY_DROP,    /* `play_id`: its record goes */
	CALL_FX_STOP_PLAYS,   /* all that are queued or play; the last first */
	CALL_FX_DROP_PLAYS,   /* the records of all go */
	CALL_FX_TELL_OTHER    /* the other leg's step: `tell`, `at_ms` */
};

struct call_effect {
	enum call_effect_kind kind;
	enum call_command_kind command;
	enum call_event_kind event;
	enum call_timer timer;
	int64_t deadline_boot_ms;
	int64_t at_ms;       /* events: when it happened */
	uint32_t duration_s; /* CALL_EV_RECORDING_COMPLETED */
	uint64_t size_bytes;
	unsigned attempt;    /* CALL_CMD_HANGUP: whose channel; 0: the call's */
	struct call_play_id play_id; /* PLAY_*, CALL_CMD_PLAY_STOP */
	enum call_play_state play_state;
	const struct call_play *play; /* borrowed from the input */
	enum call_input_kind tell;
	bool has_detail;
	struct call_event_detail detail;
};

/* No step has more than a dozen, but a call's end with all that it had. */
#define CALL_EFFECTS_MAX 24

struct call_effects {
	unsigned count;
	struct call_effect list[CALL_EFFECTS_MAX];
};

/* Over AMD's own limit: the snoop channel's way there and back. */
#define CALL_AMD_GRACE_MS 2000

struct call_now {
	int64_t wall_ms;
	int64_t boot_ms;
	int64_t originate_timeout_ms; /* from the configuration */
	int64_t trunk_timeout_ms;     /* likewise; 0: no sign is waited for */
	int64_t amd_timeout_ms;       /* AMD's own and CALL_AMD_GRACE_MS, where
	                                 the call has no limit of its own */
	uint32_t trunks_free; /* bit n: the n-th trunk of the call (from 0)
	                         may be dialled now; set by call_table.c */
	/* from the configuration, for trunk_state.h alone */
	uint32_t circuit_failures; /* in a row; 0: no trunk ever rests */
	int64_t circuit_rest_ms;
	int64_t circuit_rest_max_ms;
};

/*
 * Take one step.
 *
 * before   the call as it is; CALL_NONE with the request's fields filled in
 *          for CALL_IN_CREATE
 * after    the call as it will be; may not be `before`
 * effects  what follows, in order; emptied first
 *
 * Returns 0; -KAP_STATE where the input means nothing in this state: then
 * `after` equals `before` and there is no effect. Never blocks, touches
 * nothing else. Any process.
 */
KAP_MUST_USE int call_machine_step(const struct call *before,
    const struct call_input *input, const struct call_now *now,
    struct call *after, struct call_effects *effects);

/* Whether it is an event of Asterisk that a channel of the call brings. */
bool call_input_is_event(enum call_input_kind kind);

/*
 * Whether it tells of a playback, by `play_id`: its record is to be found
 * before the step.
 */
bool call_input_is_of_play(enum call_input_kind kind);

const char *call_gather_end_name(enum call_gather_end end);
const char *call_input_name(enum call_input_kind kind);
const char *call_command_name(enum call_command_kind kind);

#endif
