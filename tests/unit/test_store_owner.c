/*
 * master/store_owner.c: a store is one node's; what can't be understood is
 * refused, what isn't there yet is noted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/store_owner.h"

#define NODE 7

static char data_dir[] = "/tmp/kaphila-owner-XXXXXX";
static char file[128];

static int
make_folder(void **state KAP_UNUSED)
{
	char store[96];

	if (mkdtemp(data_dir) == NULL)
		return -1;
	(void)snprintf(store, sizeof(store), "%s/store", data_dir);
	(void)snprintf(file, sizeof(file), "%s/node.id", store);
	return mkdir(store, 0700);
}

static int
remove_folder(void **state KAP_UNUSED)
{
	char store[96];

	(void)snprintf(store, sizeof(store), "%s/store", data_dir);
	(void)unlink(file);
	(void)rmdir(file);
	return rmdir(store) == 0 && rmdir(data_dir) == 0 ? 0 : -1;
}

static void
put(const char *text)
{
	FILE *out = fopen(file, "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void
test_first_node_is_noted(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };

	(void)unlink(file);
	assert_int_equal(store_owner_claim(data_dir, NODE, &msg), 0);
	assert_int_equal(access(file, F_OK), 0);
	assert_int_equal(store_owner_claim(data_dir, NODE, &msg), 0);
	assert_int_equal(store_owner_claim(data_dir, 8, &msg), -KAP_EXISTS);
	assert_non_null(strstr(msg.text, "node.id is 8"));
	assert_non_null(strstr(msg.text, "node 7's"));
	/* the refused one has changed nothing */
	assert_int_equal(store_owner_claim(data_dir, NODE, &msg), 0);
}

static void
test_what_the_file_says(void **state KAP_UNUSED)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{ "7\n", 0 },
		{ "70\n", -KAP_EXISTS },
		{ "-7\n", -KAP_EXISTS },
		{ "7", -KAP_CORRUPT },
		{ "7\n7\n", -KAP_CORRUPT },
		{ "7 \n", -KAP_CORRUPT },
		{ "", -KAP_CORRUPT },
		{ "\n", -KAP_CORRUPT },
		{ "seven\n", -KAP_CORRUPT },
		{ "7777777777777777777777777777777\n", -KAP_CORRUPT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kap_errmsg msg = { .text = "" };

		put(cases[i].text);
		assert_int_equal(store_owner_claim(data_dir, NODE, &msg),
		    cases[i].rc);
		assert_int_equal(msg.text[0] == '\0', cases[i].rc == 0);
	}
}

static void
test_no_file_at_all(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };

	(void)unlink(file);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(store_owner_claim(data_dir, NODE, &msg), -KAP_IO);
	assert_non_null(strstr(msg.text, file));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_node_is_noted),
		cmocka_unit_test(test_what_the_file_says),
		cmocka_unit_test(test_no_file_at_all),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
