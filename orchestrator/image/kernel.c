/* SPDX-License-Identifier: MIT */
#include "image/kernel.h"

#include <elf.h>
#include <string.h>

#include "image/decompress.h"

/* Documentation/arch/x86/boot.rst: offsets in the setup header. */
enum {
	SETUP_SECTS = 0x1f1,
	HDRS = 0x202,
	PROTOCOL = 0x206,
	PAYLOAD_OFFSET = 0x248,
	PAYLOAD_LENGTH = 0x24c
};

#define PROTOCOL_PAYLOAD 0x0208 /* the first with the payload fields */
#define XEN_PHYS32_ENTRY 18     /* the ELF note that gives the PVH entry point */

static guint32 le32(const guint8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (guint32)p[3] << 24;
}

/* The compressed kernel in a bzImage.  All but gzip are followed by four bytes, the unpacked size, which gzip's own
 * format ends with. */
static GBytes *payload(GBytes *bzimage, guint32 *ret_unpacked)
{
	gsize size;
	const guint8 *p = g_bytes_get_data(bzimage, &size);
	guint64 off, len;

	if (size < PAYLOAD_LENGTH + 4 || memcmp(p + HDRS, "HdrS", 4) != 0 ||
	    (p[PROTOCOL] | p[PROTOCOL + 1] << 8) < PROTOCOL_PAYLOAD)
		return NULL;
	off = ((p[SETUP_SECTS] ? p[SETUP_SECTS] : 4) + 1) * 512ull + le32(p + PAYLOAD_OFFSET);
	len = le32(p + PAYLOAD_LENGTH);
	if (off > size || len > size - off || len < 8)
		return NULL;
	*ret_unpacked = le32(p + off + len - 4);
	if (p[off] != 0x1f || p[off + 1] != 0x8b)
		len -= 4;
	return g_bytes_new_from_bytes(bzimage, off, len);
}

static gsize note_padded(guint32 n)
{
	return ((gsize)n + 3) & ~(gsize)3;
}

/* Whether the notes P..P+SIZE name a PVH entry. */
static gboolean notes_have_pvh(const guint8 *p, gsize size)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		gsize total;

		memcpy(&note, p, sizeof(note));
		total = sizeof(note) + note_padded(note.n_namesz) + note_padded(note.n_descsz);
		if (total > size)
			return FALSE;
		if (note.n_type == XEN_PHYS32_ENTRY && note.n_namesz == 4 &&
		    !memcmp(p + sizeof(note), "Xen", 4))
			return TRUE;
		p += total;
		size -= total;
	}
	return FALSE;
}

static gboolean has_pvh_entry(GBytes *vmlinux)
{
	gsize size;
	const guint8 *p = g_bytes_get_data(vmlinux, &size);
	Elf64_Ehdr eh;

	if (size < sizeof(eh))
		return FALSE;
	memcpy(&eh, p, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phoff > size ||
	    eh.e_phnum > (size - eh.e_phoff) / sizeof(Elf64_Phdr))
		return FALSE;
	for (guint i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, p + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_NOTE && ph.p_offset <= size &&
		    ph.p_filesz <= size - ph.p_offset &&
		    notes_have_pvh(p + ph.p_offset, ph.p_filesz))
			return TRUE;
	}
	return FALSE;
}

GBytes *kernel_vmlinux(GBytes *bzimage)
{
	guint32 unpacked = 0;
	g_autoptr(GBytes) packed = payload(bzimage, &unpacked);
	g_autoptr(GBytes) vmlinux = packed ? decompress_bytes(packed, NULL) : NULL;

	if (!vmlinux || g_bytes_get_size(vmlinux) != unpacked || !has_pvh_entry(vmlinux))
		return NULL;
	return g_steal_pointer(&vmlinux);
}
