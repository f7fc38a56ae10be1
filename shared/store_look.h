/*
 * Looks at the store for the statistics: live calls by state, the queues'
 * depths and their oldest entries, how full the map is. Every process that
 * has the store open has one of these, and whoever finds that the last look
 * is some seconds old takes the next; so there is no gap while any process
 * lives, and nothing counts twice. Reads in bounded pages, writes nothing but
 * the own statistics row.
 */
#ifndef KAP_STORE_LOOK_H
#define KAP_STORE_LOOK_H

struct event_base;
struct store;
struct store_look;

/*
 * base, store  borrowed, outlive it
 *
 * Returns NULL when out of memory. The first look comes from the loop. Any
 * child, once stats_use_row was called.
 */
struct store_look *store_look_new(struct event_base *base,
    struct store *store);

/* Sets *look NULL. */
void store_look_free(struct store_look **look);

#endif
