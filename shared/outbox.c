/*
 * Keys of STORE_COMMANDS are the call's id, a NUL and the command's number,
 * so a call's commands stand together and in order.
 */
#include "outbox.h"

#include <stdio.h>
#include <string.h>

#include "call_table.h"
#include "clock.h"

#define KEY_MAX (CALL_ID_SIZE + 4)

static size_t
make_key(uint8_t key[KEY_MAX], const char *call_id, uint32_t seq)
{
	const size_t len = strlen(call_id);

	memcpy(key, call_id, len + 1);
	store_put_be32(key + len + 1, seq);
	return len + 1 + 4;
}

/* The call's id in a key; false for a key that isn't ours. */
static bool
split_key(const struct store_value *key, char call_id[CALL_ID_SIZE])
{
	const size_t len = key->len >= 5 ? key->len - 5 : 0;

	if (len == 0 || len >= CALL_ID_SIZE)
		return false;
	memcpy(call_id, key->data, len + 1);
	return call_id[len] == '\0' && strlen(call_id) == len;
}

static void
read_command(const struct store_value *value, struct command *command_out)
{
	const size_t len = value->len < sizeof(*command_out)
	    ? value->len : sizeof(*command_out);

	memset(command_out, 0, sizeof(*command_out));
	memcpy(command_out, value->data, len);
}

static int
put_command(struct store_txn *txn, const char *call_id,
    const struct command *command)
{
	uint8_t key[KEY_MAX];
	const size_t len = make_key(key, call_id, command->seq);

	return store_put(txn, STORE_COMMANDS, key, len, command,
	    sizeof(*command));
}

int
outbox_append(struct store_txn *txn, struct call *call,
    const struct outbox_order *order)
{
	struct command command = {
		.version = COMMAND_VERSION,
		.kind = (uint8_t)order->kind,
		.state = COMMAND_WAITING,
		.attempt = (uint8_t)(order->attempt != 0 ? order->attempt :
		    call->attempt),
		.seq = call->command_seq + 1,
		.queued_ms = clock_wall_ms(),
		.play = order->play,
	};
	const int rc = put_command(txn, call->id, &command);

	if (rc != 0)
		return rc;
	call->command_seq++;
	call->refs++;
	return 0;
}

int
outbox_drop_waiting(struct store_txn *txn, struct call *call)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[KEY_MAX];
	int rc = store_walk(txn, STORE_COMMANDS, from,
	    make_key(from, call->id, 0), &cursor);

	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		char call_id[CALL_ID_SIZE];
		struct command command;

		if (!split_key(&key, call_id) || strcmp(call_id, call->id) != 0)
			break;
		read_command(&value, &command);
		if (command.state != COMMAND_WAITING ||
		    command.kind == CALL_CMD_ORIGINATE)
			continue;
		rc = store_walk_del(cursor);
		if (rc != 0)
			break;
		call->refs--;
	}
	store_walk_end(&cursor);
	return rc == -KAP_NOENT ? 0 : rc;
}

/* The first command of a call, -KAP_NOENT if it has none. */
static int
find_head(struct store_txn *txn, const char *call_id,
    struct command *command_out)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	char found[CALL_ID_SIZE];
	uint8_t from[KEY_MAX];
	int rc = store_walk(txn, STORE_COMMANDS, from,
	    make_key(from, call_id, 0), &cursor);

	if (rc != 0)
		return rc;
	rc = store_walk_next(cursor, &key, &value);
	if (rc == 0) {
		if (split_key(&key, found) && strcmp(found, call_id) == 0)
			read_command(&value, command_out);
		else
			rc = -KAP_NOENT;
	}
	store_walk_end(&cursor);
	return rc;
}

static bool
may_be_said(const struct command *command, const struct call *call)
{
	if (command->state != COMMAND_WAITING)
		return false;
	if (command->kind == CALL_CMD_BRIDGE_ADD ||
	    command->kind == CALL_CMD_BRIDGE_JOIN ||
	    command->kind == CALL_CMD_SNOOP)
		return (call->flags & CALL_F_IN_STASIS) != 0 ||
		    call->state == CALL_ENDED; /* it makes way (change.c) */
	return true;
}

static int
copy_endpoint(struct store_txn *txn, struct outbox_item *item)
{
	struct call_cold cold;
	const unsigned index = item->command.attempt - 1U;
	const int rc = call_cold_get(txn, item->call.id, &cold);

	if (rc != 0)
		return rc;
	if (index >= cold.trunk_count ||
	    strlen(cold.endpoints[index]) >= sizeof(item->endpoint) ||
	    strlen(cold.trunk_names[index]) >= sizeof(item->trunk))
		return -KAP_CORRUPT;
	memcpy(item->endpoint, cold.endpoints[index],
	    strlen(cold.endpoints[index]) + 1);
	memcpy(item->trunk, cold.trunk_names[index],
	    strlen(cold.trunk_names[index]) + 1);
	return 0;
}

