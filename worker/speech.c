/*
 * Texts on their way to sound files. A text that is asked for is a job; who
 * asks for the same meanwhile waits for the same job. A job goes through the
 * engines in their order, those that failed lately last: a file that is there
 * ends it, else the engine makes one, under a lock that other processes heed.
 *
 *   QUEUED ──▶ LOCKING ──▶ SPEAKING ──▶ over
 *      ▲           └──── next engine ◀────┘
 *
 * A job is over exactly once (finish_job), whatever its state. Nothing in it
 * outlives the process: a lock is freed by the kernel, and a half-written
 * file never has a name that counts.
 */
#include "worker/speech.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "shared/clock.h"
#include "shared/http_client.h"
#include "shared/log.h"
#include "shared/speech_cache.h"
#include "shared/stats.h"
#include "shared/subprocess.h"
#include "worker/speech_check.h"
#include "worker/speech_engine.h"
#include "worker/speech_google_token.h"
#include "worker/speech_text.h"
#include "worker/speech_voice.h"

#define DEFAULT_VOICE "en-US-Neural2-A"
#define JOBS_MAX 256     /* under way and waiting; more are refused */
#define WAITERS_MAX 8192 /* of all jobs */
#define LOCK_POLL_MS 50
#define LONG_TEXT_BYTES 1000
#define REST_MS 10000    /* an engine that failed is tried last so long */
#define FILE_QUIET_MS 10000 /* between two log lines about files */
#define HTTP_CONCURRENCY 512
#define HTTP_PER_HOST 64

enum job_state { JOB_QUEUED, JOB_LOCKING, JOB_SPEAKING };

/* Who asked. */
struct waiter {
	speech_done_fn *done;
	void *arg;
	STAILQ_ENTRY(waiter) link;
};

STAILQ_HEAD(waiter_list, waiter);

struct job {
	struct speech *speech;
	enum job_state state;
	char key[SPEECH_HASH_SIZE]; /* of voice and text */
	struct speech_voice voice;
	char *text; /* clean */
	struct waiter_list waiters;
	/* indexes into speech->engines, in the order of their tries */
	unsigned order[SPEECH_ENGINES_MAX];
	unsigned at; /* in `order` */
	bool failed; /* an engine, for another reason than the text */
	char hash[SPEECH_HASH_SIZE]; /* of this engine's file */
	int lock_fd;                 /* -1: not held */
	bool waited;                 /* for another one's lock on it */
	struct speech_run *run;      /* NULL unless it speaks */
	int64_t begun_us;
	struct event *step_timer;    /* the next look at the lock, or the
	                                engine's time limit */
	struct event *deadline;      /* for all of it, the waiting included */
	TAILQ_ENTRY(job) link;
};

TAILQ_HEAD(job_list, job);

/* An engine and how it did. Times are of the boot clock. */
struct engine_state {
	const struct speech_engine *engine;
	int64_t rests_until_ms; /* 0: it worked the last time */
	int64_t quiet_until_ms; /* its failures are not logged */
};

struct speech {
	struct event_base *base;
	const struct config *config;
	struct speech_tools tools;
	struct engine_state engines[SPEECH_ENGINES_MAX];
	unsigned engine_count;
	char dir[SPEECH_PATH_SIZE];
	char asterisk_dir[SPEECH_PATH_SIZE];
	struct job_list jobs;
	unsigned job_count;
	unsigned running; /* jobs that are not JOB_QUEUED */
	unsigned waiter_count;
	int64_t files_quiet_until_ms; /* their failures are not logged */
	bool starting; /* start_queued() is under way */
	bool closing;
};

static void step(struct job *job);

/* --- jobs ---------------------------------------------------------------- */

static void
free_job(struct job *job)
{
	if (job->step_timer != NULL)
		event_free(job->step_timer);
	if (job->deadline != NULL)
		event_free(job->deadline);
	free(job->text);
	free(job);
}

