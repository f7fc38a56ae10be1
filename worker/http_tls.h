/*
 * The TLS side of a listener: a context from a certificate and its key.
 */
#ifndef KAP_HTTP_TLS_H
#define KAP_HTTP_TLS_H

#include <openssl/ssl.h>

#include "shared/errors.h"

/*
 * Load a certificate chain and its private key (PEM). TLS 1.2 and later, no
 * renegotiation, no compression, HTTP/1.1 by ALPN.
 *
 * tls_out  SSL_CTX_free it when the last server that uses it is freed
 *
 * Returns 0; -KAP_INVAL with msg for files that don't load or don't fit;
 * -KAP_NOMEM. Blocks on the files: at start-up, or for a reload that a person
 * asked for.
 */
KAP_MUST_USE int http_tls_new(SSL_CTX **tls_out, const char *certificate,
    const char *key, struct kap_errmsg *msg);

#endif
