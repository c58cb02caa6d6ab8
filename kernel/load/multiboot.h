/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding the headers of multiboot images, version 1 and 2: what load_detect and the two loaders share.
 */
#ifndef ROOTLET_KERNEL_LOAD_MULTIBOOT_H
#define ROOTLET_KERNEL_LOAD_MULTIBOOT_H

#include "kernel/load/load.h"

#define MULTIBOOT_HEADER_MAGIC  0x1badb002u
#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6u
#define MULTIBOOT_SEARCH_BYTES  8192u
#define MULTIBOOT2_SEARCH_BYTES 32768u
#define MULTIBOOT_LOADER_NAME   "Rootlet"

/* The offset of the first header whose checksum is right. False: none. */
bool multiboot_find(const struct image *image, u64 *offset);
/* As above; *bytes is its length, tags included, which lies inside the image and the search area. */
bool multiboot2_find(const struct image *image, u64 *offset, u32 *bytes);

/* Of an image in which the above find none: true if a header is there that is wrong, and *why says how. */
bool multiboot_is_wrong(const struct image *image, struct refusal *why);
bool multiboot2_is_wrong(const struct image *image, struct refusal *why);

#endif
