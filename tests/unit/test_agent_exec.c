/* SPDX-License-Identifier: MIT */
/* Programs run by the real agent, as a plain process of this host, for the host's end of it; and that end's smaller parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "agent/client/exec.h"
#include "agent/client/outlet.h"
#include "agent/client/terminal.h"
#include "agent/protocol.h"
#include "tmp.h"

static struct tmp_dir tmp;
static char agent_path[128];
static pid_t agent_pid;
static struct link_address address;

static int start_agent(void **state)
{
	g_autofree char *listen = g_strdup_printf("unix:%s", agent_path);

	agent_pid = fork();
	assert_true(agent_pid >= 0);
	if (agent_pid == 0) {
		execl(getenv("VHOST_LAB_AGENT"), "vhost-lab-agent", "--listen", listen, "--connect",
		      "none", NULL);
		_exit(99);
	}
	for (unsigned i = 0; i < 1000 && access(agent_path, F_OK) < 0; i++)
		g_usleep(10000);
	return 0;
}

static int stop_agent(void **state)
{
	int status;

	kill(agent_pid, SIGTERM);
	assert_int_equal(waitpid(agent_pid, &status, 0), agent_pid);
	unlink(agent_path);
	return 0;
}

/* --- a program -------------------------------------------------------------------------------------------- */

struct run {
	struct exec *exec;
	GByteArray *output[2];
	bool ended;
	struct exec_end end;
	GError *error;
	size_t chunk;      /* how much is taken at once; 0: all */
	unsigned refusals; /* times nothing is taken */
	guint again;
	const uint8_t *input; /* still to be sent */
	size_t n_input;
};

static gboolean on_again(gpointer p)
{
	struct run *r = p;

	r->again = 0;
	exec_resume(r->exec, EXEC_STDOUT);
	exec_resume(r->exec, EXEC_STDERR);
	return G_SOURCE_REMOVE;
}

static size_t on_output(struct exec *x, enum exec_stream stream, const uint8_t *bytes, size_t len,
			void *data)
{
	struct run *r = data;
	size_t n = r->chunk ? MIN(len, r->chunk) : len;

	if (r->refusals > 0) {
		r->refusals--;
		n = 0;
	}
	g_byte_array_append(r->output[stream == EXEC_STDERR], bytes, (guint)n);
	if (n < len && !r->again)
		r->again = g_idle_add(on_again, r);
	return n;
}

static void feed(struct run *r)
{
	size_t n = exec_input(r->exec, r->input, r->n_input);

	r->input += n;
	r->n_input -= n;
	if (r->n_input == 0)
		exec_input_end(r->exec);
}

static void on_room(struct exec *x, void *data)
{
	feed(data);
}

static void on_ended(struct exec *x, const struct exec_end *end, const GError *error, void *data)
{
	struct run *r = data;

	assert_false(r->ended);
	r->ended = true;
	r->end = *end;
	r->error = error ? g_error_copy(error) : NULL;
}

static const struct exec_ops ops = {
	.output = on_output,
	.room = on_room,
	.ended = on_ended,
};

static void begin(struct run *r, const struct exec_command *command)
{
	g_autoptr(GError) error = NULL;

	r->output[0] = g_byte_array_new();
	r->output[1] = g_byte_array_new();
	r->exec = exec_new(&address, command, &ops, r, &error);
	assert_non_null(r->exec);
}

static void await_end(struct run *r)
{
	gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

	while (!r->ended) {
		assert_true(g_get_monotonic_time() < deadline);
		g_main_context_iteration(NULL, TRUE);
	}
}

static void done(struct run *r)
{
	g_clear_handle_id(&r->again, g_source_remove);
	exec_free(r->exec);
	g_byte_array_unref(r->output[0]);
	g_byte_array_unref(r->output[1]);
	g_clear_error(&r->error);
	*r = (struct run){ 0 };
}

