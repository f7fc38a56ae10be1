/*
 * The API's handlers: what they share, and the tables of routes. A handler
 * decides what to answer; a call changes only through change.h, inside a
 * turn's job.
 */
#ifndef KAP_API_H
#define KAP_API_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <cjson/cJSON.h>

#include "api_error.h"
#include "change.h"
#include "dispatch.h"
#include "http_router.h"
#include "key_lookup.h"
#include "shared/account.h"
#include "shared/api_key.h"
#include "shared/config.h"
#include "shared/turn.h"

struct batch;
struct control_waiters;
struct event_base;
struct http_request;
struct makecall_keys;
struct speech;
struct waiters;

struct api {
	struct event_base *base;
	const struct config *config;
	const struct change_maker *maker;
	struct store *store;
	struct turn *turn;
	struct key_lookup *keys;
	struct dispatch *dispatch;
	struct waiters *waiters; /* calls whose request has no answer yet */
	struct control_waiters *controls; /* playbacks likewise */
	struct speech *speech;
	LIST_HEAD(, batch) batches; /* lists of calls under way */
	int64_t begin_until_ms; /* boot clock: no list begins a call from then
	                           on; 0: not known */
	bool links_up;  /* commands can be sent and events are read */
	bool has_amd;   /* …and Asterisk can tell machines from humans */
	bool draining;
	bool closing;   /* nothing new is begun any more */
	bool overloaded; /* the call table is nearly full */
	bool is_tight;   /* …will be, if answers to retries are kept for long */
};

extern const struct http_routes api_routes;   /* the customers' listener */
extern const struct http_routes api_admin_routes; /* loopback, no keys */

/*
 * Call `fn` with the record of the request's key, now or in a while; or
 * answer 401 or 503. `key` is borrowed for the call.
 */
typedef void api_key_fn(struct api *api, struct http_request *req,
    const struct api_key *key);
void api_with_key(struct api *api, struct http_request *req, api_key_fn *fn);

/* What a request, or one call out of a batch, is answered. */
struct api_answer {
	int status;
	int retry_after_s; /* 0: none */
	bool replayed;     /* by an Idempotency-Key */
	cJSON *tree;       /* NULL: out of memory */
	struct makecall_keys *given_up; /* makecall_key.h; NULL: none */
};

/*
 * An error of the table with further fields. Takes ownership of `tree`, which
 * gets success, error (if it has none) and code.
 */
void api_answer_error(struct api_answer *answer, enum api_code code,
    cJSON *tree);

/* Answer a request, with the headers that go with it. Takes the tree. */
void api_reply(struct http_request *req, const struct api_answer *answer);

/* Answer with an error of the table; `error` may have a text of its own. */
void api_reply_error(struct http_request *req, const struct api_error *error);
void api_reply_code(struct http_request *req, enum api_code code);

/*
 * Answer with an error and further fields. Takes ownership of `tree`, which
 * gets success, error and code.
 */
void api_reply_error_tree(struct http_request *req, enum api_code code,
    cJSON *tree);

/* The code for a transaction that failed. */
enum api_code api_code_of_store(int rc);

/*
 * Count one request of a limited path, inside a transaction: the window goes
 * on, and last_used. Returns 0 or the store's error.
 */
KAP_MUST_USE int api_count_request(struct store_txn *txn,
    const struct api_key *key, struct account *account_out,
    struct account_rate *rate_out);

/*
 * RateLimit, RateLimit-Policy, X-RateLimit-*, and Retry-After if refused;
 * nothing for a key without a limit.
 */
void api_add_rate_headers(struct http_request *req,
    const struct account_rate *rate);

/* Seconds until the window is over, 1.. */
int api_rate_wait_s(const struct account_rate *rate);

/*
 * The request's body as an object (an empty one for no body). The caller
 * frees *body_out. Returns 0; -KAP_INVAL with the error to be answered.
 */
KAP_MUST_USE int api_read_body(struct http_request *req, cJSON **body_out,
    struct api_error *error);

/* Handlers, by file. */
void api_makecall(struct http_request *req, void *ctx);  /* api_makecall.c */
void api_batchcall(struct http_request *req, void *ctx); /* api_batchcall.c */
void api_forwardcall(struct http_request *req,
    void *ctx);                                      /* api_forwardcall.c */
void api_hangup(struct http_request *req, void *ctx);    /* api_hangup.c */
void api_voice(struct http_request *req, void *ctx);     /* api_control.c */
void api_play(struct http_request *req, void *ctx);
void api_gather(struct http_request *req, void *ctx);
void api_stop_plays(struct http_request *req, void *ctx); /* api_playback.c */
void api_stop_recording(struct http_request *req,
    void *ctx);                                      /* api_recordings.c */
void api_list_calls(struct http_request *req, void *ctx); /* api_read.c */
void api_show_call(struct http_request *req, void *ctx);
void api_me(struct http_request *req, void *ctx);
void api_health(struct http_request *req, void *ctx);    /* api_health.c */
void api_ready(struct http_request *req, void *ctx);
void api_metrics(struct http_request *req, void *ctx);

/*
 * Have the lists of calls begin no more, while the process closes; those that
 * wait for nothing else are answered.
 */
void batches_close(struct api *api);

/* Calls that wait for Asterisk's first sign of them (makecall_wait.c). */
struct waiters *waiters_new(void);
void waiters_free(struct waiters **waiters); /* drops what still waits */
unsigned waiters_count(const struct waiters *waiters);

/*
 * Answer those whose call another worker has decided about; for the tick.
 */
void waiters_review(struct api *api);

/* A call has changed: answer who waits for what becomes of it. */
void waiters_call_changed(struct api *api, const struct change *change);

/*
 * The same for whoever waits for anything (dispatch_watch_fn; api_common.c).
 */
void api_call_changed(struct api *api, const struct change *change);

#endif