static struct engine_state *
engine_of(const struct job *job)
{
	return &job->speech->engines[job->order[job->at]];
}

static void
set_timer(struct event *timer, int64_t ms)
{
	const struct timeval wait = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(timer, &wait);
}

/* End what the job has in hand with its engine. */
static void
drop_run(struct job *job)
{
	struct speech_run *run = job->run;

	(void)event_del(job->step_timer);
	job->run = NULL;
	if (run != NULL)
		engine_of(job)->engine->cancel(run);
	speech_cache_unlock(job->speech->dir, job->hash, &job->lock_fd);
}

static void
tell_waiters(struct speech *speech, struct waiter_list *waiters, int rc,
    const char *media)
{
	struct waiter *waiter;

	while ((waiter = STAILQ_FIRST(waiters)) != NULL) {
		const struct waiter told = *waiter;

		STAILQ_REMOVE_HEAD(waiters, link);
		speech->waiter_count--;
		free(waiter);
		told.done(told.arg, rc, media);
	}
}

/* Let the next ones begin; those that end at once make room for more. */
static void
start_queued(struct speech *speech)
{
	struct job *job;

	if (speech->starting || speech->closing)
		return;
	speech->starting = true;
	do {
		TAILQ_FOREACH(job, &speech->jobs, link) {
			if (job->state == JOB_QUEUED)
				break;
		}
		if (job != NULL &&
		    speech->running < speech->config->speech.concurrency)
			step(job);
		else
			job = NULL;
	} while (job != NULL);
	speech->starting = false;
}

/* The only way out. The job is gone before anybody hears of it. */
static void
finish_job(struct job *job, int rc)
{
	struct speech *speech = job->speech;
	struct waiter_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	char media[sizeof("sound://12/") + SPEECH_PATH_SIZE + SPEECH_HASH_SIZE];

	(void)snprintf(media, sizeof(media), "sound:%s/%.2s/%s",
	    speech->asterisk_dir, job->hash, job->hash);
	drop_run(job);
	if (job->state != JOB_QUEUED)
		speech->running--;
	TAILQ_REMOVE(&speech->jobs, job, link);
	speech->job_count--;
	STAILQ_CONCAT(&waiters, &job->waiters);
	free_job(job);
	if (rc != 0)
		stats_add(STATS_speech_unspoken, 1);
	tell_waiters(speech, &waiters, rc, rc == 0 ? media : NULL);
	start_queued(speech);
}

/* --- engines ------------------------------------------------------------- */

/* Those that failed lately come last, else as they are configured. */
static void
order_engines(struct job *job)
{
	const struct speech *speech = job->speech;
	const int64_t now_ms = clock_boot_ms();
	unsigned count = 0;

	for (int resting = 0; resting <= 1; resting++) {
		for (unsigned i = 0; i < speech->engine_count; i++) {
			if ((speech->engines[i].rests_until_ms > now_ms) ==
			    (resting == 1))
				job->order[count++] = i;
		}
	}
	job->at = 0;
}

static void
count_engine(const struct speech_engine *engine, bool made)
{
	static const struct {
		enum stats_counter made;
		enum stats_counter failed;
	} counters[SPEECH_ENGINES_MAX] = {
		{ STATS_speech_google_made, STATS_speech_google_failed },
		{ STATS_speech_gtts_made, STATS_speech_gtts_failed },
		{ STATS_speech_espeak_made, STATS_speech_espeak_failed },
	};
	const unsigned i = speech_engine_index(engine);

	stats_add(made ? counters[i].made : counters[i].failed, 1);
}

static void
try_next(struct job *job)
{
	drop_run(job);
	job->at++;
	step(job);
}

/*
 * On to the next engine. One that only can't speak this text or voice does
 * not rest for it. Either is logged once in a while.
 */
