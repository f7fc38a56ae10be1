/*
 * A hash table of texts to pointers, for the simulator's channels, bridges,
 * apps and the like. Owns neither keys nor values: a key lies in its value,
 * and must not change while it is in the table.
 */
#ifndef SIM_TABLE_H
#define SIM_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

struct sim_table_slot {
	uint64_t hash;
	const char *key; /* NULL: free */
	void *value;
};

/* All zero is an empty table. */
struct sim_table {
	struct sim_table_slot *slots;
	size_t room; /* a power of two, or 0 */
	size_t count;
};

void sim_table_deinit(struct sim_table *table);

/* The value, or NULL. */
void *sim_table_get(const struct sim_table *table, const char *key);

/*
 * Add a value under a key that is not there yet.
 *
 * Returns 0, -KAP_EXISTS or -KAP_NOMEM.
 */
KAP_MUST_USE int sim_table_add(struct sim_table *table, const char *key,
    void *value);

/* The value that was taken out, or NULL. */
void *sim_table_remove(struct sim_table *table, const char *key);

/*
 * The next value from *at on, which begins as 0; NULL at the end. The table
 * must not change meanwhile.
 */
void *sim_table_next(const struct sim_table *table, size_t *at);

#endif
