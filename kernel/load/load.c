/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loaders' front: what an image is, and the call of the loader for its kind.
 */
#include "kernel/load/load.h"
#include "kernel/load/multiboot.h"
#include "kernel/load/elf.h"
#include "kernel/load/linux.h"
#include "kernel/load/pvh.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define BOOT_SIGNATURE_OFFSET 510u

static bool has_bytes(const struct image *image, u64 offset, const char *bytes, u64 length)
{
    return bytes_contain(image->size_bytes, offset, length) && memcmp(image->bytes + offset, bytes, length) == 0;
}

/* Files that no kind of image can be; a raw real-mode image may begin with any bytes. */
static enum status check_usable(const struct image *image, enum image_kind kind, struct refusal *why)
{
    if (image->size_bytes == 0)
        return refuse(why, STATUS_INVALID, "module is empty; check the file that GRUB loads");
    if (kind != IMAGE_FLAT16 && has_bytes(image, 0, "\x1f\x8b", 2))
        return refuse(why, STATUS_UNSUPPORTED,
                      "module is gzip-compressed; load GRUB's gzio module (insmod gzio) or decompress the file");
    return STATUS_OK;
}

enum status load_detect(const struct image *image, enum image_kind *kind, struct refusal *why)
{
    u64 offset;
    u32 bytes;
    enum status status = check_usable(image, IMAGE_AUTO, why);

    if (status != STATUS_OK)
        return status;
    if (multiboot2_find(image, &offset, &bytes)) {
        *kind = IMAGE_MULTIBOOT2;
        return STATUS_OK;
    }
    if (multiboot_find(image, &offset)) {
        *kind = IMAGE_MULTIBOOT;
        return STATUS_OK;
    }
    if (linux_is(image)) {
        *kind = IMAGE_LINUX;
        return STATUS_OK;
    }
    u64 entry;
    if (pvh_find_entry(image, &entry)) {
        *kind = IMAGE_PVH;
        return STATUS_OK;
    }
    if (has_bytes(image, BOOT_SIGNATURE_OFFSET, "\x55\xaa", 2)) {
        *kind = IMAGE_FLAT16;
        return STATUS_OK;
    }
    if (multiboot2_is_wrong(image, why) || multiboot_is_wrong(image, why))
        return STATUS_INVALID;
    if (elf_is(image))
        return refuse(
            why, STATUS_UNSUPPORTED,
            "module is an ELF file without a multiboot or multiboot2 header in its first 8 or 32 KiB and without a PVH "
            "note; check that the file is complete (it has %lu bytes) and linked with one of them",
            image->size_bytes);
    return refuse(
        why, STATUS_UNSUPPORTED,
        "module is not a guest image: no multiboot, multiboot2, Linux or boot sector signature; give kind=flat16 for a "
        "raw real-mode image");
}

enum status load_image(const struct load_request *request, const struct guest_memory *memory, struct start_state *start,
                       enum image_kind *kind, struct refusal *why)
{
    enum status status;

    *kind = request->kind;
    if (request->kind == IMAGE_AUTO)
        status = load_detect(&request->boot, kind, why);
    else
        status = check_usable(&request->boot, request->kind, why);
    if (status != STATUS_OK)
        return status;
    if (request->module_count > LOAD_MAX_MODULES)
        return refuse(why, STATUS_UNSUPPORTED, "a VM takes at most %u modules", LOAD_MAX_MODULES);
    if (request->initrd.bytes && *kind != IMAGE_LINUX && *kind != IMAGE_PVH)
        return refuse(why, STATUS_UNSUPPORTED, "role=initrd is for kind=linux and kind=pvh; use role=module");
    switch (*kind) {
    case IMAGE_FLAT16:
        return load_flat16(request, memory, start, why);
    case IMAGE_MULTIBOOT:
        return load_multiboot(request, memory, start, why);
    case IMAGE_MULTIBOOT2:
        return load_multiboot2(request, memory, start, why);
    case IMAGE_LINUX:
        return load_linux(request, memory, start, why);
    case IMAGE_PVH:
        return load_pvh(request, memory, start, why);
    default:
        return refuse(why, STATUS_UNSUPPORTED, "module has no known kind");
    }
}
