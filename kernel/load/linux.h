/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recognising a Linux kernel image: what load_detect and the loader share.
 */
#ifndef ROOTLET_KERNEL_LOAD_LINUX_H
#define ROOTLET_KERNEL_LOAD_LINUX_H

#include "kernel/load/load.h"

/* True if the image has the setup header's signature. */
bool linux_is(const struct image *image);

#endif
