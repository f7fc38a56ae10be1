/*
 * Reads STORE_TIMERS: be64 deadline, timer, call id → slot. Written by
 * call_table.c alone.
 */
#include "call_timers.h"

#include <string.h>

#include "stats.h"

#define LOOK_AHEAD_MAX 64 /* others' future timers that are passed over */

/*
 * Take a key apart; false if it isn't of the form, or a newer program's timer
 * that this one can't fire.
 */
static bool
read_timer(const struct store_value *key, const struct store_value *value,
    struct call_due *due_out)
{
	const uint8_t *bytes = key->data;

	if (key->len < 10 || key->len - 9 >= CALL_ID_SIZE ||
	    bytes[8] >= CALL_TIMER_COUNT)
		return false;
	due_out->deadline_ms = (int64_t)store_get_be64(bytes);
	due_out->timer = (enum call_timer)bytes[8];
	due_out->slot = value->len > 0 ? *(const uint8_t *)value->data : 0;
	memcpy(due_out->call_id, bytes + 9, key->len - 9);
	due_out->call_id[key->len - 9] = '\0';
	return true;
}

/* Its own, or of a slot that is no more and now its to look after. */
static bool
is_own(const struct call_due *due, unsigned slot)
{
	return due->slot == slot || stats_slot_owner(due->slot) == slot;
}

/* Another's to fire, or nobody's for now. */
static bool
is_passed_over(const struct call_due *due, bool own, int64_t now_ms,
    const struct call_timers_holder *holder)
{
	if (!own && due->timer == CALL_TIMER_TRUNK)
		return true;
	return due->deadline_ms <= now_ms && holder != NULL &&
	    holder->is_held(holder->ctx, due);
}

int
call_timers_due(struct store_txn *txn, unsigned slot, int64_t now_ms,
    const struct call_timers_holder *holder, struct call_due *due,
    unsigned max, int64_t *next_out)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	unsigned ahead = 0;
	int rc = store_walk(txn, STORE_TIMERS, NULL, 0, &cursor);

	*next_out = 0;
	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		struct call_due found;
		int64_t look_ms;
		bool own;

		if (!read_timer(&key, &value, &found))
			continue;
		own = is_own(&found, slot);
		if (is_passed_over(&found, own, now_ms, holder))
			continue;
		look_ms = own ? found.deadline_ms :
		    found.deadline_ms + CALL_TIMERS_OVERDUE_MS;
		if (look_ms <= now_ms && count < max) {
			due[count++] = found;
			continue;
		}
		/* own ones behind it are no earlier than this row */
		if (++ahead == LOOK_AHEAD_MAX)
			look_ms = found.deadline_ms;
		if (*next_out == 0 || look_ms < *next_out)
			*next_out = look_ms;
		if (own || ahead == LOOK_AHEAD_MAX)
			break;
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
call_timers_forget(struct store_txn *txn, const struct call_due *due)
{
	const size_t len = strlen(due->call_id);
	uint8_t key[9 + CALL_ID_SIZE];

	store_put_be64(key, (uint64_t)due->deadline_ms);
	key[8] = (uint8_t)due->timer;
	memcpy(key + 9, due->call_id, len);
	return store_del(txn, STORE_TIMERS, key, 9 + len);
}
