/*
 * The connection's life (down, connecting, up), the statements under way and
 * their deadlines. Knows no table and no SQL but LISTEN. Nothing here waits:
 * one event watches the socket, one is the timer of whatever comes next.
 */
#include "pg.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "clock.h"
#include "pg_dsn.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define CONNECT_TIMEOUT_MS 5000
#define LISTEN_TIMEOUT_MS 10000
#define RESULTS_A_TURN 256

/* A statement under way; they end in the order of their sending. */
struct pg_request {
	STAILQ_ENTRY(pg_request) link;
	int64_t deadline_ms; /* boot clock */
	pg_result_fn *fn;
	void *arg;
	PGresult *result; /* kept until its Sync is answered: only then is
	                     the transaction committed */
};

STAILQ_HEAD(pg_requests, pg_request);

struct pg_channel {
	const char *name;
	pg_notify_fn *fn;
	void *arg;
};

struct pg {
	struct event_base *base;
	struct pg_dsn *dsn;
	char application[64];
	pg_state_fn *on_state;
	void *arg;
	enum pg_state state;
	PGconn *conn;
	struct event *io;    /* NULL while there is no socket */
	short io_what;
	struct event *timer;
	int64_t timer_ms;    /* boot clock: when it fires; 0: not set */
	int64_t backoff_ms;
	bool broken;         /* give the connection up at the next turn */
	bool freeing;
	unsigned under_way;
	struct pg_requests requests;
	unsigned channel_count;
	struct pg_channel channels[PG_LISTEN_MAX];
};

static void drop(struct pg *pg, const char *why, int64_t expired_ms);

static void
set_state(struct pg *pg, enum pg_state state, const char *why)
{
	pg->state = state;
	if (pg->on_state != NULL && !pg->freeing)
		pg->on_state(pg->arg, state, why);
}

static void
set_timer(struct pg *pg, int64_t at_ms)
{
	int64_t wait_ms = at_ms - clock_boot_ms();
	struct timeval tv;

	if (wait_ms < 0)
		wait_ms = 0;
	tv.tv_sec = (time_t)(wait_ms / 1000);
	tv.tv_usec = (suseconds_t)(wait_ms % 1000 * 1000);
	pg->timer_ms = at_ms;
	(void)event_add(pg->timer, &tv);
}

/* Fire at `at_ms`, unless the timer fires before that anyway. */
static void
set_timer_by(struct pg *pg, int64_t at_ms)
{
	if (pg->timer_ms == 0 || at_ms < pg->timer_ms)
		set_timer(pg, at_ms);
}

static void
unwatch(struct pg *pg)
{
	if (pg->io != NULL)
		event_free(pg->io);
	pg->io = NULL;
}

static void on_io(evutil_socket_t fd, short what, void *arg);

/* Watch the socket as it is now; libpq may change it while it connects. */
static int
watch(struct pg *pg, short what)
{
	if (pg->io != NULL && pg->io_what == what)
		return 0;
	unwatch(pg);
	pg->io = event_new(pg->base, PQsocket(pg->conn),
	    (short)(what | EV_PERSIST), on_io, pg);
	pg->io_what = what;
	if (pg->io == NULL || event_add(pg->io, NULL) != 0)
		return -KAP_NOMEM;
	return 0;
}

/* libpq's messages have lines and a line feed; one line is enough. */
static void
first_line(const char *text, struct kap_errmsg *out)
{
	const size_t len = strcspn(text, "\n");

	kap_errmsg_set(out, "%.*s", (int)len, text);
}

static void
drop_conn_error(struct pg *pg)
{
	struct kap_errmsg why;

	first_line(PQerrorMessage(pg->conn), &why);
	drop(pg, why.text[0] != '\0' ? why.text : "connection lost", 0);
}

static void
end_request(struct pg *pg, struct pg_request *request, int rc)
{
	pg->under_way--;
	request->fn(request->arg, rc, request->result);
	PQclear(request->result);
	free(request);
}

/*
 * Give the connection up and plan the next.
 *
 * expired_ms  statements with a deadline up to then end with -KAP_TIMEOUT,
 *             all others with -KAP_GONE
 */
