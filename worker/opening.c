/*
 *     CONNECTING ──connected, or too long──▶ WAITING ──the slot is ours──▶
 *         │             says ready                          OPENING
 *         └──────────── alone: at once ──────────────────────▶ │
 *                                          complete, or too long
 *                                                              ▼
 *                                             serves        SERVING
 */
#include "opening.h"

#include <stdlib.h>

#include <event2/event.h>

#include "shared/clock.h"

#define LOOK_MS 20
#define CONNECT_MS 5000     /* then ready without all of it */
#define ALONE_WAIT_MS 5000  /* no word of the master's: serve all the same */
#define COMPLETE_MS 1000    /* then it serves without */
#define COMPLETE_BESIDE_MS 2000

enum opening_state {
	OPENING_CONNECTING,
	OPENING_WAITING,
	OPENING_OPENING,
	OPENING_SERVING
};

struct opening {
	struct opening_options options;
	struct event *timer;
	enum opening_state state;
	bool taken_over;
	int64_t since_ms; /* boot clock: in this state */
};

static void
move(struct opening *opening, enum opening_state state)
{
	opening->state = state;
	opening->since_ms = clock_boot_ms();
}

static int64_t
waited_ms(const struct opening *opening)
{
	return clock_boot_ms() - opening->since_ms;
}

static void
look_connecting(struct opening *opening)
{
	const struct opening_options *options = &opening->options;

	if (options->beside && !opening->taken_over &&
	    !options->is_connected(options->ctx) &&
	    waited_ms(opening) < CONNECT_MS)
		return;
	move(opening, OPENING_WAITING);
	options->ready(options->ctx);
}

static void
look_waiting(struct opening *opening)
{
	if (opening->taken_over || (!opening->options.beside &&
	    waited_ms(opening) >= ALONE_WAIT_MS))
		move(opening, OPENING_OPENING);
}

static void
look_opening(struct opening *opening)
{
	const struct opening_options *options = &opening->options;

	if (!options->is_complete(options->ctx) && waited_ms(opening) <
	    (options->beside ? COMPLETE_BESIDE_MS : COMPLETE_MS))
		return;
	move(opening, OPENING_SERVING);
	(void)event_del(opening->timer);
	options->serve(options->ctx);
}

void
opening_look(struct opening *opening)
{
	if (opening->state == OPENING_CONNECTING)
		look_connecting(opening);
	if (opening->state == OPENING_WAITING)
		look_waiting(opening);
	if (opening->state == OPENING_OPENING)
		look_opening(opening);
}

static void
on_look(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	opening_look(arg);
}

void
opening_take_over(struct opening *opening)
{
	opening->taken_over = true;
	opening_look(opening);
}

struct opening *
opening_new(const struct opening_options *options)
{
	const struct timeval every = { 0, LOOK_MS * 1000L };
	struct opening *opening = calloc(1, sizeof(*opening));

	if (opening == NULL)
		return NULL;
	opening->options = *options;
	move(opening, OPENING_CONNECTING);
	opening->timer = event_new(options->base, -1, EV_PERSIST, on_look,
	    opening);
	if (opening->timer == NULL || event_add(opening->timer, &every) != 0)
		opening_free(&opening);
	return opening;
}

void
opening_free(struct opening **opening)
{
	if (*opening == NULL)
		return;
	if ((*opening)->timer != NULL)
		event_free((*opening)->timer);
	free(*opening);
	*opening = NULL;
}