static void
on_engine_failed(struct job *job, int rc, const char *error)
{
	struct engine_state *state = engine_of(job);
	const int64_t now_ms = clock_boot_ms();

	count_engine(state->engine, false);
	if (state->quiet_until_ms <= now_ms) {
		log_warn("an engine failed to speak",
		    LOG_S("engine", state->engine->name),
		    LOG_S("error", error[0] != '\0' ? error :
		        kap_strerror(rc)));
		state->quiet_until_ms = now_ms + REST_MS;
	}
	if (rc != -KAP_INVAL)
		job->failed = true;
	/* a long text that takes its time says nothing of short ones */
	if (rc != -KAP_INVAL && (rc != -KAP_TIMEOUT ||
	    strlen(job->text) <= LONG_TEXT_BYTES))
		state->rests_until_ms = now_ms + REST_MS;
	try_next(job);
}

/* No engine is to blame. */
static void
on_file_failed(struct job *job, int rc)
{
	struct speech *speech = job->speech;
	const int64_t now_ms = clock_boot_ms();

	if (speech->files_quiet_until_ms <= now_ms) {
		log_warn("can't write a spoken text",
		    LOG_S("folder", speech->dir),
		    LOG_S("error", kap_strerror(rc)));
		speech->files_quiet_until_ms = now_ms + FILE_QUIET_MS;
	}
	finish_job(job, rc == -KAP_DENIED ? -KAP_IO : rc);
}

static void
on_engine_done(void *arg, int rc, struct evbuffer *pcm, const char *error)
{
	struct job *job = arg;
	struct engine_state *state = engine_of(job);

	job->run = NULL;
	if (rc == 0 || rc == -KAP_INVAL) /* it works */
		state->rests_until_ms = 0;
	if (rc != 0) {
		on_engine_failed(job, rc, error);
		return;
	}
	rc = speech_cache_put(job->speech->dir, job->hash, pcm);
	if (rc == -KAP_INVAL || rc == -KAP_TOOBIG) {
		on_engine_failed(job, -KAP_INVAL, rc == -KAP_INVAL ?
		    "less than 50 ms of sound" : "too much sound");
		return;
	}
	if (rc != 0) {
		on_file_failed(job, rc);
		return;
	}
	state->quiet_until_ms = 0;
	count_engine(state->engine, true);
	stats_observe(STATS_speech, clock_mono_us() - job->begun_us);
	finish_job(job, 0);
}

/*
 * Its lock is held. Whether it works again after a rest is found out by one
 * job alone: for the others it rests on.
 */
static void
start_engine(struct job *job)
{
	struct engine_state *state = engine_of(job);
	const struct speech_engine *engine = state->engine;
	const int64_t now_ms = clock_boot_ms();
	const struct speech_order order = {
		.voice = &job->voice,
		.text = job->text,
		.done = on_engine_done,
		.arg = job,
	};
	char error[80];
	int rc;

	job->state = JOB_SPEAKING;
	job->begun_us = clock_mono_us();
	rc = engine->start(&job->speech->tools, &order, &job->run);
	if (rc == 0) {
		if (state->rests_until_ms != 0 &&
		    state->rests_until_ms <= now_ms)
			state->rests_until_ms = now_ms + REST_MS;
		set_timer(job->step_timer,
		    job->speech->config->speech.timeout_ms);
		return;
	}
	(void)snprintf(error, sizeof(error), "can't be started: %s",
	    kap_strerror(rc));
	on_engine_failed(job, rc, error);
}

/* --- the way of a job ---------------------------------------------------- */

/*
 * Become the only one who makes it; until then look for what others made. Who
 * had it before and made nothing has found out that the engine doesn't work:
 * it is not tried once more by each who waited, if there is another.
 */
