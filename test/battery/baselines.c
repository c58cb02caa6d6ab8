/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMCSs that the battery begins with: one for each mode that a guest can be in, with and without what is optional,
 * with events to inject and states other than active. Each is the VMCS that vmx/vcpu.c wrote for a multiboot guest, and
 * a few changes.
 */
#include "arch/x86/paging.h"
#include "arch/x86/regs.h"
#include "kernel/lib/string.h"
#include "test/battery/battery.h"

#define RING3         0x60u /* access rights: DPL 3 */
#define PDPTE         0x200001u
#define APIC_CONTROLS (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS)
#define EVENT(value)  (0x80000000u | (value))

static struct {
    u8 page[4096];
} pages[5] ALIGNED(4096);
enum { PAGE_APIC, PAGE_PDPT, PAGE_LINKED, PAGE_MSRS, PAGE_OTHER };

static u64 page(u32 i)
{
    return virt_to_phys(&pages[i]).raw;
}

u64 battery_physical(const void *pointer)
{
    return virt_to_phys(pointer).raw;
}

u64 battery_msr_list(void)
{
    return page(PAGE_MSRS);
}

void battery_prepare_pages(void)
{
    static const struct {
        u32 index;
        u32 reserved;
        u64 value;
    } msrs[] = {
        {MSR_IA32_SYSENTER_CS,  0, 0                 },
        {MSR_IA32_SYSENTER_ESP, 0, 0                 },
        {MSR_IA32_PAT,          0, 0x0007040600070406}
    };
    u32 revision = vmx_caps_revision(&vmx_features.caps);
    u64 *table = (u64 *)pages[PAGE_PDPT].page;

    pages[PAGE_APIC].page[0x80] = 0x40; /* VTPR */
    for (u32 i = 0; i < 4; i++)
        table[i] = PDPTE + 0x1000 * i;
    memcpy(pages[PAGE_LINKED].page, &revision, sizeof revision);
    memcpy(pages[PAGE_MSRS].page, msrs, sizeof msrs);
}

static void set_bits(u32 row, u64 bits)
{
    battery_write(row, vmcs_read_raw(check_field_encoding(row)) | bits);
}

static void clear_bits(u32 row, u64 bits)
{
    battery_write(row, vmcs_read_raw(check_field_encoding(row)) & ~bits);
}

static bool may(enum vmx_group group, u32 bits)
{
    return (vmx_features.caps.group[group].may_be_one & bits) == bits;
}

static void as_written(void) {}

static void paging32(void)
{
    set_bits(FIELD_GUEST_CR0, CR0_PG);
}

static void pae(void)
{
    paging32();
    set_bits(FIELD_GUEST_CR4, CR4_PAE);
    for (u32 i = 0; i < 4; i++)
        battery_write(FIELD_GUEST_PDPTE0 + i, PDPTE + 0x1000 * i);
}

static void long64(void)
{
    paging32();
    set_bits(FIELD_GUEST_CR4, CR4_PAE);
    vmcs_write(GUEST_EFER, EFER_LME | EFER_LMA);
    set_bits(FIELD_ENTRY_CONTROLS, ENTRY_IA32E_GUEST);
    vmcs_write(GUEST_CS_ACCESS, 0xa09b);
}

static void real_segments(u32 access)
{
    for (u32 i = 0; i < 6; i++) { /* ES, CS, SS, DS, FS, GS */
        battery_write(FIELD_GUEST_ES_SELECTOR + i, 0x100 + 0x10 * i);
        battery_write(FIELD_GUEST_ES_BASE + i, 0x1000 + 0x100 * i);
        battery_write(FIELD_GUEST_ES_LIMIT + i, 0xffff);
        battery_write(FIELD_GUEST_ES_ACCESS + i, access);
    }
    vmcs_write(GUEST_RIP, 0x100);
}

static void real16(void)
{
    clear_bits(FIELD_GUEST_CR0, CR0_PE | CR0_PG);
    real_segments(0x93);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

static void virtual8086(void)
{
    real_segments(0xf3);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_VM);
}

