/*
 * A worker: HTTP in front, Asterisk behind, the store between. This file puts
 * the pieces together, in the order in which they need one another, and takes
 * them apart again; what they do is theirs. Whether the slot's work is this
 * process's to do is duty.c's.
 */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "control_wait.h"
#include "duty.h"
#include "http_tls.h"
#include "idempotency_sweep.h"
#include "media_server.h"
#include "shared/child_runtime.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "speech.h"
#include "worker.h"

#define FULL_PERCENT 80  /* of the map: no new calls beyond it */
#define TIGHT_PERCENT 60 /* …and Idempotency-Keys are kept for less long */

/* --- what the pieces tell one another ------------------------------------ */

static void
log_end(const struct call *call)
{
	log_info("call ended", LOG_S("call", call->id),
	    LOG_S("status", call_status_name((enum call_status)call->status)),
	    LOG_S("reason", call_end_reason_name(
	        (enum call_end_reason)call->end_reason)),
	    LOG_I("cause", call->hangup_cause),
	    LOG_I("seconds", call_duration_s(call, call->ended_ms)));
}

static void
on_call_changed(void *ctx, const struct change *change)
{
	struct worker *worker = ctx;
	const struct call *call = &change->step.call;
	const enum call_state before = change->step.state_before;

	if (before < CALL_ANSWERED && call->state >= CALL_ANSWERED &&
	    (call->flags & CALL_F_WAS_ANSWERED) != 0)
		stats_add(STATS_calls_answered, 1);
	if (before != CALL_ENDED && call->state == CALL_ENDED) {
		stats_count(STATS_calls_ended, call->status,
		    call->end_reason, 1);
		log_end(call);
	}
	api_call_changed(&worker->api, change);
}

/*
 * Asterisk has answered an originate made here, and another process of the
 * slot had read the call's events before: nobody else tells who waits for it.
 */
static void
on_originate_known(void *ctx, const char *call_id)
{
	struct worker *worker = ctx;
	struct change change = { .step.state_before = CALL_QUEUED };
	struct store_txn *txn;
	int rc;

	control_look_at(&worker->api, call_id);
	if (waiters_count(worker->api.waiters) == 0 ||
	    store_begin_read(worker->store, &txn) != 0)
		return;
	rc = call_table_get(txn, call_id, &change.step.call);
	store_end_read(&txn);
	if (rc == 0)
		api_call_changed(&worker->api, &change);
}

static void
on_timers_changed(void *ctx)
{
	struct worker *worker = ctx;

	timer_run_look(worker->timers);
}

static void
on_ledger_grew(void *ctx)
{
	struct worker *worker = ctx;

	ledger_drain_kick(worker->ledger);
}

static void
on_links_changed(void *ctx, bool up)
{
	struct worker *worker = ctx;

	worker->api.links_up = up;
	amd_check_set_link(worker->amd, up);
	if (up && worker->opening != NULL)
		opening_look(worker->opening);
}

static void
on_amd_changed(void *ctx)
{
	struct worker *worker = ctx;

	worker->api.has_amd = amd_check_is_there(worker->amd);
	if (worker->opening != NULL)
		opening_look(worker->opening);
}

static void
on_stream_changed(void *ctx, unsigned slot, bool up, bool resumed)
{
	const struct worker *worker = ctx;

	links_stream_changed(worker->links, slot, up, resumed);
}

static void
on_reconciled(void *ctx)
{
	const struct worker *worker = ctx;

	media_server_settled(worker->turn, worker->maker.slot);
}

/* --- the opening ---------------------------------------------------------- */

static bool
is_connected(void *ctx)
{
	const struct worker *worker = ctx;

	return links_can_command(worker->links) &&
	    key_lookup_is_up(worker->keys);
}

static bool
is_complete(void *ctx)
{
	const struct worker *worker = ctx;

	return worker->api.links_up && amd_check_is_known(worker->amd);
}

static void
say_ready(void *ctx)
{
	struct worker *worker = ctx;

	child_runtime_ready(&worker->runtime);
}

static void
serve(void *ctx)
{
	const struct worker *worker = ctx;

	if (http_server_add_listener(worker->http, worker->runtime.args.slot,
	        CHILD_FD_LISTEN) != 0)
		fatal("can't serve on the listener that the master gave");
	log_info("serving", LOG_S("links",
	    worker->api.links_up ? "up" : "down"));
}

/* --- the runtime's callbacks ---------------------------------------------- */

