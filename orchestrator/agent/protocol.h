/* SPDX-License-Identifier: MIT */
/* The words between host and in-guest agent: message types, header, limits, names.  doc/agent.md is the same in prose.
 *
 * Plain C without I/O, allocation or glib: the agent in the guest, the verbs on the host, the tests and the fuzzers all
 * compile this file and protocol.c.  Every message is a header of 16 bytes, then a body:
 *
 *      0        4        8        12       16
 *      ┌────────┬────────┬────────┬────────┬──────────────
 *      │  type  │  size  │ trans- │  step  │ body …            u32 each, little-endian
 *      │        │        │ action │        │ size - 16 bytes   size counts the header, too
 *      └────────┴────────┴────────┴────────┴──────────────
 *
 * step: 0 a notice, nobody answers; 1 a request; 2, 3, … its answers, with its type (or ERROR, or EXIT) and its
 * transaction.  Who asks chooses the transaction; each end of a connection numbers on its own.
 *
 * Two kinds of connections, told apart by their first message:
 *   control   HELLO first.  Bodies are JSON objects in UTF-8, an empty body being {}.  At most AGENT_MESSAGE_MAX.  Between
 *             them, the streams of programs in pieces: BYTES, GRANT, CLOSE.
 *   data      ATTACH first, exactly once, from the host; after it raw bytes both ways (EXEC, RELAY), or records with the
 *             same header (COPY).  A half-close is the end of file.
 *
 * Trust: each side takes the other for hostile.  A wrong size, a type in a place where it cannot be, or a first message
 * that is neither HELLO nor ATTACH end the connection; a type nobody knows, a body that is not what it should be, are
 * answered with ERROR, and the connection lives. */
#ifndef ORCHESTRATOR_AGENT_PROTOCOL_H
#define ORCHESTRATOR_AGENT_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Protocol versions that this file speaks; HELLO says both ends' range, the highest in common is spoken. */
#define AGENT_VERSION_MIN 1
#define AGENT_VERSION_MAX 1

/* vsock port: the host listens for the agent here, and the agent for the host. */
#define AGENT_PORT 50000

#define AGENT_HEADER_SIZE 16
#define AGENT_MESSAGE_MAX 65536   /* a control message, header included */
#define AGENT_RECORD_MAX  1048576 /* a record on a data connection, header included */
#define AGENT_JSON_DEPTH  8       /* objects and arrays within each other */
#define AGENT_TOKEN_SIZE  16      /* names the operation that a data connection belongs to */
#define AGENT_TOKEN_HEX   33      /* as text, with its NUL */
#define AGENT_ATTACH_SIZE \
	36 /* header, token, stream: fixed, so that no byte after it is read with it */
#define AGENT_ATTACH_MS \
	10000 /* an operation waits for its data connections, and they for it, so long */

/* A program's streams over the control connection: no more than a window of each is under way, or held at the receiving end. */
#define AGENT_WINDOW     262144
#define AGENT_PIECE_HEAD 24 /* of a piece, at most: header, stream, what GRANT grants */
#define AGENT_BYTES_MAX  (AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE - 4) /* of one BYTES */

/* What the agent holds at most.  More is answered with the error "limit", a connection too much with its end. */
#define AGENT_MAX_SESSIONS 256  /* control connections */
#define AGENT_MAX_STREAMS  1024 /* data connections that wait for their operation */
#define AGENT_MAX_EXECS    256  /* processes of EXEC at once, all sessions together */
#define AGENT_MAX_ARGS     4096 /* strings of argv and env */

enum agent_place {
	AGENT_CONTROL, /* on control connections */
	AGENT_DATA,    /* on data connections */
};

enum agent_sender {
	AGENT_FROM_HOST = 1,
	AGENT_FROM_AGENT = 2,
	AGENT_FROM_BOTH = 3,
};

enum agent_body {
	AGENT_BODY_JSON,
	AGENT_BODY_BINARY,
	AGENT_BODY_NONE,
};

/* X(name, number, place, who asks or tells, body, last step).  Answers go the other way.  Last step 2: it is a request, or,
 * sent with step 0, one without an answer.  0: it is a notice, or, as ERROR and EXIT, a later step of another type. */