/* An LDTR that is not used, and user-mode segments. */
static void user32(void)
{
    paging32();
    vmcs_write(GUEST_LDTR_ACCESS, 0x10000);
    for (u32 i = 0; i < 6; i++) {
        set_bits(FIELD_GUEST_ES_SELECTOR + i, 3);
        set_bits(FIELD_GUEST_ES_ACCESS + i, RING3);
    }
}

static void restricted(void)
{
    clear_bits(FIELD_PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST);
    set_bits(FIELD_GUEST_CR0, CR0_PG | CR0_PE);
}

static void restricted_user32(void)
{
    user32();
    restricted();
}

static void restricted_v86(void)
{
    virtual8086();
    restricted();
}

/* Without EPT its memory is the host's, and so are its page tables; no event can be delivered. */
static void without_ept(void)
{
    restricted();
    clear_bits(FIELD_PROC2_CONTROLS, PROC2_EPT | PROC2_VPID);
    vmcs_write(GUEST_CR3, paging_cr3());
    vmcs_write(GUEST_IDTR_LIMIT, 0);
}

static void long64_without_ept(void)
{
    long64();
    without_ept();
}

static void pae_without_ept(void)
{
    pae();
    without_ept();
    vmcs_write(GUEST_CR3, page(PAGE_PDPT));
}

static void tpr_shadow(void)
{
    set_bits(FIELD_PROC_CONTROLS, PROC_TPR_SHADOW);
    vmcs_write(VIRTUAL_APIC_ADDRESS, page(PAGE_APIC));
    vmcs_write(TPR_THRESHOLD, 4);
}

static void apic_virtual(void)
{
    tpr_shadow();
    vmcs_write(TPR_THRESHOLD, 0);
    set_bits(FIELD_PROC2_CONTROLS, PROC2_APIC_ACCESSES | APIC_CONTROLS);
    vmcs_write(APIC_ACCESS_ADDRESS, page(PAGE_OTHER));
    vmcs_write(GUEST_INTERRUPT_STATUS, 0);
}

static void x2apic_virtual(void)
{
    long64();
    apic_virtual();
    clear_bits(FIELD_PROC2_CONTROLS, PROC2_APIC_ACCESSES);
    set_bits(FIELD_PROC2_CONTROLS, PROC2_X2APIC_MODE);
}

/* A control, if the CPU has it, and the address that it needs. */
static void want(enum vmx_group group, u32 row, u32 control, u32 address_row)
{
    if (!may(group, control))
        return;
    set_bits(row, control);
    if (address_row != CHECK_FIELDS)
        battery_write(address_row, page(PAGE_OTHER));
}

static void posted_interrupts(void)
{
    apic_virtual();
    if (!may(VMX_PIN, PIN_POSTED_INTERRUPTS))
        return;
    set_bits(FIELD_PIN_CONTROLS, PIN_POSTED_INTERRUPTS);
    vmcs_write(POSTED_INTERRUPT_VECTOR, 0xf0);
    vmcs_write(POSTED_INTERRUPT_DESCRIPTOR, page(PAGE_OTHER));
}

static void all_controls(void)
{
    long64();
    tpr_shadow();
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_VMCS_SHADOWING, FIELD_VMREAD_BITMAP);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_VMCS_SHADOWING, FIELD_VMWRITE_BITMAP);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_EPT_VE, FIELD_VE_INFORMATION_ADDRESS);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_PML, FIELD_PML_ADDRESS);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_VMFUNC, FIELD_EPTP_LIST_ADDRESS);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_TSC_SCALING, FIELD_TSC_MULTIPLIER);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_PAUSE_LOOP_EXITING, CHECK_FIELDS);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_XSAVES, CHECK_FIELDS);
    want(VMX_PROC2, FIELD_PROC2_CONTROLS, PROC2_DESCRIPTOR_TABLE, CHECK_FIELDS);
    want(VMX_EXIT, FIELD_EXIT_CONTROLS, EXIT_SAVE_TIMER, CHECK_FIELDS);
    want(VMX_EXIT, FIELD_EXIT_CONTROLS, EXIT_LOAD_PERF_GLOBAL, CHECK_FIELDS);
    want(VMX_ENTRY, FIELD_ENTRY_CONTROLS, ENTRY_LOAD_PERF_GLOBAL, CHECK_FIELDS);
    if (vmcs_read(PROC2_CONTROLS) & PROC2_VMFUNC)
        vmcs_write(VM_FUNCTION_CONTROLS, 1);
}

