/*
 * The HTTP side of a connection: REST requests, and the WebSocket's
 * handshake, as Asterisk's own server answers them.
 */
#ifndef SIM_HTTP_H
#define SIM_HTTP_H

#include "sim_server.h"

/* Bytes have come, or a request that waited may go on. */
void sim_http_input(struct sim_conn *conn);

#endif
