/* SPDX-License-Identifier: MIT */
#include "agent/protocol.h"

#include <errno.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const struct agent_type_info types[] = {
#define X(name, number, place, sender, body, step) \
	{ #name, number, AGENT_##place, AGENT_FROM_##sender, AGENT_BODY_##body, step },
	AGENT_TYPES(X)
#undef X
};

static const char *const errors[] = {
#define X(name, word) [AGENT_ERROR_##name] = word,
	AGENT_ERRORS(X)
#undef X
};

static const char *const events[] = {
#define X(name, word) [AGENT_EVENT_##name] = word,
	AGENT_EVENTS(X)
#undef X
};

static const char *const capabilities[] = {
#define X(name, word) [AGENT_CAPABILITY_##name] = word,
	AGENT_CAPABILITIES(X)
#undef X
};

const struct agent_type_info *agent_type_find(uint32_t type)
{
	for (size_t i = 0; i < N(types); i++) {
		if (types[i].number == type)
			return &types[i];
	}
	return NULL;
}

const char *agent_type_name(uint32_t type)
{
	const struct agent_type_info *info = agent_type_find(type);

	return info ? info->name : "?";
}

const char *agent_error_word(enum agent_error code)
{
	return errors[code];
}

const char *agent_event_word(enum agent_event event)
{
	return events[event];
}

const char *agent_capability_word(enum agent_capability capability)
{
	return capabilities[capability];
}

enum agent_error agent_error_find(const char *word)
{
	for (size_t i = 0; i < N(errors); i++) {
		if (strcmp(errors[i], word) == 0)
			return (enum agent_error)i;
	}
	return AGENT_ERROR_FAILED;
}

enum agent_error agent_error_from_errno(int err)
{
	static const struct {
		int err;
		enum agent_error code;
	} map[] = {
		{ ENOENT, AGENT_ERROR_NOT_FOUND },   { ENOTDIR, AGENT_ERROR_NOT_FOUND },
		{ ESRCH, AGENT_ERROR_NOT_FOUND },    { ENODEV, AGENT_ERROR_NOT_FOUND },
		{ EACCES, AGENT_ERROR_DENIED },      { EPERM, AGENT_ERROR_DENIED },
		{ EROFS, AGENT_ERROR_DENIED },       { EEXIST, AGENT_ERROR_EXISTS },
		{ EBUSY, AGENT_ERROR_BUSY },         { ETXTBSY, AGENT_ERROR_BUSY },
		{ EADDRINUSE, AGENT_ERROR_BUSY },    { EMFILE, AGENT_ERROR_LIMIT },
		{ ENFILE, AGENT_ERROR_LIMIT },       { ENOMEM, AGENT_ERROR_LIMIT },
		{ ENOSPC, AGENT_ERROR_LIMIT },       { E2BIG, AGENT_ERROR_LIMIT },
		{ ETIMEDOUT, AGENT_ERROR_TIMEOUT },  { EINVAL, AGENT_ERROR_BAD_REQUEST },
		{ EBADMSG, AGENT_ERROR_DAMAGED },    { EOPNOTSUPP, AGENT_ERROR_UNSUPPORTED },
		{ ENOSYS, AGENT_ERROR_UNSUPPORTED }, { EAFNOSUPPORT, AGENT_ERROR_UNSUPPORTED },
	};

