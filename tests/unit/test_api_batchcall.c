/*
 * Lists of calls, with a real store and over real sockets: how a list is gone
 * through, and given up. None of its calls is made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_fixture.h"
#include "shared/clock.h"
#include "store_fixture.h"
#include "worker/api.h"

#define PEPPER "0123456789abcdef0123456789abcdef"
#define KEY "ak_0123456789012345678901234567890123456789"
#define KEY_ID 7
#define CALLS 1000

static const struct http_route routes[] = {
	{ "POST", "/batchcall", api_batchcall, 0, 0 },
};

struct bench {
	struct store_fixture store;
	struct config config;
	struct api api;
	struct http_server *server;
	struct http_peer peer;
};

/* A key that was read from PostgreSQL just now. */
static void
cache_key(struct bench *bench, uint32_t rate_limit)
{
	const struct api_key key = { .version = API_KEY_VERSION,
		.verdict = API_KEY_VALID, .id = KEY_ID,
		.fetched_ms = clock_wall_ms(), .rate_limit = rate_limit };
	uint8_t hash[API_KEY_HASH_SIZE];
	struct store_txn *txn;

	assert_int_equal(api_key_hash(PEPPER, KEY, strlen(KEY), hash), 0);
	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(api_key_put(txn, hash, &key), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
open_api(struct bench *bench)
{
	struct api *api = &bench->api;
	struct kap_errmsg msg = { "" };

	config_init(&bench->config);
	(void)snprintf(bench->config.postgres.dsn,
	    sizeof(bench->config.postgres.dsn),
	    "postgresql://nobody@127.0.0.1:1/none");
	(void)snprintf(bench->config.auth.pepper,
	    sizeof(bench->config.auth.pepper), "%s", PEPPER);
	api->base = event_base_new();
	assert_non_null(api->base);
	assert_int_equal(event_base_priority_init(api->base, 2), 0);
	api->store = bench->store.store;
	api->config = &bench->config;
	api->turn = turn_new(api->base, api->store);
	assert_non_null(api->turn);
	assert_int_equal(key_lookup_new(&api->keys, api->base, api->store,
	    api->turn, &bench->config, &msg), 0);
}

/* All but the answer. */
static void
open_bench(struct bench *bench, uint32_t rate_limit)
{
	struct http_server_config config;
	uint16_t port;

	memset(bench, 0, sizeof(*bench));
	store_fixture_open(&bench->store);
	cache_key(bench, rate_limit);
	open_api(bench);
	http_server_config_init(&config);
	config.base = bench->api.base;
	config.routes.table = routes;
	config.routes.count = 1;
	config.ctx = &bench->api;
	assert_int_equal(http_server_new(&bench->server, &config), 0);
	assert_int_equal(http_server_add_listener(bench->server, 0,
	    fixture_listen(&port)), 0);
	peer_connect_port(&bench->peer, bench->api.base, port);
}

static void
close_bench(struct bench *bench)
{
	peer_close(&bench->peer);
	http_server_free(&bench->server);
	key_lookup_free(&bench->api.keys);
	turn_free(&bench->api.turn);
	event_base_free(bench->api.base);
	store_fixture_close(&bench->store);
}

/* A list of what is no call, so that each has its answer at once. */
static void
send_list(struct bench *bench)
{
	static char text[4096];
	size_t len = (size_t)snprintf(text, sizeof(text),
	    "POST /batchcall HTTP/1.1\r\nHost: a\r\n"
	    "Authorization: Bearer " KEY "\r\nContent-Length: %d\r\n\r\n"
	    "{\"calls\":[", 2 * CALLS - 1 + 12);

	for (unsigned i = 0; i < CALLS; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "1%s",
		    i + 1 < CALLS ? "," : "]}");
	peer_send_bytes(&bench->peer, text, len);
}

/* Of the key's, in this hour. */
static unsigned
requests(const struct bench *bench)
{
	struct account account;
	struct store_txn *txn;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(account_get(txn, KEY_ID, &account), 0);
	store_end_read(&txn);
	return account.window_count;
}

/* The answer's results; the caller frees *tree_out. */
static const cJSON *
wait_results(struct bench *bench, cJSON **tree_out)
{
	const cJSON *results;

	RUN_UNTIL(bench->api.base, peer_status(&bench->peer, 0) != 0);
	assert_int_equal(peer_status(&bench->peer, 0), 200);
	*tree_out = cJSON_Parse(strstr(bench->peer.data, "\r\n\r\n"));
	results = cJSON_GetObjectItemCaseSensitive(*tree_out, "results");
	assert_int_equal(cJSON_GetArraySize(results), CALLS);
	return results;
}

static int
number_in(const cJSON *result, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(result, name);

	return cJSON_IsNumber(item) ? item->valueint : 0;
}

/* How many have that status; each of them waits as long as that. */
static unsigned
count_status(const cJSON *results, int status, int least_s, int most_s)
{
	const cJSON *result;
	unsigned count = 0;

	cJSON_ArrayForEach(result, results) {
		const int wait_s = number_in(result, "retryAfter");

		if (number_in(result, "statusCode") != status)
			continue;
		if (wait_s < least_s || wait_s > most_s)
			fail_msg("%d: retryAfter %d", status, wait_s);
		count++;
	}
	return count;
}

/* Between two pages the loop looks after everybody else. */
static void
test_others_have_their_turn(void **state)
{
	struct bench bench;
	unsigned last = 0;
	unsigned stops = 0;
	cJSON *tree;

	(void)state;
	open_bench(&bench, 2000);
	send_list(&bench);
	while (last < CALLS) {
		unsigned now;

		(void)event_base_loop(bench.api.base, EVLOOP_ONCE);
		now = requests(&bench);
		stops += now > last;
		last = now;
	}
	assert_true(stops >= CALLS / 50);
	assert_int_equal(count_status(wait_results(&bench, &tree), 400, 0, 0),
	    CALLS);
	cJSON_Delete(tree);
	close_bench(&bench);
}

/* Beyond the limit, with the time until the hour is over. */
static void
test_rate_limit(void **state)
{
	struct bench bench;
	const cJSON *results;
	cJSON *tree;

	(void)state;
	open_bench(&bench, 990);
	send_list(&bench);
	results = wait_results(&bench, &tree);
	assert_int_equal(count_status(results, 400, 0, 0), 990);
	assert_int_equal(count_status(results, 429, 3000, 3600), 10);
	cJSON_Delete(tree);
	close_bench(&bench);
}

/* A process that leaves soon: the rest is given up, and all is answered. */
static void
test_no_time_left(void **state)
{
	struct bench bench;
	const cJSON *results;
	unsigned begun;
	cJSON *tree;

	(void)state;
	open_bench(&bench, 2000);
	send_list(&bench);
	RUN_UNTIL(bench.api.base, requests(&bench) > 0);
	bench.api.begin_until_ms = clock_boot_ms();
	results = wait_results(&bench, &tree);
	begun = requests(&bench);
	assert_in_range(begun, 1, CALLS - 1);
	assert_int_equal(count_status(results, 400, 0, 0), begun);
	assert_int_equal(count_status(results, 503, 5, 5), CALLS - begun);
	cJSON_Delete(tree);
	close_bench(&bench);
}

/* A process that closes waits for no page's turn. */
static void
test_close(void **state)
{
	struct bench bench;
	unsigned begun;
	cJSON *tree;

	(void)state;
	open_bench(&bench, 2000);
	send_list(&bench);
	RUN_UNTIL(bench.api.base, requests(&bench) > 0);
	bench.api.closing = true;
	turn_flush(bench.api.turn);
	batches_close(&bench.api);
	assert_true(LIST_EMPTY(&bench.api.batches));
	begun = requests(&bench);
	assert_in_range(begun, 1, CALLS - 1);
	assert_int_equal(count_status(wait_results(&bench, &tree), 503, 5, 5),
	    CALLS - begun);
	cJSON_Delete(tree);
	close_bench(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others_have_their_turn),
		cmocka_unit_test(test_rate_limit),
		cmocka_unit_test(test_no_time_left),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