/* As few controls as the CPU allows for a 64-bit host. */
static void few_controls(void)
{
    vmcs_write(PIN_CONTROLS, vmx_features.caps.group[VMX_PIN].must_be_one | PIN_PREEMPTION_TIMER);
    clear_bits(FIELD_PROC_CONTROLS, PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_TSC_OFFSETTING);
    clear_bits(FIELD_EXIT_CONTROLS, EXIT_ACKNOWLEDGE | EXIT_SAVE_PAT | EXIT_SAVE_EFER | EXIT_LOAD_PAT);
    clear_bits(FIELD_ENTRY_CONTROLS, ENTRY_LOAD_PAT | ENTRY_LOAD_EFER | ENTRY_LOAD_DEBUG);
}

static void inject_external(void)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(0x40));
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

static void inject_nmi(void)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(2 << 8 | VECTOR_NMI));
}

static void inject_fault(void)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(3 << 8 | 1 << 11 | VECTOR_GP));
}

static void inject_fault_restricted(void)
{
    paging32();
    restricted();
    inject_fault();
}

static void inject_software(void)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(4 << 8 | 0x80));
    vmcs_write(ENTRY_INSTRUCTION_LENGTH, 2);
}

static void inject_real(void)
{
    real16();
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(3 << 8 | VECTOR_GP));
}

static void halted(void)
{
    vmcs_write(GUEST_ACTIVITY_STATE, 1);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

static void halted_external(void)
{
    halted();
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT(0x40));
}

static void shut_down(void)
{
    vmcs_write(GUEST_ACTIVITY_STATE, 2);
}

