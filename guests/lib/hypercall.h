/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hypercalls as C functions (docs/guest-abi.md). The same text compiles for 32-bit and 64-bit guests, because the ABI
 * uses 32 bits of each register. Precondition of all but hypercall_present(): CPL 0, and hypercall_present() was true;
 * without a hypervisor, or with stealth=on, VMCALL raises #UD.
 */
#ifndef GUEST_HYPERCALL_H
#define GUEST_HYPERCALL_H

#include "guests/include/rootlet_abi.h"
#include "guests/lib/cpu.h"

struct hypercall {
    u32 eax; /* in: number; out: status */
    u32 ebx, ecx, edx;
};

static inline u32 hypercall(struct hypercall *call)
{
    __asm__ volatile("vmcall" : "+a"(call->eax), "+b"(call->ebx), "+c"(call->ecx), "+d"(call->edx) : : "memory");
    return call->eax;
}

/* True if CPUID shows the Rootlet hypervisor. */
static inline bool hypercall_present(void)
{
    if (!(cpu_cpuid(1, 0).ecx & 1u << 31))
        return false;
    struct cpuid leaf = cpu_cpuid(ROOTLET_CPUID_SIGNATURE, 0);
    return leaf.eax >= ROOTLET_CPUID_FEATURES && leaf.ebx == ROOTLET_SIGNATURE_EBX &&
           leaf.ecx == ROOTLET_SIGNATURE_ECX && leaf.edx == ROOTLET_SIGNATURE_EDX;
}

/* `address`: guest-physical, which is the pointer itself in a guest that maps its memory one to one. */
static inline u32 hypercall_console_write(u64 address, u32 bytes, u32 *written)
{
    struct hypercall call = {ROOTLET_CALL_CONSOLE_WRITE, (u32)address, (u32)(address >> 32), bytes};
    u32 status = hypercall(&call);
    *written = status == ROOTLET_OK ? call.ebx : 0;
    return status;
}

static inline u32 hypercall_yield(void)
{
    struct hypercall call = {ROOTLET_CALL_YIELD, 0, 0, 0};
    return hypercall(&call);
}

/* Nanoseconds since the VM started. */
static inline u64 hypercall_clock_ns(void)
{
    struct hypercall call = {ROOTLET_CALL_CLOCK, 0, 0, 0};
    hypercall(&call);
    return (u64)call.ecx << 32 | call.ebx;
}

static inline u32 hypercall_tsc_khz(void)
{
    struct hypercall call = {ROOTLET_CALL_CLOCK, 0, 0, 0};
    hypercall(&call);
    return call.edx;
}

static inline u32 hypercall_sleep_until(u64 time_ns)
{
    struct hypercall call = {ROOTLET_CALL_SLEEP_UNTIL, (u32)time_ns, (u32)(time_ns >> 32), 0};
    return hypercall(&call);
}

/* Why the last VM entry that was refused was so: *bytes of text, of which the buffer has what fits. */
static inline u32 hypercall_refusal(u64 address, u32 room, u32 *bytes)
{
    struct hypercall call = {ROOTLET_CALL_REFUSAL, (u32)address, (u32)(address >> 32), room};
    u32 status = hypercall(&call);
    *bytes = status == ROOTLET_OK ? call.ebx : 0;
    return status;
}

static inline void __attribute__((noreturn)) hypercall_exit(u32 status)
{
    struct hypercall call = {ROOTLET_CALL_EXIT, status, 0, 0};
    for (;;)
        hypercall(&call);
}

#endif