static void
drop(struct pg *pg, const char *why, int64_t expired_ms)
{
	struct pg_requests lost;
	struct pg_request *request;

	STAILQ_INIT(&lost);
	STAILQ_CONCAT(&lost, &pg->requests);
	unwatch(pg);
	PQfinish(pg->conn);
	pg->conn = NULL;
	pg->broken = false;
	set_timer(pg, clock_boot_ms() + pg->backoff_ms);
	pg->backoff_ms *= 2;
	if (pg->backoff_ms > BACKOFF_MAX_MS)
		pg->backoff_ms = BACKOFF_MAX_MS;
	set_state(pg, PG_DOWN, why);
	while ((request = STAILQ_FIRST(&lost)) != NULL) {
		STAILQ_REMOVE_HEAD(&lost, link);
		PQclear(request->result);
		request->result = NULL;
		end_request(pg, request, request->deadline_ms <= expired_ms
		    ? -KAP_TIMEOUT : -KAP_GONE);
	}
}

/* Hand the connection to on_timer, for pg_query never calls back. */
static void
break_later(struct pg *pg)
{
	pg->broken = true;
	set_timer(pg, clock_boot_ms());
}

static void
on_listening(void *arg, int rc, const PGresult *result KAP_UNUSED)
{
	const struct pg_channel *channel = arg;

	/* a refused LISTEN tells nobody; caches still age by themselves */
	if (rc == 0)
		channel->fn(channel->arg, NULL);
}

static int
send_listen(struct pg *pg, struct pg_channel *channel)
{
	char sql[80];
	const struct pg_statement statement = {
		.sql = sql,
		.timeout_ms = LISTEN_TIMEOUT_MS,
	};

	(void)snprintf(sql, sizeof(sql), "LISTEN %s", channel->name);
	return pg_query(pg, &statement, on_listening, channel);
}

static void
enter_up(struct pg *pg)
{
	if (PQsetnonblocking(pg->conn, 1) != 0 ||
	    PQenterPipelineMode(pg->conn) != 1 || watch(pg, EV_READ) != 0) {
		drop(pg, "out of memory", 0);
		return;
	}
	(void)event_del(pg->timer);
	pg->timer_ms = 0;
	pg->state = PG_UP; /* before it is told: LISTEN goes first */
	for (unsigned i = 0; i < pg->channel_count; i++) {
		if (send_listen(pg, &pg->channels[i]) != 0)
			break_later(pg);
	}
	set_state(pg, PG_UP, "");
}

static void
go_on_connecting(struct pg *pg, PostgresPollingStatusType next)
{
	int rc = 0;

	switch (next) {
	case PGRES_POLLING_OK:
		enter_up(pg);
		return;
	case PGRES_POLLING_READING:
		rc = watch(pg, EV_READ);
		break;
	case PGRES_POLLING_WRITING:
		rc = watch(pg, EV_WRITE);
		break;
	case PGRES_POLLING_FAILED:
	case PGRES_POLLING_ACTIVE:
		drop_conn_error(pg);
		return;
	}
	if (rc != 0)
		drop(pg, "out of memory", 0);
}

/* Notices go nowhere: libpq would print them among our log lines. */
static void
on_notice(void *arg KAP_UNUSED, const PGresult *result KAP_UNUSED)
{
}

static void
start_connect(struct pg *pg)
{
	pg->conn = PQconnectStartParams(pg_dsn_keywords(pg->dsn),
	    pg_dsn_values(pg->dsn), 0);
	if (pg->conn == NULL) {
		drop(pg, "out of memory", 0);
		return;
	}
	(void)PQsetNoticeReceiver(pg->conn, on_notice, NULL);
	set_state(pg, PG_CONNECTING, "");
	if (PQstatus(pg->conn) == CONNECTION_BAD) {
		drop_conn_error(pg);
		return;
	}
	set_timer(pg, clock_boot_ms() + CONNECT_TIMEOUT_MS);
	go_on_connecting(pg, PGRES_POLLING_WRITING);
}

static bool
is_refusal(const PGresult *result)
{
	switch (PQresultStatus(result)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
		return false;
	default:
		return true;
	}
}

