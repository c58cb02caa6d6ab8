/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State that entries and exits load and save: MSR areas, PAT, EFER, DR7, the hypervisor's own registers; and two VMCSs
 * in turn. SDM 3C 26.3.2 "Loading Guest State", 26.4 "Loading MSRs", 27.3 "Saving Guest State", 27.4 "Saving
 * MSRs", 27.5 "Loading Host State", 27.6 "Loading MSRs", 24.11.3 "Initializing a VMCS".
 */
#include "guests/inner/inner.h"

#define WENT_ON          0x77u
#define STEP(name, text) PROGRAM(name, text "\n\tmov $0x77, %eax")

#define MSR_TSC            0x10u
#define MSR_SYSENTER_CS    0x174u
#define MSR_SYSENTER_ESP   0x175u
#define MSR_PAT            0x277u
#define MSR_VMX_BASIC      0x480u
#define MSR_EFER           0xc0000080u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define EFER_SCE           1u
#define PAT_OTHER          0x0006040600070406ull
#define DR7_ALWAYS         0x400u

PROGRAM(nothing, "")
PROGRAM(swap_msr, "rdmsr\n\tmov %eax, %esi\n\tmov %edi, %eax\n\tmov %r8d, %edx\n\twrmsr\n\tmov %esi, %eax")

struct msr_entry {
    u32 index, reserved;
    u64 value;
};

static u8 no_bitmaps[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* Of the MSR in RCX the inner guest tells the lower half, and writes RDI there. */
static void begin_msr(u32 index, u64 value)
{
    inner_begin(swap_msr);
    inner_add(PROC_CONTROLS, PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)no_bitmaps);
    inner_registers.rcx = index;
    inner_registers.rdi = value;
    inner_registers.r8 = value >> 32;
}

static void msr_areas(void)
{
    static struct msr_entry guest[2] __attribute__((aligned(16))), stored[2] __attribute__((aligned(16)));
    static struct msr_entry host[1] __attribute__((aligned(16)));

    guest[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x1111};
    guest[1] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x2222}; /* in their order: the last one stays */
    stored[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0};
    stored[1] = (struct msr_entry){MSR_TSC, 0, 0};
    host[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x4444};
    inner_write_msr(MSR_KERNEL_GS_BASE, 0x5555);
    begin_msr(MSR_KERNEL_GS_BASE, 0x3333);
    inner_set(ENTRY_MSR_LOAD_ADDRESS, (u64)guest);
    inner_set(ENTRY_MSR_LOAD_COUNT, 2);
    inner_set(EXIT_MSR_STORE_ADDRESS, (u64)stored);
    inner_set(EXIT_MSR_STORE_COUNT, 2);
    inner_set(EXIT_MSR_LOAD_ADDRESS, (u64)host);
    inner_set(EXIT_MSR_LOAD_COUNT, 1);
    u64 before = cpu_rdtsc();
    inner_want_call(0x2222);
    u64 after = cpu_rdtsc();
    inner_want("what is stored", stored[0].value, 0x3333);
    inner_want("the TSC that is stored", stored[1].value > before && stored[1].value < after, 1);
    inner_want("what the hypervisor has", inner_read_msr(MSR_KERNEL_GS_BASE), 0x4444);
    begin_msr(MSR_KERNEL_GS_BASE, 0x6666); /* without areas it is the same MSR for both */
    inner_want_call(0x4444);
    inner_want("what the hypervisor has", inner_read_msr(MSR_KERNEL_GS_BASE), 0x6666);
    begin_msr(MSR_KERNEL_GS_BASE, 0); /* an entry that cannot be loaded: nothing of the guest is left */
    guest[1] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 1ull << 62};
    inner_set(ENTRY_MSR_LOAD_ADDRESS, (u64)guest);
    inner_set(ENTRY_MSR_LOAD_COUNT, 2);
    inner_set(EXIT_MSR_LOAD_ADDRESS, (u64)host);
    inner_set(EXIT_MSR_LOAD_COUNT, 1);
    inner_want("exit reason", inner_go(), 0x80000022);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 2);
    inner_want("what the hypervisor has", inner_read_msr(MSR_KERNEL_GS_BASE), 0x4444);
    inner_set(ENTRY_MSR_LOAD_COUNT, 0);
    inner_want("launch state: VMRESUME", inner_go(), REASON_VMCALL); /* inner_go() does VMLAUNCH still */
}

