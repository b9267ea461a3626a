/* SPDX-License-Identifier: MIT */
#include "agent/guest/signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

int signal_find(const char *name)
{
#define S(name)                  \
	{                        \
#name, SIG##name \
	}
	static const struct {
		const char *name;
		int number;
	} signals[] = {
		S(HUP),  S(INT),   S(QUIT), S(ILL),  S(TRAP), S(ABRT),   S(BUS),  S(FPE),
		S(KILL), S(USR1),  S(SEGV), S(USR2), S(PIPE), S(ALRM),   S(TERM), S(CHLD),
		S(CONT), S(STOP),  S(TSTP), S(TTIN), S(TTOU), S(URG),    S(XCPU), S(XFSZ),
		S(PROF), S(WINCH), S(IO),   S(PWR),  S(SYS),  S(VTALRM),
	};
#undef S

	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (strcmp(signals[i].name, name) == 0)
			return signals[i].number;
	}
	return -1;
}
