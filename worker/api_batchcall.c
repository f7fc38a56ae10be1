/*
 * POST /batchcall: one call, as with /makecall, or a list of them. Each of a
 * list is a call of its own (makecall.h), with its own count, hold, key and
 * answer; nothing is decided about the list as a whole. So what was accepted
 * goes on whatever becomes of the rest, or of the client.
 *
 * A page of calls is begun in a turn, and no more than a window of them waits
 * for Asterisk at a time: a long list must neither hold up the process, nor
 * have its last calls time out behind its first.
 */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "api_fields.h"
#include "api_makecall.h"
#include "call_json.h"
#include "http_server.h"
#include "makecall.h"
#include "makecall_key.h"
#include "shared/clock.h"
#include "shared/idempotency.h"

#define CALLS_MAX 1000
#define PAGE_MAX 50    /* begun in one turn: one transaction */
#define PAGE_WAIT_MS 1 /* …before the next */
#define WINDOW_MAX 100 /* without their answer */
#define KEY_FIELD "idempotencyKey"
#define DERIVED_KEY_SIZE (IDEMPOTENCY_TEXT_MAX + 16)

struct batch;

/* One call of the list. */
struct entry {
	struct batch *batch;
	cJSON *result; /* NULL until it is answered */
};

struct batch {
	struct turn_job page; /* stands behind the calls of a page */
	struct event timer;   /* for the next one */
	LIST_ENTRY(batch) entry;
	struct api *api;
	struct http_request *req;
	struct api_key key;
	const char *idempotency; /* the whole list's key, the request's; or
	                            NULL */
	cJSON *body;
	cJSON *next; /* the call to be begun next; NULL: none */
	unsigned count;
	unsigned begun;
	unsigned open; /* begun, and not answered */
	bool paging;   /* `page` is the turn's, or the timer runs */
	bool counted;  /* `rate` is set */
	struct account_rate rate; /* of the call that was counted last */
	struct makecall_keys *given_up; /* free when the list is told */
	struct entry entries[];
};

static void go_on(struct batch *batch);

/* --- answers ------------------------------------------------------------- */

/* All is known: the answer. Frees the batch. */
static void
finish(struct batch *batch)
{
	cJSON *tree = call_json_success();
	cJSON *results = cJSON_AddArrayToObject(tree, "results");

	for (unsigned i = 0; i < batch->count; i++)
		(void)cJSON_AddItemToArray(results, batch->entries[i].result);
	if (batch->counted)
		api_add_rate_headers(batch->req, &batch->rate);
	/* nobody is told of any call before now */
	makecall_keys_release(&batch->given_up, batch->req);
	http_reply_json(batch->req, 200, tree);
	cJSON_Delete(batch->body);
	LIST_REMOVE(batch, entry);
	free(batch);
}

/*
 * Keep an entry's answer, and what comes with it: fields stand for the status
 * and the headers of a single call's.
 *
 * rate  NULL: it was not counted
 */
static void
keep(struct entry *entry, const struct api_answer *answer,
    const struct account_rate *rate)
{
	int wait_s = answer->retry_after_s;

	if (rate != NULL && !rate->allowed)
		wait_s = api_rate_wait_s(rate);
	entry->result = answer->tree;
	makecall_keys_join(&entry->batch->given_up, answer->given_up);
	(void)cJSON_AddNumberToObject(entry->result, "statusCode",
	    answer->status);
	if (answer->replayed)
		(void)cJSON_AddBoolToObject(entry->result,
		    "idempotentReplayed", 1);
	if (wait_s > 0)
		(void)cJSON_AddNumberToObject(entry->result, "retryAfter",
		    wait_s);
}

/* Answers come in any order: what was counted last is to be told. */
static void
note_rate(struct batch *batch, const struct account_rate *rate)
{
	const struct account_rate *last = &batch->rate;

	if (batch->counted && (rate->reset_ms < last->reset_ms ||
	    (rate->reset_ms == last->reset_ms &&
	    (rate->remaining > last->remaining || !last->allowed))))
		return;
	batch->rate = *rate;
	batch->counted = true;
}

static void
on_answer(void *arg, struct api_answer *answer,
    const struct account_rate *rate)
{
	struct entry *entry = arg;
	struct batch *batch = entry->batch;

	keep(entry, answer, rate);
	if (rate != NULL)
		note_rate(batch, rate);
	batch->open--;
	go_on(batch);
}

static void
refuse(struct entry *entry, enum api_code code)
{
	struct api_answer answer;

	api_answer_error(&answer, code, cJSON_CreateObject());
	keep(entry, &answer, NULL);
}

/* --- calls --------------------------------------------------------------- */

/*
 * The entry's Idempotency-Key, taken out of it: what is left is the body that
 * /makecall would have had with the header. NULL: none, or with the error.
 */
static cJSON *
take_key(cJSON *body, struct api_error *error)
{
	const char *text;

	if (api_field_text(body, KEY_FIELD, &text, error) != 0)
		return NULL;
	if (text != NULL && !idempotency_text_is_valid(text)) {
		(void)api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: " KEY_FIELD
		    " must have 1 to %d printable characters",
		    IDEMPOTENCY_TEXT_MAX);
		return NULL;
	}
	return cJSON_DetachItemFromObjectCaseSensitive(body, KEY_FIELD);
}

/*
 * What the list's Idempotency-Key is for its entry at `index`: a text that no
 * header can have. "" where the list has none.
 */
