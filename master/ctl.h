/*
 * What kaphilactl's commands share: the context that the dispatcher
 * (kaphilactl.c) hands to each, their exit codes, and how they complain.
 * A command runs in kaphilactl, in the foreground, for a person or a script:
 * it may block, prints its result to standard output and its complaints to
 * standard error, and never starts a daemon's machinery.
 */
#ifndef KAP_CTL_H
#define KAP_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/config.h"
#include "shared/errors.h"

enum ctl_exit {
	CTL_OK = 0,
	CTL_FAILED = 1,   /* it was tried, and a complaint says why not */
	CTL_USAGE = 2,    /* wrong arguments: a complaint says which; the
	                     dispatcher adds where the usage is */
	CTL_NO_MASTER = 3 /* no master answers in the run directory */
};

struct ctl_context {
	struct config config; /* at its defaults while have_config is false */
	bool json;            /* print one JSON document, no table */
	bool have_config;     /* a configuration was found and read */
	struct kap_errmsg config_fault; /* else why not */
};

/*
 * The commands. argv[0] is the command's own name; --json, --config FILE and
 * --help are taken out of argv before. `context` is borrowed. Each returns
 * one of enum ctl_exit, and has printed everything by then.
 */
int ctl_status(struct ctl_context *context, int argc, char **argv);
int ctl_restart(struct ctl_context *context, int argc, char **argv);
int ctl_scale(struct ctl_context *context, int argc, char **argv);
int ctl_operation(struct ctl_context *context, int argc, char **argv);
int ctl_drain(struct ctl_context *context, int argc, char **argv);
int ctl_resume(struct ctl_context *context, int argc, char **argv);
int ctl_reload(struct ctl_context *context, int argc, char **argv);
int ctl_migrate(struct ctl_context *context, int argc, char **argv);
int ctl_keys(struct ctl_context *context, int argc, char **argv);
int ctl_trunks(struct ctl_context *context, int argc, char **argv);
int ctl_trunk_state(struct ctl_context *context, int argc, char **argv);

/*
 * Print "kaphilactl: <text>" as a line on standard error. What was written for
 * a webhook secret, wherever it stood among the arguments, is not in it.
 */
void ctl_complain(const char *fmt, ...) KAP_PRINTF(1, 2);

/*
 * For commands that can't do without a configuration: true when there is
 * one; else complains, and the command returns CTL_FAILED.
 */
KAP_MUST_USE bool ctl_need_config(const struct ctl_context *context);

/*
 * For what goes on until a person has seen enough: from ctl_hold_interrupts on
 * SIGINT and SIGTERM only end a ctl_wait, which then returns false. They are
 * taken one at a time, so none is lost between two waits.
 */
void ctl_hold_interrupts(void);
KAP_MUST_USE bool ctl_wait(int64_t ms);

#endif
