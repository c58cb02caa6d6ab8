/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding the PVH entry point of a kernel: what load_detect and the loader share.
 */
#ifndef ROOTLET_KERNEL_LOAD_PVH_H
#define ROOTLET_KERNEL_LOAD_PVH_H

#include "kernel/load/load.h"

/* True if the image is an ELF file with the note; *entry is the physical address that it gives. */
bool pvh_find_entry(const struct image *image, u64 *entry);

#endif