/* The head's Sync is answered: what it did is committed, or refused. */
static void
finish_head(struct pg *pg)
{
	struct pg_request *request = STAILQ_FIRST(&pg->requests);

	STAILQ_REMOVE_HEAD(&pg->requests, link);
	pg->backoff_ms = BACKOFF_MIN_MS;
	end_request(pg, request, request->result == NULL ||
	        is_refusal(request->result) ? -KAP_PROTO : 0);
}

/* A commit can fail after its statement's result: the later error counts. */
static void
keep_result(struct pg_request *request, PGresult *result)
{
	if (request->result == NULL ||
	    (!is_refusal(request->result) && is_refusal(result))) {
		PQclear(request->result);
		request->result = result;
	} else {
		PQclear(result);
	}
}

static void
tell_notifications(struct pg *pg)
{
	PGnotify *notify;

	while ((notify = PQnotifies(pg->conn)) != NULL) {
		for (unsigned i = 0; i < pg->channel_count; i++) {
			const struct pg_channel *channel = &pg->channels[i];

			if (strcmp(channel->name, notify->relname) == 0)
				channel->fn(channel->arg, notify->extra);
		}
		PQfreemem(notify);
	}
}

/* Take the results that are here, a bounded number in one turn. */
static void
take_results(struct pg *pg)
{
	for (unsigned i = 0; i < RESULTS_A_TURN; i++) {
		struct pg_request *head = STAILQ_FIRST(&pg->requests);
		PGresult *result;

		if (head == NULL || PQisBusy(pg->conn))
			return;
		result = PQgetResult(pg->conn);
		if (result == NULL)
			continue; /* between a result and its Sync */
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			finish_head(pg);
		} else {
			keep_result(head, result);
		}
	}
	event_active(pg->io, EV_READ, 0);
}

static void
flush(struct pg *pg)
{
	const int rc = PQflush(pg->conn);

	if (rc < 0)
		drop_conn_error(pg);
	else if (watch(pg, rc > 0 ? EV_READ | EV_WRITE : EV_READ) != 0)
		drop(pg, "out of memory", 0);
}

static void
read_on(struct pg *pg)
{
	if (PQconsumeInput(pg->conn) != 1) {
		/* what came before the end is still good */
		take_results(pg);
		drop_conn_error(pg);
		return;
	}
	/* last: libpq reads no further than to the first result not taken */
	take_results(pg);
	tell_notifications(pg);
}

static void
on_io(evutil_socket_t fd KAP_UNUSED, short what, void *arg)
{
	struct pg *pg = arg;

	if (pg->state == PG_CONNECTING) {
		/* libpq may close this socket and go on with another */
		unwatch(pg);
		go_on_connecting(pg, PQconnectPoll(pg->conn));
		return;
	}
	if ((what & EV_READ) != 0)
		read_on(pg);
	if (pg->state == PG_UP)
		flush(pg);
}

/* Statements that are overdue end the connection, all others set the timer. */
static void
look_at_deadlines(struct pg *pg)
{
	const int64_t now_ms = clock_boot_ms();
	struct pg_request *request;

	pg->timer_ms = 0;
	STAILQ_FOREACH(request, &pg->requests, link) {
		if (request->deadline_ms <= now_ms) {
			drop(pg, "no answer in time", now_ms);
			return;
		}
		set_timer_by(pg, request->deadline_ms);
	}
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct pg *pg = arg;

	pg->timer_ms = 0;
	switch (pg->state) {
	case PG_DOWN:
		start_connect(pg);
		break;
	case PG_CONNECTING:
		drop(pg, "connecting took too long", 0);
		break;
	case PG_UP:
		if (pg->broken) {
			drop_conn_error(pg);
			break;
		}
		/* after a stop of this process the answer may be here */
		read_on(pg);
		if (pg->state == PG_UP)
			look_at_deadlines(pg);
		break;
	}
}

