/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is wrong with a multiboot header that is there: the loaders have not found it, and its author wants to know why.
 * Multiboot Specification 0.6.96, 3.1.1 "The layout of Multiboot header"; Multiboot2 Specification 2.0, 3.1.1 "The
 * layout of Multiboot2 header".
 */
#include "kernel/load/multiboot.h"
#include "kernel/lib/bytes.h"

/* No section of headers is linked behind that; and the search takes little time so. */
#define LOOK_BYTES 0x100000u

struct form {
    const char *name;
    const char *sum; /* what adds up to 0 */
    u32 magic;
    u32 words; /* of the sum; the last is the checksum */
    u32 align;
    u32 search_bytes;
};

static const struct form one = {"multiboot", "magic, flags and checksum", MULTIBOOT_HEADER_MAGIC, 3,
                                4,           MULTIBOOT_SEARCH_BYTES};
static const struct form two = {
    "multiboot2", "magic, architecture, length and checksum", MULTIBOOT2_HEADER_MAGIC, 4, 8, MULTIBOOT2_SEARCH_BYTES};

/* The sum of the header's first words, without its checksum. */
static u32 sum_of(const struct form *form, const u8 *h)
{
    u32 sum = 0;

    for (u32 i = 0; i + 1 < form->words; i++)
        sum += bytes_u32(h + 4 * i);
    return sum;
}

/*
 * Says what is wrong with what looks like a header; false: it is none. A magic number alone may be an operand of some
 * instruction: where no loader looks it counts with a right checksum only.
 */
static bool judge(const struct form *form, const u8 *h, u64 at, struct refusal *why)
{
    u32 sum = sum_of(form, h);
    u32 checksum = bytes_u32(h + 4 * (form->words - 1));
    bool is_right = sum + checksum == 0;
    bool is_past = at + 4 * form->words > form->search_bytes;

    if (is_right && is_past)
        refuse(why, STATUS_INVALID,
               "%s header at offset 0x%lx is past the first %u KiB of the file, where it must be: put its section "
               "first in the linker script",
               form->name, at, form->search_bytes / 1024);
    else if (is_right && at % form->align)
        refuse(why, STATUS_INVALID, "%s header at offset 0x%lx is not aligned to %u bytes", form->name, at,
               form->align);
    else if (is_past || at % form->align)
        return false;
    else if (!is_right)
        refuse(why, STATUS_INVALID, "%s header at offset 0x%lx has checksum 0x%x, which must be 0x%x: %s add up to 0",
               form->name, at, checksum, 0 - sum, form->sum);
    else if (bytes_u32(h + 4) != 0)
        refuse(why, STATUS_INVALID, "multiboot2 header at offset 0x%lx is for architecture %u; it must be 0 (i386)", at,
               bytes_u32(h + 4));
    else
        refuse(
            why, STATUS_INVALID,
            "multiboot2 header at offset 0x%lx has length %u; it has at least 16 bytes, and ends within the first %u "
            "KiB of the file",
            at, bytes_u32(h + 8), form->search_bytes / 1024);
    return true;
}

static bool is_wrong(const struct form *form, const struct image *image, struct refusal *why)
{
    u64 end = image->size_bytes < LOOK_BYTES ? image->size_bytes : LOOK_BYTES;

    for (u64 at = 0; bytes_contain(end, at, 4 * form->words); at++) {
        const u8 *h = image->bytes + at;
        if (bytes_u32(h) == form->magic && judge(form, h, at, why))
            return true;
    }
    return false;
}

bool multiboot_is_wrong(const struct image *image, struct refusal *why)
{
    return is_wrong(&one, image, why);
}

bool multiboot2_is_wrong(const struct image *image, struct refusal *why)
{
    return is_wrong(&two, image, why);
}