static void
try_lock(struct job *job)
{
	const char *dir = job->speech->dir;
	const int rc = speech_cache_lock(dir, job->hash);

	if (rc >= 0)
		job->lock_fd = rc;
	if (rc == -KAP_AGAIN) {
		job->waited = true;
		set_timer(job->step_timer, LOCK_POLL_MS);
	} else if (rc < 0) {
		on_file_failed(job, rc);
	} else if (speech_cache_hit(dir, job->hash)) {
		finish_job(job, 0);
	} else if (job->waited && job->at + 1 < job->speech->engine_count) {
		job->failed = true; /* of what, its holder knows */
		try_next(job);
	} else {
		start_engine(job);
	}
}

/* Set job->hash for its engine. */
static int
choose_hash(struct job *job)
{
	const struct speech_engine *engine = engine_of(job)->engine;
	char voice[SPEECH_VOICE_SIZE];

	engine->voice(&job->voice, voice);
	return speech_cache_hash(engine->name, voice, job->text, job->hash);
}

/* Look for the present engine's file. Whether the job is over by that. */
static bool
is_made(struct job *job)
{
	if (job->at == job->speech->engine_count) {
		/* with engines that work a retry would end the same */
		finish_job(job, job->failed || job->at == 0 ? -KAP_GONE :
		    -KAP_INVAL);
		return true;
	}
	if (choose_hash(job) != 0) {
		finish_job(job, -KAP_NOMEM);
		return true;
	}
	if (!speech_cache_hit(job->speech->dir, job->hash))
		return false;
	stats_add(STATS_speech_hits, 1);
	finish_job(job, 0);
	return true;
}

/* Go on with the present engine, or wait until there is room to. */
static void
step(struct job *job)
{
	struct speech *speech = job->speech;

	if (job->state == JOB_QUEUED)
		order_engines(job);
	if (is_made(job))
		return;
	if (job->state == JOB_QUEUED) {
		if (speech->running >= speech->config->speech.concurrency) {
			/* only now: what is made already needs no room */
			if (speech->job_count > JOBS_MAX)
				finish_job(job, -KAP_AGAIN);
			return;
		}
		speech->running++;
	}
	job->state = JOB_LOCKING;
	job->waited = false;
	try_lock(job);
}

static void
on_step_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct job *job = arg;

	if (job->state == JOB_SPEAKING)
		on_engine_failed(job, -KAP_TIMEOUT, "no sound in time");
	else if (!is_made(job))
		try_lock(job);
}

static void
on_deadline(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	finish_job(arg, -KAP_TIMEOUT);
}

/* --- requests ------------------------------------------------------------ */

static struct job *
find_job(const struct speech *speech, const char *key)
{
	struct job *job;

	TAILQ_FOREACH(job, &speech->jobs, link) {
		if (strcmp(job->key, key) == 0)
			break;
	}
	return job;
}

/* A job that nobody waits for yet. Takes `text` over, also on failure. */
static struct job *
make_job(struct speech *speech, const char *key,
    const struct speech_voice *voice, char *text)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		free(text);
		return NULL;
	}
	job->speech = speech;
	job->voice = *voice;
	job->text = text;
	job->lock_fd = -1;
	(void)snprintf(job->key, sizeof(job->key), "%s", key);
	STAILQ_INIT(&job->waiters);
	job->step_timer = evtimer_new(speech->base, on_step_timer, job);
	job->deadline = evtimer_new(speech->base, on_deadline, job);
	if (job->step_timer == NULL || job->deadline == NULL) {
		free_job(job);
		return NULL;
	}
	/* each engine may need its time, and before them who has the lock */
	set_timer(job->deadline, speech->config->speech.timeout_ms *
	    (speech->engine_count + 1));
	TAILQ_INSERT_TAIL(&speech->jobs, job, link);
	speech->job_count++;
	return job;
}

static int
add_waiter(struct job *job, speech_done_fn *done, void *arg)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (waiter == NULL)
		return -KAP_NOMEM;
	waiter->done = done;
	waiter->arg = arg;
	STAILQ_INSERT_TAIL(&job->waiters, waiter, link);
	job->speech->waiter_count++;
	return 0;
}

