/*
 * A text made into a sound file that Asterisk can play: from the cache, or by
 * the first of the configured engines that works. However many ask for the
 * same text at the same time, in however many workers, it is made once.
 */
#ifndef KAP_WORKER_SPEECH_H
#define KAP_WORKER_SPEECH_H

#include "shared/config.h"
#include "shared/errors.h"

/* The longest of each, in bytes without the NUL; 4,096 characters fit. */
#define SPEECH_NAME_MAX 63
#define SPEECH_TEXT_MAX (4 * 4096)

struct event_base;
struct speech;

/*
 * How a request ended. Called exactly once for each request that was taken:
 * from the event loop, or from within speech_request() or speech_free().
 *
 * rc     0; -KAP_INVAL (no engine can speak this text, or this voice: a retry
 *        would end the same); -KAP_GONE (none works, or speech_free() ended it);
 *        -KAP_TIMEOUT (not made in time); -KAP_AGAIN (too many texts at
 *        once); -KAP_FULL or -KAP_IO (its file can't be written); -KAP_NOMEM
 * media  with rc 0 "sound:" and the file as Asterisk sees it, without its
 *        ending; borrowed until the return. Else NULL.
 *
 * It may call speech_request(), but not speech_free().
 */
typedef void speech_done_fn(void *arg, int rc, const char *media);

/*
 * One for a worker. Opens nothing and starts nothing; what of the
 * configuration can't work is logged.
 *
 * base, config  borrowed, outlive the result. Of the section [speech] the
 *               keys that a reload takes over are read anew for each text.
 *
 * Returns NULL when out of memory. Call it once there are no more forks.
 */
struct speech *speech_new(struct event_base *base,
    const struct config *config);

/*
 * Give up what is under way: all who wait hear -KAP_GONE, programs are killed
 * and reaped, temporary files and locks removed. Sets *speech NULL; NULL is
 * fine. Blocks until the killed are gone, which is at once.
 */
void speech_free(struct speech **speech);

/*
 * Ask for a text as a sound.
 *
 * voice_name  "en-US-Neural2-A": a language and a voice of it, or "en-US";
 *             NULL or "": the reference's default
 * text        UTF-8, 1..SPEECH_TEXT_MAX bytes, not blank; spoken as plain
 *             text, whatever it looks like; control characters are blanks,
 *             but for a line's end. Copied.
 *
 * Returns 0: done() was or will be called; -KAP_INVAL (no such form of a
 * voice's name, or of a text), -KAP_NOMEM or -KAP_GONE (from within
 * speech_free()): it never will. Doesn't block but
 * for short operations on local files.
 */
KAP_MUST_USE int speech_request(struct speech *speech,
    const char *voice_name, const char *text, speech_done_fn *done,
    void *arg);

#endif
