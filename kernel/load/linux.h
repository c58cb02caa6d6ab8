/*
 * Recognising a Linux kernel image: what the choice of a loader needs, and the loader.
 */
#ifndef ROOTLET_KERNEL_LOAD_LINUX_H
#define ROOTLET_KERNEL_LOAD_LINUX_H

#include "kernel/load/direct.h"

/* True if the image has the setup header's signature. */
bool linux_is(const struct image *image);

/*
 * Loads the image, its command line, memory map and initrd into `memory` and fills *start. A refusal names what is
 * wrong with the image and what would be accepted.
 */
enum status load_linux(const struct direct_request *request, const struct guest_memory *memory,
                       struct direct_start *start, struct refusal *why) MUST_CHECK;

#endif
