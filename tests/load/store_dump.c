/*
 * store-dump: what lies in a node's store, as one JSON object on standard
 * output. For tests that must see that nothing is left: how many records each
 * table has, the keys' accounts, and the first of the calls, commands and
 * trunks that are there. It reads only, and may run beside a kaphila that runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "shared/account.h"
#include "shared/call_table.h"
#include "shared/outbox.h"
#include "shared/store.h"
#include "shared/trunk_state.h"

#define SHOWN_MAX 64 /* of calls, of commands, of trunks */

static void
add_count(cJSON *to, struct store_txn *txn, enum store_table table)
{
	uint64_t count;

	if (store_count(txn, table, &count) != 0)
		return;
	(void)cJSON_AddNumberToObject(to, store_table_name(table),
	    (double)count);
}

static void
add_account(cJSON *to, uint32_t key_id, const struct account *account)
{
	cJSON *object = cJSON_CreateObject();

	(void)cJSON_AddNumberToObject(object, "key", key_id);
	(void)cJSON_AddNumberToObject(object, "holds", account->holds);
	(void)cJSON_AddNumberToObject(object, "live", account->live);
	(void)cJSON_AddNumberToObject(object, "charges",
	    (double)account->charges);
	(void)cJSON_AddNumberToObject(object, "calls", (double)account->calls);
	(void)cJSON_AddItemToArray(to, object);
}

static int
add_accounts(cJSON *to, struct store_txn *txn)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	int rc = store_walk(txn, STORE_ACCOUNTS, NULL, 0, &cursor);

	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		const uint32_t key_id = store_get_be32(key.data);
		struct account account;

		if (account_get(txn, key_id, &account) == 0)
			add_account(to, key_id, &account);
	}
	store_walk_end(&cursor);
	return rc == -KAP_NOENT ? 0 : rc;
}

static int
add_calls(cJSON *to, struct store_txn *txn)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	int rc = store_walk(txn, STORE_CALLS, NULL, 0, &cursor);

	if (rc != 0)
		return rc;
	for (int i = 0; i < SHOWN_MAX; i++) {
		struct call call;
		cJSON *object;

		rc = store_walk_next(cursor, &key, &value);
		if (rc == 0)
			rc = store_copy(txn, STORE_CALLS, key.data, key.len,
			    &call, sizeof(call));
		if (rc != 0)
			break;
		object = cJSON_CreateObject();
		(void)cJSON_AddStringToObject(object, "call", call.id);
		(void)cJSON_AddStringToObject(object, "state",
		    call_state_name((enum call_state)call.state));
		(void)cJSON_AddNumberToObject(object, "refs", call.refs);
		(void)cJSON_AddNumberToObject(object, "flags", call.flags);
		(void)cJSON_AddNumberToObject(object, "slot", call.slot);
		(void)cJSON_AddItemToArray(to, object);
	}
	store_walk_end(&cursor);
	return rc == -KAP_NOENT ? 0 : rc;
}

static int
add_commands(cJSON *to, struct store_txn *txn)
{
	struct outbox_head heads[SHOWN_MAX];
	const int count = outbox_scan(txn, "", heads, SHOWN_MAX);

	for (int i = 0; i < count; i++) {
		const struct command *command = &heads[i].command;
		cJSON *object = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(object, "call",
		    heads[i].call_id);
		(void)cJSON_AddStringToObject(object, "command",
		    call_command_name((enum call_command_kind)command->kind));
		(void)cJSON_AddBoolToObject(object, "sent",
		    command->state == COMMAND_SENT);
		(void)cJSON_AddNumberToObject(object, "slot", command->slot);
		(void)cJSON_AddNumberToObject(object, "tries",
		    command->tries);
		(void)cJSON_AddItemToArray(to, object);
	}
	return count < 0 ? count : 0;
}

/* The first of the trunks: what lives on them, and whether they rest. */
static int
add_trunks(cJSON *to, struct store_txn *txn)
{
	struct trunk_row rows[SHOWN_MAX];
	const int count = trunk_state_list(txn, "", rows, SHOWN_MAX);

	for (int i = 0; i < count; i++) {
		const struct trunk_state *state = &rows[i].state;
		cJSON *object = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(object, "trunk", rows[i].name);
		(void)cJSON_AddStringToObject(object, "circuit",
		    trunk_circuit_name((enum trunk_circuit)state->circuit));
		(void)cJSON_AddNumberToObject(object, "live", state->live);
		(void)cJSON_AddNumberToObject(object, "dialled",
		    (double)state->dialled);
		(void)cJSON_AddNumberToObject(object, "failed",
		    (double)state->failed);
		(void)cJSON_AddItemToArray(to, object);
	}
	return count < 0 ? count : 0;
}

static int
add_all(cJSON *to, struct store_txn *txn)
{
	cJSON *tables = cJSON_AddObjectToObject(to, "tables");
	int rc;

	for (int i = 0; i < STORE_TABLE_COUNT; i++)
		add_count(tables, txn, (enum store_table)i);
	rc = add_accounts(cJSON_AddArrayToObject(to, "accounts"), txn);
	if (rc == 0)
		rc = add_calls(cJSON_AddArrayToObject(to, "calls"), txn);
	if (rc == 0)
		rc = add_commands(cJSON_AddArrayToObject(to, "commands"),
		    txn);
	if (rc == 0)
		rc = add_trunks(cJSON_AddArrayToObject(to, "trunks"), txn);
	return rc;
}

static int
dump(struct store *store)
{
	struct store_txn *txn;
	cJSON *tree;
	char *text;
	int rc = store_begin_read(store, &txn);

	if (rc != 0)
		return rc;
	tree = cJSON_CreateObject();
	rc = add_all(tree, txn);
	store_end_read(&txn);
	text = cJSON_PrintUnformatted(tree);
	if (rc == 0 && text != NULL)
		(void)puts(text);
	cJSON_free(text);
	cJSON_Delete(tree);
	return rc;
}

int
main(int argc, char **argv)
{
	char path[CONFIG_TEXT_MAX + 16];
	struct kap_errmsg msg;
	struct store *store;
	struct stat st;
	int rc;

	if (argc != 2) {
		(void)fputs("usage: store-dump DATA_DIR\n", stderr);
		return 2;
	}
	/* it would be made, else */
	(void)snprintf(path, sizeof(path), "%s/store/data.mdb", argv[1]);
	if (stat(path, &st) != 0) {
		(void)fprintf(stderr, "store-dump: no %s\n", path);
		return 1;
	}
	/* 0: the map is as large as the file says */
	rc = store_open(&store, argv[1], 0, DURABILITY_NORMAL, &msg);
	if (rc != 0) {
		(void)fprintf(stderr, "store-dump: %s\n", msg.text);
		return 1;
	}
	rc = dump(store);
	store_close(&store);
	if (rc != 0)
		(void)fprintf(stderr, "store-dump: %s\n", kap_strerror(rc));
	return rc == 0 ? 0 : 1;
}