static void
on_bell(void *ctx)
{
	struct worker *worker = ctx;

	timer_run_look(worker->timers);
	dispatch_resume(worker->dispatch);
	ledger_drain_kick(worker->ledger);
}

static void
look_at_store(struct worker *worker)
{
	struct store_usage usage;
	struct store_txn *txn;
	uint64_t live = 0;
	bool full;

	if (store_usage(worker->store, &usage) != 0)
		return;
	full = usage.percent >= FULL_PERCENT || usage.disk_is_full;
	if (full != worker->api.overloaded)
		log_warn(full ? "call table nearly full: no new calls"
		    : "call table has room again",
		    LOG_I("percent", usage.percent),
		    LOG_S("disk", usage.disk_is_full ? "full" : "ok"));
	worker->api.overloaded = full;
	if (usage.percent >= TIGHT_PERCENT && !worker->api.is_tight)
		log_warn("call table fills: the oldest Idempotency-Keys go",
		    LOG_I("percent", usage.percent));
	worker->api.is_tight = usage.percent >= TIGHT_PERCENT;
	if (store_begin_read(worker->store, &txn) != 0)
		return;
	/* one of the slot's processes tells */
	if (worker->duty == DUTY_OWN && call_table_live_count(txn, &live) == 0)
		atomic_store_explicit(&stats_row()->live, (int64_t)live,
		    memory_order_relaxed);
	store_end_read(&txn);
}

static void
on_tick(void *ctx)
{
	struct worker *worker = ctx;

	look_at_store(worker);
	waiters_review(&worker->api);
	control_review(&worker->api);
	streams_look(worker->streams);
	idempotency_sweep(worker->turn, worker->store, worker->api.is_tight ?
	    worker->runtime.config.idempotency.keep_s * 1000 : 0);
	if (!key_lookup_is_up(worker->keys))
		key_lookup_probe(worker->keys);
	on_bell(worker);
}

static void
on_drain(void *ctx, enum child_drain_reason reason KAP_UNUSED)
{
	duty_drain(ctx);
}

static void
on_message(void *ctx, const struct child_message *message, int fd)
{
	struct worker *worker = ctx;

	if (message->kind == CHILD_MSG_LISTENER && fd >= 0) {
		if (http_server_add_listener(worker->http, message->slot,
		        fd) != 0)
			log_warn("could not take a neighbour's listener",
			    LOG_I("slot", message->slot));
	} else if (message->kind == CHILD_MSG_LISTENER_DROP) {
		http_server_drop_listener(worker->http, message->slot);
	} else if (message->kind == CHILD_MSG_READ) {
		duty_read(worker, message->slot, fd);
	} else if (message->kind == CHILD_MSG_STOP_READING) {
		duty_stop_reading(worker, message->slot);
	}
}

/* What http_server_reconfigure takes, from the configuration. */
static void
fill_server_config(const struct worker *worker,
    struct http_server_config *server, SSL_CTX *tls)
{
	const struct config *config = &worker->runtime.config;

	server->tls = tls;
	server->max_connections = (size_t)config->http.max_connections;
	server->max_body_bytes = (size_t)config->http.max_body_bytes;
	server->head_timeout_ms = (int)config->http.head_timeout_s * 1000;
	server->body_timeout_ms = (int)config->http.body_timeout_s * 1000;
	server->idle_timeout_ms = (int)config->http.idle_timeout_s * 1000;
}

/* Returns 0 with NULL for plain HTTP, too. */
static int
load_tls(const struct worker *worker, SSL_CTX **tls_out,
    struct kap_errmsg *msg)
{
	const struct config *config = &worker->runtime.config;

	*tls_out = NULL;
	if (config->http.tls_certificate[0] == '\0')
		return 0;
	return http_tls_new(tls_out, config->http.tls_certificate,
	    config->http.tls_key, msg);
}

/* What a change of a call needs to know of the settings. */
static void
set_limits(struct worker *worker)
{
	const struct config *config = &worker->runtime.config;

	worker->maker.originate_timeout_ms =
	    config->calls.originate_timeout_ms;
	worker->maker.amd_timeout_ms = config->amd.total_analysis_ms +
	    CALL_AMD_GRACE_MS;
	worker->maker.trunk_timeout_ms = config->trunks.timeout_ms;
	worker->maker.circuit_failures =
	    (uint32_t)config->trunks.circuit_failures;
	worker->maker.circuit_rest_ms = config->trunks.circuit_rest_s * 1000;
	worker->maker.circuit_rest_max_ms =
	    config->trunks.circuit_rest_max_s * 1000;
}