/* ---- MSRs that an entry cannot load, and the TSC ---- */

#define MOST 512u           /* of a list */
#define FAR  0x100000000ull /* in ticks, beside which what passes here is nothing */

/* The TSC is one of those before it, which are loaded: the hypervisor has it then, by RDTSC and by RDMSR. */
static void unloadable_msrs(void)
{
    static struct msr_entry list[MOST + 1] __attribute__((aligned(16)));
    u64 to = cpu_rdtsc() + FAR;

    for (u32 i = 0; i <= MOST; i++)
        list[i] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, i};
    list[1] = (struct msr_entry){MSR_TSC, 0, to};
    list[2] = (struct msr_entry){MSR_VMX_BASIC, 0, 0}; /* read-only */
    inner_begin(nothing);
    inner_set(ENTRY_MSR_LOAD_ADDRESS, (u64)list);
    inner_set(ENTRY_MSR_LOAD_COUNT, 3);
    inner_want("exit reason", inner_go(), 0x80000022);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 3);
    u64 tsc = cpu_rdtsc();
    inner_want("the TSC was loaded", tsc - to < FAR, 1);
    inner_want("RDMSR of the TSC, after RDTSC", inner_read_msr(MSR_TSC) - tsc < FAR, 1);
    inner_want("the MSR before it", inner_read_msr(MSR_KERNEL_GS_BASE), 0);
    if (inner_bare) /* where the list has no end */
        return;
    list[1].index = list[2].index = MSR_KERNEL_GS_BASE;
    inner_set(ENTRY_MSR_LOAD_COUNT, MOST + 1);
    inner_want("exit reason", inner_go(), 0x80000022);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), MOST + 1);
    inner_want("the last one that is loaded", inner_read_msr(MSR_KERNEL_GS_BASE), MOST - 1);
}

PROGRAM(both_tscs, "mov $0x10, %ecx\n\trdmsr\n\tshl $32, %rdx\n\tor %rax, %rdx\n\tmov %rdx, %rsi\n\t"
                   "rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax")

/* What the list loads is the CPU's, on top of which the inner guest has its offset. */
static void loaded_tsc(void)
{
    static struct msr_entry list[1] __attribute__((aligned(16)));

    inner_begin(both_tscs);
    inner_add(PROC_CONTROLS, PROC_TSC_OFFSETTING | PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)no_bitmaps);
    inner_set(TSC_OFFSET, 16 * FAR);
    inner_set(ENTRY_MSR_LOAD_ADDRESS, (u64)list);
    inner_set(ENTRY_MSR_LOAD_COUNT, 1);
    for (u32 i = 0; i < 2; i++) {
        u64 to = cpu_rdtsc() + FAR;
        list[0] = (struct msr_entry){MSR_TSC, 0, to};
        inner_set(GUEST_RIP, (u64)both_tscs);
        inner_want("exit reason", inner_go(), REASON_VMCALL);
        inner_want("RDTSC", inner_registers.rax - to - 16 * FAR < FAR, 1);
        inner_want("RDMSR", inner_registers.rsi - to - 16 * FAR < FAR, 1);
        inner_want("RDTSC of the hypervisor", cpu_rdtsc() - to < FAR, 1);
    }
}

/* Bits of CR0 that are none are not loaded. SDM 3C 26.3.2.1 */
PROGRAM(read_cr0, "mov %cr0, %rax")

static void reserved_cr0(void)
{
    u64 cr0 = cpu_read_cr0();

    if (inner_bare) {
        inner_leave_out("Bochs loads them");
        return;
    }
    inner_begin(read_cr0);
    inner_set(GUEST_CR0, cr0 | 1u << 10 | 1u << 17 | 1u << 20);
    inner_want_call(cr0);
    inner_want("what is saved", inner_get(GUEST_CR0), cr0);
}