static void assert_output(struct run *r, unsigned stream, const char *text)
{
	assert_int_equal(r->output[stream]->len, strlen(text));
	assert_memory_equal(r->output[stream]->data, text, strlen(text));
}

/* sh -c script: its end, and its output. */
static void assert_script(const char *script, int code, const char *out, const char *err)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	const struct exec_command command = { .argv = argv };
	struct run r = { 0 };

	begin(&r, &command);
	await_end(&r);
	assert_null(r.error);
	assert_true(r.end.ran);
	assert_int_equal(r.end.code, code);
	if (out)
		assert_output(&r, 0, out);
	if (err)
		assert_output(&r, 1, err);
	done(&r);
}

static void test_ends(void **state)
{
	assert_script("true", 0, "", "");
	assert_script("exit 3", 3, "", "");
	assert_script("exit 255", 255, "", "");
	assert_script("kill -TERM $$", 128 + SIGTERM, "", "");
	assert_script("kill -KILL $$", 128 + SIGKILL, "", "");
	assert_script("echo out; echo err >&2; exit 1", 1, "out\n", "err\n");
	assert_script("cat", 0, "", ""); /* no input: its end at once */
}

/* What goes to one place keeps its order. */
static void test_merged(void **state)
{
	static const char *const argv[] = {
		"sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; cat", NULL
	};
	const struct exec_command command = { .argv = argv, .merge = true, .input = true };
	struct run r = { .input = (const uint8_t *)"in\n", .n_input = 3 };

	begin(&r, &command);
	feed(&r);
	await_end(&r);
	assert_null(r.error);
	assert_output(&r, 0, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nin\n");
	assert_output(&r, 1, "");
	done(&r);
}

static void assert_refused(const struct exec_command *command, int code)
{
	struct run r = { 0 };

	begin(&r, command);
	await_end(&r);
	assert_non_null(r.error);
	assert_false(r.end.ran);
	assert_int_equal(r.end.code, code);
	done(&r);
}

static void test_what_cannot_run(void **state)
{
	static const char *const missing[] = { "no-such-program", NULL };
	static const char *const directory[] = { "/", NULL };
	static const char *const fine[] = { "true", NULL };

	assert_refused(&(struct exec_command){ .argv = missing }, 127);
	assert_refused(&(struct exec_command){ .argv = directory }, 126);
	assert_refused(&(struct exec_command){ .argv = fine, .user = "nobody-of-that-name" }, 127);
	assert_refused(&(struct exec_command){ .argv = fine, .cwd = "/no/such/place" }, 127);
}

static void test_settings(void **state)
{
	static const char *const argv[] = { "sh", "-c", "echo $A; pwd", NULL };
	static const char *const env[] = { "A=b c=d", NULL };
	const struct exec_command command = { .argv = argv, .env = env, .cwd = "/usr" };
	struct run r = { 0 };

	begin(&r, &command);
	await_end(&r);
	assert_output(&r, 0, "b c=d\n/usr\n");
	done(&r);
}

/* 32 MiB through cat, both ways at once, taken in pieces by a reader that hesitates. */
static void test_much_both_ways(void **state)
{
	static const char *const argv[] = { "cat", NULL };
	const struct exec_command command = { .argv = argv, .input = true };
	const size_t size = 32u << 20;
	g_autofree uint8_t *bytes = g_malloc(size);
	struct run r = { .chunk = 100000, .refusals = 50 };

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	r.input = bytes;
	r.n_input = size;
	begin(&r, &command);
	feed(&r);
	await_end(&r);
	assert_null(r.error);
	assert_int_equal(r.end.code, 0);
	assert_int_equal(r.output[0]->len, size);
	assert_memory_equal(r.output[0]->data, bytes, size);
	done(&r);
}

/* It ends, and its input goes on: nobody waits for that. */
static void test_input_of_no_interest(void **state)
{
	static const char *const argv[] = { "true", NULL };
	const struct exec_command command = { .argv = argv, .input = true };
	g_autofree uint8_t *bytes = g_malloc0(4u << 20);
	struct run r = { .input = bytes, .n_input = 4u << 20 };

	begin(&r, &command);
	feed(&r);
	await_end(&r);
	assert_null(r.error);
	assert_int_equal(r.end.code, 0);
	done(&r);
}

static void test_output_of_no_interest(void **state)
{
	static const char *const argv[] = { "yes", NULL };
	const struct exec_command command = { .argv = argv };
	struct run r = { 0 };

	begin(&r, &command);
	while (r.output[0]->len == 0)
		g_main_context_iteration(NULL, TRUE);
	exec_refuse(r.exec, EXEC_STDOUT);
	await_end(&r);
	assert_null(r.error);
	assert_true(r.end.code != 0);
	done(&r);
}

/* What a program leaves behind is not waited for; what was written before is there. */
static void test_left_behind(void **state)
{
	gint64 begun = g_get_monotonic_time();

	assert_script("sleep 30 & echo started", 0, "started\n", "");
	assert_true(g_get_monotonic_time() - begun < 20 * G_USEC_PER_SEC);
}

static void test_signals(void **state)
{
	static const char *const argv[] = { "sh", "-c",
					    "trap 'echo got; exit 9' INT; echo on; "
					    "while :; do sleep 0.01; done",
					    NULL };
	static const char *const sleeper[] = { "sleep", "60", NULL };
	const struct exec_command trap = { .argv = argv }, plain = { .argv = sleeper };
	struct run r = { 0 };

	begin(&r, &trap);
	while (r.output[0]->len == 0)
		g_main_context_iteration(NULL, TRUE);
	exec_signal(r.exec, SIGINT);
	await_end(&r);
	assert_output(&r, 0, "on\ngot\n");
	assert_int_equal(r.end.code, 9);
	done(&r);

	/* Before it runs: kept until then. */
	begin(&r, &plain);
	exec_signal(r.exec, SIGTERM);
	await_end(&r);
	assert_int_equal(r.end.signal, SIGTERM);
	done(&r);
}

static void test_terminal(void **state)
{
	static const char *const argv[] = { "sh", "-c",
					    "tty >/dev/null && stty size; read x; stty size; "
					    "echo $TERM",
					    NULL };
	const struct exec_command command = {
		.argv = argv, .input = true, .tty = true, .term = "vt52", .rows = 33, .cols = 99
	};
	struct run r = { 0 };

	begin(&r, &command);
	while (!r.ended && !strstr(r.output[0]->len ? (char *)r.output[0]->data : "", "33 99")) {
		g_main_context_iteration(NULL, TRUE);
		g_byte_array_append(r.output[0], (const guint8 *)"", 1);
		g_byte_array_set_size(r.output[0], r.output[0]->len - 1);
	}
	exec_window(r.exec, 44, 111);
	assert_int_equal(exec_input(r.exec, "go\n", 3), 3);
	await_end(&r);
	g_byte_array_append(r.output[0], (const guint8 *)"", 1);
	assert_null(r.error);
	assert_non_null(strstr((char *)r.output[0]->data, "44 111\r\n"));
	assert_non_null(strstr((char *)r.output[0]->data, "vt52\r\n"));
	done(&r);
}

/* The agent dies under a program: an error, not an exit status. */
static void test_death_of_the_agent(void **state)
{
	static const char *const argv[] = { "sh", "-c", "echo on; sleep 60", NULL };
	const struct exec_command command = { .argv = argv };
	struct run r = { 0 };

	begin(&r, &command);
	while (r.output[0]->len == 0)
		g_main_context_iteration(NULL, TRUE);
	kill(agent_pid, SIGKILL);
	await_end(&r);
	assert_non_null(r.error);
	assert_true(r.end.ran);
	assert_true(r.end.code != 0);
	done(&r);
	assert_int_equal(waitpid(agent_pid, NULL, 0), agent_pid);
	unlink(agent_path);
	start_agent(NULL);
}

static void test_nobody(void **state)
{
	static const char *const argv[] = { "true", NULL };
	const struct exec_command command = { .argv = argv };
	const struct link_address nowhere = { .path = "/nonexistent/socket" };
	g_autoptr(GError) error = NULL;
	struct run r = { 0 };

	assert_null(exec_new(&nowhere, &command, &ops, &r, &error));
	assert_non_null(strstr(error->message, "/nonexistent/socket"));
}

/* Many at once, each with an end of its own. */
static void test_many(void **state)
{
	enum { N = 40 };
	struct run runs[N] = { 0 };

	for (int i = 0; i < N; i++) {
		g_autofree char *script = g_strdup_printf("echo %d; exit %d", i, i);
		const char *const argv[] = { "sh", "-c", script, NULL };
		const struct exec_command command = { .argv = argv };

		begin(&runs[i], &command);
	}
	for (int i = 0; i < N; i++) {
		g_autofree char *line = g_strdup_printf("%d\n", i);

		await_end(&runs[i]);
		assert_null(runs[i].error);
		assert_int_equal(runs[i].end.code, i);
		assert_output(&runs[i], 0, line);
		done(&runs[i]);
	}
}

/* --- other agents ----------------------------------------------------------------------------------------- */

/* One that knows no pieces, or breaks their rules, as a script in a process of its own. */
struct other {
	struct tmp_dir tmp;
	char path[128];
	struct link_address address;
	int listener;
	pid_t pid;
};

static void other_say(int fd, uint32_t type, uint32_t transaction, uint32_t step, const void *body,
		      size_t len)
{
	const struct agent_header h = { type, AGENT_HEADER_SIZE + (uint32_t)len, transaction,
					step };
	uint8_t bytes[AGENT_HEADER_SIZE];

	agent_header_put(bytes, &h);
	if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0 ||
	    (len && send(fd, body, len, MSG_NOSIGNAL) < 0))
		_exit(1);
}

