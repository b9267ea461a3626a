/* SPDX-License-Identifier: MIT */
#include "call.h"

#include <stdio.h>
#include <stdlib.h>

#include <json-c/json.h>

/* Allocated; the caller's. */
static char *line_of(const struct tmp_dir *dir, const char *method, const char *params)
{
	char *line = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&line, &size);

	assert_non_null(f);
	fprintf(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":", method);
	for (const char *at; dir && (at = strstr(params, "DIR")); params = at + strlen("DIR"))
		fprintf(f, "%.*s%s", (int)(at - params), params, dir->path);
	fprintf(f, "%s}", params);
	assert_int_equal(fclose(f), 0);
	return line;
}

const char *control_call(struct control *control, const struct tmp_dir *dir, const char *method,
			 const char *params)
{
	static char answer[CONTROL_OUT_MAX];
	char *line = line_of(dir, method, params);
	struct json_object *o = control_line(control, line, strlen(line));

	free(line);
	assert_non_null(o);
	snprintf(answer, sizeof(answer), "%s",
		 json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return answer;
}