static void pat(void)
{
    u64 before = inner_read_msr(MSR_PAT);

    begin_msr(MSR_PAT, PAT_OTHER);
    inner_add(ENTRY_CONTROLS, ENTRY_LOAD_PAT);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_PAT | EXIT_LOAD_PAT);
    inner_set(GUEST_PAT, 0x0606060606060606);
    inner_set(HOST_PAT, before);
    inner_want_call(0x06060606);
    inner_want("what is saved", inner_get(GUEST_PAT), PAT_OTHER);
    inner_want("what the hypervisor has", inner_read_msr(MSR_PAT), before);
    begin_msr(MSR_PAT, PAT_OTHER); /* not loaded: it is the same for both */
    inner_set(GUEST_PAT, before);
    inner_want_call((u32)before);
    inner_want("what is not saved", inner_get(GUEST_PAT), before);
    inner_want("what the hypervisor has", inner_read_msr(MSR_PAT), PAT_OTHER);
    inner_write_msr(MSR_PAT, before);
}

static void efer(void)
{
    u64 before = inner_read_msr(MSR_EFER);

    begin_msr(MSR_EFER, before);
    inner_add(ENTRY_CONTROLS, ENTRY_LOAD_EFER);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_EFER | EXIT_LOAD_EFER);
    inner_set(GUEST_EFER, before | EFER_SCE);
    inner_set(HOST_EFER, before);
    inner_want_call(before | EFER_SCE);
    inner_want("what is saved", inner_get(GUEST_EFER), before);
    begin_msr(MSR_EFER, before | EFER_SCE);
    inner_want_call(before);
    inner_want("what the hypervisor has", inner_read_msr(MSR_EFER), before | EFER_SCE);
    begin_msr(MSR_EFER, before | EFER_SCE);
    inner_add(EXIT_CONTROLS, EXIT_LOAD_EFER);
    inner_set(HOST_EFER, before);
    inner_want_call(before | EFER_SCE);
    inner_want("what the hypervisor has", inner_read_msr(MSR_EFER), before);
}

PROGRAM(change_dr7, "mov %db7, %rax\n\tmov %rdx, %db7")

static u64 read_dr7(void)
{
    u64 value;
    __asm__ volatile("mov %%db7, %0" : "=r"(value));
    return value;
}

static void dr7(void)
{
    inner_begin(change_dr7);
    inner_add(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_DEBUG);
    inner_set(GUEST_DR7, DR7_ALWAYS | 0x30000);
    inner_registers.rdx = DR7_ALWAYS | 0x300000;
    inner_want_call(DR7_ALWAYS | 0x30000);
    inner_want("what is saved", inner_get(GUEST_DR7), DR7_ALWAYS | 0x300000);
    inner_want("what the hypervisor has", read_dr7(), DR7_ALWAYS);
    inner_begin(change_dr7);
    inner_set(GUEST_DR7, DR7_ALWAYS | 0x30000);
    inner_registers.rdx = DR7_ALWAYS | 0x300000;
    inner_want_call(DR7_ALWAYS); /* not loaded, and not saved */
    inner_want("what is not saved", inner_get(GUEST_DR7), DR7_ALWAYS | 0x30000);
}

PROGRAM(swap_drs, "mov %db2, %rax\n\tmov %rdx, %db2\n\tmov %db6, %rcx\n\tmov %rsi, %db6")

/* The others are the same for both. */
static void debug_registers(void)
{
    u64 dr2, dr6;

    __asm__ volatile("mov %0, %%db2\n\tmov %1, %%db6" : : "r"(0x1234ull), "r"(0xffff0ff1ull));
    inner_begin(swap_drs);
    inner_registers.rdx = 0x5678;
    inner_registers.rsi = 0xffff4ff0;
    inner_want_call(0x1234);
    inner_want("DR6 of the inner guest", inner_registers.rcx, 0xffff0ff1);
    __asm__ volatile("mov %%db2, %0\n\tmov %%db6, %1" : "=r"(dr2), "=r"(dr6));
    inner_want("DR2", dr2, 0x5678);
    inner_want("DR6", dr6, 0xffff4ff0);
    __asm__ volatile("mov %0, %%db2\n\tmov %1, %%db6" : : "r"(0ull), "r"(0xffff0ff0ull));
}

