/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tour (make explain): typical mistakes in a VMCS, one after the other, each entered and explained as any VM entry
 * that fails. docs/entry-checks.md shows what comes of it.
 */
#include "arch/x86/regs.h"
#include "kernel/log.h"
#include "test/battery/battery.h"

struct stop {
    const char *what;
    void (*break_it)(void);
    u32 (*enter)(void);
};

static u32 resume(void)
{
    return battery_try(true);
}

static u32 launch_again(void)
{
    return battery_try(false);
}

#define STOP(name, statement)                                                                                          \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

STOP(without_vmxe, vmcs_write(GUEST_CR4, vmcs_read(GUEST_CR4) & ~CR4_VMXE))
STOP(without_ne, vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) & ~CR0_NE))
STOP(pg_without_pe, vmcs_write(GUEST_CR0, (vmcs_read(GUEST_CR0) | CR0_PG) & ~CR0_PE))
STOP(code_not_present, vmcs_write(GUEST_CS_ACCESS, vmcs_read(GUEST_CS_ACCESS) & ~0x80u))
STOP(data_not_accessed, vmcs_write(GUEST_DS_ACCESS, vmcs_read(GUEST_DS_ACCESS) & ~1u))
STOP(tss_not_busy, vmcs_write(GUEST_TR_ACCESS, 0x89))
STOP(flags_zero, vmcs_write(GUEST_RFLAGS, 0))
STOP(link_zero, vmcs_write(VMCS_LINK_POINTER, 0x800))
STOP(base_not_canonical, vmcs_write(GUEST_FS_BASE, 0x800000000000))
STOP(sysenter_not_canonical, vmcs_write(HOST_SYSENTER_EIP, 0x800000000000))
STOP(control_reserved, vmcs_write(PIN_CONTROLS, vmcs_read(PIN_CONTROLS) & ~0x10u))
/* Without XSAVES, which one engine has and another has not: the page has one text. */
STOP(control_unknown, vmcs_write(PROC2_CONTROLS, (vmcs_read(PROC2_CONTROLS) & ~PROC2_XSAVES) | 0x80000000u))
STOP(selector_with_rpl, vmcs_write(HOST_CS_SELECTOR, vmcs_read(HOST_CS_SELECTOR) | 3))
STOP(short_walk, vmcs_write(EPT_POINTER, 0x100000 | 2 << 3 | 6))
STOP(vpid_zero, vmcs_write(VPID, 0))
STOP(event_reserved, vmcs_write(ENTRY_INTERRUPTION_INFO, 0x80000000u | 1 << 8 | 13))
STOP(event_without_code, vmcs_write(ENTRY_INTERRUPTION_INFO, 0x80000000u | 3 << 8 | 13);
     vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PE))
STOP(interrupt_while_off, vmcs_write(ENTRY_INTERRUPTION_INFO, 0x80000000u | 0x30))
STOP(nothing, )

static void long_and_big(void)
{
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    vmcs_write(GUEST_CR4, vmcs_read(GUEST_CR4) | CR4_PAE);
    vmcs_write(GUEST_EFER, EFER_LME | EFER_LMA);
    vmcs_write(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) | ENTRY_IA32E_GUEST);
    vmcs_write(GUEST_CS_ACCESS, 0xe09b);
}

static void long_without_efer(void)
{
    long_and_big();
    vmcs_write(GUEST_CS_ACCESS, 0xa09b);
    vmcs_write(GUEST_EFER, EFER_LME);
}

/* IA32_GS_BASE, which has a field of its own. */
static void list_with_gs(void)
{
    static struct {
        u32 index;
        u32 reserved;
        u64 value;
    } list ALIGNED(16) = {MSR_IA32_GS_BASE, 0, 0};

    vmcs_write(ENTRY_MSR_LOAD_ADDRESS, battery_physical(&list));
    vmcs_write(ENTRY_MSR_LOAD_COUNT, 1);
}

static const struct stop stops[] = {
    {"CR4.VMXE is forgotten: fixed to 1 even though the guest must not see it", without_vmxe,           resume               },
    {"CR0.NE is forgotten",                                                     without_ne,             resume               },
    {"paging without protection",                                               pg_without_pe,          resume               },
    {"a code segment that is not present",                                      code_not_present,       resume               },
    {"a data segment that was never accessed",                                  data_not_accessed,      resume               },
    {"a task register whose TSS is not busy",                                   tss_not_busy,           resume               },
    {"RFLAGS is zero",                                                          flags_zero,             resume               },
    {"64-bit code segment with D too",                                          long_and_big,           resume               },
    {"64-bit guest without EFER.LMA",                                           long_without_efer,      resume               },
    {"the link pointer left at an odd value",                                   link_zero,              resume               },
    {"FS's base is not canonical",                                              base_not_canonical,     resume               },
    {"the host's SYSENTER_EIP is not canonical",                                sysenter_not_canonical, resume               },
    {"a host selector with RPL 3",                                              selector_with_rpl,      resume               },
    {"a reserved control that must be 1",                                       control_reserved,       resume               },
    {"a control that this CPU does not have",                                   control_unknown,        resume               },
    {"EPT with a page walk of three levels",                                    short_walk,             resume               },
    {"VPID 0",                                                                  vpid_zero,              resume               },
    {"an event of the reserved type",                                           event_reserved,         resume               },
    {"#GP without its error code",                                              event_without_code,     resume               },
    {"an interrupt for a guest that has them off",                              interrupt_while_off,    resume               },
    {"an MSR that cannot be loaded by the list",                                list_with_gs,           resume               },
    {"VMLAUNCH of a VMCS that is launched",                                     nothing,                launch_again         },
    {"VMRESUME in the shadow of MOV SS",                                        nothing,                battery_enter_blocked},
};

static void explain(struct vmx_vcpu *v, enum explain_failure how)
{
    u32 at = 0;

    v->failure = (struct vmx_failure){true, (u8)how, vmcs_read(INSTRUCTION_ERROR), vmcs_current().raw};
    while (explain_rules(v, &at))
        ;
}

void battery_tour(struct vmx_vcpu *v)
{
    v->launched = 1;
    for (u32 i = 0; i < ARRAY_SIZE(stops); i++) {
        log_event("tour %u: %s", i + 1, stops[i].what);
        stops[i].break_it();
        u32 failed = stops[i].enter();
        if (!failed && !(vmcs_read(EXIT_REASON) >> 31))
            log_event("tour %u: the CPU entered", i + 1);
        else
            explain(v, (enum explain_failure)failed);
        battery_restore();
    }
}
