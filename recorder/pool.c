/*
 * Threads with a list of work before them and a list of results behind. The
 * loop hears of results by an eventfd. Knows nothing of what the work is.
 */
#include "recorder/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

struct task_list {
	struct pool_task *first;
	struct pool_task **last;
};

struct pool {
	pthread_mutex_t lock; /* guards the three below */
	struct task_list todo;
	struct task_list finished;
	bool stopping;

	pthread_cond_t todo_grew;
	int finished_fd; /* eventfd: finished grew */
	struct event *on_finished;
	unsigned thread_count;
	pthread_t threads[POOL_THREADS_MAX];
};

static void
list_init(struct task_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void
list_append(struct task_list *list, struct pool_task *task)
{
	task->next = NULL;
	*list->last = task;
	list->last = &task->next;
}

static struct pool_task *
list_take_first(struct task_list *list)
{
	struct pool_task *task = list->first;

	if (task == NULL)
		return NULL;
	list->first = task->next;
	if (list->first == NULL)
		list->last = &list->first;
	return task;
}

static void
tell_loop(const struct pool *pool)
{
	const uint64_t one = 1;
	const ssize_t written = write(pool->finished_fd, &one, sizeof(one));

	(void)written; /* a counter that is full wakes the loop as well */
}

static void *
run_thread(void *arg)
{
	struct pool *pool = arg;

	(void)pthread_mutex_lock(&pool->lock);
	while (!pool->stopping) {
		struct pool_task *task = list_take_first(&pool->todo);

		if (task == NULL) {
			(void)pthread_cond_wait(&pool->todo_grew, &pool->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&pool->lock);
		task->work(task->arg);
		(void)pthread_mutex_lock(&pool->lock);
		list_append(&pool->finished, task);
		tell_loop(pool);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void
on_finished_readable(evutil_socket_t fd, short what KAP_UNUSED, void *arg)
{
	struct pool *pool = arg;
	struct pool_task *task;
	uint64_t count;
	const ssize_t got = read(fd, &count, sizeof(count));

	(void)got; /* reset before the look: a result during it isn't lost */
	(void)pthread_mutex_lock(&pool->lock);
	task = pool->finished.first;
	list_init(&pool->finished);
	(void)pthread_mutex_unlock(&pool->lock);
	while (task != NULL) {
		struct pool_task *next = task->next;

		task->done(task->arg);
		task = next;
	}
}

static int
start_threads(struct pool *pool, unsigned threads)
{
	sigset_t all;
	sigset_t before;
	int rc = 0;

	/* signals are the loop's: a thread inherits what is blocked here */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (rc == 0 && pool->thread_count < threads) {
		rc = pthread_create(&pool->threads[pool->thread_count], NULL,
		    run_thread, pool);
		if (rc == 0)
			pool->thread_count++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0 ? 0 : -KAP_NOMEM;
}

struct pool *
pool_new(struct event_base *base, unsigned threads)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	list_init(&pool->todo);
	list_init(&pool->finished);
	(void)pthread_mutex_init(&pool->lock, NULL);
	(void)pthread_cond_init(&pool->todo_grew, NULL);
	pool->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->finished_fd >= 0)
		pool->on_finished = event_new(base, pool->finished_fd,
		    EV_READ | EV_PERSIST, on_finished_readable, pool);
	if (pool->on_finished == NULL ||
	    event_add(pool->on_finished, NULL) != 0 ||
	    start_threads(pool, threads < POOL_THREADS_MAX
	        ? threads : POOL_THREADS_MAX) != 0)
		pool_free(&pool);
	return pool;
}

void
pool_free(struct pool **pool)
{
	struct pool *old = *pool;

	if (old == NULL)
		return;
	(void)pthread_mutex_lock(&old->lock);
	old->stopping = true;
	(void)pthread_cond_broadcast(&old->todo_grew);
	(void)pthread_mutex_unlock(&old->lock);
	for (unsigned i = 0; i < old->thread_count; i++)
		(void)pthread_join(old->threads[i], NULL);
	if (old->on_finished != NULL)
		event_free(old->on_finished);
	if (old->finished_fd >= 0)
		(void)close(old->finished_fd);
	(void)pthread_cond_destroy(&old->todo_grew);
	(void)pthread_mutex_destroy(&old->lock);
	free(old);
	*pool = NULL;
}

void
pool_submit(struct pool *pool, struct pool_task *task)
{
	(void)pthread_mutex_lock(&pool->lock);
	list_append(&pool->todo, task);
	(void)pthread_cond_signal(&pool->todo_grew);
	(void)pthread_mutex_unlock(&pool->lock);
}