/* A field that no entry loads may hold anything; what is saved is the MSR, where nobody has set a bit. */
static void debugctl(void)
{
    inner_begin(nothing);
    inner_drop(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG);
    inner_drop(EXIT_CONTROLS, EXIT_SAVE_DEBUG);
    inner_set(GUEST_DEBUGCTL, 1ull << 40 | 1);
    inner_want_call(0);
    inner_want("what is not saved", inner_get(GUEST_DEBUGCTL), 1ull << 40 | 1);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_DEBUG);
    inner_set(GUEST_RIP, (u64)nothing);
    inner_want_call(0);
    if (!inner_bare) /* Bochs has no such MSR, and saves none */
        inner_want("what is saved", inner_get(GUEST_DEBUGCTL), 0);
}

PROGRAM(change_bases, "mov %fs:0, %rax\n\tpush %rax\n\tpop %rcx\n\tvmcall\n\tmov %rdx, %ds\n\tmov %rdx, %es")

struct __attribute__((packed)) table_register {
    u16 limit;
    u64 base;
};

static void host_state(void)
{
    struct table_register gdt, idt;
    u16 fs, ds, ldt, task;
    u64 flags;

    inner_begin(change_bases);
    inner_set(GUEST_FS_BASE, (u64)inner_page);
    inner_set(GUEST_FS_BASE + 2, 0x123000); /* GS */
    inner_set(GUEST_SYSENTER_ESP, 0x1000);
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED | 0x8d5);
    inner_set(HOST_FS_BASE, 0x4000);
    inner_set(HOST_GS_BASE, 0x5000);
    inner_set(HOST_FS_SELECTOR, 0);
    inner_set(HOST_SYSENTER_CS, 0x10);
    inner_set(HOST_SYSENTER_ESP, 0x2000);
    *(u64 *)inner_page = 4711;
    inner_want_call(4711);
    __asm__ volatile("sgdt %0\n\tsidt %1\n\tmov %%fs, %2\n\tmov %%ds, %3\n\tsldt %4\n\tstr %5\n\tpushf\n\tpop %6"
                     : "=m"(gdt), "=m"(idt), "=r"(fs), "=r"(ds), "=m"(ldt), "=m"(task), "=r"(flags));
    inner_want("limit of the GDT", gdt.limit, 0xffff);
    inner_want("limit of the IDT", idt.limit, 0xffff);
    inner_want("base of the GDT", gdt.base, inner_get(HOST_GDTR_BASE));
    inner_want("base of the IDT", idt.base, inner_get(HOST_IDTR_BASE));
    inner_want("FS", fs, 0);
    inner_want("DS", ds, SELECTOR_DATA);
    inner_want("LDTR", ldt, 0);
    inner_want("TR", task, SELECTOR_TASK);
    inner_want("base of FS", inner_read_msr(MSR_FS_BASE), 0x4000);
    inner_want("base of GS", inner_read_msr(MSR_GS_BASE), 0x5000);
    inner_want("IA32_SYSENTER_CS", inner_read_msr(MSR_SYSENTER_CS), 0x10);
    inner_want("IA32_SYSENTER_ESP", inner_read_msr(MSR_SYSENTER_ESP), 0x2000);
    inner_want("the inner guest's base of FS", inner_get(GUEST_FS_BASE), (u64)inner_page);
    inner_want("the inner guest's IA32_SYSENTER_ESP", inner_get(GUEST_SYSENTER_ESP), 0x1000);
    inner_want("the inner guest's flags", inner_get(GUEST_RFLAGS), RFLAGS_FIXED | 0x8d5);
    inner_registers.rdx = 0; /* null selectors are unusable when they are saved */
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    inner_want("DS of the inner guest", inner_get(GUEST_DS_SELECTOR), 0);
    inner_want("it is unusable", inner_get(GUEST_DS_ACCESS) >> 16 & 1, 1);
    inner_write_msr(MSR_SYSENTER_CS, 0);
    inner_write_msr(MSR_SYSENTER_ESP, 0);
    __asm__ volatile("mov %0, %%fs\n\tmov %0, %%gs" : : "r"(SELECTOR_DATA));
}

