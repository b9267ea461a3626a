/* SPDX-License-Identifier: MIT */
#include "run/guests_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "run/hotplug.h"
#include "run/json.h"
#include "run/state.h"
#include "run/watch.h"

#define SERVED_MS 10000 /* for the daemons to open what a guest connects to */
#define DOWN_MS   5000  /* for a guest to let go of a device when the lab goes down */
#define AGAIN_MS  2000  /* until a monitor that could not be had is tried again … */
#define AGAIN_MAX 60    /* … and how often, until there is something else to tell */

/* --- one guest ---------------------------------------------------------------------------------------------------- */

static void guest_free(void *p)
{
	struct guest *g = p;

	g_clear_handle_id(&g->timer, g_source_remove);
	rings_settled(&g->rings);
	hotplug_free(g->hotplug);
	proc_free(g->proc);
	g_clear_error(&g->why);
	state_guest_free(g->is);
	g_free(g);
}

static bool tell_rings(void *data);

static struct guest *guest_new(struct guests *all, struct state_guest *is)
{
	struct guest *g = g_new0(struct guest, 1);

	g->all = all;
	g->is = is;
	g->rings = (struct rings){ .tell = tell_rings, .data = g, .again_ms = RINGS_AGAIN_MS };
	g_ptr_array_add(all->list, g);
	return g;
}

static struct guest *find(const struct guests *all, const char *name)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		struct guest *g = all->list->pdata[i];

		if (strcmp(g->is->name, name) == 0)
			return g;
	}
	return NULL;
}

static void set_stage(struct guest *g, enum guest_stage stage, const char *reason)
{
	struct supervisor *sup = g->all->sup;
	char *copy = g_strdup(reason);

	g->is->stage = stage;
	g_free(g->is->reason);
	g->is->reason = copy;
	sup_event(sup, "guest", g->is->name, guest_stage_word(stage), reason);
	sup->state_dirty = true;
	sup_poke(sup);
}

/* It lets go of the monitor, for others to have it. */
static void rest(struct guest *g)
{
	g->doing = IDLE;
	g_clear_handle_id(&g->timer, g_source_remove);
	g_clear_pointer(&g->hotplug, hotplug_free);
}

/* It has nothing of the lab any more.  error: what its caller is told; NULL: that it is so.  left: what stays in QEMU; NULL:
 * nothing does. */
static void forget(struct guest *g, const GError *error, const char *left)
{
	struct supervisor *sup = g->all->sup;
	bool had_sockets = g->is->cid != 0;

	rest(g);
	guest_drop_items(g);
	sup_event(sup, "guest", g->is->name, "detached", error ? error->message : left);
	if (g->call && error) {
		rpc_fail(g->call, error);
	} else if (g->call) {
		struct json_object *o = json_object_new_object();

		json_put_str(o, "left", left);
		rpc_reply(g->call, o);
	}
	g_ptr_array_remove(g->all->list, g);
	if (had_sockets && sup->lab)
		sup_write_ssh_config(sup);
	sup->state_dirty = true;
	sup_poke(sup);
}

static void qemu_ended(struct proc *p, int status, const char *how, void *data)
{
	struct guest *g = data;
	g_autoptr(GError) error = NULL;
	bool leaves = g->doing == LEAVING && !g->why;

	if (!leaves)
		error = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "the QEMU of %s has ended",
				    g->is->qmp);
	forget(g, error, NULL);
}

/* --- its monitor -------------------------------------------------------------------------------------------------- */

/* Whose QEMU it is.  FALSE: that of somebody who cannot open our sockets. */
static gboolean look_at_peer(struct guest *g, int fd, GError **error)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return TRUE;
	if (cred.uid != geteuid() && cred.uid != 0) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"the QEMU of %s runs as another user (uid %u), who cannot open the lab's sockets",
			g->is->qmp, (unsigned)cred.uid);
		return FALSE;
	}
	if (!g->proc && proc_id_read(cred.pid, &g->is->id))
		g->proc = proc_adopt(&g->is->id, qemu_ended, g);
	return TRUE;
}

