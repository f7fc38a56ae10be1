/*
 * Inside the call machine: one step, and what its actions are made of. The
 * machine's parts, each a file, and call_machine.c include this; nobody else.
 * All of it is pure: a step changes its copy of the call and lists effects.
 */
#ifndef KAP_CALL_STEP_H
#define KAP_CALL_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "call_machine.h"

struct step {
	const struct call_input *input;
	const struct call_now *now;
	struct call *call; /* the copy that becomes the call */
	struct call_effects *effects;
};

/* What an input does in a state: 0, or -KAP_STATE where it means nothing. */
typedef int step_action(struct step *step);

/* Add an effect; the rest of it is the caller's to fill in. Never NULL. */
struct call_effect *step_effect(struct step *step,
    enum call_effect_kind kind);
void step_command(struct step *step, enum call_command_kind kind);
struct call_effect *step_emit(struct step *step, enum call_event_kind kind,
    int64_t at_ms);

/* An event with something to tell; zeroed. */
struct call_event_detail *step_emit_detail(struct step *step,
    enum call_event_kind kind, int64_t at_ms);

void step_set_timer(struct step *step, enum call_timer timer,
    int64_t after_ms);
void step_clear_timer(struct step *step, enum call_timer timer);

/* Any of these flags (enum call_flag). */
bool step_has(const struct step *step, uint32_t flags);
void step_mark(struct step *step, uint32_t flags);
void step_unmark(struct step *step, uint32_t flags);

/*
 * The only place where a call's state changes. Where a status goes with the
 * state it is set here too; the end has its own.
 */
void step_move(struct step *step, enum call_state to);

/* When it happened: never before the call itself, whatever a clock says. */
int64_t step_happened_at(const struct step *step);

/* Have the call's present attempt originated. */
void step_dial(struct step *step);

/*
 * Have it hung up, behind the originate of a queued call, before all else of
 * any other. The guard sees to it that the call ends even if no reply comes.
 */
void step_hang_up(struct step *step);

/* Status, reason and cause of the call's end. */
void step_judge(struct step *step, unsigned cause);

/* call_machine.c */
step_action call_on_seen;
/* What every end has in common; the end is judged. tell: call.ended too. */
void call_finish(struct step *step, bool tell);

/* call_recording.c */
step_action call_on_record_ok;
step_action call_on_record_failed;
step_action call_on_recording_started;
step_action call_on_recording_finished;
step_action call_on_recording_error;
step_action call_on_record_stop;
step_action call_on_record_stop_ok;
step_action call_on_recording_stored;
step_action call_on_recording_given_up;
void call_recording_on_timer(struct step *step);
/* The call has ended: its recording and its bridge go when they may. */
void call_recording_on_end(struct step *step);
/* …and nobody will tell any more that its recording is finished. */
void call_recording_on_end_unseen(struct step *step);

/*
 * call_speak.c: playbacks, and call_gather.c: what is gathered. Only of an
 * answered call.
 */
step_action call_on_play;
step_action call_on_stop_plays;
step_action call_on_play_ok;
step_action call_on_play_refused;
step_action call_on_play_started;
step_action call_on_play_finished;
step_action call_on_play_failed;
step_action call_on_leaving;
/* Have the input's playback made; what plays is stopped, if it asks so. */
void call_speak_begin(struct step *step);
step_action call_on_gather;
step_action call_on_dtmf;
void call_gather_on_timer(struct step *step);
/* A playback is over; it may have been the gather's prompt. */
void call_gather_on_play_over(struct step *step);
/* End the gather, if there is one: exactly one event for each start. */
void call_gather_end(struct step *step, enum call_gather_end why);

/* call_amd.c */
step_action call_on_snoop_failed;
step_action call_on_snoop_start;
step_action call_on_amd;
step_action call_on_snoop_gone;
void call_amd_on_timer(struct step *step);
/* The call is answered: begin to listen, and tell of the answer if it may. */
void call_amd_on_answer(struct step *step);
/* The call ends: a verdict that is not there yet will not come. */
void call_amd_on_end(struct step *step);

/*
 * call_reroute.c: the next trunk, where a carrier refused before any ringing.
 * Each returns whether the call goes on there.
 */
bool call_reroute_on_destroyed(struct step *step);
bool call_reroute_on_refused(struct step *step);
void call_reroute_on_timer(struct step *step);
/* Asterisk has the call: the carrier's sign is waited for. */
void call_reroute_on_seen(struct step *step);
/* A sign of the carrier: it is its call now. */
void call_reroute_on_sign(struct step *step);
/* Events of it were missed: that no sign was heard blames nobody. */
void call_reroute_on_unheard(struct step *step);

/* call_transfer.c: two calls in one bridge. */
step_action call_on_other_created;
step_action call_on_other_answered;
step_action call_on_other_ended;
/* A second leg is made: the first is told of it. */
void call_transfer_on_create(struct step *step);
/* The second leg is answered: into the other's bridge. */
void call_transfer_on_answer(struct step *step);
/* …where it is: both legs are told. */
void call_transfer_on_joined(struct step *step);
/* …and can't be there: nobody hears it, and it is hung up. */
void call_transfer_on_join_failed(struct step *step);
void call_transfer_on_end(struct step *step);

#endif