/*
 * A reload: tell those that copied something. The certificate is read anew
 * whatever changed, for its file may be another one under the same name.
 */
static void
on_config(void *ctx)
{
	struct worker *worker = ctx;
	struct http_server_config server = { .base = NULL };
	struct kap_errmsg msg = { .text = "" };
	SSL_CTX *tls;

	set_limits(worker);
	if (load_tls(worker, &tls, &msg) == 0) {
		SSL_CTX_free(worker->tls);
		worker->tls = tls;
	} else {
		log_warn("the certificate stays as it was",
		    LOG_S("error", msg.text));
	}
	fill_server_config(worker, &server, worker->tls);
	http_server_reconfigure(worker->http, &server);
	server.tls = NULL;
	http_server_reconfigure(worker->admin, &server);
}

static const struct child_callbacks callbacks = {
	.on_drain = on_drain,
	.on_bell = on_bell,
	.on_tick = on_tick,
	.on_message = on_message,
	.on_config = on_config,
};

/* --- setting up ------------------------------------------------------------ */

static void
open_store(struct worker *worker)
{
	const struct config *config = &worker->runtime.config;
	struct kap_errmsg msg;

	if (store_open(&worker->store, config->node.data_dir,
	        config->store.map_size_mb,
	        (enum config_durability)config->store.durability, &msg) != 0)
		fatal("%s", msg.text);
	worker->turn = turn_new(worker->runtime.base, worker->store);
	worker->look = store_look_new(worker->runtime.base, worker->store);
	if (worker->turn == NULL || worker->look == NULL)
		fatal("out of memory");
	CRASH_POINT(child_store_opened);
	turn_set_window(worker->turn, config->store.commit_window_ms);
	worker->maker.slot = (unsigned)worker->runtime.args.slot;
	worker->maker.generation = worker->runtime.args.generation;
	worker->maker.node = (unsigned)config->node.id;
	set_limits(worker);
}

static void
open_postgres(struct worker *worker)
{
	const struct config *config = &worker->runtime.config;
	struct kap_errmsg msg;

	if (key_lookup_new(&worker->keys, worker->runtime.base, worker->store,
	        worker->turn, config, &msg) != 0 ||
	    ledger_drain_new(&worker->ledger, worker->runtime.base,
	        worker->store, worker->turn, config, worker->maker.slot,
	        &msg) != 0)
		fatal("postgres.dsn: %s", msg.text);
}

static void
open_calls(struct worker *worker)
{
	const struct dispatch_options options = {
		.base = worker->runtime.base,
		.turn = worker->turn,
		.store = worker->store,
		.config = &worker->runtime.config,
		.maker = &worker->maker,
		.originate = &worker->originate,
		.control = &worker->control,
		.streams = &worker->states,
		.watch = on_call_changed,
		.originate_known = on_originate_known,
		.timers_changed = on_timers_changed,
		.ledger_grew = on_ledger_grew,
		.ctx = worker,
	};
	struct reconcile_options reconcile = {
		.base = worker->runtime.base,
		.turn = worker->turn,
		.store = worker->store,
		.config = &worker->runtime.config,
		.maker = &worker->maker,
		.control = &worker->control,
		.streams = &worker->states,
		.done = on_reconciled,
		.ctx = worker,
	};

	struct timer_run_options timers = {
		.base = worker->runtime.base,
		.turn = worker->turn,
		.store = worker->store,
		.maker = &worker->maker,
		.streams = &worker->states,
	};

	worker->dispatch = dispatch_new(&options);
	reconcile.dispatch = worker->dispatch;
	worker->reconcile = reconcile_new(&reconcile);
	timers.dispatch = worker->dispatch;
	worker->timers = timer_run_new(&timers);
	worker->api.waiters = waiters_new();
	worker->api.controls = control_waiters_new();
	worker->api.speech = speech_new(worker->runtime.base,
	    &worker->runtime.config);
	if (worker->dispatch == NULL || worker->reconcile == NULL ||
	    worker->timers == NULL || worker->api.waiters == NULL ||
	    worker->api.controls == NULL || worker->api.speech == NULL)
		fatal("out of memory");
}

static void
open_streams(struct worker *worker)
{
	const struct streams_options options = {
		.runtime = &worker->runtime,
		.store = worker->store,
		.turn = worker->turn,
		.maker = &worker->maker,
		.dispatch = worker->dispatch,
		.control = &worker->control,
		.states = &worker->states,
		.changed = on_stream_changed,
		.ctx = worker,
	};

	worker->streams = streams_new(&options);
	if (worker->streams != NULL)
		worker->adoption = adoption_new(worker->runtime.base,
		    worker->store, &worker->maker, worker->streams);
	if (worker->adoption == NULL)
		fatal("out of memory");
}