static gboolean open_monitor(struct guest *g, GError **error)
{
	int fd = dial_now(g->is->qmp);

	if (fd == -EAGAIN) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "%s: others wait for this monitor already (QEMU serves one at a time)",
			    g->is->qmp);
		return FALSE;
	}
	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, -fd, "no QEMU monitor at %s", g->is->qmp);
		return FALSE;
	}
	if (!look_at_peer(g, fd, error)) {
		close(fd);
		return FALSE;
	}
	g->hotplug = hotplug_new(fd, g->is->qmp);
	return TRUE;
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

static bool qemu_is_gone(const struct guest *g)
{
	return g->is->id.pid && !proc_id_alive(&g->is->id);
}

/* Something of it is in QEMU still. */
static void could_not_leave(struct guest *g, const GError *error)
{
	g_autofree char *reason = g_strdup(error->message); /* the error may be the hotplug's own */
	g_autofree char *before = g->why ? g_strdup_printf("%s; ", g->why->message) : g_strdup("");
	struct rpc_call *call = g->call;

	if (qemu_is_gone(g) || g->drop) {
		forget(g, g->why, g->drop ? reason : NULL);
		return;
	}
	if (g->hotplug) {
		json_object_put(g->is->steps);
		g->is->steps = hotplug_left(g->hotplug);
	}
	rest(g);
	g_clear_error(&g->why);
	g->call = NULL;
	set_stage(g, GUEST_FAILED, reason);
	if (call)
		rpc_fail_text(
			call, ORCH_ERROR_FAILED,
			"%s%s (`orchestrator detach %s` tries again, with --force it is forgotten)",
			before, reason, g->is->name);
}

static void on_unplugged(const GError *error, void *data)
{
	struct guest *g = data;

	if (error)
		could_not_leave(g, error);
	else
		forget(g, g->why, NULL);
}

/* Take everything out and forget it. */
static void leave(struct guest *g)
{
	g_autoptr(GError) error = NULL;

	rest(g);
	if (!open_monitor(g, &error)) {
		could_not_leave(g, error);
		return;
	}
	g->doing = LEAVING;
	set_stage(g, GUEST_DETACHING, NULL);
	hotplug_unplug(g->hotplug, g->is->steps, g->drop ? DOWN_MS : hotplug_patience.deleted,
		       on_unplugged, g);
}

void guests_detach(struct guests *all, struct rpc_call *call, struct json_object *params)
{
	const char *name = json_str(params, "name");
	struct guest *g = name ? find(all, name) : NULL;

	if (!g) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "lab %s has no guest \"%s\" attached",
			      all->sup->name, name ? name : "");
		return;
	}
	if (g->doing != IDLE && g->doing != CARRYING) {
		rpc_fail_text(call, ORCH_ERROR_CONFLICT, "guest %s is at it: try again", name);
		return;
	}
	g->call = call;
	g->drop = json_flag(params, "force", false);
	leave(g);
}

bool guests_leave(struct guests *all)
{
	g_autoptr(GError) error =
		g_error_new_literal(ORCH_ERROR, ORCH_ERROR_CONFLICT, "the lab is being taken down");

	for (guint i = all->list->len; i-- > 0;) {
		struct guest *g = all->list->pdata[i];

		g->drop = true;
		if (g->doing == ASKING || g->doing == SERVING)
			forget(g, error, NULL);
		else if (g->doing == IDLE || g->doing == CARRYING)
			leave(g);
		else if (g->doing == PLUGGING && !g->why)
			g->why = g_error_copy(error);
	}
	return all->list->len == 0;
}

/* --- in ----------------------------------------------------------------------------------------------------------- */

/* The attach has failed; what was done of it has been undone as far as that was possible. */
static void attach_failed(struct guest *g, const GError *error)
{
	g_autoptr(GError) why = g_error_copy(error);

	json_object_put(g->is->steps);
	g->is->steps = hotplug_left(g->hotplug);
	if (!g->is->steps) {
		forget(g, why, NULL);
		return;
	}
	/* A monitor that has closed may be there again. */
	g->why = g_steal_pointer(&why);
	leave(g);
}

