/*
 * Files are small and written in one piece, at the end; what the disk does
 * then is all that a call of the simulator waits for.
 */
#include "sim_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/clock.h"
#include "sim_bridge.h"
#include "sim_event.h"

#define RATE_HZ 8000
#define HEADER_SIZE 44
#define TONE_SAMPLES 20 /* of a period: 400 Hz */
#define FILE_MODE 0640
#define PATH_SIZE 4096

static int64_t
mono_ms(void)
{
	return clock_mono_us() / 1000;
}

/* ---- the file ---- */

static void
put_little(unsigned char *at, uint32_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (unsigned char)(number >> (8 * i));
}

/* RIFF and WAVE: 8 kHz, one channel, 16 bit. */
static void
make_header(unsigned char out[HEADER_SIZE], uint32_t data_bytes,
    bool is_finished)
{
	memcpy(out, "RIFF....WAVEfmt ", 16);
	put_little(out + 4, is_finished ? data_bytes + HEADER_SIZE - 8 : 0, 4);
	put_little(out + 16, 16, 4);
	put_little(out + 20, 1, 2);
	put_little(out + 22, 1, 2);
	put_little(out + 24, RATE_HZ, 4);
	put_little(out + 28, RATE_HZ * 2, 4);
	put_little(out + 32, 2, 2);
	put_little(out + 34, 16, 2);
	memcpy(out + 36, "data", 4);
	put_little(out + 40, is_finished ? data_bytes : 0, 4);
}

/* The whole file, made once: a square tone. NULL when out of memory. */
static const unsigned char *
get_image(size_t sound_bytes)
{
	static unsigned char *image;

	if (image != NULL)
		return image;
	image = malloc(HEADER_SIZE + sound_bytes);
	if (image == NULL)
		return NULL;
	make_header(image, (uint32_t)sound_bytes, true);
	for (size_t i = 0; i + 1 < sound_bytes; i += 2)
		put_little(image + HEADER_SIZE + i,
		    i / 2 % TONE_SAMPLES < TONE_SAMPLES / 2 ? 0x0800 : 0xf800,
		    2);
	return image;
}

static void
write_file(const struct sim *sim, int fd)
{
	const size_t sound_bytes = (size_t)sim->options.recording_ms *
	    RATE_HZ / 1000 * 2;
	const unsigned char *image = get_image(sound_bytes);

	if (image == NULL || pwrite(fd, image, HEADER_SIZE + sound_bytes, 0) !=
	    (ssize_t)(HEADER_SIZE + sound_bytes))
		(void)fprintf(stderr, "ari-sim: can't write a recording: "
		    "%s\n", strerror(errno));
	(void)close(fd);
}

/* *fd_out is -1 where no files are written. */
static int
open_file(const struct sim *sim, const char *name, bool overwrite, int *fd_out)
{
	unsigned char header[HEADER_SIZE];
	char path[PATH_SIZE];
	int fd;

	*fd_out = -1;
	if (sim->options.recording_dir == NULL)
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s.wav",
	        sim->options.recording_dir, name) >= (int)sizeof(path))
		return -KAP_INVAL;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC |
	    (overwrite ? O_TRUNC : O_EXCL), FILE_MODE);
	if (fd < 0)
		return errno == EEXIST ? -KAP_EXISTS : -KAP_IO;
	make_header(header, 0, false);
	if (write(fd, header, sizeof(header)) != (ssize_t)sizeof(header)) {
		(void)close(fd);
		return -KAP_IO;
	}
	*fd_out = fd;
	return 0;
}

/* ---- recordings ---- */

struct sim_recording *
sim_recording_find(const struct sim *sim, const char *name)
{
	return sim_table_get(&sim->recordings, name);
}

static struct sim_recording *
recording_new(const struct sim_bridge *bridge, const char *name)
{
	struct sim_recording *recording = calloc(1, sizeof(*recording));

	if (recording == NULL)
		return NULL;
	(void)snprintf(recording->name, sizeof(recording->name), "%s", name);
	(void)snprintf(recording->target, sizeof(recording->target),
	    "bridge:%s", bridge->id);
	memcpy(recording->app, bridge->app, sizeof(recording->app));
	recording->begun_ms = mono_ms();
	recording->fd = -1;
	return recording;
}

int
sim_recording_begin(struct sim *sim, struct sim_bridge *bridge,
    const char *name, bool overwrite)
{
	struct sim_recording *recording;
	int rc;

	if (name[0] == '\0' || strchr(name, '/') != NULL ||
	    strlen(name) >= sizeof(recording->name))
		return -KAP_INVAL;
	if (sim_recording_find(sim, name) != NULL)
		return -KAP_EXISTS;
	recording = recording_new(bridge, name);
	if (recording == NULL)
		return -KAP_NOMEM;
	rc = open_file(sim, name, overwrite, &recording->fd);
	if (rc == 0)
		rc = sim_table_add(&sim->recordings, recording->name,
		    recording);
	if (rc != 0) {
		if (recording->fd >= 0)
			(void)close(recording->fd);
		free(recording);
		return rc;
	}
	recording->next = bridge->recordings;
	bridge->recordings = recording;
	sim->totals.recordings++;
	sim_event_recording(sim, recording, SIM_EVENT_RECORDING_STARTED);
	return 0;
}

void
sim_recording_finish(struct sim *sim, struct sim_recording *recording)
{
	if (recording->fd >= 0)
		write_file(sim, recording->fd);
	recording->duration_s = (mono_ms() - recording->begun_ms) / 1000;
	(void)sim_table_remove(&sim->recordings, recording->name);
	sim_event_recording(sim, recording, SIM_EVENT_RECORDING_FINISHED);
	free(recording);
}

bool
sim_recording_stop(struct sim *sim, const char *name)
{
	struct sim_recording *recording = sim_recording_find(sim, name);
	struct sim_recording **at;
	struct sim_bridge *bridge;

	if (recording == NULL)
		return false;
	bridge = sim_bridge_find(sim, strchr(recording->target, ':') + 1);
	if (bridge == NULL)
		return false;
	for (at = &bridge->recordings; *at != recording; at = &(*at)->next)
		;
	*at = recording->next;
	sim_recording_finish(sim, recording);
	return true;
}

void
sim_recording_abandon(struct sim *sim, struct sim_recording *recording)
{
	(void)sim_table_remove(&sim->recordings, recording->name);
	if (recording->fd >= 0)
		(void)close(recording->fd);
	free(recording);
}

void
sim_recording_render(const struct sim_recording *recording, const char *state,
    struct sim_text *out)
{
	sim_text_add(out, "{\"name\":");
	sim_text_add_quoted(out, recording->name);
	sim_text_add(out, ",\"format\":\"wav\",\"state\":\"");
	sim_text_add(out, state);
	sim_text_add(out, "\",\"target_uri\":");
	sim_text_add_quoted(out, recording->target);
	if (strcmp(state, "done") == 0) {
		sim_text_add(out, ",\"duration\":");
		sim_text_add_number(out, recording->duration_s);
	}
	sim_text_add(out, "}");
}
