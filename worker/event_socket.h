/*
 * What the event reader asks of its TCP socket: which connection it is, how
 * far its stream has left the kernel, and to discard what was committed.
 * Linux alone answers that. Never blocks.
 */
#ifndef KAP_EVENT_SOCKET_H
#define KAP_EVENT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ari_ws_frame.h"
#include "shared/errors.h"

/*
 * How many bytes of the connection have left the kernel so far, whoever read
 * them (tcpi_bytes_received - SIOCINQ).
 *
 * Returns 0; -KAP_GONE for a connection that isn't established any more (an
 * end of the stream that waits to be read is still that); -KAP_IO.
 */
KAP_MUST_USE int event_socket_position(int fd, uint64_t *position_out);

/* The connection's number, of no other since boot. Returns 0 or -KAP_IO. */
KAP_MUST_USE int event_socket_cookie(int fd, uint64_t *cookie_out);

/*
 * Discard bytes that are there, without copying them.
 *
 * Returns 0; -KAP_IO when they aren't all there.
 */
KAP_MUST_USE int event_socket_consume(int fd, uint64_t bytes);

/* Whether bytes wait to be read. */
bool event_socket_has_bytes(int fd);

/*
 * Send a control frame, in one send or not at all, for half a frame would
 * break the connection.
 *
 * Returns 0; -KAP_AGAIN when there is no room now; -KAP_GONE.
 */
KAP_MUST_USE int event_socket_send_control(int fd,
    enum ari_ws_opcode opcode, const uint8_t *payload, size_t len);

#endif
