/*
 * The words for the indexes of a matrix and of a queue: the values of labels,
 * and which of them are shown while they count nothing.
 */
#ifndef KAP_STATS_WORDS_H
#define KAP_STATS_WORDS_H

#include <stdbool.h>

#include "stats_list.h"

/*
 * The word of a row, and of a column. NULL for an index that means nothing to
 * this binary, and for the rows of STATS_originates: those are trunks. "" for
 * the column of a matrix that has none.
 */
const char *stats_row_word(enum stats_matrix matrix, unsigned row);
const char *stats_column_word(enum stats_matrix matrix, unsigned column);

/*
 * Whether a series is shown though it is 0: those that a rule may watch, for
 * a series that appears with its first count shows no increase.
 */
bool stats_is_shown_empty(enum stats_matrix matrix, unsigned row,
    unsigned column);

const char *stats_queue_name(enum stats_queue queue);

/* The row of STATS_events for what means nothing to any call. */
#define STATS_EVENT_IRRELEVANT 63

#endif
