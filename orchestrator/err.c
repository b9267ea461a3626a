/* SPDX-License-Identifier: MIT */
#include "err.h"

GQuark orch_error_quark(void)
{
	return g_quark_from_static_string("orch-error");
}

int err_exit_code(const GError *error)
{
	if (!error)
		return 0;
	return error->domain == ORCH_ERROR ? error->code : ORCH_ERROR_FAILED;
}

enum orch_error err_from_exit_code(int code)
{
	switch (code) {
	case ORCH_ERROR_USAGE:
	case ORCH_ERROR_INVALID_LAB:
	case ORCH_ERROR_HOST_UNFIT:
	case ORCH_ERROR_TIMEOUT:
	case ORCH_ERROR_PARTIAL:
	case ORCH_ERROR_CONFLICT:
	case ORCH_ERROR_INTERRUPTED:
		return (enum orch_error)code;
	default:
		return ORCH_ERROR_FAILED;
	}
}

void err_set_errno(GError **error, enum orch_error code, int errnum, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_set_error(error, ORCH_ERROR, (int)code, "%s: %s", text, g_strerror(errnum));
}
