/*
 * Which trunks a new call is to be tried on, by the key's order and by what
 * the store knows of each: how many calls it has, and whether it rests. Used
 * by whoever makes calls, in the transaction that makes the call.
 */
#ifndef KAP_TRUNK_CHOICE_H
#define KAP_TRUNK_CHOICE_H

#include "call_request.h"
#include "shared/account.h"
#include "shared/store.h"

/*
 * Choose the trunks of a new call. Those that may be dialled now stand first,
 * in the key's order (call_request_dial); behind them, as later attempts, the
 * others, for whether those are free is looked at again when their turn comes.
 *
 * account  of the key; its round_robin goes on by one when a trunk is free.
 *          The caller writes it
 * out      wait_s is set with -KAP_AGAIN: the seconds until one may be free,
 *          for Retry-After
 *
 * Returns 0; -KAP_AGAIN: none is free now (503 TRUNKS_BUSY); -KAP_INVAL: none
 * can be used at all; -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int trunk_choice_dial(struct store_txn *txn,
    const struct call_request *request, const struct api_key *key,
    struct account *account, struct call_request_dial *out);

#endif
