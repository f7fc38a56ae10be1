/*
 * The values of a table as a JSON list.
 */
#ifndef SIM_LIST_H
#define SIM_LIST_H

#include "sim.h"

typedef void sim_list_render(const struct sim *sim, const void *value,
    struct sim_text *out);

/* "[…,…]", in the table's order. */
void sim_list_add(const struct sim *sim, const struct sim_table *table,
    sim_list_render *render, struct sim_text *out);

#endif
