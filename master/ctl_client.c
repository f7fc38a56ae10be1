/*
 * A blocking client of the control socket, for kaphilactl alone.
 */
#include "master/ctl_client.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/control.h"
#include "master/run_dir.h"
#include "shared/clock.h"

#define DEADLINE_MS 6000
#define ANSWER_MAX ((size_t)1024 * 1024) /* bytes; 66 children take 40,000 */

static int
link_error(const char *path, struct kap_errmsg *msg)
{
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED:
		kap_errmsg_set(msg, "no master runs (%s: %s); --config FILE or "
		    "KAPHILA_RUN_DIR names another one", path,
		    strerror(errno));
		return -KAP_GONE;
	case EACCES:
	case EPERM:
		kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
		return -KAP_DENIED;
	case EAGAIN:
	case ETIMEDOUT:
		kap_errmsg_set(msg, "the master does not answer (%s)", path);
		return -KAP_TIMEOUT;
	default:
		kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
		return -KAP_IO;
	}
}

/* No one call waits longer than what is left of the deadline. */
static void
set_timeouts(int fd, int64_t left_ms)
{
	const int64_t ms = left_ms > 1 ? left_ms : 1;
	const struct timeval limit = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* Returns a connected descriptor, or negative. */
static int
connect_to(const char *path, struct kap_errmsg *msg)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd;
	int rc;

	if (strlen(path) >= sizeof(name.sun_path)) {
		kap_errmsg_set(msg, "%s is too long for a socket", path);
		return -KAP_TOOBIG;
	}
	memcpy(name.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return link_error(path, msg);
	set_timeouts(fd, DEADLINE_MS);
	if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) != 0) {
		rc = link_error(path, msg);
		(void)close(fd);
		return rc;
	}
	return fd;
}

static int
send_line(int fd, const char *text, const char *path, struct kap_errmsg *msg)
{
	char line[CONTROL_REQUEST_MAX];
	const int len = snprintf(line, sizeof(line), "%s\n", text);

	if (len >= (int)sizeof(line)) {
		kap_errmsg_set(msg, "the request is too long");
		return -KAP_TOOBIG;
	}
	/* an AF_UNIX stream takes a line this short whole, or not at all */
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		return link_error(path, msg);
	return 0;
}

static int
send_request(int fd, const cJSON *request, const char *path,
    struct kap_errmsg *msg)
{
	char *text = cJSON_PrintUnformatted(request);
	int rc;

	if (text == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	rc = send_line(fd, text, path, msg);
	cJSON_free(text);
	return rc;
}

/* Read the answer's line into `text`, without its end. */
static int
read_line(int fd, char *text, const char *path, struct kap_errmsg *msg)
{
	const int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	size_t len = 0;

	while (len < ANSWER_MAX - 1) {
		ssize_t got;

		set_timeouts(fd, end_ms - clock_boot_ms());
		got = recv(fd, text + len, ANSWER_MAX - 1 - len, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return link_error(path, msg);
		if (got == 0)
			break;
		len += (size_t)got;
		if (text[len - 1] == '\n') {
			text[len - 1] = '\0';
			return 0;
		}
	}
	kap_errmsg_set(msg, "the master's answer is cut short");
	return -KAP_PROTO;
}

static int
read_answer(int fd, cJSON **answer_out, const char *path,
    struct kap_errmsg *msg)
{
	char *text = malloc(ANSWER_MAX);
	int rc;

	if (text == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	rc = read_line(fd, text, path, msg);
	if (rc == 0) {
		*answer_out = cJSON_Parse(text);
		if (*answer_out == NULL) {
			kap_errmsg_set(msg, "the master's answer is not JSON");
			rc = -KAP_PROTO;
		}
	}
	free(text);
	return rc;
}

int
ctl_client_ask(const char *run_dir, const cJSON *request, cJSON **answer_out,
    struct kap_errmsg *msg)
{
	char path[PATH_MAX];
	int fd;
	int rc = run_dir_path(run_dir, CONTROL_SOCKET, path, sizeof(path));

	if (rc != 0) {
		kap_errmsg_set(msg, "the run directory's path is too long");
		return rc;
	}
	fd = connect_to(path, msg);
	if (fd < 0)
		return fd;
	rc = send_request(fd, request, path, msg);
	if (rc == 0)
		rc = read_answer(fd, answer_out, path, msg);
	(void)close(fd);
	return rc;
}

cJSON *
ctl_request(const char *command)
{
	cJSON *request = cJSON_CreateObject();

	if (cJSON_AddStringToObject(request, "command", command) != NULL)
		return request;
	cJSON_Delete(request);
	return NULL;
}

int
ctl_exit_code_of(int rc)
{
	return rc == -KAP_GONE ? CTL_NO_MASTER : CTL_FAILED;
}

int
ctl_ask(const struct ctl_context *context, cJSON *request, cJSON **answer_out)
{
	struct kap_errmsg msg;
	cJSON *answer = NULL;
	int rc;

	*answer_out = NULL;
	if (request == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	rc = ctl_client_ask(context->config.node.run_dir, request, &answer,
	    &msg);
	cJSON_Delete(request);
	if (rc != 0) {
		ctl_complain("%s", msg.text);
		return ctl_exit_code_of(rc);
	}
	if (ctl_is_true(answer, "ok")) {
		*answer_out = answer;
		return CTL_OK;
	}
	if (context->json)
		(void)ctl_print_json(answer, false);
	ctl_complain("%s", ctl_text_of(answer, "error",
	    "the master refuses, and doesn't say why"));
	cJSON_Delete(answer);
	return CTL_FAILED;
}

int
ctl_print_json(const cJSON *json, bool one_line)
{
	char *text = one_line ? cJSON_PrintUnformatted(json) :
	    cJSON_Print(json);

	if (text == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	(void)puts(text);
	(void)fflush(stdout);
	cJSON_free(text);
	return CTL_OK;
}

const char *
ctl_text_of(const cJSON *object, const char *name, const char *none)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, name));

	return text != NULL ? text : none;
}

bool
ctl_number_of(const cJSON *object, const char *name, int64_t *number_out)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	*number_out = 0;
	if (!cJSON_IsNumber(item))
		return false;
	*number_out = (int64_t)item->valuedouble;
	return true;
}

bool
ctl_is_true(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}