#define OTHER_SAYS(fd, type, transaction, step, text) \
	other_say(fd, type, transaction, step, text, strlen(text))

/* The next message's type; its transaction, and its body as text. */
static uint32_t other_hears(int fd, uint32_t *ret_transaction, char body[AGENT_MESSAGE_MAX])
{
	uint8_t bytes[AGENT_HEADER_SIZE];
	struct agent_header h;
	size_t len;

	if (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
		_exit(2);
	agent_header_get(bytes, &h);
	len = h.size - AGENT_HEADER_SIZE;
	if (len && recv(fd, body, len, MSG_WAITALL) != (ssize_t)len)
		_exit(3);
	body[len] = '\0';
	*ret_transaction = h.transaction;
	return h.type;
}

static int accept_hello(const struct other *o, const char *hello)
{
	static char body[AGENT_MESSAGE_MAX];
	int fd = accept4(o->listener, NULL, NULL, SOCK_CLOEXEC);
	uint32_t transaction;

	if (other_hears(fd, &transaction, body) != AGENT_HELLO)
		_exit(4);
	OTHER_SAYS(fd, AGENT_HELLO, transaction, 2, hello);
	return fd;
}

/* As the agent was before there were pieces: refuses EXEC without a token, and all BYTES; then it is cat. */
static void old_agent(const struct other *o)
{
	static const char refusal[] = "{\"code\":\"bad-request\",\"text\":\"token\"}";
	static char body[AGENT_MESSAGE_MAX];
	int fd = accept_hello(o, "{\"version\":[1,1],\"capabilities\":[\"exec\",\"tty\"]}");
	int data[3] = { -1, -1, -1 };
	uint32_t asked = 0;
	ssize_t n;

	while (!asked) {
		uint32_t transaction, type = other_hears(fd, &transaction, body);

		if (type == AGENT_EXEC && strstr(body, "\"token\""))
			asked = transaction;
		else
			OTHER_SAYS(fd, AGENT_ERROR, transaction, 2, refusal);
	}
	for (unsigned i = 0; i < 3; i++) {
		uint8_t attach[AGENT_ATTACH_SIZE];
		int s = accept4(o->listener, NULL, NULL, SOCK_CLOEXEC);

		if (recv(s, attach, sizeof(attach), MSG_WAITALL) != sizeof(attach))
			_exit(5);
		data[attach[AGENT_ATTACH_SIZE - 4]] = s; /* stdout, stderr, stdin */
	}
	OTHER_SAYS(fd, AGENT_EXEC, asked, 2, "{\"pid\":77}");
	while ((n = recv(data[2], body, sizeof(body), 0)) > 0)
		if (send(data[0], body, (size_t)n, MSG_NOSIGNAL) != n)
			_exit(6);
	OTHER_SAYS(fd, AGENT_EXIT, asked, 3, "{\"pid\":77,\"code\":5}");
}

/* It sends more than a window, though nothing was granted. */
static void flooding_agent(const struct other *o)
{
	static char body[AGENT_MESSAGE_MAX];
	int fd = accept_hello(o, "{\"version\":[1,1],\"capabilities\":[\"streams\"]}");
	uint32_t asked;

	if (other_hears(fd, &asked, body) != AGENT_EXEC)
		_exit(7);
	OTHER_SAYS(fd, AGENT_EXEC, asked, 2, "{\"pid\":77}");
	memset(body, 0, 4);
	for (unsigned i = 0; i < 5; i++)
		other_say(fd, AGENT_BYTES, asked, 0, body, AGENT_BYTES_MAX + 4);
	(void)recv(fd, body, sizeof(body), 0);
}

static void other_start(struct other *o, void (*run)(const struct other *o))
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	tmp_dir_init(&o->tmp);
	tmp_path(&o->tmp, "other", o->path, sizeof(o->path));
	o->address = (struct link_address){ .path = o->path };
	g_strlcpy(un.sun_path, o->path, sizeof(un.sun_path));
	o->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(o->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(o->listener, 8), 0);
	o->pid = fork();
	assert_true(o->pid >= 0);
	if (o->pid == 0) {
		run(o);
		_exit(0);
	}
	close(o->listener);
}

