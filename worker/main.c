/*
 * A worker: HTTP in front, Asterisk behind, the store between. This file puts
 * the pieces together, in the order in which they need one another, and takes
 * them apart again; what they do is theirs.
 */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "api.h"
#include "call_events.h"
#include "http_server.h"
#include "http_tls.h"
#include "ledger_drain.h"
#include "links.h"
#include "reconcile.h"
#include "shared/child_runtime.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "timer_run.h"

#define FULL_PERCENT 80 /* of the map: no new calls beyond it */
#define LEAVE_LOOK_MS 50

struct worker {
	struct child_runtime runtime;
	struct store *store;
	struct turn *turn;
	struct change_maker maker;
	struct key_lookup *keys;
	struct ledger_drain *ledger;
	struct dispatch *dispatch;
	struct call_events *events;
	struct timer_run *timers;
	struct reconcile *reconcile;
	struct ari_command_link *originate;
	struct ari_command_link *control;
	struct links *links;
	struct api api;
	SSL_CTX *tls;
	struct http_server *http;
	struct http_server *admin;
	struct event *leave_timer;
	bool http_drained;
	bool admin_drained;
};

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
		stats_add(STATS_calls_ended, 1);
		log_end(call);
	}
	api_call_changed(&worker->api, change);
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
	if (store_begin_read(worker->store, &txn) != 0)
		return;
	if (call_table_live_count(txn, &live) == 0)
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
	if (!key_lookup_is_up(worker->keys))
		key_lookup_probe(worker->keys);
	on_bell(worker);
}

static void
on_leave_timer(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval again = { 0, LEAVE_LOOK_MS * 1000L };
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	if (worker->http_drained && worker->admin_drained &&
	    waiters_count(worker->api.waiters) == 0 &&
	    dispatch_under_way(worker->dispatch) == 0)
		child_runtime_leave(&worker->runtime, "drained");
	else
		(void)event_add(worker->leave_timer, &again);
}

static void
on_http_drained(void *arg)
{
	struct worker *worker = arg;

	worker->http_drained = true;
}

static void
on_admin_drained(void *arg)
{
	struct worker *worker = arg;

	worker->admin_drained = true;
}

static void
on_drain(void *ctx, enum child_drain_reason reason)
{
	struct worker *worker = ctx;

	(void)reason;
	worker->api.draining = true;
	http_server_drain(worker->http, on_http_drained, worker);
	http_server_drain(worker->admin, on_admin_drained, worker);
	on_leave_timer(-1, 0, worker);
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
		links_read_events(worker->links, fd);
	}
}

static const struct child_callbacks callbacks = { on_drain, on_bell, on_tick,
	on_message };

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
	if (worker->turn == NULL)
		fatal("out of memory");
	turn_set_window(worker->turn, config->store.commit_window_ms);
	worker->maker.slot = (unsigned)worker->runtime.args.slot;
	worker->maker.generation = worker->runtime.args.generation;
	worker->maker.workers = (unsigned)config->http.workers;
	worker->maker.node = (unsigned)config->node.id;
	worker->maker.originate_timeout_ms =
	    config->calls.originate_timeout_ms;
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
		.watch = on_call_changed,
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
	};

	worker->dispatch = dispatch_new(&options);
	worker->events = call_events_new(&worker->maker, worker->dispatch);
	reconcile.dispatch = worker->dispatch;
	worker->reconcile = reconcile_new(&reconcile);
	worker->timers = timer_run_new(worker->runtime.base, worker->turn,
	    worker->store, &worker->maker, worker->dispatch);
	worker->api.waiters = waiters_new();
	if (worker->dispatch == NULL || worker->events == NULL ||
	    worker->reconcile == NULL || worker->timers == NULL ||
	    worker->api.waiters == NULL)
		fatal("out of memory");
}

static void
open_links(struct worker *worker)
{
	const struct links_options options = {
		.runtime = &worker->runtime,
		.store = worker->store,
		.turn = worker->turn,
		.dispatch = worker->dispatch,
		.events = worker->events,
		.reconcile = worker->reconcile,
		.originate = &worker->originate,
		.control = &worker->control,
		.changed = on_links_changed,
		.ctx = worker,
	};
	struct kap_errmsg msg;

	if (links_open(&worker->links, &options, &msg) != 0)
		fatal("asterisk.url: %s", msg.text);
}

static struct http_server *
open_server(struct worker *worker, const struct http_routes *routes, int fd,
    SSL_CTX *tls)
{
	const struct config *config = &worker->runtime.config;
	struct http_server_config server;
	struct http_server *http;

	http_server_config_init(&server);
	server.base = worker->runtime.base;
	server.routes = *routes;
	server.ctx = &worker->api;
	server.tls = tls;
	server.max_connections = (size_t)config->http.max_connections;
	server.max_body_bytes = (size_t)config->http.max_body_bytes;
	server.head_timeout_ms = (int)config->http.head_timeout_s * 1000;
	server.body_timeout_ms = (int)config->http.body_timeout_s * 1000;
	server.idle_timeout_ms = (int)config->http.idle_timeout_s * 1000;
	if (http_server_new(&http, &server) != 0 ||
	    http_server_add_listener(http, worker->runtime.args.slot, fd) != 0)
		fatal("can't serve on the listener that the master gave");
	return http;
}

static void
open_http(struct worker *worker)
{
	const struct config *config = &worker->runtime.config;
	struct kap_errmsg msg;

	worker->api.config = config;
	worker->api.maker = &worker->maker;
	worker->api.store = worker->store;
	worker->api.turn = worker->turn;
	worker->api.keys = worker->keys;
	worker->api.dispatch = worker->dispatch;
	if (config->http.tls_certificate[0] != '\0' &&
	    http_tls_new(&worker->tls, config->http.tls_certificate,
	        config->http.tls_key, &msg) != 0)
		fatal("%s", msg.text);
	worker->http = open_server(worker, &api_routes, CHILD_FD_LISTEN,
	    worker->tls);
	worker->admin = open_server(worker, &api_admin_routes, CHILD_FD_ADMIN,
	    NULL);
	worker->leave_timer = evtimer_new(worker->runtime.base,
	    on_leave_timer, worker);
	if (worker->leave_timer == NULL)
		fatal("out of memory");
}

static void
close_all(struct worker *worker)
{
	links_stop_events(worker->links);
	/* answers what waits for a key, while all that it needs is there */
	key_lookup_free(&worker->keys);
	turn_flush(worker->turn);
	waiters_free(&worker->api.waiters);
	http_server_free(&worker->http);
	http_server_free(&worker->admin);
	links_close(&worker->links);
	reconcile_free(&worker->reconcile);
	timer_run_free(&worker->timers);
	ledger_drain_free(&worker->ledger);
	turn_flush(worker->turn);
	call_events_free(&worker->events);
	dispatch_free(&worker->dispatch);
	turn_free(&worker->turn);
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
	open_links(&worker);
	open_http(&worker);
	timer_run_look(worker.timers);
	child_runtime_ready(&worker.runtime);
	child_runtime_loop(&worker.runtime);
	close_all(&worker);
	child_runtime_deinit(&worker.runtime);
	return 0;
}
