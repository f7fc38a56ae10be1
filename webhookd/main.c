/*
 * webhookd: sends the events of the webhook queue to the customers' URLs.
 * Takes no connections and knows neither Asterisk nor PostgreSQL.
 */
#include "sender.h"
#include "shared/child_runtime.h"
#include "shared/log.h"
#include "shared/store.h"
#include "shared/store_look.h"
#include "shared/turn.h"

struct webhookd {
	struct child_runtime runtime;
	struct store *store;
	struct store_look *look;
	struct turn *turn;
	struct sender *sender;
};

static void
on_drained(void *arg)
{
	struct webhookd *webhookd = arg;

	child_runtime_leave(&webhookd->runtime, "drained");
}

static void
on_drain(void *ctx, enum child_drain_reason reason)
{
	struct webhookd *webhookd = ctx;

	(void)reason;
	sender_drain(webhookd->sender, on_drained, webhookd);
}

/* The queue is its predecessor's as long as that is there. */
static void
on_bell(void *ctx)
{
	const struct webhookd *webhookd = ctx;

	if (webhookd->runtime.alone)
		sender_wake(webhookd->sender);
}

static void
on_tick(void *ctx)
{
	const struct webhookd *webhookd = ctx;
	uint64_t length;

	if (!webhookd->runtime.alone)
		return;
	sender_wake(webhookd->sender);
	if (sender_queue_length(webhookd->sender, &length) == 0)
		atomic_store_explicit(&stats_row()->live, (int64_t)length,
		    memory_order_relaxed);
}

static void
on_config(void *ctx)
{
	const struct webhookd *webhookd = ctx;
	const int rc = sender_reconfigure(webhookd->sender,
	    &webhookd->runtime.config);

	if (rc != 0)
		log_warn("the webhook settings stay as they were",
		    LOG_S("error", kap_strerror(rc)));
	on_bell(ctx);
}

static void
start(struct webhookd *webhookd)
{
	const struct config *config = &webhookd->runtime.config;
	struct event_base *base = webhookd->runtime.base;
	struct kap_errmsg msg;

	if (store_open(&webhookd->store, config->node.data_dir,
	        config->store.map_size_mb,
	        (enum config_durability)config->store.durability, &msg) != 0)
		fatal("%s", msg.text);
	webhookd->turn = turn_new(base, webhookd->store);
	webhookd->look = store_look_new(base, webhookd->store);
	if (webhookd->turn == NULL || webhookd->look == NULL)
		fatal("out of memory");
	webhookd->sender = sender_new(base, webhookd->store, webhookd->turn,
	    config);
	if (webhookd->sender == NULL)
		fatal("out of memory");
}

int
main(int argc, char **argv)
{
	static const struct child_callbacks callbacks = {
		.on_drain = on_drain,
		.on_bell = on_bell,
		.on_alone = on_bell,
		.on_tick = on_tick,
		.on_config = on_config,
	};
	static struct webhookd webhookd;

	child_runtime_init(&webhookd.runtime, argc, argv, CHILD_WEBHOOKD,
	    &callbacks, &webhookd);
	start(&webhookd);
	child_runtime_ready(&webhookd.runtime);
	on_bell(&webhookd);
	child_runtime_loop(&webhookd.runtime);
	/* what has been answered is stored before it is forgotten */
	turn_free(&webhookd.turn);
	sender_free(&webhookd.sender);
	store_look_free(&webhookd.look);
	store_close(&webhookd.store);
	child_runtime_deinit(&webhookd.runtime);
	return 0;
}