/* What a command says beyond the call. */
static int
copy_words(struct store_txn *txn, struct outbox_item *item)
{
	const struct command *command = &item->command;
	struct call_cold cold;
	int rc = 0;

	item->endpoint[0] = '\0';
	item->trunk[0] = '\0';
	item->amd[0] = '\0';
	item->play.media[0] = '\0';
	if (command->kind == CALL_CMD_ORIGINATE)
		return copy_endpoint(txn, item);
	if (command->kind == CALL_CMD_PLAY) {
		rc = call_play_get(txn, item->call.id, &command->play,
		    &item->play);
		return rc == -KAP_NOENT ? 0 : rc;
	}
	if (command->kind != CALL_CMD_SNOOP_SET)
		return 0;
	rc = call_cold_get(txn, item->call.id, &cold);
	if (rc == 0)
		(void)snprintf(item->amd, sizeof(item->amd), "%s", cold.amd);
	return rc;
}

int
outbox_take(struct store_txn *txn, const char *call_id,
    const struct outbox_taker *taker, struct outbox_item *item_out)
{
	struct command *command = &item_out->command;
	int rc = find_head(txn, call_id, command);

	if (rc != 0)
		return rc;
	rc = call_table_get(txn, call_id, &item_out->call);
	if (rc != 0)
		return rc == -KAP_NOENT ? -KAP_CORRUPT : rc;
	if (!may_be_said(command, &item_out->call))
		return -KAP_AGAIN;
	rc = copy_words(txn, item_out);
	if (rc != 0)
		return rc;
	command->state = COMMAND_SENT;
	command->slot = (uint8_t)taker->slot;
	command->generation = taker->generation;
	command->connection = command->kind == CALL_CMD_ORIGINATE ?
	    taker->originate_connection : taker->control_connection;
	command->tries++;
	command->taken_ms = taker->now_ms;
	return put_command(txn, call_id, command);
}

int
outbox_get(struct store_txn *txn, const char *call_id, uint32_t seq,
    struct command *command_out)
{
	uint8_t key[KEY_MAX];
	const size_t len = make_key(key, call_id, seq);

	return store_copy(txn, STORE_COMMANDS, key, len, command_out,
	    sizeof(*command_out));
}

int
outbox_find(struct store_txn *txn, const char *call_id, uint32_t seq)
{
	struct command command;

	return outbox_get(txn, call_id, seq, &command);
}

int
outbox_settle(struct store_txn *txn, const char *call_id, uint32_t seq)
{
	struct command command;
	uint8_t key[KEY_MAX];
	int rc = outbox_get(txn, call_id, seq, &command);

	if (rc != 0)
		return rc;
	rc = store_del(txn, STORE_COMMANDS, key, make_key(key, call_id, seq));
	return rc != 0 ? rc : call_table_unref(txn, call_id);
}

int
outbox_settle_originate(struct store_txn *txn, const char *call_id,
    unsigned attempt)
{
	struct command command;
	const int rc = find_head(txn, call_id, &command);

	if (rc != 0)
		return rc;
	if (command.kind != CALL_CMD_ORIGINATE || command.attempt != attempt)
		return -KAP_NOENT;
	return outbox_settle(txn, call_id, command.seq);
}

int
outbox_settle_play(struct store_txn *txn, const char *call_id,
    const struct call_play_id *play)
{
	struct command command;
	const int rc = find_head(txn, call_id, &command);

	if (rc != 0)
		return rc;
	if (command.kind != CALL_CMD_PLAY || command.play.ms != play->ms)
		return -KAP_NOENT;
	return outbox_settle(txn, call_id, command.seq);
}

int
outbox_release(struct store_txn *txn, const char *call_id, uint32_t seq)
{
	struct command command;
	const int rc = outbox_get(txn, call_id, seq, &command);

	if (rc != 0)
		return rc;
	command.state = COMMAND_WAITING;
	return put_command(txn, call_id, &command);
}

int
outbox_disown(struct store_txn *txn, const char *call_id, uint32_t seq,
    unsigned tries, bool is_through)
{
	struct command command;
	const int rc = outbox_get(txn, call_id, seq, &command);

	if (rc != 0 || command.state != COMMAND_SENT ||
	    command.tries != tries)
		return rc;
	command.generation = 0;
	if (is_through)
		command.connection = 0;
	return put_command(txn, call_id, &command);
}

int
outbox_scan(struct store_txn *txn, const char *after_id,
    struct outbox_head *heads, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[KEY_MAX];
	const char *last = after_id;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_COMMANDS, from,
	    make_key(from, after_id, UINT32_MAX), &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0) {
		struct outbox_head *head = &heads[count];

		if (!split_key(&key, head->call_id) ||
		    strcmp(head->call_id, last) == 0)
			continue;
		read_command(&value, &head->command);
		last = head->call_id;
		count++;
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}