static void
open_links(struct worker *worker)
{
	const struct amd_check_options amd = {
		.base = worker->runtime.base,
		.config = &worker->runtime.config,
		.control = &worker->control,
		.changed = on_amd_changed,
		.ctx = worker,
	};
	const struct links_options options = {
		.runtime = &worker->runtime,
		.turn = worker->turn,
		.dispatch = worker->dispatch,
		.reconcile = worker->reconcile,
		.states = &worker->states,
		.originate = &worker->originate,
		.control = &worker->control,
		.maker = &worker->maker,
		.changed = on_links_changed,
		.ctx = worker,
	};
	struct kap_errmsg msg;

	worker->amd = amd_check_new(&amd);
	if (worker->amd == NULL)
		fatal("out of memory");
	if (links_open(&worker->links, &options, &msg) != 0)
		fatal("asterisk.url: %s", msg.text);
}

static struct http_server *
open_server(struct worker *worker, const struct http_routes *routes,
    SSL_CTX *tls)
{
	struct http_server_config server;
	struct http_server *http;

	http_server_config_init(&server);
	server.base = worker->runtime.base;
	server.routes = *routes;
	server.ctx = &worker->api;
	fill_server_config(worker, &server, tls);
	if (http_server_new(&http, &server) != 0)
		fatal("out of memory");
	return http;
}

static void
open_http(struct worker *worker)
{
	const struct config *config = &worker->runtime.config;
	struct kap_errmsg msg;

	worker->api.base = worker->runtime.base;
	worker->api.config = config;
	worker->api.maker = &worker->maker;
	worker->api.store = worker->store;
	worker->api.turn = worker->turn;
	worker->api.keys = worker->keys;
	worker->api.dispatch = worker->dispatch;
	if (load_tls(worker, &worker->tls, &msg) != 0)
		fatal("%s", msg.text);
	worker->http = open_server(worker, &api_routes, worker->tls);
	worker->admin = open_server(worker, &api_admin_routes, NULL);
	worker->leave_timer = evtimer_new(worker->runtime.base,
	    duty_on_leave_timer, worker);
	if (worker->leave_timer == NULL)
		fatal("out of memory");
}

static void
open_for_service(struct worker *worker)
{
	const struct opening_options options = {
		.base = worker->runtime.base,
		.beside = !worker->runtime.alone,
		.is_connected = is_connected,
		.is_complete = is_complete,
		.ready = say_ready,
		.serve = serve,
		.ctx = worker,
	};

	duty_begin(worker, options.beside);
	worker->opening = opening_new(&options);
	if (worker->opening == NULL)
		fatal("out of memory");
	opening_look(worker->opening);
}

static void
close_all(struct worker *worker)
{
	adoption_free(&worker->adoption);
	streams_free(&worker->streams);
	opening_free(&worker->opening);
	worker->api.closing = true;
	/* answers what waits for a key, while all that it needs is there */
	key_lookup_free(&worker->keys);
	turn_flush(worker->turn);
	batches_close(&worker->api);
	speech_free(&worker->api.speech);
	waiters_free(&worker->api.waiters);
	control_waiters_free(&worker->api.controls);
	http_server_free(&worker->http);
	http_server_free(&worker->admin);
	links_close(&worker->links);
	amd_check_free(&worker->amd);
	reconcile_free(&worker->reconcile);
	timer_run_free(&worker->timers);
	ledger_drain_free(&worker->ledger);
	turn_flush(worker->turn);
	dispatch_free(&worker->dispatch);
	turn_free(&worker->turn);
	store_look_free(&worker->look);
	store_close(&worker->store);
	event_free(worker->leave_timer);
	SSL_CTX_free(worker->tls);
}

int
main(int argc, char **argv)
{
	static struct worker worker;

	child_runtime_init(&worker.runtime, argc, argv, CHILD_WORKER,
	    &callbacks, &worker);
	open_store(&worker);
	open_postgres(&worker);
	open_calls(&worker);
	open_streams(&worker);
	open_links(&worker);
	open_http(&worker);
	look_at_store(&worker); /* before the first call, not after */
	open_for_service(&worker);
	child_runtime_loop(&worker.runtime);
	close_all(&worker);
	child_runtime_deinit(&worker.runtime);
	return 0;
}
