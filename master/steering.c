/*
 * A program of three instructions for the kernel, and two questions to it.
 */
#include "master/steering.h"

#include <limits.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Since Linux 5.3; not in all libcs' headers. */
#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

int
steering_begin(int listen_fd, unsigned count)
{
	/* the number of the socket is a random one modulo `count` */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (count == 0 || setsockopt(listen_fd, SOL_SOCKET,
	    SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) != 0)
		return -KAP_IO;
	return 0;
}

void
steering_end(int listen_fd)
{
	const int ignored = 0;

	/* fails where there is none */
	(void)setsockopt(listen_fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF,
	    &ignored, sizeof(ignored));
}

int
steering_queue_length(int listen_fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	/* of a listener it is the queue: tcp_get_info() in Linux, and ss */
	if (getsockopt(listen_fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return -KAP_IO;
	return info.tcpi_unacked < INT_MAX ? (int)info.tcpi_unacked : INT_MAX;
}
