/*
 * master/listeners.c: sockets that share an address, and the lock that keeps
 * a second master from it. The ports are the kernel's choice.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/listeners.h"

/* An address whose port was free a moment ago. */
static void
find_address(char *listen_out, size_t size)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len),
	    0);
	(void)close(fd);
	(void)snprintf(listen_out, size, "127.0.0.1:%u",
	    ntohs(address.sin_port));
}

static void
test_slots_share_an_address(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct listen_lock lock = { -1 };
	char listen[32];
	int first;
	int second;

	find_address(listen, sizeof(listen));
	assert_int_equal(listen_lock_take(&lock, listen, &msg), 0);
	assert_int_equal(listener_open(listen, &first, &msg), 0);
	assert_int_equal(listener_open(listen, &second, &msg), 0);
	assert_int_not_equal(first, second);
	(void)close(first);
	(void)close(second);
	listen_lock_release(&lock);
	assert_int_equal(lock.fd, -1);
}

static void
test_second_master(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct listen_lock lock = { -1 };
	struct listen_lock other = { -1 };
	char listen[32];
	char expect[96];

	find_address(listen, sizeof(listen));
	assert_int_equal(listen_lock_take(&lock, listen, &msg), 0);
	assert_int_equal(listen_lock_take(&other, listen, &msg), -KAP_EXISTS);
	(void)snprintf(expect, sizeof(expect),
	    "%s: another master (pid %d) listens there", listen,
	    (int)getpid());
	assert_string_equal(msg.text, expect);
	assert_int_equal(other.fd, -1);
	listen_lock_release(&lock);
	assert_int_equal(listen_lock_take(&other, listen, &msg), 0);
	listen_lock_release(&other);
}

/* Another program's socket, even one that would share, is in the way. */
static void
test_foreign_listener(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct listen_lock lock = { -1 };
	char listen[32];
	int foreign;

	find_address(listen, sizeof(listen));
	assert_int_equal(listener_open(listen, &foreign, &msg), 0);
	assert_int_equal(listen_lock_take(&lock, listen, &msg), -KAP_EXISTS);
	assert_int_equal(lock.fd, -1);
	assert_non_null(strstr(msg.text, listen));
	(void)close(foreign);
	assert_int_equal(listen_lock_take(&lock, listen, &msg), 0);
	listen_lock_release(&lock);
}

static void
test_names_are_not_looked_up(void **state KAP_UNUSED)
{
	static const char *const cases[] = { "localhost:3000", "*:3000",
		"127.0.0.1", "127.0.0.256:3000", "127.1:3000", "[::1:3000" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kap_errmsg msg = { .text = "" };
		struct listen_lock lock = { -1 };
		int fd;

		if (listener_open(cases[i], &fd, &msg) != -KAP_INVAL ||
		    listen_lock_take(&lock, cases[i], &msg) != -KAP_INVAL)
			fail_msg("%s was taken", cases[i]);
		assert_non_null(strstr(msg.text, cases[i]));
		assert_int_equal(lock.fd, -1);
	}
}

static void
test_loopback(void **state KAP_UNUSED)
{
	static const struct {
		const char *listen;
		bool loopback;
	} cases[] = {
		{ "127.0.0.1:1", true }, { "127.9.8.7:1", true },
		{ "[::1]:1", true }, { "0.0.0.0:1", false },
		{ "128.0.0.1:1", false }, { "[::]:1", false },
		{ "192.168.1.1:1", false }, { "nonsense", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(listener_is_loopback(cases[i].listen),
		    cases[i].loopback);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_share_an_address),
		cmocka_unit_test(test_second_master),
		cmocka_unit_test(test_foreign_listener),
		cmocka_unit_test(test_names_are_not_looked_up),
		cmocka_unit_test(test_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
