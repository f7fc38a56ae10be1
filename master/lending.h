/*
 * The lending of API listeners: while a worker slot has had no ready worker
 * for a second, a ready neighbour accepts from its listener too, else the
 * connects that the kernel puts into its queue would hang. The same, at once,
 * for a slot that gets no worker any more.
 */
#ifndef KAP_LENDING_H
#define KAP_LENDING_H

#include "master/children.h"

/*
 * Lend and take back what has become due. Called by the watchdog's look; a
 * message that can't be sent now is sent by the next one. Never blocks.
 *
 * now_ms  boot clock
 */
void lending_look(struct children *children, int64_t now_ms);

#endif
