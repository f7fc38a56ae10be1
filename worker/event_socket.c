/*
 * The kernel's side of the event stream. Holds no state of its own; neither
 * opens nor closes a socket, and copies no byte out of it.
 */
#include "event_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <event2/util.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#define POSITION_TRIES 10000

/* The kernel's numbers of the states in struct tcp_info. */
enum { TCP_STATE_ESTABLISHED = 1, TCP_STATE_CLOSE_WAIT = 8 };

/* Bytes may come in between the questions: ask until nothing changed. */
int
event_socket_position(int fd, uint64_t *position_out)
{
	struct tcp_info info;
	uint64_t received = UINT64_MAX;
	bool stable = false;
	int waiting = 0;

	for (int i = 0; i < POSITION_TRIES && !stable; i++) {
		socklen_t len = sizeof(info);

		memset(&info, 0, sizeof(info));
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
			return -KAP_IO;
		stable = info.tcpi_bytes_received == received;
		received = info.tcpi_bytes_received;
		if (!stable && ioctl(fd, SIOCINQ, &waiting) != 0)
			return -KAP_IO;
	}
	if (!stable)
		return -KAP_IO;
	/* the kernel counts the end of the stream as a byte received */
	if (info.tcpi_state == TCP_STATE_CLOSE_WAIT)
		received--;
	else if (info.tcpi_state != TCP_STATE_ESTABLISHED)
		return -KAP_GONE;
	*position_out = received - (uint64_t)waiting;
	return 0;
}

int
event_socket_cookie(int fd, uint64_t *cookie_out)
{
	socklen_t len = sizeof(*cookie_out);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie_out, &len) != 0)
		return -KAP_IO;
	return 0;
}

int
event_socket_consume(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		const size_t want = bytes < (1U << 30) ? (size_t)bytes :
		    1U << 30;
		const ssize_t n = recv(fd, NULL, want,
		    MSG_TRUNC | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -KAP_IO;
		bytes -= (uint64_t)n;
	}
	return 0;
}

bool
event_socket_has_bytes(int fd)
{
	int waiting = 0;

	return ioctl(fd, SIOCINQ, &waiting) == 0 && waiting > 0;
}

int
event_socket_send_control(int fd, enum ari_ws_opcode opcode,
    const uint8_t *payload, size_t len)
{
	uint8_t frame[ARI_WS_CONTROL_OUT_MAX];
	uint8_t mask[4];
	size_t size;
	ssize_t sent;

	evutil_secure_rng_get_bytes(mask, sizeof(mask));
	size = ari_ws_frame_control(frame, opcode, payload, len, mask);
	do {
		sent = send(fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent == (ssize_t)size)
		return 0;
	return sent < 0 && errno == EAGAIN ? -KAP_AGAIN : -KAP_GONE;
}
