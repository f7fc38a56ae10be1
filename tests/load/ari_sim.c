/*
 * ari-sim: behaves to kaphila as Asterisk does, for what a real one can't be
 * asked to do. One process, one loop. Made for tests: it listens on loopback
 * alone, and keeps everything in memory.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "sim.h"
#include "sim_control.h"
#include "sim_fault.h"
#include "sim_rung.h"
#include "sim_server.h"
#include "sim_world.h"

static void
on_end_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)event_base_loopbreak(arg);
}

static int
open_all(struct sim *sim)
{
	int rc;

	sim->base = event_base_new();
	sim->faults = sim_faults_new();
	sim->rung = sim_rung_new((size_t)sim->options.remember);
	sim->played = sim_rung_new((size_t)sim->options.remember);
	if (sim->base == NULL || sim->faults == NULL || sim->rung == NULL ||
	    sim->played == NULL)
		return -KAP_NOMEM;
	rc = sim_world_init(sim);
	if (rc != 0)
		return rc;
	rc = sim_server_open(sim);
	if (rc != 0) {
		(void)fprintf(stderr, "ari-sim: can't listen for ARI: %s\n",
		    strerror(errno));
		return rc;
	}
	rc = sim_control_open(sim);
	if (rc != 0)
		(void)fprintf(stderr, "ari-sim: can't listen on the control "
		    "port: %s\n", strerror(errno));
	return rc;
}

static void
close_all(struct sim *sim)
{
	sim_control_close(sim);
	sim_world_deinit(sim);
	sim_server_close(sim);
	sim_faults_free(&sim->faults);
	sim_rung_free(&sim->rung);
	sim_rung_free(&sim->played);
	if (sim->base != NULL)
		event_base_free(sim->base);
}

/* Until SIGTERM or SIGINT. */
static void
run(struct sim *sim)
{
	struct event *on_term = evsignal_new(sim->base, SIGTERM,
	    on_end_signal, sim->base);
	struct event *on_int = evsignal_new(sim->base, SIGINT, on_end_signal,
	    sim->base);

	if (on_term != NULL && on_int != NULL &&
	    event_add(on_term, NULL) == 0 && event_add(on_int, NULL) == 0) {
		(void)printf("ari-sim: Asterisk %d on port %u, control on "
		    "port %u\n", sim->options.version,
		    (unsigned)ntohs(sim->options.listen.sin_port),
		    (unsigned)ntohs(sim->options.control.sin_port));
		(void)fflush(stdout);
		(void)event_base_dispatch(sim->base);
	}
	if (on_term != NULL)
		event_free(on_term);
	if (on_int != NULL)
		event_free(on_int);
}

static void
print_totals(const struct sim *sim)
{
	struct sim_text text = { 0 };

	sim_control_render_totals(sim, &text);
	(void)puts(sim_text_string(&text));
	sim_text_deinit(&text);
}

static void
explain_faults(void)
{
	struct sim_text text = { 0 };

	sim_faults_explain(&text);
	(void)printf("\n%s\n", sim_text_string(&text));
	sim_text_deinit(&text);
}

int
main(int argc, char **argv)
{
	struct sim sim = { 0 };
	int status = EXIT_FAILURE;

	switch (sim_options_parse(&sim.options, argc, argv)) {
	case SIM_OPTIONS_HELP:
		explain_faults();
		return EXIT_SUCCESS;
	case SIM_OPTIONS_BAD:
		return 2;
	case SIM_OPTIONS_RUN:
		break;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (open_all(&sim) == 0) {
		run(&sim);
		print_totals(&sim);
		status = EXIT_SUCCESS;
	}
	close_all(&sim);
	return status;
}
