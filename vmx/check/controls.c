/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the VMX controls: SDM 3C 26.2.1.1 "VM-Execution Control Fields", 26.2.1.2 "VM-Exit Control
 * Fields", 26.2.1.3 "VM-Entry Control Fields". Pure.
 */
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

/* Controls of SDM 3C tables 24-7, 24-11 and 24-13 that Rootlet has no other use for. */
#define PROC2_MODE_BASED_EXECUTE 0x00400000u
#define PROC2_SUB_PAGE           0x00800000u
#define PROC2_PT_GUEST_PHYSICAL  0x01000000u

#define ENTRY_LOAD_RTIT 0x00040000u
#define EXIT_CLEAR_RTIT 0x02000000u

#define VMFUNC_EPTP_SWITCHING 1u

/* Capabilities that vmx/caps.h does not name. SDM 3D A.10 "VPID and EPT Capabilities" */
#define EPT_CAP_WALK_5         BIT(7)
#define EPT_CAP_UNCACHEABLE    BIT(8)
#define EPT_CAP_ACCESSED_DIRTY BIT(21)
#define EPT_CAP_SHADOW_STACK   BIT(23)

static void check_allowed(struct check *c, enum vmx_group group, u32 value, u32 at)
{
    const struct vmx_allowed *allowed = &c->caps->group[group];
    check_bits(c, at, (allowed->must_be_one & ~value) | (value & ~allowed->may_be_one));
}

/* Addresses of 4-KByte structures, and the control that makes the CPU use each. */
static const struct {
    u8 field;
    u8 group;
    u32 control;
} pages[] = {
    {FIELD_IO_BITMAP_A,            VMX_PROC,  PROC_IO_BITMAPS     },
    {FIELD_IO_BITMAP_B,            VMX_PROC,  PROC_IO_BITMAPS     },
    {FIELD_MSR_BITMAPS,            VMX_PROC,  PROC_MSR_BITMAPS    },
    {FIELD_VIRTUAL_APIC_ADDRESS,   VMX_PROC,  PROC_TPR_SHADOW     },
    {FIELD_APIC_ACCESS_ADDRESS,    VMX_PROC2, PROC2_APIC_ACCESSES },
    {FIELD_PML_ADDRESS,            VMX_PROC2, PROC2_PML           },
    {FIELD_VMREAD_BITMAP,          VMX_PROC2, PROC2_VMCS_SHADOWING},
    {FIELD_VMWRITE_BITMAP,         VMX_PROC2, PROC2_VMCS_SHADOWING},
    {FIELD_VE_INFORMATION_ADDRESS, VMX_PROC2, PROC2_EPT_VE        },
};

static void check_page(struct check *c, u32 field, u32 group, u32 control)
{
    u64 address = check_get(c, field);
    u64 beyond = check_beyond_width(c, address, true);

    if (address & 0xfff)
        check_fail_because(c, CHECK_AT(ADDRESS_ALIGNED, field), address & 0xfff, group, control);
    if (beyond)
        check_fail_because(c, CHECK_AT(ADDRESS_WIDTH, field), beyond, group, control);
}

static void check_pages(struct check *c, u32 proc)
{
    for (u32 i = 0; i < ARRAY_SIZE(pages); i++)
        if ((pages[i].group == VMX_PROC ? proc : c->proc2) & pages[i].control)
            check_page(c, pages[i].field, pages[i].group, pages[i].control);
}

static void check_virtual_apic(struct check *c, u32 pin, u32 proc)
{
    u32 threshold = (u32)check_get(c, FIELD_TPR_THRESHOLD);
    u64 page = check_get(c, FIELD_VIRTUAL_APIC_ADDRESS);
    u8 vtpr;

    if (!(proc & PROC_TPR_SHADOW)) {
        check_bits(c, CHECK_AT(NEEDS_TPR_SHADOW, FIELD_PROC2_CONTROLS),
                   c->proc2 & (PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS));
    } else if (!(c->proc2 & PROC2_VIRTUAL_INTERRUPTS)) {
        check_bits(c, CHECK_AT(TPR_RESERVED, FIELD_TPR_THRESHOLD), threshold & ~0xfu);
        if (!(c->proc2 & PROC2_APIC_ACCESSES) && !(page & 0xfff) && !check_beyond_width(c, page, true) &&
            check_memory(c, page + 0x80, &vtpr, 1, CHECK_SKIPPED_VTPR))
            check_that(c, CHECK_AT(TPR_ABOVE_VTPR, FIELD_TPR_THRESHOLD), (threshold & 0xf) <= vtpr >> 4);
    }
    if (c->proc2 & PROC2_X2APIC_MODE)
        check_bits(c, CHECK_AT(X2APIC_ACCESSES, FIELD_PROC2_CONTROLS), c->proc2 & PROC2_APIC_ACCESSES);
    if (c->proc2 & PROC2_VIRTUAL_INTERRUPTS)
        check_bits(c, CHECK_AT(DELIVERY_EXTERNAL, FIELD_PIN_CONTROLS), ~pin & PIN_EXTERNAL_INTERRUPT_EXITING);
}

