/*
 * Calls with events in the webhook queue, without the machine that makes
 * them: ended calls that nothing but their events keeps in the store.
 */
#ifndef KAP_WEBHOOK_FIXTURE_H
#define KAP_WEBHOOK_FIXTURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/call_cold.h"
#include "shared/call_table.h"
#include "shared/store.h"
#include "shared/webhook_queue.h"

#define WEBHOOK_FIXTURE_AT_MS 1771323731233LL /* 2026-02-17T10:22:11.233Z */

/* A store in a scratch folder of a test's own. */
struct webhook_store {
	char dir[64];
	struct store *store;
};

static inline void
webhook_store_reopen(struct webhook_store *scratch)
{
	struct kap_errmsg msg = { "" };

	if (store_open(&scratch->store, scratch->dir, 256, DURABILITY_RELAXED,
	        &msg) != 0) {
		(void)fprintf(stderr, "webhook_store: %s\n", msg.text);
		abort();
	}
}

static inline void
webhook_store_open(struct webhook_store *scratch)
{
	(void)snprintf(scratch->dir, sizeof(scratch->dir),
	    "/tmp/kaphila-webhooks-XXXXXX");
	if (mkdtemp(scratch->dir) == NULL)
		abort();
	webhook_store_reopen(scratch);
}

static inline void
webhook_store_close(struct webhook_store *scratch)
{
	static const char *const parts[] = { "/store/data.mdb",
		"/store/lock.mdb" };
	char path[128];

	store_close(&scratch->store);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", scratch->dir,
		    parts[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/store", scratch->dir);
	(void)rmdir(path);
	(void)rmdir(scratch->dir);
}

/* "1720012345.<number>" */
static inline void
webhook_fixture_id(unsigned number, char out[CALL_ID_SIZE])
{
	(void)snprintf(out, CALL_ID_SIZE, "1720012345.%u", number);
}

static inline struct call
webhook_fixture_call(unsigned number)
{
	struct call call = {
		.version = CALL_VERSION,
		.state = CALL_ENDED,
		.status = CALL_STATUS_COMPLETED,
		.end_reason = CALL_END_NORMAL_HANGUP,
		.attempt = 1,
		.trunk_count = 2,
		.flags = CALL_F_WAS_ANSWERED | CALL_F_RECORDED,
		.key_id = 7,
		.hangup_cause = 16,
		.ring_timeout_s = 30,
		.created_ms = WEBHOOK_FIXTURE_AT_MS - 50000,
		.answered_ms = WEBHOOK_FIXTURE_AT_MS - 42100,
		.ended_ms = WEBHOOK_FIXTURE_AT_MS,
		.recording_ms = 1739781234567LL,
		.number = "14155550100",
		.caller_id = "19172452367",
	};

	webhook_fixture_id(number, call.id);
	return call;
}

static inline struct call_cold
webhook_fixture_cold(const char *url)
{
	return (struct call_cold){
		.webhook_url = url,
		.metadata = "",
		.voice = "en-US-Neural2-A",
		.trunk_count = 2,
		.trunk_names = { "carrier", "second" },
		.endpoints = { "PJSIP/0014155550100@carrier",
			"PJSIP/0014155550100@second" },
	};
}

static inline void
webhook_fixture_must(int rc)
{
	if (rc != 0) {
		(void)fprintf(stderr, "webhook_fixture: %s\n",
		    kap_strerror(rc));
		abort();
	}
}

/*
 * Append the events 1..count of a call that has none yet, each of another
 * kind; those that tell more than the call have the text "text <sequence>".
 */
static inline void
webhook_fixture_add_in(struct store_txn *txn, unsigned number,
    const char *url, unsigned count)
{
	const struct call_cold cold = webhook_fixture_cold(url);
	struct call call = webhook_fixture_call(number);

	call.refs = count;
	call.sequence = count;
	webhook_fixture_must(store_put(txn, STORE_CALLS, call.id,
	    strlen(call.id), &call, sizeof(call)));
	webhook_fixture_must(call_cold_put(txn, call.id, &cold));
	for (unsigned i = 1; i <= count; i++) {
		struct webhook_event event = {
			.kind = (uint8_t)((i - 1) % CALL_EV_COUNT),
			.at_ms = WEBHOOK_FIXTURE_AT_MS,
			.call = call,
		};
		struct call_event_detail detail = { .version =
			CALL_EVENT_DETAIL_VERSION };

		(void)snprintf(detail.text, sizeof(detail.text), "text %u", i);
		event.call.sequence = i;
		webhook_fixture_must(webhook_queue_append(txn, &event,
		    event.kind >= CALL_EV_REROUTED ? &detail : NULL));
	}
}

static inline void
webhook_fixture_add(struct store *store, unsigned number, const char *url,
    unsigned count)
{
	struct store_txn *txn;

	webhook_fixture_must(store_begin_write(store, &txn));
	webhook_fixture_add_in(txn, number, url, count);
	webhook_fixture_must(store_commit(&txn));
}

static inline uint64_t
webhook_fixture_count(struct store *store, enum store_table table)
{
	struct store_txn *txn;
	uint64_t count = 0;

	webhook_fixture_must(store_begin_read(store, &txn));
	webhook_fixture_must(store_count(txn, table, &count));
	store_end_read(&txn);
	return count;
}

/* Records of the tables that a delivered event leaves empty. */
static inline uint64_t
webhook_fixture_left(struct store *store)
{
	return webhook_fixture_count(store, STORE_WEBHOOKS) +
	    webhook_fixture_count(store, STORE_WEBHOOK_RETRY) +
	    webhook_fixture_count(store, STORE_WEBHOOK_DETAILS) +
	    webhook_fixture_count(store, STORE_CALLS) +
	    webhook_fixture_count(store, STORE_CALL_COLD);
}

#endif
