/*
 * The one place where anything is decided about a call: a pure function from
 * (call, what happened, now) to (call', effects). It knows no socket, no
 * database and no clock. call_machine.c has the diagram and the table.
 */
#ifndef KAP_CALL_MACHINE_H
#define KAP_CALL_MACHINE_H

#include "call.h"
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
	CALL_INPUT_COUNT
};

struct call_input {
	enum call_input_kind kind;
	unsigned attempt;    /* of a channel's event or reply; 0: any */
	unsigned cause;      /* Q.850 */
	enum call_timer timer;
	uint32_t duration_s;
	uint64_t size_bytes;
	int64_t at_ms;       /* wall clock: when it happened */
};

/* Events to the customer; the words in webhook_event_name(). */
enum call_event_kind {
	CALL_EV_INITIATED,
	CALL_EV_RINGING,
	CALL_EV_ANSWERED,
	CALL_EV_ENDED,
	CALL_EV_RECORDING_STARTED,
	CALL_EV_RECORDING_COMPLETED,
	CALL_EV_COUNT
};

/* Commands to Asterisk; how each is said stands in worker/ari_say.c. */
enum call_command_kind {
	CALL_CMD_ORIGINATE = 1,
	CALL_CMD_HANGUP,
	CALL_CMD_BRIDGE_CREATE,
	CALL_CMD_BRIDGE_ADD, /* waits in the outbox until CALL_F_IN_STASIS */
	CALL_CMD_RECORD,
	CALL_CMD_BRIDGE_DESTROY,
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
	CALL_FX_DROP_COMMANDS /* what still waits in the outbox is void */
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
};

#define CALL_EFFECTS_MAX 16

struct call_effects {
	unsigned count;
	struct call_effect list[CALL_EFFECTS_MAX];
};

struct call_now {
	int64_t wall_ms;
	int64_t boot_ms;
	int64_t originate_timeout_ms; /* from the configuration */
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

const char *call_input_name(enum call_input_kind kind);
const char *call_command_name(enum call_command_kind kind);

#endif
