/*
 * Bringing the machine up around the CPU: tables, interrupt controllers, clocks, the console's interrupt, the other
 * CPUs. One log line per thing found. arch/x86 and drivers/host do the work and know nothing of logs; this file is
 * where they meet. Boot CPU only, interrupts off.
 */
#ifndef ROOTLET_KERNEL_PLATFORM_H
#define ROOTLET_KERNEL_PLATFORM_H

#include "arch/x86/percpu.h"
#include "boot/boot_info.h"
#include "kernel/vm_spec.h"

/*
 * Everything but the other CPUs. Preconditions: console_init, own page tables (paging_map_device works), IDT loaded, GS
 * set. STATUS_UNSUPPORTED: the machine lacks what nothing can replace (a local APIC, any clock); *why says what.
 */
enum status platform_init(const struct boot_info *boot, const struct host_options *options,
                          struct refusal *why) MUST_CHECK;
/*
 * Starts the other CPUs, each of which runs entry(its block) for ever. Those that do not come are named in the log.
 * trampoline: a page of RAM below 640 KiB that nobody uses; 0 if there is none.
 */
void platform_start_cpus(hpa_t trampoline, void (*entry)(struct cpu_local *));

#endif
