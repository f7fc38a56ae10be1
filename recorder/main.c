/*
 * The recorder: takes finished recordings out of Asterisk's spool into the
 * store, and keeps the folder of spoken texts small. This file puts it
 * together; intake.c and speech_sweep.c do the work. It talks to no Asterisk
 * and to no PostgreSQL.
 */
#include "recorder/intake.h"
#include "recorder/pool.h"
#include "recorder/speech_sweep.h"
#include "shared/child_runtime.h"
#include "shared/log.h"
#include "shared/recording_store.h"
#include "shared/store.h"
#include "shared/store_look.h"

struct recorder {
	struct child_runtime runtime;
	struct store *store;
	struct store_look *look;
	struct intake *intake;
	/* a thread of its own: recordings never wait for a walk of folders */
	struct pool *sweep_pool;
	struct speech_sweep *sweep;
};

/* The queue is its predecessor's as long as that is there. */
static void
on_wake(void *ctx)
{
	struct recorder *recorder = ctx;

	if (recorder->runtime.alone)
		intake_wake(recorder->intake);
}

static void
on_drained(void *ctx)
{
	struct recorder *recorder = ctx;

	child_runtime_leave(&recorder->runtime, "drained");
}

static void
on_drain(void *ctx, enum child_drain_reason reason KAP_UNUSED)
{
	struct recorder *recorder = ctx;

	speech_sweep_end(recorder->sweep);
	intake_drain(recorder->intake, on_drained, recorder);
}

static void
on_tick(void *ctx)
{
	struct recorder *recorder = ctx;

	on_wake(ctx);
	if (recorder->runtime.alone)
		speech_sweep_tick(recorder->sweep);
}

/* What a predecessor was copying when it died; the jobs are queued still. */
static void
clear_leftovers(const struct config *config)
{
	char dir[RECORDING_DIR_SIZE];
	int rc;

	recording_store_dir(config, dir);
	rc = recording_store_clear_incoming(dir, (unsigned)config->node.id);
	if (rc > 0)
		log_info("removed unfinished copies", LOG_I("files", rc));
	else if (rc < 0)
		log_warn("can't look for unfinished copies",
		    LOG_S("folder", dir), LOG_S("error", kap_strerror(rc)));
}

/* From now on the unfinished copies and the queue are its own. */
static void
on_alone(void *ctx)
{
	struct recorder *recorder = ctx;

	clear_leftovers(&recorder->runtime.config);
	on_wake(recorder);
}

int
main(int argc, char **argv)
{
	static const struct child_callbacks callbacks = {
		.on_drain = on_drain,
		.on_bell = on_wake,
		.on_tick = on_tick,
		.on_alone = on_alone,
	};
	static struct recorder recorder;
	struct child_runtime *runtime = &recorder.runtime;
	const struct config *config = &runtime->config;
	struct kap_errmsg msg = { .text = "" };
	int rc;

	child_runtime_init(runtime, argc, argv, CHILD_RECORDER, &callbacks,
	    &recorder);
	rc = store_open(&recorder.store, config->node.data_dir,
	    config->store.map_size_mb,
	    (enum config_durability)config->store.durability, &msg);
	if (rc != 0)
		fatal("%s", msg.text[0] != '\0' ? msg.text : kap_strerror(rc));
	recorder.intake = intake_new(runtime->base, recorder.store, config);
	recorder.look = store_look_new(runtime->base, recorder.store);
	recorder.sweep_pool = pool_new(runtime->base, 1);
	if (recorder.sweep_pool != NULL)
		recorder.sweep = speech_sweep_new(recorder.sweep_pool, config);
	if (recorder.intake == NULL || recorder.look == NULL ||
	    recorder.sweep == NULL)
		fatal("no memory or no threads");
	child_runtime_ready(runtime);
	if (runtime->alone)
		on_alone(&recorder);
	child_runtime_loop(runtime);
	intake_free(&recorder.intake);
	pool_free(&recorder.sweep_pool);
	speech_sweep_free(&recorder.sweep);
	store_look_free(&recorder.look);
	store_close(&recorder.store);
	child_runtime_deinit(runtime);
	return 0;
}
