/* SPDX-License-Identifier: MIT */
/* Short slices: vhost-user/lib/slice.c.
 *
 * A thread of the usual class may ask for shorter slices without a privilege; nothing else about it changes, and its
 * children inherit it.  Linux 6.12 keeps what was asked for, within its bounds; older kernels say yes and forget. */
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

#define SLICE_NS 100000

static struct sched_attr get(void)
{
	struct sched_attr attr = { 0 };

	EXPECT(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) == 0);
	return attr;
}

static void anybody_may_ask(void)
{
	struct sched_attr before = get(), wish = before, after;

	if (before.sched_policy != SCHED_NORMAL)
		return; /* somebody runs us as a batch: slices are not ours to ask for */
	wish.sched_runtime = SLICE_NS;
	EXPECT(syscall(SYS_sched_setattr, 0, &wish, 0) == 0);
	after = get();
	EXPECT(after.sched_policy == before.sched_policy);
	EXPECT(after.sched_nice == before.sched_nice);
	EXPECT(after.sched_flags == before.sched_flags);
	EXPECT(after.sched_runtime == 0 || after.sched_runtime == SLICE_NS);
}

static void children_inherit_it(void)
{
	uint64_t ours = get().sched_runtime;
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(get().sched_runtime == ours ? 0 : 1);
	EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

int main(void)
{
	anybody_may_ask();
	children_inherit_it();
	return 0;
}
