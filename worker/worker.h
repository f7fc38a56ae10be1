/*
 * What main.c and duty.c know of the whole process. Nobody else includes
 * this.
 */
#ifndef KAP_WORKER_H
#define KAP_WORKER_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "adoption.h"
#include "amd_check.h"
#include "api.h"
#include "http_server.h"
#include "ledger_drain.h"
#include "links.h"
#include "opening.h"
#include "reconcile.h"
#include "shared/child_runtime.h"
#include "shared/store_look.h"
#include "streams.h"
#include "timer_run.h"

/* Whose the slot's calls are; duty.c moves it. */
enum worker_duty {
	DUTY_STANDBY, /* a predecessor's, which is there still */
	DUTY_OWN,
	DUTY_RELIEVED /* another process's; own requests are finished */
};

struct worker {
	struct child_runtime runtime;
	enum worker_duty duty;
	struct store *store;
	struct store_look *look;
	struct turn *turn;
	struct change_maker maker;
	struct key_lookup *keys;
	struct ledger_drain *ledger;
	struct dispatch *dispatch;
	struct timer_run *timers;
	struct reconcile *reconcile;
	struct stream_states states;
	struct streams *streams;
	struct adoption *adoption;
	struct ari_command_link *originate;
	struct ari_command_link *control;
	struct links *links;
	struct amd_check *amd;
	struct api api;
	SSL_CTX *tls;
	struct http_server *http;
	struct http_server *admin;
	struct opening *opening; /* NULL: it leaves */
	struct event *leave_timer;
	bool admin_serves;
	bool http_drained;
	bool admin_drained;
};

#endif
