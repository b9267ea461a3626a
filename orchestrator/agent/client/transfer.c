/* SPDX-License-Identifier: MIT */
#include "agent/client/transfer.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/client/session.h"
#include "agent/client/token.h"
#include "err.h"
#include "run/json.h"
#include "run/logfile.h"

/* A guest's side. */
struct end {
	struct transfer *transfer;
	const struct transfer_end *what; /* NULL: this one is on the host */
	struct agent_session *session;
	int fd; /* the records */
	bool answered;
	GError *error;           /* its agent's, or its session's */
	struct copy_report said; /* by its agent */
};

struct transfer {
	const struct transfer_end *from, *to;
	struct end ends[2]; /* from, to */
	const struct end *
		failed; /* the first that said so: the other one then says what it has heard of it */
	GThread *thread;
	bool cancelled;

	/* Of the thread, until 'copied'. */
	int result;
	struct copy_report report;

	GMutex lock; /* of what both look at */
	struct copy_report so_far;
	bool copied;
	guint timer; /* for answers that do not come */
	bool given_up;
};

/* --- the thread ------------------------------------------------------------------------------------------- */

static void on_progress(const struct copy_report *so_far, void *data)
{
	struct transfer *t = data;

	g_mutex_lock(&t->lock);
	t->so_far = *so_far;
	g_mutex_unlock(&t->lock);
}

static gboolean wait_ends(struct transfer *t)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct transfer_end *what = t->ends[i].what;

		if (what && !link_wait(t->ends[i].fd, &what->address, AGENT_SESSION_HELLO_MS, NULL))
			return FALSE;
	}
	return TRUE;
}

static int copy(struct transfer *t)
{
	struct copy_options options = { .progress = on_progress, .data = t };
	g_autofree char *name = NULL;
	const char *last;
	unsigned len;

	if (t->ends[0].what && t->ends[1].what)
		return copy_relay(t->ends[0].fd, t->ends[1].fd);
	if (t->ends[1].what)
		return copy_send(t->ends[1].fd, t->from->path, &options, &t->report);
	last = copy_name(t->from->path, &len);
	name = g_strndup(last, len);
	options.name = name;
	return copy_receive(t->ends[0].fd, t->to->path, &options, &t->report);
}

static gpointer run(gpointer p)
{
	struct transfer *t = p;

	t->report.peer = true;
	t->result = wait_ends(t) ? copy(t) : -ECONNREFUSED;
	g_mutex_lock(&t->lock);
	t->so_far = t->report;
	t->copied = true;
	g_mutex_unlock(&t->lock);
	g_main_context_wakeup(NULL);
	return NULL;
}

/* --- sessions --------------------------------------------------------------------------------------------- */

/* The thread notices: nothing more comes, and what it sends is not taken. */
static void break_off(struct transfer *t)
{
	for (unsigned i = 0; i < 2; i++)
		if (t->ends[i].fd >= 0)
			(void)shutdown(t->ends[i].fd, SHUT_RDWR);
}

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct end *end = data;

	end->answered = true;
	if (error) {
		end->error = g_error_copy(error);
		if (!end->transfer->failed)
			end->transfer->failed = end;
		break_off(end->transfer);
		return;
	}
	end->said.files = (uint64_t)json_int(body, "files", 0);
	end->said.bytes = (uint64_t)json_int(body, "bytes", 0);
	end->said.directories = (uint64_t)json_int(body, "directories", 0);
	end->said.links = (uint64_t)json_int(body, "links", 0);
	end->said.skipped = (uint64_t)json_int(body, "skipped", 0);
}

static gboolean begin(struct end *end, bool in, GError **error)
{
	struct json_object *body;
	uint8_t first[AGENT_ATTACH_SIZE];
	char hex[AGENT_TOKEN_HEX];
	struct agent_attach attach;

	end->session = agent_session_new(&end->what->address, NULL, NULL, error);
	if (!end->session)
		return FALSE;
	token_new(&attach, hex);
	agent_attach_put(first, &attach);
	end->fd = link_open(&end->what->address, first, sizeof(first), error);
	if (end->fd < 0)
		return FALSE;
	body = json_object_new_object();
	json_put_str(body, "direction", in ? "in" : "out");
	json_put_str(body, "path", end->what->path);
	json_put_str(body, "distro", end->what->distro);
	json_put_str(body, "user", end->what->user);
	json_put_str(body, "token", hex);
	agent_session_request(end->session, AGENT_COPY, body, 2, on_answer, end);
	return TRUE;
}