static void check_posted(struct check *c)
{
    u64 descriptor = check_get(c, FIELD_POSTED_INTERRUPT_DESCRIPTOR);
    u64 beyond = check_beyond_width(c, descriptor, true);

    check_bits(c, CHECK_AT(POSTED_DELIVERY, FIELD_PROC2_CONTROLS), ~c->proc2 & PROC2_VIRTUAL_INTERRUPTS);
    check_bits(c, CHECK_AT(POSTED_ACKNOWLEDGE, FIELD_EXIT_CONTROLS),
               ~check_get(c, FIELD_EXIT_CONTROLS) & EXIT_ACKNOWLEDGE);
    check_bits(c, CHECK_AT(POSTED_VECTOR, FIELD_POSTED_INTERRUPT_VECTOR),
               check_get(c, FIELD_POSTED_INTERRUPT_VECTOR) & 0xff00);
    check_bits(c, CHECK_AT(POSTED_ALIGNED, FIELD_POSTED_INTERRUPT_DESCRIPTOR), descriptor & 0x3f);
    if (beyond)
        check_fail_because(c, CHECK_AT(ADDRESS_WIDTH, FIELD_POSTED_INTERRUPT_DESCRIPTOR), beyond, VMX_PIN,
                           PIN_POSTED_INTERRUPTS);
}

static void check_ept_pointer(struct check *c)
{
    u64 eptp = check_get(c, FIELD_EPT_POINTER);
    u64 can = c->caps->ept_vpid;
    u64 type = eptp & 7;
    u64 levels = eptp >> 3 & 7;
    u64 reserved = can & EPT_CAP_SHADOW_STACK ? 0xf00 : 0xf80;

    check_that(c, CHECK_AT(EPTP_TYPE, FIELD_EPT_POINTER),
               (type == 6 && can & EPT_CAP_WRITE_BACK) || (type == 0 && can & EPT_CAP_UNCACHEABLE));
    check_that(c, CHECK_AT(EPTP_WALK, FIELD_EPT_POINTER),
               (levels == 3 && can & EPT_CAP_WALK_4) || (levels == 4 && can & EPT_CAP_WALK_5));
    if (!(can & EPT_CAP_ACCESSED_DIRTY))
        check_bits(c, CHECK_AT(EPTP_DIRTY, FIELD_EPT_POINTER), eptp & 0x40);
    check_bits(c, CHECK_AT(EPTP_RESERVED, FIELD_EPT_POINTER), (eptp & reserved) | check_beyond_width(c, eptp, false));
}

static void check_ept(struct check *c)
{
    u64 functions = c->proc2 & PROC2_VMFUNC ? check_get(c, FIELD_VM_FUNCTION_CONTROLS) : 0;

    if (c->proc2 & PROC2_VPID)
        check_that(c, CHECK_AT(VPID_ZERO, FIELD_VPID), check_get(c, FIELD_VPID) != 0);
    check_bits(c, CHECK_AT(VMFUNC_RESERVED, FIELD_VM_FUNCTION_CONTROLS), functions & ~c->caps->vmfunc);
    if (functions & VMFUNC_EPTP_SWITCHING)
        check_page(c, FIELD_EPTP_LIST_ADDRESS, VMX_PROC2, PROC2_VMFUNC);
    if (c->proc2 & PROC2_EPT) {
        check_ept_pointer(c);
        return;
    }
    check_bits(c, CHECK_AT(VMFUNC_EPT, FIELD_VM_FUNCTION_CONTROLS), functions & VMFUNC_EPTP_SWITCHING);
    check_bits(c, CHECK_AT(NEEDS_EPT, FIELD_PROC2_CONTROLS),
               c->proc2 & (PROC2_PML | PROC2_UNRESTRICTED_GUEST | PROC2_MODE_BASED_EXECUTE | PROC2_SUB_PAGE |
                           PROC2_PT_GUEST_PHYSICAL));
}

