/*
 * Finding the PVH entry point of a kernel: what the choice of a loader needs, and the loader.
 */
#ifndef ROOTLET_KERNEL_LOAD_PVH_H
#define ROOTLET_KERNEL_LOAD_PVH_H

#include "kernel/load/direct.h"

/* True if the image is an ELF file with the note; *entry is the physical address that it gives. */
bool pvh_find_entry(const struct image *image, u64 *entry);

/*
 * Loads the image, its command line, memory map and modules into `memory` and fills *start. A refusal names what is
 * wrong with the image and what would be accepted. Precondition: at most LOAD_MAX_MODULES modules.
 */
enum status load_pvh(const struct direct_request *request, const struct guest_memory *memory, struct start_state *start,
                     struct refusal *why) MUST_CHECK;

#endif