struct transfer *transfer_new(const struct transfer_end *from, const struct transfer_end *to,
			      const struct transfer_end **ret_unreached, GError **error)
{
	struct transfer *t = g_new0(struct transfer, 1);

	g_assert(from->vm || to->vm);
	t->from = from;
	t->to = to;
	g_mutex_init(&t->lock);
	for (unsigned i = 0; i < 2; i++) {
		t->ends[i].transfer = t;
		t->ends[i].fd = -1;
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct transfer_end *what = i == 0 ? from : to;

		t->ends[i].what = what->vm ? what : NULL;
		if (!what->vm || begin(&t->ends[i], i == 1, error))
			continue;
		*ret_unreached = what;
		transfer_free(t);
		return NULL;
	}
	t->thread = g_thread_new("copy", run, t);
	return t;
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	break_off(t);
	if (t->thread)
		g_thread_join(t->thread);
	g_clear_handle_id(&t->timer, g_source_remove);
	for (unsigned i = 0; i < 2; i++) {
		agent_session_free(t->ends[i].session);
		g_clear_error(&t->ends[i].error);
		if (t->ends[i].fd >= 0)
			close(t->ends[i].fd);
	}
	g_mutex_clear(&t->lock);
	g_free(t);
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static bool copied(struct transfer *t)
{
	bool is;

	g_mutex_lock(&t->lock);
	is = t->copied;
	g_mutex_unlock(&t->lock);
	return is;
}

static gboolean on_silence(gpointer p)
{
	struct transfer *t = p;

	t->timer = 0;
	t->given_up = true;
	return G_SOURCE_REMOVE;
}

bool transfer_done(struct transfer *t)
{
	bool answered = true;

	if (!copied(t))
		return false;
	for (unsigned i = 0; i < 2; i++)
		answered &= !t->ends[i].what || t->ends[i].answered;
	if (answered || t->cancelled || t->given_up)
		return true;
	if (t->timer)
		return false;
	/* An agent that still reads learns that nothing more comes. */
	break_off(t);
	t->timer = g_timeout_add(TRANSFER_ANSWER_MS, on_silence, t);
	return false;
}

void transfer_cancel(struct transfer *t)
{
	t->cancelled = true;
	break_off(t);
}

struct copy_report transfer_so_far(struct transfer *t)
{
	struct copy_report report;

	g_mutex_lock(&t->lock);
	report = t->so_far;
	g_mutex_unlock(&t->lock);
	return report;
}

/* What this host has found wrong is told before what came of it in the guest. */
static void explain(const struct transfer *t, GError **error)
{
	g_autofree char *text = logfile_clean(t->report.text, -1, COPY_TEXT_MAX);

	if (t->cancelled)
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_INTERRUPTED, "interrupted");
	else if (t->failed && (!*text || t->report.peer))
		g_set_error(error, ORCH_ERROR, agent_exit_code(t->failed->error), "%s: %s",
			    t->failed->what->vm, t->failed->error->message);
	else if (*text)
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, text);
	else if (t->result < 0)
		err_set_errno(error, ORCH_ERROR_FAILED, -t->result, "the copy was broken off");
	else
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_TIMEOUT,
				    "the guest has not confirmed the copy");
}

gboolean transfer_result(struct transfer *t, struct copy_report *ret_report,
			 const struct transfer_end **ret_unreached, GError **error)
{
	bool good = t->result == 0 && !t->failed && !t->cancelled && !t->given_up;

	*ret_unreached = NULL;
	if (good) {
		/* Between two guests, the one that received knows. */
		*ret_report = t->ends[0].what && t->ends[1].what ? t->ends[1].said : t->report;
		return TRUE;
	}
	for (unsigned i = 0; i < 2 && !t->cancelled; i++)
		if (t->ends[i].session && !agent_session_greeted(t->ends[i].session))
			*ret_unreached = t->ends[i].what;
	explain(t, error);
	return FALSE;
}
