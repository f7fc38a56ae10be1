/*
 * A certificate chain and its private key, from their files into a context:
 * for the worker that serves with them, and for the master, which checks them
 * before it lets a worker try.
 */
#ifndef KAP_TLS_FILES_H
#define KAP_TLS_FILES_H

#include <openssl/ssl.h>

#include "errors.h"

/*
 * Load both (PEM) and see that they belong together.
 *
 * tls  the caller's; of no use after an error
 * msg  which file, and what is wrong with it
 *
 * Returns 0 or -KAP_INVAL. Blocks on the files: at start-up, or for a reload
 * that a person asked for.
 */
KAP_MUST_USE int tls_files_load(SSL_CTX *tls, const char *certificate,
    const char *key, struct kap_errmsg *msg);

/* The same into a context that is thrown away; -KAP_NOMEM too. */
KAP_MUST_USE int tls_files_check(const char *certificate, const char *key,
    struct kap_errmsg *msg);

#endif
