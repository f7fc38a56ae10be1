/*
 * store-spoil: makes of a node's store what a test wants to see refused or
 * survived. Never run on anything but a test's own store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/call.h"
#include "shared/store.h"

#define VALUE_BYTES 1500 /* under what takes pages of its own */
#define RECORDS_MAX 1000000

/* A call of a later version than any: more bytes than are known here. */
static int
put_newer_call(struct store_txn *txn)
{
	struct {
		struct call call;
		char more[64];
	} newer = { .call = { .version = CALL_VERSION + 1 } };

	return store_put(txn, STORE_CALLS, "1700000000.1001", 15, &newer,
	    sizeof(newer));
}

static int
put_other_layout(struct store_txn *txn)
{
	const uint64_t layout = 77;

	return store_put(txn, STORE_META, "layout", 6, &layout,
	    sizeof(layout));
}

static int
change(struct store *store, int (*put)(struct store_txn *))
{
	struct store_txn *txn;
	int rc = store_begin_write(store, &txn);

	if (rc != 0)
		return rc;
	rc = put(txn);
	if (rc == 0)
		return store_commit(&txn);
	store_abort(&txn);
	return rc;
}

static uint32_t filled; /* records put so far */

static int
put_filling(struct store_txn *txn)
{
	static const char value[VALUE_BYTES] = { 0 };
	uint8_t key[12] = "filling";

	store_put_be32(key + 8, filled);
	return store_put(txn, STORE_META, key, sizeof(key), value,
	    sizeof(value));
}

/* Until not one record more goes in. */
static int
fill(struct store *store)
{
	int rc = 0;

	while (rc == 0 && filled < RECORDS_MAX) {
		rc = change(store, put_filling);
		filled++;
	}
	return rc == -KAP_FULL ? 0 : -KAP_STATE;
}

static int
spoil(struct store *store, const char *how)
{
	if (strcmp(how, "newer-call") == 0)
		return change(store, put_newer_call);
	if (strcmp(how, "other-layout") == 0)
		return change(store, put_other_layout);
	if (strcmp(how, "full") == 0)
		return fill(store);
	return -KAP_INVAL;
}

int
main(int argc, char **argv)
{
	struct kap_errmsg msg;
	struct store *store;
	int rc;

	if (argc != 4) {
		(void)fputs("usage: store-spoil DATA_DIR MAP_MB "
		    "newer-call | other-layout | full\n", stderr);
		return 2;
	}
	rc = store_open(&store, argv[1], strtoll(argv[2], NULL, 10),
	    DURABILITY_RELAXED, &msg);
	if (rc != 0) {
		(void)fprintf(stderr, "store-spoil: %s\n", msg.text);
		return 1;
	}
	rc = spoil(store, argv[3]);
	store_close(&store);
	if (rc != 0)
		(void)fprintf(stderr, "store-spoil: %s\n", kap_strerror(rc));
	return rc == 0 ? 0 : 1;
}
