/*
 * Goes through a table; what a value looks like is its module's business.
 */
#include "sim_list.h"

void
sim_list_add(const struct sim *sim, const struct sim_table *table,
    sim_list_render *render, struct sim_text *out)
{
	const char *comma = "";
	const void *value;
	size_t at = 0;

	sim_text_add(out, "[");
	while ((value = sim_table_next(table, &at)) != NULL) {
		sim_text_add(out, comma);
		render(sim, value, out);
		comma = ",";
	}
	sim_text_add(out, "]");
}