static void other_stop(struct other *o)
{
	int status;

	assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
	assert_int_equal(status, 0);
	tmp_dir_done(&o->tmp);
}

/* More than a window of input: what was sent in vain is sent again, and the rest follows. */
static void test_an_older_agent(void **state)
{
	static const char *const argv[] = { "cat", NULL };
	const struct exec_command command = { .argv = argv, .input = true };
	const size_t size = 3 * AGENT_WINDOW + 17;
	g_autofree uint8_t *bytes = g_malloc(size);
	struct run r = { .input = bytes, .n_input = size };
	struct link_address usual = address;
	struct other o;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	other_start(&o, old_agent);
	address = o.address;
	begin(&r, &command);
	feed(&r);
	await_end(&r);
	assert_null(r.error);
	assert_int_equal(r.end.code, 5);
	assert_int_equal(r.output[0]->len, size);
	assert_memory_equal(r.output[0]->data, bytes, size);
	done(&r);
	address = usual;
	other_stop(&o);
}

static void test_a_flooding_agent(void **state)
{
	static const char *const argv[] = { "yes", NULL };
	const struct exec_command command = { .argv = argv };
	struct run r = { .refusals = 1000000 };
	struct link_address usual = address;
	struct other o;

	other_start(&o, flooding_agent);
	address = o.address;
	begin(&r, &command);
	await_end(&r);
	assert_non_null(r.error);
	assert_non_null(strstr(r.error->message, "BYTES against the rules"));
	assert_int_equal(r.output[0]->len, 0);
	done(&r);
	address = usual;
	other_stop(&o);
}

