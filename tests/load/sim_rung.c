/*
 * A ring of entries and a table of them by id; the ring's oldest makes room.
 */
#include "sim_rung.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	char channel[SIM_ID_SIZE];
	char number[SIM_NUMBER_SIZE];
	unsigned count;
};

struct sim_rung {
	struct sim_table by_channel;
	struct entry **ring; /* grows up to `limit` */
	size_t room;
	size_t count;
	size_t limit;
	size_t oldest; /* once the ring is full */
};

struct sim_rung *
sim_rung_new(size_t limit)
{
	struct sim_rung *rung = calloc(1, sizeof(*rung));

	if (rung != NULL)
		rung->limit = limit;
	return rung;
}

void
sim_rung_free(struct sim_rung **rung)
{
	if (*rung == NULL)
		return;
	for (size_t i = 0; i < (*rung)->count; i++)
		free((*rung)->ring[i]);
	free((*rung)->ring);
	sim_table_deinit(&(*rung)->by_channel);
	free(*rung);
	*rung = NULL;
}

static bool
grow(struct sim_rung *rung)
{
	const size_t room = rung->room == 0 ? 1024 : rung->room * 2;
	struct entry **bigger = reallocarray(rung->ring, room,
	    sizeof(*bigger));

	if (bigger == NULL)
		return false;
	rung->ring = bigger;
	rung->room = room;
	return true;
}

/* A free entry: a new one, or the oldest. NULL when out of memory. */
static struct entry *
take_entry(struct sim_rung *rung)
{
	struct entry *entry;

	if (rung->count == rung->limit) {
		entry = rung->ring[rung->oldest];
		rung->oldest = (rung->oldest + 1) % rung->limit;
		(void)sim_table_remove(&rung->by_channel, entry->channel);
		return entry;
	}
	if (rung->count == rung->room && !grow(rung))
		return NULL;
	entry = calloc(1, sizeof(*entry));
	if (entry != NULL)
		rung->ring[rung->count++] = entry;
	return entry;
}

unsigned
sim_rung_count(struct sim_rung *rung, const char *channel, const char *number)
{
	struct entry *entry = sim_table_get(&rung->by_channel, channel);

	if (entry != NULL)
		return ++entry->count;
	entry = take_entry(rung);
	if (entry == NULL)
		return 1;
	(void)snprintf(entry->channel, sizeof(entry->channel), "%s", channel);
	(void)snprintf(entry->number, sizeof(entry->number), "%s", number);
	/* out of memory: it is in the list, and not found again */
	entry->count = sim_table_add(&rung->by_channel, entry->channel,
	    entry) == 0 ? 1 : 0;
	return 1;
}

struct number_count {
	const char *number;
	unsigned count;
};

/* How often each number was called; *counts_out on the heap. */
static size_t
count_numbers(const struct sim_rung *rung, struct number_count **counts_out)
{
	struct number_count *counts = calloc(rung->count + 1, sizeof(*counts));
	struct sim_table numbers = { 0 };
	size_t used = 0;

	for (size_t i = 0; counts != NULL && i < rung->count; i++) {
		const struct entry *entry = rung->ring[i];
		struct number_count *known = sim_table_get(&numbers,
		    entry->number);

		if (known == NULL) {
			known = &counts[used++];
			known->number = entry->number;
			if (sim_table_add(&numbers, known->number, known) != 0)
				break;
		}
		known->count += entry->count;
	}
	sim_table_deinit(&numbers);
	*counts_out = counts;
	return used;
}

static void
add_pair(struct sim_text *out, bool is_first, const char *name,
    unsigned count)
{
	if (!is_first)
		sim_text_add(out, ",");
	sim_text_add_quoted(out, name);
	sim_text_printf(out, ":%u", count);
}

void
sim_rung_render(const struct sim_rung *rung, struct sim_text *out)
{
	struct number_count *counts;
	const size_t numbers = count_numbers(rung, &counts);

	sim_text_add(out, "{\"by_channel\":{");
	for (size_t i = 0; i < rung->count; i++)
		add_pair(out, i == 0, rung->ring[i]->channel,
		    rung->ring[i]->count);
	sim_text_add(out, "},\"by_number\":{");
	for (size_t i = 0; i < numbers; i++)
		add_pair(out, i == 0, counts[i].number, counts[i].count);
	sim_text_add(out, "}}");
	free(counts);
}
