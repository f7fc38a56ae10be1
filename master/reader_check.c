/*
 * Both sides of the reader check: the master's, which only starts and kills,
 * and the helper's, which touches the store's lock file.
 */
#include "master/reader_check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include <event2/event.h>

#include "master/keep_env.h"
#include "master/spawn.h"
#include "shared/config.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "shared/store.h"

#define DEADLINE_S 2
#define EXIT_DAMAGED 3
#define EXIT_CLEARED 16 /* and as many more as there were, */
#define CLEARED_MAX 200 /* …up to these */

static void
on_deadline_passed(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	const struct reader_check *check = arg;

	if (check->pid == 0)
		return;
	log_warn("killing the reader check, which waits for a lock",
	    LOG_I("pid", check->pid));
	(void)kill(check->pid, SIGKILL);
}

int
reader_check_init(struct reader_check *check, struct event_base *base,
    const char *data_dir)
{
	check->data_dir = data_dir;
	check->pid = 0;
	check->damaged = false;
	check->on_deadline = event_new(base, -1, 0, on_deadline_passed, check);
	return check->on_deadline != NULL ? 0 : -KAP_NOMEM;
}

void
reader_check_deinit(struct reader_check *check)
{
	if (check->pid > 0)
		(void)kill(check->pid, SIGKILL);
	if (check->on_deadline != NULL)
		event_free(check->on_deadline);
	check->on_deadline = NULL;
	check->pid = 0;
}

int
reader_check_start(struct reader_check *check)
{
	const struct timeval deadline = { .tv_sec = DEADLINE_S };
	char name[] = "kaphila-master";
	char option[] = READER_CHECK_OPTION;
	char data_dir[CONFIG_TEXT_MAX];
	char *const argv[] = { name, option, data_dir, NULL };
	struct spawn_fds fds;
	int rc;

	if (check->pid != 0)
		return -KAP_AGAIN;
	(void)snprintf(data_dir, sizeof(data_dir), "%s", check->data_dir);
	spawn_fds_init(&fds);
	/* this program, even if its file was replaced meanwhile */
	rc = spawn_program("/proc/self/exe", argv, &fds, &check->pid);
	if (rc == 0)
		(void)event_add(check->on_deadline, &deadline);
	return rc;
}

bool
reader_check_reaped(struct reader_check *check, pid_t pid, int wait_status)
{
	const int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) :
	    -1;

	if (check->pid == 0 || pid != check->pid)
		return false;
	check->pid = 0;
	(void)event_del(check->on_deadline);
	check->failed = status != 0 && status <= EXIT_CLEARED;
	check->damaged = check->damaged || status == EXIT_DAMAGED;
	if (status > EXIT_CLEARED)
		stats_add(STATS_readers_cleared,
		    (uint64_t)(status - EXIT_CLEARED));
	else if (check->failed)
		log_warn("reader check failed",
		    LOG_I("wait_status", wait_status));
	return true;
}

int
reader_check_run(const char *data_dir)
{
	struct kap_errmsg msg;
	int cleared;

	if (keep_env_clear_readers(data_dir, &cleared, &msg) != 0) {
		log_warn("reader check", LOG_S("error", msg.text));
		return 1;
	}
	if (cleared > 0)
		log_info("cleared stale readers", LOG_I("count", cleared));
	/* a file that was cut short ends whoever looks behind its end */
	if (store_check_length(data_dir, &msg) == -KAP_CORRUPT) {
		log_error("the call table can't be used any more",
		    LOG_S("error", msg.text));
		return EXIT_DAMAGED;
	}
	if (cleared > CLEARED_MAX)
		cleared = CLEARED_MAX;
	return cleared > 0 ? EXIT_CLEARED + cleared : 0;
}