static void check_execution(struct check *c)
{
    u32 pin = (u32)check_get(c, FIELD_PIN_CONTROLS);
    u32 proc = (u32)check_get(c, FIELD_PROC_CONTROLS);

    check_allowed(c, VMX_PIN, pin, CHECK_AT(PIN_ALLOWED, FIELD_PIN_CONTROLS));
    check_allowed(c, VMX_PROC, proc, CHECK_AT(PROC_ALLOWED, FIELD_PROC_CONTROLS));
    if (proc & PROC_SECONDARY)
        check_allowed(c, VMX_PROC2, c->proc2, CHECK_AT(PROC2_ALLOWED, FIELD_PROC2_CONTROLS));
    check_that(c, CHECK_AT(CR3_TARGETS, FIELD_CR3_TARGET_COUNT),
               check_get(c, FIELD_CR3_TARGET_COUNT) <= bits_field(c->caps->misc, 24, 16));
    check_pages(c, proc);
    if (!(pin & PIN_NMI_EXITING))
        check_bits(c, CHECK_AT(VIRTUAL_NMIS, FIELD_PIN_CONTROLS), pin & PIN_VIRTUAL_NMIS);
    if (!(pin & PIN_VIRTUAL_NMIS))
        check_bits(c, CHECK_AT(NMI_WINDOW, FIELD_PROC_CONTROLS), proc & PROC_NMI_WINDOW);
    check_virtual_apic(c, pin, proc);
    if (pin & PIN_POSTED_INTERRUPTS)
        check_posted(c);
    check_ept(c);
    if (c->proc2 & PROC2_PT_GUEST_PHYSICAL) {
        check_bits(c, CHECK_AT(PT_CONTROLS, FIELD_ENTRY_CONTROLS), ~c->entry & ENTRY_LOAD_RTIT);
        check_bits(c, CHECK_AT(PT_CONTROLS, FIELD_EXIT_CONTROLS), ~check_get(c, FIELD_EXIT_CONTROLS) & EXIT_CLEAR_RTIT);
    }
    if (c->proc2 & PROC2_TSC_SCALING)
        check_that(c, CHECK_AT(TSC_MULTIPLIER, FIELD_TSC_MULTIPLIER), check_get(c, FIELD_TSC_MULTIPLIER) != 0);
}

/* An MSR list: its rules are numbered ALIGNED, WIDTH, END. `last` is computed with more bits than an address has. */
static void check_msr_area(struct check *c, u32 aligned_at, u32 count_field)
{
    u64 count = check_get(c, count_field);
    u64 address = check_get(c, aligned_at & 0xffff);
    u64 last = address + count * 16 - 1;

    if (count == 0)
        return;
    check_bits(c, aligned_at, address & 0xf);
    if (check_beyond_width(c, address, true))
        check_fail(c, aligned_at + (1 << 16), check_beyond_width(c, address, true));
    else
        check_that(c, aligned_at + (2 << 16), !check_beyond_width(c, last, true));
}
_Static_assert(RULE_EXIT_MSRS_WIDTH == RULE_EXIT_MSRS_ALIGNED + 1 && RULE_EXIT_MSRS_END == RULE_EXIT_MSRS_ALIGNED + 2 &&
                   RULE_ENTRY_MSRS_WIDTH == RULE_ENTRY_MSRS_ALIGNED + 1 &&
                   RULE_ENTRY_MSRS_END == RULE_ENTRY_MSRS_ALIGNED + 2,
               "check_msr_area counts on it");

static void check_exit(struct check *c)
{
    u32 exit = (u32)check_get(c, FIELD_EXIT_CONTROLS);

    check_allowed(c, VMX_EXIT, exit, CHECK_AT(EXIT_ALLOWED, FIELD_EXIT_CONTROLS));
    if (!(check_get(c, FIELD_PIN_CONTROLS) & PIN_PREEMPTION_TIMER))
        check_bits(c, CHECK_AT(EXIT_TIMER, FIELD_EXIT_CONTROLS), exit & EXIT_SAVE_TIMER);
    check_msr_area(c, CHECK_AT(EXIT_MSRS_ALIGNED, FIELD_EXIT_MSR_STORE_ADDRESS), FIELD_EXIT_MSR_STORE_COUNT);
    check_msr_area(c, CHECK_AT(EXIT_MSRS_ALIGNED, FIELD_EXIT_MSR_LOAD_ADDRESS), FIELD_EXIT_MSR_LOAD_COUNT);
}