static void on_plugged(const GError *error, void *data)
{
	struct guest *g = data;
	struct supervisor *sup = g->all->sup;
	struct rpc_call *call;

	if (error) {
		attach_failed(g, error);
		return;
	}
	if (g->why) { /* the lab goes down meanwhile */
		leave(g);
		return;
	}
	rest(g);
	set_stage(g, GUEST_ATTACHED, NULL);
	sup_write_ssh_config(sup);
	/* Who is told must find it in `status`, whatever happens now. */
	sup_save_state(sup);
	call = g_steal_pointer(&g->call);
	if (call)
		rpc_reply(call, state_guest_report(g->is));
}

#define NIC_WORD "nic%u"

/* What a device is called in QEMU: "vl.three-nodes.web.nic0".  g_free(). */
static char *device_id(const struct guest *g, const char *what)
{
	return g_strdup_printf("vl.%s.%s.%s", g->all->sup->name, g->is->name, what);
}

/* By that door nothing is plugged in twice: what an earlier attach has left cannot be taken out. */
static bool is_there(const struct guest *g, const struct guest_portal *p)
{
	g_autofree char *id = device_id(g, p->portal);

	return hotplug_has_memory_device(hotplug_facts(g->hotplug), id);
}

static bool is_pmem(const struct guest_portal *p)
{
	return strcmp(p->door, portal_door_name(PORTAL_DOOR_PMEM)) == 0;
}

static bool is_served(const struct guest_portal *p)
{
	return strcmp(p->door, portal_door_name(PORTAL_DOOR_VHOST_USER)) == 0;
}

/* In this order: what cannot be taken out again comes last. */
static void add_devices(struct guest *g)
{
	struct supervisor *sup = g->all->sup;
	struct vm_paths *paths = vm_paths_new(sup->paths, g->is->name, 0);

	for (guint i = 0; i < g->is->nics->len; i++) {
		const struct guest_nic *nic = g->is->nics->pdata[i];
		const struct network *n = lab_find_network(sup->lab, nic->network);
		g_autofree char *word = g_strdup_printf(NIC_WORD, i), *id = device_id(g, word);

		hotplug_add_nic(g->hotplug, id, nic->path, nic->mac,
				n && n->mtu != LAB_MTU_DEFAULT ? n->mtu : 0);
	}
	if (g->is->cid) {
		g_autofree char *id = device_id(g, "sockets");

		hotplug_add_vsock(g->hotplug, id, paths->vsock);
	}
	vm_paths_free(paths);
	for (unsigned pass = 0; pass < 2; pass++) {
		for (guint i = 0; i < g->is->portals->len; i++) {
			const struct guest_portal *p = g->is->portals->pdata[i];
			const struct portal *portal = lab_find_portal(sup->lab, p->portal);
			const struct portal_paths *own =
				lab_paths_portal(sup->paths, portal->index);
			g_autofree char *id = device_id(g, p->portal);
			g_autofree char *served = guest_device_path(sup, g->is, i);

			if (is_served(p) && pass == 0)
				hotplug_add_served(g->hotplug, id, served, portal->size);
			else if (!is_pmem(p) && pass == 0)
				hotplug_add_ivshmem(g->hotplug, id, own->memory, portal->size);
			else if (is_pmem(p) && pass == 1 && !is_there(g, p))
				hotplug_add_pmem(g->hotplug, id, own->memory, portal->size);
		}
	}
}

static void plug(struct guest *g)
{
	g_clear_handle_id(&g->timer, g_source_remove);
	add_devices(g);
	g->doing = PLUGGING;
	g->is->steps = hotplug_steps(g->hotplug);
	/* From here on whoever comes after us has to know. */
	sup_save_state(g->all->sup);
	hotplug_plug(g->hotplug, on_plugged, g);
}

static gboolean not_served(gpointer p)
{
	struct guest *g = p;
	g_autoptr(GError) error =
		g_error_new_literal(ORCH_ERROR, ORCH_ERROR_TIMEOUT,
				    "the lab's daemons have not opened its sockets in time");

	g->timer = 0;
	forget(g, error, NULL);
	return G_SOURCE_REMOVE;
}