/* Each VMCS keeps its guest, and its launch state. */
static void two_vmcss(void)
{
    static struct region other;
    u64 first;

    inner_begin(nothing);
    inner_registers.rax = 1;
    inner_want_call(1);
    __asm__ volatile("vmptrst %0" : "=m"(first) : : "cc", "memory");
    other.revision = (u32)inner_read_msr(0x480) & 0x7fffffff;
    inner_set(GUEST_RIP, (u64)nothing);
    u64 values[2] = {inner_get(HOST_CR3), inner_get(GUEST_RSP)};
    inner_want("VMCLEAR", vmx_vmclear((u64)&other), DONE);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&other), DONE);
    inner_want("VMRESUME of a clear VMCS", inner_go(), NOT_ENTERED | 5);
    inner_set(GUEST_RSP, 0x1230);
    inner_want("VMPTRLD", vmx_vmptrld(first), DONE);
    inner_want("a field of the first", inner_get(GUEST_RSP), values[1]);
    inner_want("and another", inner_get(HOST_CR3), values[0]);
    inner_registers.rax = 2;
    inner_want_call(2);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&other), DONE);
    inner_want("a field of the second", inner_get(GUEST_RSP), 0x1230);
    inner_want("VMCLEAR of the first", vmx_vmclear(first), DONE);
    inner_want("a field of the second", inner_get(GUEST_RSP), 0x1230);
    inner_want("VMPTRLD", vmx_vmptrld(first), DONE);
    inner_set(GUEST_RIP, (u64)nothing);
    inner_want("VMRESUME after VMCLEAR", inner_go(), NOT_ENTERED | 5);
    inner_want("VMLAUNCH", lab_enter(&inner_registers, LAUNCH), 0);
    inner_want("exit reason", inner_get(EXIT_REASON), REASON_VMCALL);
    inner_want("VMCLEAR of the second", vmx_vmclear((u64)&other), DONE);
}

/* A VMCS in the hypervisor's own page tables, for a GiB that it does not use. */
static void vmcs_in_page_tables(void)
{
    static u64 before[512];
    u64 *table = (u64 *)(((u64 *)(inner_pml4[0] & ~0xfffull))[2] & ~0xfffull);
    u64 first;

    inner_begin(nothing);
    __asm__ volatile("vmptrst %0" : "=m"(first) : : "cc", "memory");
    for (u32 i = 0; i < ARRAY_LENGTH(before); i++)
        before[i] = table[i];
    inner_want("VMPTRLD of a table", vmx_vmptrld((u64)table), 11);
    *(u32 *)table = (u32)inner_read_msr(0x480) & 0x7fffffff;
    inner_want("VMCLEAR", vmx_vmclear((u64)table), DONE);
    inner_want("VMPTRLD", vmx_vmptrld((u64)table), DONE);
    inner_fill(nothing);
    inner_registers.rax = 3;
    inner_want_call(3);
    inner_want("VMCLEAR", vmx_vmclear((u64)table), DONE);
    for (u32 i = 0; i < ARRAY_LENGTH(before); i++)
        table[i] = before[i];
    inner_want("VMPTRLD", vmx_vmptrld(first), DONE);
}

void inner_state(void)
{
    static const struct inner_row scenarios[] = {
        {"MSR areas",                  msr_areas          },
        {"MSRs that cannot be loaded", unloadable_msrs    },
        {"the TSC in a list",          loaded_tsc         },
        {"reserved bits of CR0",       reserved_cr0       },
        {"IA32_PAT",                   pat                },
        {"IA32_EFER",                  efer               },
        {"DR7",                        dr7                },
        {"debug registers",            debug_registers    },
        {"IA32_DEBUGCTL",              debugctl           },
        {"host state",                 host_state         },
        {"two VMCSs",                  two_vmcss          },
        {"a VMCS in page tables",      vmcs_in_page_tables},
    };

    inner_run(scenarios, ARRAY_LENGTH(scenarios), NULL);
}
