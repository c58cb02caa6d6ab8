/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Image loaders: from the bytes of a module to guest memory and the state of the boot vCPU. Pure but for guest memory,
 * which they write only through guest_memory_write and guest_memory_fill. Every length is checked before it is used.
 */
#ifndef ROOTLET_KERNEL_LOAD_LOAD_H
#define ROOTLET_KERNEL_LOAD_LOAD_H

#include "kernel/vm/memory.h"
#include "kernel/vm/start.h"
#include "kernel/vm/spec.h"

#define LOAD_MAX_MODULES 16

struct load_request {
    const char *vm_name;
    enum image_kind kind; /* IMAGE_AUTO: decided by load_detect */
    struct image boot;
    struct image modules[LOAD_MAX_MODULES];
    u32 module_count;
    struct image initrd; /* bytes NULL: none */
    gpa_t acpi_root;     /* the RSDP; 0: none */
};

/* What the image is, by its contents; IMAGE_FLAT16 only for a boot sector (0x55AA at 510). STATUS_UNSUPPORTED: none. */
COLD enum status load_detect(const struct image *image, enum image_kind *kind, struct refusal *why) MUST_CHECK;
/*
 * Loads the image, its modules, command line and memory map into `memory` and fills *start. *kind is the kind that was
 * used. A refusal names what is wrong with the image and what would be accepted.
 */
enum status load_image(const struct load_request *request, const struct guest_memory *memory, struct start_state *start,
                       enum image_kind *kind, struct refusal *why) MUST_CHECK;

/* One per kind; `load_image` is the only caller. */
COLD enum status load_flat16(const struct load_request *request, const struct guest_memory *memory,
                             struct start_state *start, struct refusal *why) MUST_CHECK;
COLD enum status load_multiboot(const struct load_request *request, const struct guest_memory *memory,
                                struct start_state *start, struct refusal *why) MUST_CHECK;
COLD enum status load_multiboot2(const struct load_request *request, const struct guest_memory *memory,
                                 struct start_state *start, struct refusal *why) MUST_CHECK;
COLD enum status load_linux(const struct load_request *request, const struct guest_memory *memory,
                            struct start_state *start, struct refusal *why) MUST_CHECK;
COLD enum status load_pvh(const struct load_request *request, const struct guest_memory *memory,
                          struct start_state *start, struct refusal *why) MUST_CHECK;

#endif