static void go_on(struct guest *g)
{
	g_autoptr(GError) error = NULL;

	switch (guest_has_items(g, &error)) {
	case LAUNCH_WAIT:
		break;
	case LAUNCH_READY:
		plug(g);
		break;
	case LAUNCH_FAILED:
		forget(g, error, NULL);
		break;
	}
}

static struct hotplug_need need_of(const struct guest *g)
{
	const struct lab *lab = g->all->sup->lab;
	struct hotplug_need need = { .buses = g->is->nics->len + (g->is->cid ? 1 : 0) };

	for (guint i = 0; i < g->is->portals->len; i++) {
		const struct guest_portal *p = g->is->portals->pdata[i];
		uint64_t size;

		if (is_pmem(p) && is_there(g, p))
			continue;
		size = lab_find_portal(lab, p->portal)->size;
		need.buses++;
		need.served |= is_served(p);
		if (is_pmem(p) || is_served(p)) {
			need.slots++;
			need.slots_bytes += size;
		} else {
			need.windows++;
			need.window = MAX(need.window, size);
		}
	}
	return need;
}

/* What it is to have may have gone from the lab while its monitor was asked. */
static gboolean still_good(const struct guest *g, GError **error)
{
	if (g->all->sup->lab)
		return guests_agree(g->all, g->all->sup->lab, error);
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_CONFLICT, "the lab is being taken down");
	return FALSE;
}

static void on_facts(const GError *error, void *data)
{
	struct guest *g = data;
	g_autoptr(GError) why = error ? g_error_copy(error) : NULL;
	struct hotplug_need need;
	g_autofree char *missing = NULL;

	if (!why && still_good(g, &why)) {
		need = need_of(g);
		missing = hotplug_missing(hotplug_facts(g->hotplug), &need);
	}
	if (missing)
		why = g_error_new_literal(ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, missing);
	if (why) {
		forget(g, why, NULL);
		return;
	}
	g->doing = SERVING;
	g->timer = g_timeout_add(SERVED_MS, not_served, g);
	guest_want_items(g);
	sup_poke(g->all->sup);
}

void guests_attach(struct guests *all, struct rpc_call *call, struct json_object *params)
{
	g_autoptr(GError) error = NULL;
	struct state_guest *is = guest_plan(all, params, &error);
	struct guest *g;

	if (!is) {
		rpc_fail(call, error);
		return;
	}
	g = guest_new(all, is);
	g->call = call;
	if (!open_monitor(g, &error)) {
		forget(g, error, NULL);
		return;
	}
	g->doing = ASKING;
	set_stage(g, GUEST_ATTACHING, NULL);
	hotplug_ask(g->hotplug, on_facts, g);
}

/* --- carriers ----------------------------------------------------------------------------------------------------- */

static gboolean try_again(gpointer p)
{
	struct guest *g = p;

	g->timer = 0;
	sup_poke(g->all->sup);
	return G_SOURCE_REMOVE;
}

/* Of a card that the guest sees otherwise than it is to; NULL: there is none. */
static struct guest_nic *find_untold(const struct guest *g, unsigned *ret_index)
{
	for (guint i = 0; i < g->is->nics->len; i++) {
		struct guest_nic *nic = g->is->nics->pdata[i];

		*ret_index = i;
		if (nic->again || nic->down != nic->shows_down)
			return nic;
	}
	return NULL;
}

static void carrier_waits(struct guest *g, const GError *error)
{
	if (g->in_vain++ == 0)
		g_message("guest %s: its carrier waits for its monitor: %s", g->is->name,
			  error->message);
	rest(g);
	g->timer = g_timeout_add(AGAIN_MS, try_again, g);
}

static void on_carried(const GError *error, void *data)
{
	struct guest *g = data;
	struct guest_nic *nic = g->is->nics->pdata[g->card];

	if (error) {
		carrier_waits(g, error);
	} else {
		rest(g);
		nic->again = false;
		nic->shows_down = !g->carries;
		g->in_vain = 0;
		g->all->sup->state_dirty = true;
		sup_poke(g->all->sup);
	}
	rings_pursue(&g->rings);
}