int
pg_new(struct pg **pg_out, struct event_base *base,
    const struct pg_options *options, struct kap_errmsg *msg)
{
	struct pg *pg = calloc(1, sizeof(*pg));
	int rc;

	if (pg == NULL)
		return -KAP_NOMEM;
	pg->base = base;
	pg->on_state = options->on_state;
	pg->arg = options->arg;
	pg->backoff_ms = BACKOFF_MIN_MS;
	STAILQ_INIT(&pg->requests);
	(void)snprintf(pg->application, sizeof(pg->application), "%s",
	    options->application);
	rc = pg_dsn_parse(&pg->dsn, options->dsn, pg->application, msg);
	if (rc == 0) {
		pg->timer = evtimer_new(base, on_timer, pg);
		rc = pg->timer == NULL ? -KAP_NOMEM : 0;
	}
	if (rc != 0) {
		pg_dsn_free(&pg->dsn);
		free(pg);
		return rc;
	}
	set_timer(pg, clock_boot_ms());
	*pg_out = pg;
	return 0;
}

void
pg_free(struct pg **pg)
{
	struct pg *old = *pg;

	if (old == NULL)
		return;
	old->freeing = true;
	drop(old, "", 0);
	event_free(old->timer);
	pg_dsn_free(&old->dsn);
	free(old);
	*pg = NULL;
}

enum pg_state
pg_state(const struct pg *pg)
{
	return pg->state;
}

static int
send_statement(struct pg *pg, const struct pg_statement *statement)
{
	if (PQsendQueryParams(pg->conn, statement->sql,
	        (int)statement->param_count, NULL, statement->values,
	        statement->lengths, statement->formats, 0) != 1 ||
	    PQpipelineSync(pg->conn) != 1)
		return -KAP_GONE;
	return 0;
}

int
pg_query(struct pg *pg, const struct pg_statement *statement,
    pg_result_fn *fn, void *arg)
{
	struct pg_request *request;
	int rc;

	if (pg->state != PG_UP || pg->broken)
		return -KAP_GONE;
	if (pg->under_way >= PG_QUEUE_MAX)
		return -KAP_AGAIN;
	request = calloc(1, sizeof(*request));
	if (request == NULL)
		return -KAP_NOMEM;
	rc = send_statement(pg, statement);
	if (rc != 0) {
		/* half a message may be out: nothing can follow it */
		free(request);
		break_later(pg);
		return rc;
	}
	request->fn = fn;
	request->arg = arg;
	request->deadline_ms = clock_boot_ms() + statement->timeout_ms;
	STAILQ_INSERT_TAIL(&pg->requests, request, link);
	pg->under_way++;
	set_timer_by(pg, request->deadline_ms);
	/* what didn't fit into the socket goes out when it is writable */
	rc = PQflush(pg->conn);
	if (rc < 0 || watch(pg, rc > 0 ? EV_READ | EV_WRITE : EV_READ) != 0)
		break_later(pg);
	return 0;
}

static bool
is_channel_name(const char *name)
{
	for (const char *c = name; *c != '\0'; c++) {
		if (*c != '_' && (*c < 'a' || *c > 'z'))
			return false;
	}
	return *name != '\0' && strlen(name) < 64;
}

int
pg_listen(struct pg *pg, const char *channel, pg_notify_fn *fn, void *arg)
{
	struct pg_channel *added;

	if (!is_channel_name(channel))
		return -KAP_INVAL;
	if (pg->channel_count == PG_LISTEN_MAX)
		return -KAP_FULL;
	added = &pg->channels[pg->channel_count++];
	*added = (struct pg_channel){ .name = channel, .fn = fn, .arg = arg };
	if (pg->state == PG_UP && send_listen(pg, added) != 0)
		break_later(pg); /* the reconnect listens */
	return 0;
}

const char *
pg_sqlstate(const PGresult *result)
{
	const char *state = result != NULL
	    ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

	return state != NULL ? state : "";
}

void
pg_error_text(const PGresult *result, struct kap_errmsg *out)
{
	first_line(result != NULL ? PQresultErrorMessage(result) : "", out);
}

int64_t
pg_get_int(const PGresult *result, int row, int column, int64_t absent)
{
	if (PQgetisnull(result, row, column))
		return absent;
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

void
pg_get_text(const PGresult *result, int row, int column, char *out,
    size_t size)
{
	(void)snprintf(out, size, "%s", PQgetvalue(result, row, column));
}
