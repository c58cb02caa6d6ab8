/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU features that the host itself uses when they are there: NX, SMEP, SMAP, UMIP, global and 1 GiB pages.
 * SDM 2A 3.2 "CPUID - CPU Identification", 3A 2.5 "Control Registers".
 */
#ifndef ROOTLET_ARCH_FEATURES_H
#define ROOTLET_ARCH_FEATURES_H

#include "kernel/lib/types.h"

struct features {
    bool nx;
    bool pat;
    bool global_pages;
    bool pages_1g;
    bool smep;
    bool smap;
    bool umip;
    bool machine_check;
};

/* Boot CPU, once, before features_enable_cpu anywhere. */
void features_detect(void);
const struct features *features_get(void);
/*
 * Every CPU, before anything else sets bits there: EFER.NXE, CR0.WP and NE, caches on, PAT as after reset, and CR4 =
 * PAE plus the bits of what the boot CPU has.
 */
void features_enable_cpu(void);
/* The EFER with which a starting CPU must enter long mode. */
u64 features_efer(void);

#endif
