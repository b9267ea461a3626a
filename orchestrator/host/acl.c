/* SPDX-License-Identifier: MIT */
#include "host/acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "err.h"

#define ACCESS_LIST "system.posix_acl_access"
#define ENTRIES_MAX 64 /* of ext4, the smallest, are 32 */

struct list {
	unsigned n;
	struct posix_acl_xattr_entry entries[ENTRIES_MAX + 2]; /* and the user's, and a mask */
};

/* As a file has it; each of its numbers is little-endian. */
struct stored {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[ENTRIES_MAX + 2];
};

static unsigned tag_of(const struct posix_acl_xattr_entry *e)
{
	return le16toh(e->e_tag);
}

/* Behind those of its kind: their order is the kernel's, by tag. */
static struct posix_acl_xattr_entry *insert(struct list *l, unsigned tag, unsigned may, uint32_t id)
{
	unsigned i = 0;

	while (i < l->n && tag_of(&l->entries[i]) <= tag)
		i++;
	memmove(&l->entries[i + 1], &l->entries[i], (l->n - i) * sizeof(l->entries[0]));
	l->entries[i] = (struct posix_acl_xattr_entry){ htole16((uint16_t)tag),
							htole16((uint16_t)may), htole32(id) };
	l->n++;
	return &l->entries[i];
}

static struct posix_acl_xattr_entry *find(struct list *l, unsigned tag, uint32_t id)
{
	for (unsigned i = 0; i < l->n; i++)
		if (tag_of(&l->entries[i]) == tag && le32toh(l->entries[i].e_id) == id)
			return &l->entries[i];
	return NULL;
}

/* What a mode says, where there is no list. */
static void list_of_mode(struct list *l, mode_t mode)
{
	l->n = 0;
	insert(l, ACL_USER_OBJ, mode >> 6 & 7, ACL_UNDEFINED_ID);
	insert(l, ACL_GROUP_OBJ, mode >> 3 & 7, ACL_UNDEFINED_ID);
	insert(l, ACL_OTHER, mode & 7, ACL_UNDEFINED_ID);
}

/* 0, or an errno. */
static int read_list(const char *path, struct list *ret)
{
	struct stored stored;
	ssize_t n = getxattr(path, ACCESS_LIST, &stored, sizeof(stored));
	struct stat st;

	if (n < 0 && errno != ENODATA)
		return errno;
	if (n < 0) {
		if (stat(path, &st) < 0)
			return errno;
		list_of_mode(ret, st.st_mode);
		return 0;
	}
	ret->n = ((size_t)n - sizeof(stored.header)) / sizeof(stored.entries[0]);
	if ((size_t)n < sizeof(stored.header) || ret->n > ENTRIES_MAX)
		return E2BIG;
	memcpy(ret->entries, stored.entries, ret->n * sizeof(stored.entries[0]));
	return 0;
}

static int write_list(const char *path, const struct list *l)
{
	struct stored stored = { .header.a_version = htole32(POSIX_ACL_XATTR_VERSION) };
	size_t len = l->n * sizeof(l->entries[0]);

	memcpy(stored.entries, l->entries, len);
	return setxattr(path, ACCESS_LIST, &stored, sizeof(stored.header) + len, 0) < 0 ? errno : 0;
}

static bool is_masked(const struct posix_acl_xattr_entry *e)
{
	return tag_of(e) == ACL_USER || tag_of(e) == ACL_GROUP_OBJ || tag_of(e) == ACL_GROUP;
}

/* The mask is to let through what the user may, and therefore all that others of whom it kept something never had. */
static void widen_mask(struct list *l, unsigned may)
{
	struct posix_acl_xattr_entry *mask = find(l, ACL_MASK, ACL_UNDEFINED_ID);
	unsigned old, all = may;

	if (!mask)
		mask = insert(l, ACL_MASK, 7, ACL_UNDEFINED_ID);
	old = le16toh(mask->e_perm);
	for (unsigned i = 0; i < l->n; i++) {
		if (!is_masked(&l->entries[i]))
			continue;
		l->entries[i].e_perm &= htole16((uint16_t)old);
		all |= le16toh(l->entries[i].e_perm);
	}
	mask->e_perm = htole16((uint16_t)all);
}

/* By an entry of his own, or without one as everybody. */
static unsigned rights_of(struct list *l, uint32_t uid)
{
	const struct posix_acl_xattr_entry *user = find(l, ACL_USER, uid);
	const struct posix_acl_xattr_entry *mask = find(l, ACL_MASK, ACL_UNDEFINED_ID);
	const struct posix_acl_xattr_entry *other = find(l, ACL_OTHER, ACL_UNDEFINED_ID);

	if (user && mask)
		return le16toh(user->e_perm) & le16toh(mask->e_perm);
	return other ? le16toh(other->e_perm) : 0;
}

/* False: he may already. */
static bool add_user(struct list *l, uint32_t uid, unsigned may)
{
	unsigned has = rights_of(l, uid);
	struct posix_acl_xattr_entry *user;

	if ((has & may) == may)
		return false;
	widen_mask(l, has | may);
	user = find(l, ACL_USER, uid);
	if (!user)
		user = insert(l, ACL_USER, 0, uid);
	user->e_perm = htole16((uint16_t)(has | may));
	return true;
}

gboolean acl_grant(const char *path, uid_t uid, int may, GError **error)
{
	struct list list = { .n = 0 };
	int r = read_list(path, &list);

	if (r == 0 && add_user(&list, uid, (unsigned)may))
		r = write_list(path, &list);
	if (r != 0)
		err_set_errno(error, ORCH_ERROR_FAILED, r,
			      "cannot let the user %u of libvirt's QEMUs in at %s", (unsigned)uid,
			      path);
	return r == 0;
}
