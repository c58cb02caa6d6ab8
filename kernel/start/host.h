/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bringing the machine up around the CPU: tables, interrupt controllers, clocks, the console's interrupt, the other
 * CPUs. One log line per thing found. arch/x86 and drivers/host do the work and know nothing of logs; this file is
 * where they meet. Boot CPU only, interrupts off.
 */
#ifndef ROOTLET_KERNEL_START_HOST_H
#define ROOTLET_KERNEL_START_HOST_H

#include "arch/x86/percpu.h"
#include "boot/boot_info.h"
#include "kernel/vm/spec.h"

/*
 * Everything but the other CPUs. Preconditions: console_init, own page tables (paging_map_device works), IDT loaded, GS
 * set. STATUS_UNSUPPORTED: the machine lacks what nothing can replace (a local APIC, any clock); *why says what.
 */
enum status host_init(const struct boot_info *boot, const struct host_options *options, struct refusal *why) MUST_CHECK;
struct platform_cpus {
    hpa_t trampoline;                          /* a page of RAM below 640 KiB that nobody uses; 0 if there is none */
    void (*entry)(struct cpu_local *);         /* each of them runs it for ever */
    enum status (*check)(struct refusal *why); /* NULL, or whether the CPU that it runs on will do */
    enum host_smt smt;                         /* what becomes of sibling threads ... */
    bool mitigations;                          /* ... unless it is SMT_AUTO */
    s64 test_skew;                             /* test=tsc-skew: their TSCs are moved by so much */
    bool test_stuck;                           /* test=tsc-stuck: and stay so */
};
/* Starts the other CPUs. Those that do not come, or will not do, are named in the log. */
void host_start_cpus(const struct platform_cpus *cpus);

#endif
