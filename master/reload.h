/*
 * The running configuration: read at the start, and again when a person asks
 * for it (kaphilactl reload, SIGHUP). A reload takes over what can change in a
 * running node, or refuses all of it and says why.
 */
#ifndef KAP_RELOAD_H
#define KAP_RELOAD_H

#include <stdint.h>

#include <cjson/cJSON.h>

#include "shared/config.h"
#include "shared/errors.h"

#define RELOAD_HASH_SIZE 13 /* 12 hexadecimal digits and a NUL */

struct children;

struct reload {
	struct config config;     /* what this master and its children go by */
	const char *path;         /* of the file */
	struct children *children; /* told of changes; NULL: none yet */
	int64_t loaded_ms;        /* wall clock, of the last reading taken */
	int64_t child_keys_ms;    /* boot clock: when a key that children read
	                             at their start changed; 0: never since */
	char hash[RELOAD_HASH_SIZE]; /* of `config`; tells two apart */
};

/*
 * Read and check the file for the first time.
 *
 * path  borrowed for the master's life
 *
 * Returns 0, or what config_check_load says. Blocks on the file.
 */
KAP_MUST_USE int reload_first(struct reload *reload, const char *path,
    struct kap_errmsg *msg);

/*
 * Read and check the file again. What may change at once is taken over here
 * and sent to every child; what children read at their start is there for the
 * next; what the master reads at its own start stays as it is. Logs each
 * change, or why there is none.
 *
 * Returns what a client is answered, the caller's:
 *
 *     {"ok":true,"loadedAt":"…","hash":"…","certificateRead":true,
 *      "changed":[{"key":"log.level","from":"info","to":"debug",
 *                  "when":"now"|"child start"|"master start"},…]}
 *     {"ok":false,"error":"kaphila.conf:12: …"}
 *
 * or NULL when out of memory. Blocks on the file, and on the certificate.
 */
cJSON *reload_again(struct reload *reload);

#endif
