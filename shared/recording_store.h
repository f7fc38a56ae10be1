/*
 * Where a finished recording lies, by its name alone:
 *
 *     <dir>/YYYY/MM/DD/<name>.wav      finished, checked, whole
 *     <dir>/incoming/<name>.<pid>.part on its way in from another filesystem
 *     <dir>/damaged/<name>.wav         no WAV file, kept for a person to see
 *
 * The name is "call-<callId>-<ms>", and the day is that of <ms> in UTC. A
 * file comes into its place by one rename, so whoever finds it there finds
 * all of it. The recorder writes here; workers read.
 */
#ifndef KAP_RECORDING_STORE_H
#define KAP_RECORDING_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "errors.h"

#define RECORDING_DIR_SIZE (CONFIG_TEXT_MAX + 16)
#define RECORDING_PATH_SIZE (RECORDING_DIR_SIZE + 128)

/* The store's folder: recorder.dir, else <node.data_dir>/recordings. */
void recording_store_dir(const struct config *config,
    char out[RECORDING_DIR_SIZE]);

/*
 * Whether a name (without ".wav") may stand in a path: [A-Za-z0-9._-]+, no
 * leading dot, shorter than CALL_RECORDING_SIZE.
 */
bool recording_name_is_valid(const char *name);

/*
 * The path of a finished recording, of one on its way in, of one that is set
 * aside. `dir` is recording_store_dir's.
 *
 * pid  the process that copies it
 *
 * Each returns 0; -KAP_INVAL for a name that isn't a recording's; -KAP_TOOBIG.
 * `out` is undefined on error. They touch no file.
 */
KAP_MUST_USE int recording_store_path(const char *dir, const char *name,
    char out[RECORDING_PATH_SIZE]);
KAP_MUST_USE int recording_store_incoming_path(const char *dir,
    const char *name, int64_t pid, char out[RECORDING_PATH_SIZE]);
KAP_MUST_USE int recording_store_damaged_path(const char *dir,
    const char *name, char out[RECORDING_PATH_SIZE]);

/*
 * Make the folders from `dir` down to the one that `path` lies in, and put
 * new ones on the disk. What is there already is left as it is.
 *
 * Returns 0, or what kap error errno stands for (recording_store_error), with
 * errno kept. Blocks on the disk.
 */
KAP_MUST_USE int recording_store_make_folders(const char *dir,
    const char *path);

/* Put the folder that `path` lies in on the disk. Returns and blocks alike. */
KAP_MUST_USE int recording_store_sync_folder(const char *path);

/*
 * Open a regular file for reading. A symbolic link, a folder, a pipe or a
 * device in its place is refused, and none of them is waited for.
 *
 * fd_out    the caller's, close-on-exec
 * size_out  bytes
 *
 * Returns 0; -KAP_INVAL where it is no regular file; -KAP_NOENT; or as
 * recording_store_error. Blocks on the disk.
 */
KAP_MUST_USE int recording_store_open_file(const char *path, int *fd_out,
    uint64_t *size_out);

/* The same for a finished recording, by its name. Any process. */
KAP_MUST_USE int recording_store_open(const char *dir, const char *name,
    int *fd_out, uint64_t *size_out);

/*
 * Remove what a dead recorder of this node left in incoming/. Other nodes
 * may share the store: only files of our form, of calls of this node.
 *
 * node  1..999
 *
 * Returns how many were removed (0 where there is no such folder), or as
 * recording_store_error. Reads a folder; at start-up only.
 */
KAP_MUST_USE int recording_store_clear_incoming(const char *dir,
    unsigned node);

/*
 * The error that an errno stands for: -KAP_NOENT; -KAP_FULL (no space, over
 * quota); -KAP_DENIED (rights, read-only); -KAP_INVAL (a link or a folder
 * where a file is wanted); -KAP_IO for the rest.
 */
KAP_MUST_USE int recording_store_error(int error_number);

#endif
