/* SPDX-License-Identifier: MIT */
/* Whether devices of ours can be plugged into a QEMU that somebody else started, judged by its own answers.  Pure.
 *
 * Three things are decided by QEMU's command line and cannot be had later: memory of the guest that other processes can map,
 * places where a PCI device can be plugged in, and slots for memory devices.  What is missing is told in the words that the
 * command line lacks.
 *
 * Some of it only this check can tell: QEMU 7.2 takes a second device behind an occupied root port without a complaint, and
 * the guest never sees it.
 *
 * Trust: the answers are of a QEMU that nobody vouches for; a wrong type is as if it were not there.
 */
#ifndef RUN_HOTPLUG_CHECK_H
#define RUN_HOTPLUG_CHECK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct json_object;

/* What is asked, and under which key its answer ("return") goes into the object that is judged.  A question that a QEMU does
 * not understand has no answer. */
struct hotplug_question {
	const char *key;
	const char *command;
	const char *property; /* of /machine, for qom-get; NULL: no such argument */
	const char *type;     /* for device-list-properties; NULL: no such argument */
};
#define HOTPLUG_QUESTIONS 9
extern const struct hotplug_question hotplug_questions[HOTPLUG_QUESTIONS];

/* A place for one device. */
struct hotplug_bus {
	char *name;
	uint64_t first,
		last; /* prefetchable memory that a device behind it can have; last < first: none */
	bool taken;   /* by hotplug_take_bus() */
};

struct hotplug_facts {
	unsigned version; /* 100 times the major number and the minor one: 702; 0: unknown */
	bool kvm;
	uint64_t memory;      /* bytes of the guest's own memory; 0: unknown */
	char *private_memory; /* the backend of it that nobody else can map; NULL: all is shared */
	bool numa;            /* its memory is made of nodes */
	bool serves;          /* it has vhost-user-pmem-pci */
	bool asleep; /* no firmware has looked at PCI yet: which places are taken cannot be told */
	GPtrArray *buses;           /* of struct hotplug_bus: where a device can be plugged in */
	unsigned slots, slots_used; /* of memory devices … */
	uint64_t slots_bytes;       /* … which have so much … */
	uint64_t room;              /* … and can have so much more */
	GPtrArray *memory_devices;  /* of char *: the ids of those there are */
};

struct hotplug_facts *hotplug_facts_new(struct json_object *answers);
void hotplug_facts_free(struct hotplug_facts *facts);

struct hotplug_need {
	unsigned buses; /* one for each device … */
	unsigned windows; /* … so many of which have that much memory: no guest finds room for it … */
	uint64_t window; /* … behind a port whose firmware has kept less; a power of two, or 0 */
	unsigned slots;  /* memory devices among them … */
	uint64_t slots_bytes; /* … and how much memory these are */
	bool served;          /* any of these is vhost-user-pmem-pci */
};

/* Why it cannot be, with the words that QEMU's command line has to have beside those it has, on one line; NULL: it can.
 * g_free(). */
char *hotplug_missing(const struct hotplug_facts *facts, const struct hotplug_need *need);

/* A free place with room for that much memory (a power of two, or 0), and little more, that nobody was given yet; NULL: there is none.  Lives as long as
 * the facts. */
const char *hotplug_take_bus(struct hotplug_facts *facts, uint64_t window);

/* Whether a memory device of that id is there already: what cannot be unplugged stays, after a detach, too. */
bool hotplug_has_memory_device(const struct hotplug_facts *facts, const char *id);

/* How this QEMU is told to connect again, in chardev-add: the member's name, and its value. */
const char *hotplug_reconnect_member(const struct hotplug_facts *facts, int *ret_value);

/* How many MSI-X vectors a device of ours is given; -1: as many as it has by itself.  Without KVM, QEMU before 10 dies when a
 * guest uses MSI-X of a vhost-user device. */
int hotplug_vectors(const struct hotplug_facts *facts);

#endif