	for (size_t i = 0; i < N(map); i++) {
		if (map[i].err == err)
			return map[i].code;
	}
	return AGENT_ERROR_FAILED;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void agent_header_put(uint8_t out[AGENT_HEADER_SIZE], const struct agent_header *header)
{
	put32(out, header->type);
	put32(out + 4, header->size);
	put32(out + 8, header->transaction);
	put32(out + 12, header->step);
}

void agent_header_get(const uint8_t in[AGENT_HEADER_SIZE], struct agent_header *ret_header)
{
	ret_header->type = get32(in);
	ret_header->size = get32(in + 4);
	ret_header->transaction = get32(in + 8);
	ret_header->step = get32(in + 12);
}

int agent_header_check(const struct agent_header *header, enum agent_place place)
{
	const struct agent_type_info *info = agent_type_find(header->type);
	uint32_t max = place == AGENT_CONTROL ? AGENT_MESSAGE_MAX : AGENT_RECORD_MAX;

	if (header->size < AGENT_HEADER_SIZE || header->size > max)
		return -EMSGSIZE;
	return info && info->place != place ? -EPROTO : 0;
}

void agent_attach_put(uint8_t out[AGENT_ATTACH_SIZE], const struct agent_attach *attach)
{
	const struct agent_header header = { .type = AGENT_ATTACH, .size = AGENT_ATTACH_SIZE };

	agent_header_put(out, &header);
	memcpy(out + AGENT_HEADER_SIZE, attach->token, AGENT_TOKEN_SIZE);
	put32(out + AGENT_HEADER_SIZE + AGENT_TOKEN_SIZE, attach->stream);
}

int agent_attach_get(const uint8_t in[AGENT_ATTACH_SIZE], struct agent_attach *ret_attach)
{
	struct agent_header header;

	agent_header_get(in, &header);
	if (header.type != AGENT_ATTACH || header.size != AGENT_ATTACH_SIZE)
		return -EPROTO;
	memcpy(ret_attach->token, in + AGENT_HEADER_SIZE, AGENT_TOKEN_SIZE);
	ret_attach->stream = get32(in + AGENT_HEADER_SIZE + AGENT_TOKEN_SIZE);
	return 0;
}

size_t agent_piece_put(uint8_t out[AGENT_PIECE_HEAD], uint32_t transaction,
		       const struct agent_piece *piece)
{
	size_t size = AGENT_HEADER_SIZE + (piece->type == AGENT_GRANT ? 8 : 4);
	struct agent_header header = {
		.type = piece->type,
		.size = (uint32_t)(size + (piece->type == AGENT_BYTES ? piece->len : 0)),
		.transaction = transaction,
	};

	agent_header_put(out, &header);
	put32(out + AGENT_HEADER_SIZE, piece->stream);
	if (piece->type == AGENT_GRANT)
		put32(out + AGENT_HEADER_SIZE + 4, piece->granted);
	return size;
}

int agent_piece_get(const struct agent_header *header, const uint8_t *body,
		    struct agent_piece *ret_piece)
{
	size_t len = header->size - AGENT_HEADER_SIZE;
	struct agent_piece piece = { .type = (enum agent_type)header->type };

	if (header->step || len < 4)
		return -EPROTO;
	piece.stream = get32(body);
	if (header->type == AGENT_BYTES) {
		piece.bytes = body + 4;
		piece.len = len - 4;
	} else if (header->type == AGENT_GRANT && len == 8) {
		piece.granted = get32(body + 4);
	} else if (header->type != AGENT_CLOSE || len != 4) {
		return -EPROTO;
	}
	if (header->type != AGENT_CLOSE && !piece.len && !piece.granted)
		return -EPROTO;
	*ret_piece = piece;
	return 0;
}

void agent_token_to_hex(const uint8_t token[AGENT_TOKEN_SIZE], char out[AGENT_TOKEN_HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < AGENT_TOKEN_SIZE; i++) {
		out[2 * i] = digits[token[i] >> 4];
		out[2 * i + 1] = digits[token[i] & 15];
	}
	out[AGENT_TOKEN_HEX - 1] = '\0';
}

/* Of a character that is one. */
static unsigned digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

bool agent_token_from_hex(const char *hex, uint8_t ret_token[AGENT_TOKEN_SIZE])
{
	if (strlen(hex) != AGENT_TOKEN_HEX - 1 ||
	    strspn(hex, "0123456789abcdef") != AGENT_TOKEN_HEX - 1)
		return false;
	for (size_t i = 0; i < AGENT_TOKEN_SIZE; i++)
		ret_token[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return true;
}
