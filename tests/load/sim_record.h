/*
 * Recordings of bridges: the file appears at the start with a header that
 * tells no length, and is whole before RecordingFinished, as Asterisk's
 * format_wav.c does it. The sound is a tone, whatever was said.
 */
#ifndef SIM_RECORD_H
#define SIM_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/errors.h"
#include "sim.h"

struct sim_bridge;

struct sim_recording {
	struct sim_recording *next; /* of the same bridge */
	char name[SIM_ID_SIZE];
	char app[SIM_APP_SIZE];
	char target[SIM_ID_SIZE + 8]; /* "bridge:<id>" */
	int fd;            /* -1: no file */
	int64_t begun_ms;  /* monotonic */
	int64_t duration_s; /* once it has ended */
};

/*
 * Begin one; RecordingStarted is sent.
 *
 * Returns 0; -KAP_EXISTS (a file or a recording has that name, and may not be
 * overwritten); -KAP_INVAL (a name with a slash, or none); -KAP_IO; -KAP_NOMEM.
 */
KAP_MUST_USE int sim_recording_begin(struct sim *sim,
    struct sim_bridge *bridge, const char *name, bool overwrite);

/* One that runs, or NULL. */
struct sim_recording *sim_recording_find(const struct sim *sim,
    const char *name);

/* Finish its file, send RecordingFinished, free it; it is in no list. */
void sim_recording_finish(struct sim *sim, struct sim_recording *recording);

/* End one by its name, in whichever bridge. False: it doesn't run. */
bool sim_recording_stop(struct sim *sim, const char *name);

/* Free it and leave its file as it is; nobody is told. */
void sim_recording_abandon(struct sim *sim, struct sim_recording *recording);

/* As ARI shows one. state: "queued", "recording", "done" */
void sim_recording_render(const struct sim_recording *recording,
    const char *state, struct sim_text *out);

#endif