/* Take a checked request in. Takes `text` over. */
static int
take_request(struct speech *speech, const struct speech_voice *voice,
    char *text, speech_done_fn *done, void *arg)
{
	char key[SPEECH_HASH_SIZE];
	struct job *job;
	const bool full = speech->waiter_count >= WAITERS_MAX;
	int rc = speech_cache_hash("", voice->name, text, key);

	job = rc == 0 ? find_job(speech, key) : NULL;
	if (rc != 0 || full || job != NULL) {
		free(text);
		if (rc != 0)
			return rc;
		if (job != NULL && !full) {
			stats_add(STATS_speech_joined, 1);
			return add_waiter(job, done, arg);
		}
		done(arg, -KAP_AGAIN, NULL);
		return 0;
	}
	job = make_job(speech, key, voice, text);
	if (job == NULL)
		return -KAP_NOMEM;
	rc = add_waiter(job, done, arg);
	if (rc != 0) {
		TAILQ_REMOVE(&speech->jobs, job, link);
		speech->job_count--;
		free_job(job);
		return rc;
	}
	step(job);
	return 0;
}

int
speech_request(struct speech *speech, const char *voice_name,
    const char *text, speech_done_fn *done, void *arg)
{
	struct speech_voice voice;
	char *clean;

	if (speech->closing)
		return -KAP_GONE;
	if (voice_name == NULL || voice_name[0] == '\0')
		voice_name = DEFAULT_VOICE;
	if (strlen(text) > SPEECH_TEXT_MAX ||
	    speech_voice_parse(voice_name, &voice) != 0)
		return -KAP_INVAL;
	clean = malloc(strlen(text) + 1);
	if (clean == NULL)
		return -KAP_NOMEM;
	if (speech_text_clean(text, clean) != 0) {
		free(clean);
		return -KAP_INVAL;
	}
	return take_request(speech, &voice, clean, done, arg);
}

/* --- life ---------------------------------------------------------------- */

static void
choose_folders(struct speech *speech)
{
	const char *seen = speech->config->speech.asterisk_dir;

	speech_cache_dir(speech->config, speech->dir);
	(void)snprintf(speech->asterisk_dir, sizeof(speech->asterisk_dir),
	    "%s", seen[0] != '\0' ? seen : speech->dir);
}

struct speech *
speech_new(struct event_base *base, const struct config *config)
{
	static const struct http_client_options options = {
		.concurrency = HTTP_CONCURRENCY,
		.per_host = HTTP_PER_HOST,
		.user_agent = "kaphila/" KAPHILA_VERSION,
	};
	const struct speech_engine *engines[SPEECH_ENGINES_MAX] = { NULL };
	struct speech *speech = calloc(1, sizeof(*speech));

	if (speech == NULL)
		return NULL;
	speech->base = base;
	speech->config = config;
	TAILQ_INIT(&speech->jobs);
	choose_folders(speech);
	speech_check(config);
	speech->engine_count = speech_engines(config, engines);
	for (unsigned i = 0; i < speech->engine_count; i++)
		speech->engines[i].engine = engines[i];
	speech->tools.base = base;
	speech->tools.config = config;
	speech->tools.http = http_client_new(base, &options);
	speech->tools.programs = subprocess_set_new(base);
	if (speech->tools.http != NULL)
		speech->tools.token = speech_google_token_new(
		    config->speech.google_token_file, speech->tools.http);
	if (speech->tools.token == NULL || speech->tools.programs == NULL)
		speech_free(&speech);
	return speech;
}

void
speech_free(struct speech **speech)
{
	struct speech *old = *speech;
	struct job *job;

	*speech = NULL;
	if (old == NULL)
		return;
	old->closing = true;
	while ((job = TAILQ_FIRST(&old->jobs)) != NULL)
		finish_job(job, -KAP_GONE);
	speech_google_token_free(&old->tools.token);
	http_client_free(&old->tools.http);
	subprocess_set_free(&old->tools.programs);
	free(old);
}
