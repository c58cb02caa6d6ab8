/*
 * The loaders' front: what an image is, and the call of the loader for its kind.
 */
#include "kernel/load/load.h"
#include "kernel/load/multiboot.h"
#include "kernel/load/elf.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define BOOT_SIGNATURE_OFFSET 510u
#define LINUX_MAGIC_OFFSET    0x202u

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
    if (has_bytes(image, LINUX_MAGIC_OFFSET, "HdrS", 4))
        return refuse(why, STATUS_UNSUPPORTED, "module is a Linux kernel, which this version does not boot");
    if (has_bytes(image, BOOT_SIGNATURE_OFFSET, "\x55\xaa", 2)) {
        *kind = IMAGE_FLAT16;
        return STATUS_OK;
    }
    if (elf_is(image))
        return refuse(
            why, STATUS_UNSUPPORTED,
            "module is an ELF file without a multiboot or multiboot2 header in its first 8 or 32 KiB; check that the "
            "file is complete (it has %lu bytes) and linked with such a header",
            image->size_bytes);
    return refuse(
        why, STATUS_UNSUPPORTED,
        "module is not a guest image: no multiboot, multiboot2 or boot sector signature; give kind=flat16 for a "
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
    switch (*kind) {
    case IMAGE_FLAT16:
        return load_flat16(request, memory, start, why);
    case IMAGE_MULTIBOOT:
        return load_multiboot(request, memory, start, why);
    case IMAGE_MULTIBOOT2:
        return load_multiboot2(request, memory, start, why);
    default:
        return refuse(why, STATUS_UNSUPPORTED, "module has no known kind");
    }
}