/* One card at a time. */
static void show_carrier(struct guest *g)
{
	g_autoptr(GError) error = NULL;
	const struct guest_nic *nic = find_untold(g, &g->card);
	g_autofree char *word = NULL, *id = NULL;

	if (!nic || g->timer || g->in_vain == AGAIN_MAX || g->is->stage != GUEST_ATTACHED)
		return;
	if (!open_monitor(g, &error)) {
		carrier_waits(g, error);
		return;
	}
	word = g_strdup_printf(NIC_WORD, g->card);
	id = device_id(g, word);
	g->doing = CARRYING;
	g->carries = !nic->down;
	hotplug_set_link(g->hotplug, id, g->carries, on_carried, g);
}

void guests_run(struct guests *all)
{
	for (guint i = all->list->len; i-- > 0;) {
		struct guest *g = all->list->pdata[i];

		if (g->doing == SERVING)
			go_on(g);
		else if (g->doing == IDLE)
			show_carrier(g);
	}
}

/* --- sockets come back -------------------------------------------------------------------------------------------- */

static void on_refreshed(const GError *error, void *data)
{
	struct guest *g = data;

	if (error)
		g_message("guest %s: its sockets wait for its monitor: %s", g->is->name,
			  error->message);
	rest(g);
	sup_poke(g->all->sup); /* the lab may be waiting to go down */
}

/* A monitor that somebody else holds is tried again, as is one that has told them in vain. */
static bool tell_rings(void *data)
{
	struct guest *g = data;
	g_autoptr(GError) error = NULL;

	if (g->doing != IDLE || g->is->stage != GUEST_ATTACHED)
		return false;
	if (!open_monitor(g, &error)) {
		on_refreshed(error, g);
		return true;
	}
	g->doing = REFRESHING;
	hotplug_refresh(g->hotplug, on_refreshed, g);
	return true;
}

void guests_sockets_lost(struct guests *all)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		struct guest *g = all->list->pdata[i];

		if (g->is->cid)
			rings_lost(&g->rings);
	}
}

void guests_sockets_state(struct guests *all, const char *name, const char *state)
{
	struct guest *g = find(all, name);

	if (g && g_strcmp0(state, "connected") == 0)
		rings_connected(&g->rings);
	else if (g && g_strcmp0(state, "running") == 0)
		rings_settled(&g->rings);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

struct guests *guests_new(struct supervisor *sup)
{
	struct guests *all = g_new0(struct guests, 1);

	all->sup = sup;
	all->list = g_ptr_array_new_with_free_func(guest_free);
	return all;
}

void guests_free(struct guests *all)
{
	for (guint i = 0; i < all->list->len; i++) {
		struct guest *g = all->list->pdata[i];

		if (g->call)
			rpc_fail_text(g->call, ORCH_ERROR_FAILED, "the supervisor has ended");
	}
	g_ptr_array_unref(all->list);
	g_free(all);
}

static char *state_of(const struct daemon *d, const char *item)
{
	const struct daemon_item *i = d ? daemon_find_item(d, item) : NULL;

	return g_strdup(i ? i->state : NULL);
}

void guests_save(const struct guests *all, struct state *state)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		const struct guest *g = all->list->pdata[i];
		struct state_guest *copy = state_guest_copy(g->is);

		for (guint j = 0; j < copy->nics->len; j++) {
			struct guest_nic *nic = copy->nics->pdata[j];

			nic->state = state_of(sup_find_switch(all->sup, nic->network), nic->port);
		}
		if (copy->cid)
			copy->sockets = state_of(all->sup->sockets, copy->name);
		state_add_guest(state, copy);
	}
}

void guests_adopt(struct guests *all, const struct state *state)
{
	for (guint i = 0; i < state->guests->len; i++) {
		const struct state_guest *was = state->guests->pdata[i];
		struct guest *g;

		if (was->id.pid && !proc_id_alive(&was->id)) {
			g_message("guest %s has ended while nobody looked", was->name);
			continue;
		}
		g = guest_new(all, state_guest_copy(was));
		g->proc = proc_adopt(&g->is->id, qemu_ended, g);
		guest_want_items(g);
		g_message("guest %s is attached, pid %d", was->name, (int)was->id.pid);
		if (was->stage == GUEST_ATTACHING || was->stage == GUEST_DETACHING)
			leave(g);
	}
}