static void
derive_key(const struct batch *batch, size_t index, char out[DERIVED_KEY_SIZE])
{
	out[0] = '\0';
	if (batch->idempotency != NULL)
		(void)snprintf(out, DERIVED_KEY_SIZE, "%s\n%zu",
		    batch->idempotency, index);
}

static void
read_entry(const struct entry *entry, struct makecall *makecall, cJSON *body)
{
	const struct batch *batch = entry->batch;
	struct api_error *error = makecall_fault(makecall);
	char derived[DERIVED_KEY_SIZE];
	const char *text;
	cJSON *key;

	if (!cJSON_IsObject(body)) {
		(void)api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: each of calls must be an object");
		return;
	}
	key = take_key(body, error);
	text = cJSON_GetStringValue(key);
	derive_key(batch, (size_t)(entry - batch->entries), derived);
	if (text == NULL && derived[0] != '\0')
		text = derived;
	if (error->code == API_OK)
		makecall_read(makecall, body, text);
	cJSON_Delete(key);
}

static void
begin_next(struct batch *batch)
{
	struct entry *entry = &batch->entries[batch->begun++];
	cJSON *body = batch->next;
	struct makecall *makecall = makecall_new(batch->api, batch->req,
	    &batch->key, on_answer, entry);

	batch->next = body->next;
	if (makecall == NULL) {
		refuse(entry, API_INTERNAL_ERROR);
		return;
	}
	read_entry(entry, makecall, body);
	batch->open++;
	makecall_submit(makecall);
}

/* Nobody will hear of the rest, or nobody is there any more to begin it. */
static bool
is_given_up(const struct batch *batch)
{
	const struct api *api = batch->api;

	return api->closing || http_request_is_gone(batch->req) ||
	    (api->begin_until_ms != 0 &&
	    clock_boot_ms() >= api->begin_until_ms);
}

static void
give_up_rest(struct batch *batch)
{
	while (batch->begun < batch->count)
		refuse(&batch->entries[batch->begun++], API_DRAINING);
	batch->next = NULL;
}

/* Begin what may be begun now, or finish. */
static void
go_on(struct batch *batch)
{
	if (batch->paging)
		return;
	if (is_given_up(batch))
		give_up_rest(batch);
	for (unsigned i = 0; i < PAGE_MAX && batch->next != NULL &&
	     batch->open < WINDOW_MAX; i++) {
		batch->paging = true;
		begin_next(batch);
	}
	if (batch->paging)
		turn_submit(batch->api->turn, &batch->page);
	else if (batch->next == NULL && batch->open == 0)
		finish(batch);
}

static int
apply_page(struct turn_job *job, struct store_txn *txn)
{
	(void)job;
	(void)txn;
	return 0;
}

static void
end_page(struct batch *batch)
{
	(void)evtimer_del(&batch->timer);
	batch->paging = false;
	go_on(batch);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_page(arg);
}

/*
 * The page's calls are made, or refused: the next page, when the loop has
 * looked after all others once more.
 */
static void
done_page(struct turn_job *job, int rc)
{
	const struct timeval after = { 0, PAGE_WAIT_MS * 1000L };
	struct batch *batch = (struct batch *)job;

	(void)rc;
	if (batch->api->closing || evtimer_add(&batch->timer, &after) != 0)
		end_page(batch);
}

void
batches_close(struct api *api)
{
	struct batch *batch;
	struct batch *next;

	for (batch = LIST_FIRST(&api->batches); batch != NULL; batch = next) {
		next = LIST_NEXT(batch, entry);
		end_page(batch); /* may free it */
	}
}

/* --- the request ---------------------------------------------------------- */

/* Is the list one that can be gone through? And its key, if it has one. */
static int
check_list(struct http_request *req, const cJSON *calls,
    const char **idempotency_out, struct api_error *error)
{
	const int count = cJSON_IsArray(calls) ? cJSON_GetArraySize(calls) : 0;

	if (count < 1 || count > CALLS_MAX)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: calls must be a list of 1 to %d "
		    "calls", CALLS_MAX);
	return api_makecall_read_key(req, idempotency_out, error);
}

/* Takes ownership of the body; `idempotency` is the request's. */
static void
begin_list(struct api *api, struct http_request *req,
    const struct api_key *key, const char *idempotency, cJSON *body)
{
	const cJSON *calls = api_field(body, "calls");
	const unsigned count = (unsigned)cJSON_GetArraySize(calls);
	struct batch *batch = calloc(1, sizeof(*batch) +
	    count * sizeof(batch->entries[0]));

	if (batch == NULL) {
		cJSON_Delete(body);
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	batch->page.apply = apply_page;
	batch->page.done = done_page;
	(void)evtimer_assign(&batch->timer, api->base, on_timer, batch);
	LIST_INSERT_HEAD(&api->batches, batch, entry);
	batch->api = api;
	batch->req = req;
	batch->key = *key;
	batch->idempotency = idempotency;
	batch->body = body;
	batch->next = calls->child;
	batch->count = count;
	for (unsigned i = 0; i < count; i++)
		batch->entries[i].batch = batch;
	go_on(batch);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct api_error fault = { .code = API_OK };
	const char *idempotency;
	const cJSON *calls;
	cJSON *body;

	if (api_read_body(req, &body, &fault) != 0) {
		api_makecall_one(api, req, key, NULL, &fault);
		return;
	}
	calls = api_field(body, "calls");
	if (calls != NULL &&
	    check_list(req, calls, &idempotency, &fault) == 0) {
		begin_list(api, req, key, idempotency, body);
		return;
	}
	api_makecall_one(api, req, key, calls == NULL ? body : NULL, &fault);
	cJSON_Delete(body);
}

void
api_batchcall(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