/* --- smaller parts ---------------------------------------------------------------------------------------- */

static void test_outlet_pipe(void **state)
{
	static const char bytes[1 << 20];
	size_t written = 0, got = 0;
	char buffer[65536];
	struct outlet o;
	int fds[2];
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	outlet_init(&o, fds[1]);
	/* It takes what there is room for, and then nothing, and waits in neither case. */
	while ((n = outlet_write(&o, bytes, sizeof(bytes))) > 0)
		written += (size_t)n;
	assert_int_equal(n, 0);
	assert_true(written >= 4096);
	assert_false(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	while (got < written && (n = read(fds[0], buffer, sizeof(buffer))) > 0)
		got += (size_t)n;
	assert_int_equal(got, written);
	assert_true(outlet_write(&o, "x", 1) == 1);
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(outlet_write(&o, "x", 1), -EPIPE);
	outlet_done(&o);
	assert_true(fcntl(fds[1], F_GETFD) >= 0);
	close(fds[1]);
}

static void test_outlet_socket_and_file(void **state)
{
	static const char bytes[1 << 20];
	struct outlet o;
	char path[128];
	int pair[2], fd;
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	outlet_init(&o, pair[0]);
	while ((n = outlet_write(&o, bytes, sizeof(bytes))) > 0)
		;
	assert_int_equal(n, 0);
	close(pair[1]);
	assert_int_equal(outlet_write(&o, "x", 1), -EPIPE);
	outlet_done(&o);
	close(pair[0]);
	fd = open(tmp_path(&tmp, "file", path, sizeof(path)), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	outlet_init(&o, fd);
	assert_int_equal(outlet_write(&o, bytes, 5000), 5000);
	outlet_done(&o);
	assert_int_equal(lseek(fd, 0, SEEK_END), 5000);
	close(fd);
	outlet_init(&o, 9999);
	assert_int_equal(outlet_write(&o, "x", 1), -EBADF);
	outlet_done(&o);
}

static void test_escape(void **state)
{
	struct terminal_escape e = { 0 };

	assert_int_equal(terminal_escape(&e,
					 "a\x1d\x1d"
					 "b",
					 4, 0),
			 4);
	assert_int_equal(terminal_escape(&e, "\x1d", 1, 1000), 1);
	assert_int_equal(terminal_escape(&e, "\x1d", 1, 500000), 1);
	assert_int_equal(terminal_escape(&e, "\x1d", 1, 1000 + TERMINAL_ESCAPE_US), 0);
	e = (struct terminal_escape){ 0 };
	assert_int_equal(terminal_escape(&e, "\x1d\x1d", 2, 0), 2);
	/* Too late: it is the first of the next three. */
	assert_int_equal(terminal_escape(&e, "\x1d", 1, TERMINAL_ESCAPE_US + 1), 1);
	assert_int_equal(terminal_escape(&e, "\x1d\x1d", 2, TERMINAL_ESCAPE_US + 2), 1);
	e = (struct terminal_escape){ 0 };
	assert_int_equal(terminal_escape(&e, "ls\x1d\x1d\x1drm", 7, 0), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_merged),
		cmocka_unit_test(test_what_cannot_run),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_much_both_ways),
		cmocka_unit_test(test_input_of_no_interest),
		cmocka_unit_test(test_output_of_no_interest),
		cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_death_of_the_agent),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_an_older_agent),
		cmocka_unit_test(test_a_flooding_agent),
		cmocka_unit_test(test_outlet_pipe),
		cmocka_unit_test(test_outlet_socket_and_file),
		cmocka_unit_test(test_escape),
	};
	int failed;

	tmp_dir_init(&tmp);
	tmp_path(&tmp, "agent", agent_path, sizeof(agent_path));
	address.path = agent_path;
	failed = cmocka_run_group_tests(tests, start_agent, stop_agent);
	tmp_dir_done(&tmp);
	return failed;
}