#define AGENT_TYPES(X)                                                                             \
	X(ERROR, 1, CONTROL, BOTH, JSON, 0) /* {"code", "text", "errno"?} in place of an answer */ \
	X(HELLO, 2, CONTROL, BOTH, JSON, 2) /* versions, capabilities: first on a connection */    \
	X(CONFIG, 3, CONTROL, HOST, JSON, 2)   /* what the guest is to be */                       \
	X(EVENT, 4, CONTROL, AGENT, JSON, 0)   /* news, for the host that the agent dialled */     \
	X(SHUTDOWN, 5, CONTROL, HOST, JSON, 2) /* poweroff or reboot, orderly */                   \
	X(PING, 6, CONTROL, BOTH, JSON, 2)     /* answered with {} */                              \
	X(EXEC, 16, CONTROL, HOST, JSON, 2)    /* run a program; EXIT is its third step */         \
	X(EXIT, 17, CONTROL, AGENT, JSON, 0)   /* how it ended; transaction of EXEC, step 3 */     \
	X(SIGNAL, 18, CONTROL, HOST, JSON, 2)  /* to the process group of an EXEC */               \
	X(WINSIZE, 19, CONTROL, HOST, JSON, 2) /* rows and columns of an EXEC's terminal */        \
	X(BYTES, 20, CONTROL, BOTH, BINARY, 0) /* u32 stream of an EXEC, bytes of it */            \
	X(GRANT, 21, CONTROL, BOTH, BINARY, 0) /* u32 stream, u32 bytes: so many more may come */  \
	X(CLOSE, 22, CONTROL, BOTH, BINARY, 0) /* u32 stream: end of file, or nobody reads it */   \
	X(COPY, 32, CONTROL, HOST, JSON, 2)    /* files and trees, in or out */                    \
	X(WAIT, 33, CONTROL, HOST, JSON, 2)    /* for a file, a port, a command */                 \
	X(LISTEN, 34, CONTROL, HOST, JSON, 2)  /* guest tcp/unix to vsock port of the host */      \
	X(RELAY, 35, CONTROL, HOST, JSON, 2)   /* data connection to guest tcp/unix */             \
	X(MOUNT, 36, CONTROL, HOST, JSON, 2)   /* a disk, by serial: directory or distribution */  \
	X(UMOUNT, 37, CONTROL, HOST, JSON, 2)                                                      \
	X(UNLISTEN, 38, CONTROL, HOST, JSON, 2)                                                    \
	X(DISTROS, 39, CONTROL, HOST, JSON, 2) /* those that are mounted */                        \
	X(ATTACH, 64, DATA, HOST, BINARY, 0)   /* token[16], u32 stream */                         \
	X(ENTRY, 65, DATA, BOTH, BINARY,                                                           \
	  0) /* COPY: file, directory or symlink begins: copy_wire.h */                            \
	X(EXTENT, 66, DATA, BOTH, BINARY, 0) /* COPY: u64 offset, bytes of the file */             \
	X(HASH, 67, DATA, BOTH, BINARY, 0) /* COPY: u64 size, u64 XXH64 of all bytes: file ends */ \
	X(LEAVE, 68, DATA, BOTH, NONE, 0)  /* COPY: the directory ends */                          \
	X(END, 69, DATA, BOTH, NONE, 0)    /* COPY: nothing more */                                \
	X(RESULT, 70, DATA, BOTH, BINARY,                                                          \
	  0) /* COPY: u32 errno, text: the receiver's verdict, or the sender gives up */

enum agent_type {
#define X(name, number, place, sender, body, step) AGENT_##name = number,
	AGENT_TYPES(X)
#undef X
};

/* Words of ERROR's "code": for programs; "text" is for people. */
#define AGENT_ERRORS(X)                                                                      \
	X(BAD_REQUEST, "bad-request")       /* body not as it should be */                   \
	X(UNKNOWN_TYPE, "unknown-type")     /* this agent does not know the message */       \
	X(UNSUPPORTED, "unsupported")       /* known, but not here */                        \
	X(VERSION, "version")               /* HELLO: no version in common */                \
	X(NOT_FOUND, "not-found")           /* no such file, program, user, process, disk */ \
	X(NOT_EXECUTABLE, "not-executable") /* EXEC: there, but cannot be run */             \
	X(DENIED, "denied")                 /* the guest's kernel says no */                 \
	X(EXISTS, "exists")                 /* there already */                              \
	X(BUSY, "busy")                     /* in use */                                     \
	X(LIMIT, "limit")                   /* too many, too big */                          \
	X(TIMEOUT, "timeout")               /* the time is over */                           \
	X(DAMAGED, "damaged")               /* COPY: hash or order wrong, ended too early */ \
	X(FAILED, "failed")                 /* anything else; "errno" says more */

enum agent_error {
#define X(name, word) AGENT_ERROR_##name,
	AGENT_ERRORS(X)
#undef X
		AGENT_ERROR_COUNT
};

