/*
 * kaphilactl trunks, without more: what the trunks do on this node now. It is
 * read where the calls write it, in the store, and not by way of the master,
 * which touches no shared state: opened for reading alone it holds up nobody,
 * and it shows the same while PostgreSQL is away or no master runs.
 */
#include "master/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "master/ctl_args.h"
#include "master/ctl_client.h"
#include "master/ctl_pg.h"
#include "shared/clock.h"
#include "shared/store.h"
#include "shared/trunk_state.h"

#define PAGE 64
#define PAGES_MAX 64 /* some thousand trunks; more are not shown */
#define CELL_SIZE 24

typedef void print_fn(void *arg, const struct trunk_row *row, int64_t now_ms);

/* Each page in a transaction of its own: printing may take its time. */
static int
print_pages(struct store *store, print_fn *print, void *arg)
{
	char after[TRUNK_NAME_SIZE] = "";

	for (int page = 0; page < PAGES_MAX; page++) {
		struct trunk_row rows[PAGE];
		struct store_txn *txn;
		int count = store_begin_read(store, &txn);

		if (count != 0)
			return count;
		count = trunk_state_list(txn, after, rows, PAGE);
		store_end_read(&txn);
		for (int i = 0; i < count; i++)
			print(arg, &rows[i], clock_deadline_ms());
		if (count < PAGE)
			return count < 0 ? count : 0;
		(void)snprintf(after, sizeof(after), "%s",
		    rows[PAGE - 1].name);
	}
	return 0;
}

/* "" where it doesn't rest; else when it may be dialled again. */
static void
format_rest(const struct trunk_state *state, int64_t now_ms,
    char out[CLOCK_ISO_SIZE])
{
	out[0] = '\0';
	if (state->circuit == TRUNK_RESTING)
		clock_format_iso(clock_wall_ms() + state->rest_until_ms -
		    now_ms, out);
}

static void
put_limit(char cell[CELL_SIZE], uint32_t limit)
{
	if (limit != 0)
		(void)snprintf(cell, CELL_SIZE, "%" PRIu32, limit);
	else
		(void)snprintf(cell, CELL_SIZE, CTL_NO_LIMIT);
}

static void
print_line(void *arg KAP_UNUSED, const struct trunk_row *row, int64_t now_ms)
{
	const struct trunk_state *state = &row->state;
	char rest[CLOCK_ISO_SIZE];
	char max_calls[CELL_SIZE];
	char max_cps[CELL_SIZE];
	char cps[CELL_SIZE];

	format_rest(state, now_ms, rest);
	put_limit(max_calls, state->max_calls);
	put_limit(max_cps, state->max_cps);
	(void)snprintf(cps, sizeof(cps), "%" PRIu32 "/%.10s",
	    trunk_state_cps(state, now_ms), max_cps);
	(void)printf("%-20s %6" PRIu32 " %9s %11s  %-8s %-24s %10" PRIu64
	    " %10" PRIu64 "\n", row->name, state->live, max_calls, cps,
	    trunk_circuit_name((enum trunk_circuit)state->circuit),
	    rest[0] != '\0' ? rest : "-", state->dialled, state->failed);
}

static void
add_object(void *arg, const struct trunk_row *row, int64_t now_ms)
{
	const struct trunk_state *state = &row->state;
	cJSON *object = cJSON_CreateObject();
	char time[CLOCK_ISO_SIZE];

	(void)cJSON_AddStringToObject(object, "trunk", row->name);
	(void)cJSON_AddNumberToObject(object, "calls", state->live);
	(void)cJSON_AddNumberToObject(object, "maxCalls", state->max_calls);
	(void)cJSON_AddNumberToObject(object, "cps",
	    trunk_state_cps(state, now_ms));
	(void)cJSON_AddNumberToObject(object, "maxCps", state->max_cps);
	(void)cJSON_AddStringToObject(object, "circuit",
	    trunk_circuit_name((enum trunk_circuit)state->circuit));
	format_rest(state, now_ms, time);
	(void)cJSON_AddItemToObject(object, "restsUntil",
	    time[0] != '\0' ? cJSON_CreateString(time) : cJSON_CreateNull());
	(void)cJSON_AddNumberToObject(object, "failuresInARow",
	    state->failures);
	(void)cJSON_AddNumberToObject(object, "dialled",
	    (double)state->dialled);
	(void)cJSON_AddNumberToObject(object, "failed", (double)state->failed);
	clock_format_iso(state->last_used_ms, time);
	(void)cJSON_AddItemToObject(object, "lastUsed",
	    state->last_used_ms != 0 ? cJSON_CreateString(time) :
	    cJSON_CreateNull());
	(void)cJSON_AddItemToArray(arg, object);
}

static int
show(struct store *store, bool json)
{
	cJSON *array;
	int rc;

	if (!json) {
		(void)printf("%-20s %6s %9s %11s  %-8s %-24s %10s %10s\n",
		    "TRUNK", "CALLS", "LIMIT", "CPS", "CIRCUIT",
		    "RESTS UNTIL", "DIALLED", "FAILED");
		return print_pages(store, print_line, NULL);
	}
	array = cJSON_CreateArray();
	rc = print_pages(store, add_object, array);
	if (rc == 0)
		rc = ctl_print_json(array, false) == CTL_OK ? 0 : -KAP_IO;
	cJSON_Delete(array);
	return rc;
}

int
ctl_trunk_state(struct ctl_context *context, int argc, char **argv)
{
	const struct config *config = &context->config;
	struct kap_errmsg msg = { .text = "" };
	struct store *store;
	int rc;

	/* "kaphilactl trunks", and the same said in full */
	if (!ctl_take_args(argc, argv, argc > 1 ? 2 : 1, NULL, 0, NULL, 0))
		return CTL_USAGE;
	if (!ctl_need_config(context))
		return CTL_FAILED;
	if (store_open_to_read(&store, config->node.data_dir,
	        config->store.map_size_mb, &msg) != 0) {
		ctl_complain("%s", msg.text);
		return CTL_FAILED;
	}
	rc = show(store, context->json);
	store_close(&store);
	if (rc == 0)
		return CTL_OK;
	ctl_complain("the call table can't be read: %s", kap_strerror(rc));
	return CTL_FAILED;
}
