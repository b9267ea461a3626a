/* SPDX-License-Identifier: MIT */
/* What the supervisor does for those who call on its socket.
 *
 *   hello       {}                      -> {"name","version","pid"}
 *   status      {}                      -> the document of `status --json`
 *   observe     {}                      -> plan/observed.h's JSON
 *   apply       {"lab","jobs"?,"wait"?} -> {"changed","held":[…],"failed":[{"subject","text","exit"}],"ready":N}
 *                                          once all is settled, or at once with "wait": false
 *   down        {"cleanup"?,"grace-ms"?} -> {"logs": path or null} when nothing is left; the supervisor ends then
 *   vm.start    {"vm"}                  -> {} when it is ready
 *   vm.stop     {"vm","grace-ms"?}      -> {} when it has stopped
 *   vm.restart  {"vm","grace-ms"?}      -> {} when it is ready again
 *   forward.add {"vm","forward"}        -> the daemon's answer, when it listens and the state file says so
 *   forward.remove {"vm","forward"}     -> {}
 *   forward.list {"vm"?}                -> {"forwards":[…]}: the daemon's members, "forward" (its text), "origin"
 *                                          ("file", "added", "other") and "active"
 *   guest.attach, guest.detach          as guests.h says
 *   subscribe   {}                      -> {}, and from then on notifications
 *                  "event" {"time-ms","kind":"vm|network|sockets|portal|guest|lab","subject","stage","text"?,"elapsed-ms"?}
 *
 * A client that goes away takes back nothing: what it asked for is done.
 */
#ifndef RUN_SERVICE_H
#define RUN_SERVICE_H

#include <glib.h>

struct json_object;
struct service;
struct supervisor;

/* Listens on path (mode 0600) and serves client_fd (or -1).  NULL: *error says why. */
struct service *service_new(struct supervisor *sup, const char *path, int client_fd,
			    GError **error);
void service_free(struct service *s);

/* One round: answer the calls whose time has come. */
void service_run(struct service *s);
/* To all subscribers; takes the reference. */
void service_event(struct service *s, struct json_object *event);

#endif
