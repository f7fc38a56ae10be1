/*
 * Access tokens for Google Cloud from a service account's key file: a JWT
 * signed with its key (RFC 7523, RS256) is exchanged at the token_uri that
 * the file names, and the token kept until shortly before it expires.
 */
#ifndef KAP_WORKER_SPEECH_GOOGLE_TOKEN_H
#define KAP_WORKER_SPEECH_GOOGLE_TOKEN_H

#include <stdint.h>

#include "shared/errors.h"
#include "shared/http_client.h"

#define GOOGLE_TOKEN_MAX 4096 /* bytes of a token, with its NUL */

struct google_token_wait;
struct speech_google_token;

/*
 * rc     0; -KAP_NOENT, -KAP_CORRUPT (the key file); or of the exchange
 * token  borrowed until the return; NULL on error
 * error  words for the log; never the key or the token
 */
typedef void google_token_fn(void *arg, int rc, const char *token,
    const char *error);

/*
 * path  of the key file, http: both borrowed, outlive the result
 *
 * Returns NULL when out of memory.
 */
struct speech_google_token *speech_google_token_new(const char *path,
    struct http_client *http);

/* Nobody waits any more. Before `http` goes. Sets *token NULL. */
void speech_google_token_free(struct speech_google_token **token);

/*
 * Ask for a token. callback() is called once: from the loop, or from within
 * if a token is there or can't be had. However many ask, one request goes out.
 *
 * wait_out  for speech_google_token_cancel, until callback(); NULL if that
 *           came from within
 *
 * Returns 0, or -KAP_NOMEM: callback() never comes.
 */
KAP_MUST_USE int speech_google_token_get(struct speech_google_token *token,
    google_token_fn *callback, void *arg,
    struct google_token_wait **wait_out);

/* No callback() comes. Sets *wait NULL; NULL is fine. */
void speech_google_token_cancel(struct google_token_wait **wait);

/* The token was refused: the next one is asked for anew. */
void speech_google_token_forget(struct speech_google_token *token);

#endif
