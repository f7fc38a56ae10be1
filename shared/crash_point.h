/*
 * Crash points: places where a test has a process end itself, at once and
 * without a word to anybody, to see that nothing is lost by it. They are
 * there in the test build alone (KAPHILA_CRASH_POINTS, which the sanitizer
 * build has); elsewhere CRASH_POINT is nothing.
 *
 * A point is armed by a file <dir>/<role>.<name>, where dir is the environment
 * variable KAPHILA_CRASH_DIR and role "master", "worker", … The process that
 * passes it next and manages to remove the file ends with status 86; so it
 * fires once, in one process. A number N in the file makes it the N-th passing
 * instead; "stop" or "hang" has the process stop there by SIGSTOP, or wait for
 * ever, for the watchdog to find.
 */
#ifndef KAP_CRASH_POINT_H
#define KAP_CRASH_POINT_H

/* X(name, where): every point, once. Tests read this list. */
#define CRASH_POINTS(X) \
	X(turn_before_begin, "jobs are there, no transaction yet") \
	X(turn_begun, "the write lock is held, nothing is written") \
	X(turn_applied, "all is written, nothing committed") \
	X(turn_committed, "committed; nothing that follows was done") \
	X(events_peeked, "events are read and decoded, not committed") \
	X(events_committed, "…committed, not consumed") \
	X(events_consumed, "…consumed; what follows was not done") \
	X(events_before_hand_over, "a new event socket; no master has it") \
	X(events_handed_over, "…and now the master has it") \
	X(events_before_resume, "an inherited socket, not looked at yet") \
	X(events_resumed, "…brought to where the store is") \
	X(handover_asked, "told to leave a stream, which it reads still") \
	X(handover_left, "…it reads it no more, nobody does") \
	X(handover_taken, "told to read a stream, and just begun") \
	X(originate_before_send, "an originate is committed as sent, unsaid") \
	X(originate_said, "…said, its bytes may have left or not") \
	X(originate_replied, "…answered; the reply is not stored") \
	X(command_before_send, "the same for every other command") \
	X(command_said, "…said") \
	X(command_replied, "…answered") \
	X(command_bytes_left, "the last byte of a command is with the kernel") \
	X(reconcile_listed, "Asterisk's lists are read, nothing came of it") \
	X(ledger_before_post, "a batch is read, PostgreSQL not asked") \
	X(ledger_post_sent, "PostgreSQL was asked, its answer is not here") \
	X(ledger_posted, "PostgreSQL has it; the queue still has it too") \
	X(ledger_removed, "neither has to do with it any more") \
	X(delivery_before_send, "a webhook is read from the queue, unsent") \
	X(delivery_sent, "…on its way") \
	X(delivery_taken, "the customer has it; the queue still has it too") \
	X(delivery_settled, "the queue has it no more") \
	X(recording_found, "a file is checked, and where Asterisk left it") \
	X(recording_copied, "copied into incoming/, not in its place") \
	X(recording_moved, "in its place, not synced, not settled") \
	X(recording_before_unlink, "in its place, and in the spool too") \
	X(recording_taken, "in its place; its call doesn't know") \
	X(child_store_opened, "a start: the store is open") \
	X(child_before_ready, "…all is open; the master was not told") \
	X(child_ready, "…it was") \
	X(master_before_spawn, "a child is about to be started") \
	X(master_spawned, "…it runs") \
	X(master_socket_kept, "the master took an event socket over") \
	X(master_child_gone, "a child has ended; nothing was done about it")

enum crash_point {
#define X(name, where) CRASH_##name,
	CRASH_POINTS(X)
#undef X
	CRASH_POINT_COUNT
};

#ifdef KAPHILA_CRASH_POINTS
#define CRASH_POINT(name) crash_point_pass(CRASH_##name)
#else
#define CRASH_POINT(name) ((void)CRASH_##name)
#endif

/*
 * Use the macro. Ends the process with status 86 if the point is armed, after
 * one line to standard error; else does nothing but look. Any process, any
 * thread, inside a transaction too: that it makes system calls there is what
 * keeps it out of every release.
 */
void crash_point_pass(enum crash_point point);

#endif
