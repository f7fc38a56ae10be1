/*
 * The folder of spoken texts, which workers fill and the recorder keeps
 * small: <dir>/<2 hex>/<hash>.wav, 8 kHz mono 16-bit. Beside a file there may
 * be <hash>.lock, held by flock() by whoever makes it, and <hash>.tmp, what
 * that one has written so far. A file is complete once it has its name, and
 * its time of change tells when it was last used.
 *
 * The functions do short operations on local files, without fsync: what a
 * power cut takes is made again.
 */
#ifndef KAP_SPEECH_CACHE_H
#define KAP_SPEECH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "errors.h"

#define SPEECH_RATE_HZ 8000
#define SPEECH_SAMPLE_BYTES 2
#define SPEECH_SAMPLES_MIN 400      /* 50 ms: less is no speech */
#define SPEECH_PCM_MAX (32U << 20)  /* bytes of one file: 35 minutes */
#define SPEECH_WAV_HEAD 44
#define SPEECH_KEEP_S (15 * 60)     /* what was used since is not removed, */
#define SPEECH_KEEP_LEAST_S 60      /* or, if there is far too much, since */
#define SPEECH_HASH_SIZE 65         /* SHA-256 in hex, and its NUL */
#define SPEECH_PATH_SIZE (CONFIG_TEXT_MAX + 80)

struct evbuffer;

enum speech_file { SPEECH_FILE_WAV, SPEECH_FILE_TEMPORARY, SPEECH_FILE_LOCK };

/* speech.dir, or what stands for it when it is empty. */
void speech_cache_dir(const struct config *config,
    char out[SPEECH_PATH_SIZE]);

/*
 * The name of a text's file, out of all that makes it sound as it does.
 * Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int speech_cache_hash(const char *engine, const char *voice,
    const char *text, char out[SPEECH_HASH_SIZE]);

void speech_cache_path(const char *dir, const char *hash,
    enum speech_file file, char out[SPEECH_PATH_SIZE]);

/*
 * What a name in one of the folders is. Returns 0, or -KAP_INVAL for one that
 * isn't ours.
 */
KAP_MUST_USE int speech_cache_name(const char *name,
    enum speech_file *file_out);

/* Whether a name is one of the 256 folders. */
bool speech_cache_is_folder(const char *name);

/*
 * Look a file up. One that is there and whole is marked as used now; one that
 * isn't whole is removed.
 *
 * Returns whether it may be played.
 */
bool speech_cache_hit(const char *dir, const char *hash);

/*
 * Try to become the only one, in all processes, who makes a text; the folder
 * is made if need be. The kernel frees the lock when its holder dies.
 *
 * Returns a descriptor for speech_cache_unlock; -KAP_AGAIN while another
 * holds it; -KAP_DENIED, -KAP_FULL or -KAP_IO.
 */
KAP_MUST_USE int speech_cache_lock(const char *dir, const char *hash);

/* Removes the lock, and what was not finished under it. Sets *fd -1. */
void speech_cache_unlock(const char *dir, const char *hash, int *fd);

/*
 * Write a text's file, under its lock. On error nothing is left.
 *
 * pcm  its samples, little-endian; drained
 *
 * Returns 0; -KAP_INVAL for less than 50 ms or an odd number of bytes;
 * -KAP_TOOBIG; -KAP_DENIED, -KAP_FULL, -KAP_IO or -KAP_NOMEM.
 */
KAP_MUST_USE int speech_cache_put(const char *dir, const char *hash,
    struct evbuffer *pcm);

#endif