static void blocked_by_sti(void)
{
    vmcs_write(GUEST_INTERRUPTIBILITY, 1);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

static void blocked_by_mov_ss(void)
{
    vmcs_write(GUEST_INTERRUPTIBILITY, 2);
}

static void stepped(void)
{
    vmcs_write(GUEST_INTERRUPTIBILITY, 2);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    vmcs_write(GUEST_PENDING_DEBUG, 0x4000);
}

static void linked(void)
{
    vmcs_write(VMCS_LINK_POINTER, page(PAGE_LINKED));
}

static void msr_lists(void)
{
    static const u8 addresses[] = {FIELD_EXIT_MSR_STORE_ADDRESS, FIELD_EXIT_MSR_LOAD_ADDRESS,
                                   FIELD_ENTRY_MSR_LOAD_ADDRESS};
    static const u8 counts[] = {FIELD_EXIT_MSR_STORE_COUNT, FIELD_EXIT_MSR_LOAD_COUNT, FIELD_ENTRY_MSR_LOAD_COUNT};

    for (u32 i = 0; i < ARRAY_SIZE(addresses); i++) {
        battery_write(addresses[i], page(PAGE_MSRS));
        battery_write(counts[i], 3);
    }
}

/* The list's second entry is changed in memory: battery.c. */
static void entry_msr_list(void)
{
    vmcs_write(ENTRY_MSR_LOAD_ADDRESS, page(PAGE_MSRS));
    vmcs_write(ENTRY_MSR_LOAD_COUNT, 3);
}

/* What has to do with events and states: all that is worth changing in those baselines. */
static const u8 event_rows[] = {FIELD_PIN_CONTROLS,
                                FIELD_PROC_CONTROLS,
                                FIELD_PROC2_CONTROLS,
                                FIELD_ENTRY_CONTROLS,
                                FIELD_ENTRY_INTERRUPTION_INFO,
                                FIELD_ENTRY_EXCEPTION_ERROR_CODE,
                                FIELD_ENTRY_INSTRUCTION_LENGTH,
                                FIELD_GUEST_INTERRUPTIBILITY,
                                FIELD_GUEST_ACTIVITY_STATE,
                                FIELD_GUEST_PENDING_DEBUG,
                                FIELD_GUEST_DEBUGCTL,
                                FIELD_GUEST_RFLAGS,
                                FIELD_GUEST_CR0,
                                FIELD_GUEST_SS_ACCESS,
                                CHECK_FIELDS};
static const u8 list_rows[] = {FIELD_EXIT_MSR_STORE_ADDRESS,
                               FIELD_EXIT_MSR_LOAD_ADDRESS,
                               FIELD_ENTRY_MSR_LOAD_ADDRESS,
                               FIELD_EXIT_MSR_STORE_COUNT,
                               FIELD_EXIT_MSR_LOAD_COUNT,
                               FIELD_ENTRY_MSR_LOAD_COUNT,
                               CHECK_FIELDS};
static const u8 no_rows[] = {CHECK_FIELDS};
static const u8 posted_rows[] = {FIELD_PIN_CONTROLS,  FIELD_PROC_CONTROLS,           FIELD_PROC2_CONTROLS,
                                 FIELD_EXIT_CONTROLS, FIELD_POSTED_INTERRUPT_VECTOR, FIELD_POSTED_INTERRUPT_DESCRIPTOR,
                                 CHECK_FIELDS};

static const u8 link_rows[] = {FIELD_VMCS_LINK_POINTER, FIELD_PROC2_CONTROLS, FIELD_ENTRY_CONTROLS, CHECK_FIELDS};

const u8 battery_guest_rows[] = {CHECK_FIELDS};
#define guest_rows battery_guest_rows

const struct battery_baseline battery_baselines[] = {
    {"as-written",              as_written,              NULL,        0                                },
    {"paging32",                paging32,                guest_rows,  0                                },
    {"pae",                     pae,                     guest_rows,  0                                },
    {"long64",                  long64,                  guest_rows,  0                                },
    {"real16",                  real16,                  guest_rows,  0                                },
    {"virtual8086",             virtual8086,             guest_rows,  0                                },
    {"user32",                  user32,                  guest_rows,  0                                },
    {"restricted-user32",       restricted_user32,       guest_rows,  0                                },
    {"restricted-v86",          restricted_v86,          guest_rows,  0                                },
    {"long64-without-ept",      long64_without_ept,      NULL,        0                                },
    {"pae-without-ept",         pae_without_ept,         guest_rows,  0                                },
    {"tpr-shadow",              tpr_shadow,              NULL,        0                                },
    {"apic",                    apic_virtual,            NULL,        APIC_CONTROLS                    },
    {"x2apic",                  x2apic_virtual,          guest_rows,  APIC_CONTROLS | PROC2_X2APIC_MODE},
    {"posted",                  posted_interrupts,       posted_rows, APIC_CONTROLS                    },
    {"all-controls",            all_controls,            NULL,        0                                },
    {"few-controls",            few_controls,            NULL,        0                                },
    {"inject-external",         inject_external,         event_rows,  0                                },
    {"inject-nmi",              inject_nmi,              event_rows,  0                                },
    {"inject-fault",            inject_fault,            event_rows,  0                                },
    {"inject-fault-restricted", inject_fault_restricted, event_rows,  0                                },
    {"inject-software",         inject_software,         event_rows,  0                                },
    {"inject-real",             inject_real,             event_rows,  0                                },
    {"halted",                  halted,                  event_rows,  0                                },
    {"halted-external",         halted_external,         event_rows,  0                                },
    {"shutdown",                shut_down,               event_rows,  0                                },
    {"sti",                     blocked_by_sti,          event_rows,  0                                },
    {"mov-ss",                  blocked_by_mov_ss,       event_rows,  0                                },
    {"stepped",                 stepped,                 event_rows,  0                                },
    {"linked",                  linked,                  link_rows,   0                                },
    {"msr-lists",               msr_lists,               list_rows,   0                                },
    {"entry-msr-list",          entry_msr_list,          no_rows,     0                                },
};
const u32 battery_baseline_count = ARRAY_SIZE(battery_baselines);
