/*
 * A real store in a folder of its own, gone after the test.
 */
#ifndef KAP_TEST_STORE_FIXTURE_H
#define KAP_TEST_STORE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/store.h"

struct store_fixture {
	char dir[64];
	struct store *store;
};

static inline void
store_fixture_open_sized(struct store_fixture *fixture, int64_t map_size_mb)
{
	struct kap_errmsg msg = { "" };

	snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/kaphila-test-XXXXXX");
	if (mkdtemp(fixture->dir) == NULL ||
	    store_open(&fixture->store, fixture->dir, map_size_mb,
	        DURABILITY_RELAXED, &msg) != 0) {
		fprintf(stderr, "store fixture: %s\n", msg.text);
		abort();
	}
}

static inline void
store_fixture_open(struct store_fixture *fixture)
{
	store_fixture_open_sized(fixture, 64);
}

static inline void
store_fixture_close(struct store_fixture *fixture)
{
	char path[128];

	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/store/lock.mdb", fixture->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/store", fixture->dir);
	rmdir(path);
	rmdir(fixture->dir);
}

#endif
