/* SPDX-License-Identifier: MIT */
#include "connect_line.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base.h"

static const char keyword[] = "CONNECT";
#define KEYWORD_LEN (sizeof(keyword) - 1)

size_t connect_line_want(const struct connect_line *line, const char *next, size_t len)
{
	size_t room = min(len, sizeof(line->text) - line->len);
	const char *newline = memchr(next, '\n', room);

	return newline ? (size_t)(newline - next) + 1 : room;
}

void connect_line_add(struct connect_line *line, const char *bytes, size_t len)
{
	assert(len <= sizeof(line->text) - line->len);
	memcpy(line->text + line->len, bytes, len);
	line->len += len;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Whether what there is may be the beginning of a CONNECT line. */
static bool begins_well(const struct connect_line *line)
{
	if (strncasecmp(line->text, keyword, min(line->len, KEYWORD_LEN)) != 0)
		return false;
	return line->len <= KEYWORD_LEN || is_blank(line->text[KEYWORD_LEN]);
}

int connect_line_parse(const struct connect_line *line, uint32_t *ret_port, bool *ret_guid)
{
	const char *word = line->text + KEYWORD_LEN, *end;
	bool guid;

	if (!begins_well(line))
		return -EINVAL;
	if (line->len == 0 || line->text[line->len - 1] != '\n')
		return line->len < sizeof(line->text) ? -EAGAIN : -EINVAL;

	end = line->text + line->len - 1;
	while (word < end && is_blank(*word))
		word++;
	while (word < end && is_blank(end[-1]))
		end--;
	guid = end - word == PORTS_GUID_LEN;
	if (guid ? ports_from_guid(word, (size_t)(end - word), ret_port) < 0 :
		   ports_from_number(word, (size_t)(end - word), ret_port) < 0)
		return -EINVAL;
	*ret_guid = guid;
	return 0;
}

size_t connect_line_reply(uint32_t port, bool guid, char ret_text[CONNECT_REPLY_MAX])
{
	char id[PORTS_GUID_LEN + 1];

	if (guid)
		ports_guid(port, id);
	else
		(void)snprintf(id, sizeof(id), "%" PRIu32, port);
	return (size_t)snprintf(ret_text, CONNECT_REPLY_MAX, "OK %s\n", id);
}