/*
 * Whether bit 11 is as it must be. It tells whether an error code is pushed, which no exception does in real-address
 * mode. IA32_VMX_BASIC[56]: the CPU takes either for any exception. #CP (21) has one where there is CET.
 */
static bool is_error_code_bit_right(const struct check *c)
{
    bool set = c->event & BIT(11);
    u32 vector = c->event & 0xff;
    u32 with_code = 0x00027d00u | (c->caps->cr4_fixed1 & CR4_CET ? (u32)BIT(21) : 0); /* vectors 8, 10 to 14, 17 */

    if (check_event_type(c) != EVENT_HARDWARE || (c->unrestricted && !(c->cr0 & CR0_PE)))
        return !set;
    if (c->caps->basic & BIT(56))
        return true;
    return set == (vector < 32 && with_code >> vector & 1);
}

static void check_vector(struct check *c)
{
    u32 vector = c->event & 0xff;

    switch (check_event_type(c)) {
    case EVENT_NMI:
        check_that(c, CHECK_AT(INJECT_NMI, FIELD_ENTRY_INTERRUPTION_INFO), vector == VECTOR_NMI);
        break;
    case EVENT_HARDWARE:
        check_that(c, CHECK_AT(INJECT_EXCEPTION, FIELD_ENTRY_INTERRUPTION_INFO), vector < 32);
        break;
    case EVENT_OTHER:
        check_that(c, CHECK_AT(INJECT_OTHER, FIELD_ENTRY_INTERRUPTION_INFO), vector == 0);
        break;
    case EVENT_SOFTWARE:
    case EVENT_PRIVILEGED:
    case EVENT_TRAP: {
        u64 length = check_get(c, FIELD_ENTRY_INSTRUCTION_LENGTH);
        check_that(c, CHECK_AT(INJECT_LENGTH, FIELD_ENTRY_INSTRUCTION_LENGTH),
                   length <= 15 && (length || c->caps->misc & BIT(30)));
        break;
    }
    default:
        break;
    }
}

static void check_injection(struct check *c)
{
    u32 type = check_event_type(c);
    bool has_mtf = c->caps->group[VMX_PROC].may_be_one & PROC_MONITOR_TRAP_FLAG;

    check_that(c, CHECK_AT(INJECT_TYPE, FIELD_ENTRY_INTERRUPTION_INFO),
               type != EVENT_RESERVED && (type != EVENT_OTHER || has_mtf));
    check_vector(c);
    check_that(c, CHECK_AT(INJECT_ERROR_CODE, FIELD_ENTRY_INTERRUPTION_INFO), is_error_code_bit_right(c));
    check_bits(c, CHECK_AT(INJECT_RESERVED, FIELD_ENTRY_INTERRUPTION_INFO), c->event & 0x7ffff000);
    if (c->event & BIT(11))
        check_bits(c, CHECK_AT(INJECT_ERROR_HIGH, FIELD_ENTRY_EXCEPTION_ERROR_CODE),
                   check_get(c, FIELD_ENTRY_EXCEPTION_ERROR_CODE) & 0xffff0000);
}

static void check_entry(struct check *c)
{
    u32 smm = c->entry & (ENTRY_SMM | ENTRY_DEACTIVATE_DUAL);

    check_allowed(c, VMX_ENTRY, c->entry, CHECK_AT(ENTRY_ALLOWED, FIELD_ENTRY_CONTROLS));
    if (c->event)
        check_injection(c);
    check_msr_area(c, CHECK_AT(ENTRY_MSRS_ALIGNED, FIELD_ENTRY_MSR_LOAD_ADDRESS), FIELD_ENTRY_MSR_LOAD_COUNT);
    if (!c->image->cpu.in_smm)
        check_bits(c, CHECK_AT(ENTRY_SMM, FIELD_ENTRY_CONTROLS), smm);
    if (smm == (ENTRY_SMM | ENTRY_DEACTIVATE_DUAL))
        check_fail(c, CHECK_AT(ENTRY_SMM_BOTH, FIELD_ENTRY_CONTROLS), smm);
}

void check_controls(struct check *c)
{
    check_execution(c);
    check_exit(c);
    check_entry(c);
}