/* Words of EVENT's "event". */
#define AGENT_EVENTS(X)                                                                       \
	X(READY, "ready")       /* CONFIG is done, nothing failed */                          \
	X(FAILED, "failed")     /* {"text"}: something of boot or CONFIG could not be done */ \
	X(SHUTDOWN, "shutdown") /* {"how", "by": "host"|"button"|"guest"}: it begins */       \
	X(DISTRO, "distro")     /* {"name", "state": "mounted"|"ended"} */

enum agent_event {
#define X(name, word) AGENT_EVENT_##name,
	AGENT_EVENTS(X)
#undef X
		AGENT_EVENT_COUNT
};

/* Words of HELLO's "capabilities". */
#define AGENT_CAPABILITIES(X)                                          \
	X(EXEC, "exec")                                                \
	X(TTY, "tty")         /* EXEC with a terminal */               \
	X(STREAMS, "streams") /* EXEC's over the control connection */ \
	X(COPY, "copy")                                                \
	X(WAIT, "wait")                                                \
	X(RELAY, "relay") /* RELAY, LISTEN, UNLISTEN */                \
	X(MOUNT, "mount")                                              \
	X(DISTRO, "distro")     /* namespaces for EXEC's "distro" */   \
	X(SHUTDOWN, "shutdown") /* the agent may end the guest */      \
	X(INIT, "init")         /* the agent is PID 1 */

enum agent_capability {
#define X(name, word) AGENT_CAPABILITY_##name,
	AGENT_CAPABILITIES(X)
#undef X
		AGENT_CAPABILITY_COUNT
};

/* A row of AGENT_TYPES. */
struct agent_type_info {
	const char *name; /* "EXEC" */
	uint32_t number;
	enum agent_place place;
	enum agent_sender sender;
	enum agent_body body;
	uint32_t step;
};

/* The row of TYPE; NULL if there is none. */
const struct agent_type_info *agent_type_find(uint32_t type);
const char *agent_type_name(uint32_t type); /* "?" for what is in no row */

const char *agent_error_word(enum agent_error code);
const char *agent_event_word(enum agent_event event);
const char *agent_capability_word(enum agent_capability capability);
/* The code for WORD; AGENT_ERROR_FAILED for a word that this version does not know. */
enum agent_error agent_error_find(const char *word);
/* What an errno of the guest's kernel is called. */
enum agent_error agent_error_from_errno(int err);

struct agent_header {
	uint32_t type;
	uint32_t size; /* header and body */
	uint32_t transaction;
	uint32_t step;
};

void agent_header_put(uint8_t out[AGENT_HEADER_SIZE], const struct agent_header *header);
void agent_header_get(const uint8_t in[AGENT_HEADER_SIZE], struct agent_header *ret_header);

/* May a connection of this PLACE go on after this header?  It looks at the framing alone: sizes, and that a known type is where it
 * can be.  An unknown type of a good size passes: it is for ERROR.
 * Returns 0; -EMSGSIZE, the size is below the header's or above the place's limit; -EPROTO, the type is not for here. */
int agent_header_check(const struct agent_header *header, enum agent_place place);

/* The first message of a data connection, whole. */
struct agent_attach {
	uint8_t token[AGENT_TOKEN_SIZE];
	uint32_t stream; /* index in the operation's "streams" */
};

void agent_attach_put(uint8_t out[AGENT_ATTACH_SIZE], const struct agent_attach *attach);
/* Returns 0, or -EPROTO: this is not ATTACH with its one size. */
int agent_attach_get(const uint8_t in[AGENT_ATTACH_SIZE], struct agent_attach *ret_attach);

/* BYTES, GRANT or CLOSE: a notice in the transaction of its EXEC. */
struct agent_piece {
	enum agent_type type;
	uint32_t stream;      /* index in EXEC's "streams" */
	uint32_t granted;     /* GRANT: so many bytes may come in addition */
	const uint8_t *bytes; /* BYTES: borrowed */
	size_t len;
};

/* The beginning of a piece as a message, the bytes of BYTES are to follow.  Returns its size. */
size_t agent_piece_put(uint8_t out[AGENT_PIECE_HEAD], uint32_t transaction,
		       const struct agent_piece *piece);
/* BODY is what follows HEADER, which has been checked.  Returns 0; -EPROTO: it is no piece; BYTES and GRANT of nothing are none. */
int agent_piece_get(const struct agent_header *header, const uint8_t *body,
		    struct agent_piece *ret_piece);

/* A token as in JSON: 32 lower-case hexadecimal digits. */
void agent_token_to_hex(const uint8_t token[AGENT_TOKEN_SIZE], char out[AGENT_TOKEN_HEX]);
bool agent_token_from_hex(const char *hex, uint8_t ret_token[AGENT_TOKEN_SIZE]);

#endif
