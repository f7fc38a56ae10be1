/*
 * The WebSocket side of a connection: events out, and REST requests in where
 * the version has that.
 */
#ifndef SIM_WS_H
#define SIM_WS_H

#include <stdbool.h>
#include <stddef.h>

#include "sim_fault.h"
#include "sim_server.h"

/* After the handshake. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int sim_ws_begin(struct sim_conn *conn);
void sim_ws_end(struct sim_conn *conn);

/* Bytes have come, or requests that waited may go on. */
void sim_ws_input(struct sim_conn *conn);

/* One text message. */
void sim_ws_send(struct sim_conn *conn, const char *text, size_t len);

/* An event, with what is to become of its frame. */
void sim_ws_send_event(struct sim_conn *conn, const char *text, size_t len,
    enum sim_fate fate);

#endif
