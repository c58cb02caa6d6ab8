/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose is an exit of the inner guest: the guest hypervisor's, since its VMCS asks for it, or Rootlet's. One table, a
 * row for each basic exit reason; pure: what it looks at are the fields of the inner VMCS, what the CPU says of the
 * exit, and the bitmaps. SDM 3C 25 "VMX Non-Root Operation".
 */
#ifndef ROOTLET_VMX_NESTED_ROUTE_H
#define ROOTLET_VMX_NESTED_ROUTE_H

#include "vmx/check/check.h"

enum route {
    ROUTE_ROOTLET, /* it handles the exit, as it would for an outer guest; the guest hypervisor never hears of it */
    ROUTE_GUEST,   /* the guest hypervisor gets a VM exit */
    ROUTE_EPT,     /* that depends on the tables of the guest hypervisor's EPT */
};

#define ROUTE_EPTP_LIST 512u /* so many entries has that of the EPTP-switching function */

/* What the exit is, from the information fields of the VMCS in the CPU. */
struct route_exit {
    u64 qualification;
    /*
     * MOV to a control register: the value, without what the operand size cuts off. RDMSR and WRMSR: ECX. VMREAD
     * and VMWRITE: the encoding. VMFUNC: EAX, and ECX above. XSAVES and XRSTORS: EDX:EAX & IA32_XSS. Others: not used.
     */
    u64 operand;
    u32 reason;         /* all of the field: bit 31 is a failed entry */
    u32 interruption;   /* reason 0: the interruption information */
    u32 error_code;     /* reason 0, page fault: its error code */
    bool timer_is_ours; /* reason 52: what ran out was Rootlet's time, not that of the inner VMCS */
};

/* Reads the byte at a physical address of the guest; false if no memory is there: it counts as all ones, as on a bus.
 */
typedef bool (*route_read_byte)(void *context, u64 physical, u8 *value);

/*
 * The same, if the reason alone says it: the reasons below 64 that are the guest hypervisor's in any case; and for each
 * one the primary controls of which one must be set, or it is Rootlet's. All ones: that does not say it, since a few
 * are set always.
 */
extern const u64 route_always_guest;
extern const u32 route_needs[65];
static inline bool route_is_guests(u64 reason)
{
    return reason < 64 && route_always_guest >> reason & 1;
}
static inline bool route_is_rootlets(const u64 *fields, u64 reason)
{
    return !(fields[FIELD_PROC_CONTROLS] & route_needs[reason]);
}

/*
 * `fields` are those of the inner VMCS by row (FIELD_x), which vmx_check_entry() has let pass. An exit that neither
 * asks for, or whose reason is not in the table, is Rootlet's: it stops the VM if it does not know it.
 */
enum route route_exit(const u64 *fields, const struct route_exit *exit, route_read_byte read, void *context) MUST_CHECK;

#endif
