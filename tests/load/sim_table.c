/*
 * Open addressing with linear probing. What is removed leaves no mark: those
 * that were pushed on by it move back.
 */
#include "sim_table.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 64

/* FNV-1a, and a last mix: the keys of calls differ in their last digits. */
static uint64_t
hash_text(const char *key)
{
	uint64_t hash = 0xcbf29ce484222325U;

	for (; *key != '\0'; key++)
		hash = (hash ^ (unsigned char)*key) * 0x100000001b3U;
	return hash ^ (hash >> 29);
}

/* Where the key is, or would be; the table is never full. */
static size_t
find_slot(const struct sim_table *table, uint64_t hash, const char *key)
{
	size_t at = hash & (table->room - 1);

	while (table->slots[at].key != NULL &&
	    (table->slots[at].hash != hash ||
	        strcmp(table->slots[at].key, key) != 0))
		at = (at + 1) & (table->room - 1);
	return at;
}

static int
grow(struct sim_table *table)
{
	const struct sim_table old = *table;
	const size_t room = old.room == 0 ? ROOM_MIN : old.room * 2;

	table->slots = calloc(room, sizeof(*table->slots));
	if (table->slots == NULL) {
		*table = old;
		return -KAP_NOMEM;
	}
	table->room = room;
	for (size_t i = 0; i < old.room; i++) {
		if (old.slots[i].key != NULL)
			table->slots[find_slot(table, old.slots[i].hash,
			    old.slots[i].key)] = old.slots[i];
	}
	free(old.slots);
	return 0;
}

void
sim_table_deinit(struct sim_table *table)
{
	free(table->slots);
	memset(table, 0, sizeof(*table));
}

void *
sim_table_get(const struct sim_table *table, const char *key)
{
	if (table->count == 0)
		return NULL;
	return table->slots[find_slot(table, hash_text(key), key)].value;
}

int
sim_table_add(struct sim_table *table, const char *key, void *value)
{
	const uint64_t hash = hash_text(key);
	size_t at;

	if ((table->count + 1) * 4 > table->room * 3 && grow(table) != 0)
		return -KAP_NOMEM;
	at = find_slot(table, hash, key);
	if (table->slots[at].key != NULL)
		return -KAP_EXISTS;
	table->slots[at] = (struct sim_table_slot){ hash, key, value };
	table->count++;
	return 0;
}

/* Whether a slot's own place lies outside (hole, at], going round. */
static int
may_move_back(const struct sim_table *table, size_t hole, size_t at)
{
	const size_t home = table->slots[at].hash & (table->room - 1);

	return hole <= at ? home <= hole || home > at :
	    home <= hole && home > at;
}

void *
sim_table_remove(struct sim_table *table, const char *key)
{
	void *value;
	size_t hole;
	size_t at;

	if (table->count == 0)
		return NULL;
	hole = find_slot(table, hash_text(key), key);
	value = table->slots[hole].value;
	if (value == NULL)
		return NULL;
	at = hole;
	for (;;) {
		at = (at + 1) & (table->room - 1);
		if (table->slots[at].key == NULL)
			break;
		if (may_move_back(table, hole, at)) {
			table->slots[hole] = table->slots[at];
			hole = at;
		}
	}
	table->slots[hole] = (struct sim_table_slot){ 0, NULL, NULL };
	table->count--;
	return value;
}

void *
sim_table_next(const struct sim_table *table, size_t *at)
{
	while (*at < table->room) {
		void *value = table->slots[(*at)++].value;

		if (value != NULL)
			return value;
	}
	return NULL;
}
