/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small hypervisor to learn from (docs/nested.md): enters VMX operation, makes a VMCS, runs an inner guest that does
 * CPUID, HLT and VMCALL, and leaves. First come typical mistakes (mistakes.c). It runs in a VM with nested=on, and on a
 * bare CPU just as well. Host and inner guest share the page tables; there is no EPT. With only=mistakes no inner guest
 * runs.
 */
#include "guests/lab/lab.h"
#include "guests/lib/guest.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_BASIC       0x480u
#define MSR_VMX_PIN         0x481u
#define MSR_VMX_PROC        0x482u
#define MSR_VMX_EXIT        0x483u
#define MSR_VMX_ENTRY       0x484u
#define MSR_VMX_CR0_FIXED0  0x486u
#define MSR_VMX_CR4_FIXED0  0x488u

#define FEATURE_LOCKED   1u
#define FEATURE_VMX      4u
#define CPUID_VMX        (1u << 5)
#define REASON_CPUID     10u
#define REASON_HLT       12u
#define REASON_VMCALL    18u
#define ENTRY_FAILED     0x80000000u
#define ACCESS_CODE64    0xa09bu
#define ACCESS_DATA      0xc093u
#define ACCESS_BUSY_TSS  0x8bu
#define ACCESS_UNUSABLE  0x10000u
#define DR7_ALWAYS       0x400u
#define RFLAGS_ALWAYS    2u
#define TSS_LIMIT        103u
#define GDT_LIMIT        39u
#define NUMBER_FOR_GUEST 4711u

struct region lab_vmxon_region, lab_vmcs;

u64 lab_read_msr(u32 index)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

static void write_msr(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

u64 lab_field(enum field field)
{
    u64 value = 0;
    expect(vmx_read(field, &value) == DONE, "VMREAD failed");
    return value;
}

void lab_set(enum field field, u64 value)
{
    expect(vmx_write(field, value) == DONE, "VMWRITE failed");
}

/* What the CPU insists on must be 1, what it cannot must be 0: SDM 3D A.2 "Reserved Controls and Default Settings". */
static void set_controls(enum field field, u32 msr, u32 wanted)
{
    u64 allowed = lab_read_msr(msr);
    lab_set(field, (wanted | (u32)allowed) & (u32)(allowed >> 32));
}

/* SDM 3C 23.7 "Enabling and Entering VMX Operation" */
static void enable_vmx(void)
{
    u64 control = lab_read_msr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_LOCKED))
        write_msr(MSR_FEATURE_CONTROL, control | FEATURE_LOCKED | FEATURE_VMX);
    expect(lab_read_msr(MSR_FEATURE_CONTROL) & FEATURE_VMX, "firmware has disabled VMX");
    cpu_write_cr0(cpu_read_cr0() | lab_read_msr(MSR_VMX_CR0_FIXED0));
    cpu_write_cr4(cpu_read_cr4() | lab_read_msr(MSR_VMX_CR4_FIXED0));
    lab_vmxon_region.revision = lab_vmcs.revision = (u32)lab_read_msr(MSR_VMX_BASIC) & 0x7fffffff;
}

static u64 read_cr3(void)
{
    u64 value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

/* Where the CPU goes on after a VM exit. SDM 3C 24.5 "Host-State Area" */
static void set_host(void)
{
    lab_set(HOST_CR0, cpu_read_cr0());
    lab_set(HOST_CR3, read_cr3());
    lab_set(HOST_CR4, cpu_read_cr4());
    for (u32 field = HOST_ES_SELECTOR; field <= HOST_GS_SELECTOR; field += 2)
        lab_set(field, field == HOST_CS_SELECTOR ? SELECTOR_CODE : SELECTOR_DATA);
    lab_set(HOST_TR_SELECTOR, SELECTOR_TASK);
    for (u32 field = HOST_FS_BASE; field <= HOST_SYSENTER_EIP; field += 2)
        lab_set(field, 0);
    lab_set(HOST_SYSENTER_CS, 0);
    lab_set(HOST_TR_BASE, (u64)lab_tss);
    lab_set(HOST_GDTR_BASE, (u64)lab_gdt);
    lab_set(HOST_RIP, (u64)lab_exit); /* HOST_RSP is lab_enter's */
}

/* What the inner guest begins with: the same mode and tables as ours. SDM 3C 24.4 "Guest-State Area" */
static void set_guest(void)
{
    lab_set(GUEST_CR0, cpu_read_cr0());
    lab_set(GUEST_CR3, read_cr3());
    lab_set(GUEST_CR4, cpu_read_cr4());
    lab_set(GUEST_DR7, DR7_ALWAYS);
    lab_set(GUEST_DEBUGCTL, 0);
    for (u32 i = 0; i < 6; i++) { /* ES, CS, SS, DS, FS, GS */
        lab_set(GUEST_ES_SELECTOR + 2 * i, SELECTOR_DATA);
        lab_set(GUEST_ES_ACCESS + 2 * i, ACCESS_DATA);
        lab_set(GUEST_ES_LIMIT + 2 * i, 0xffffffff);
        lab_set(GUEST_ES_BASE + 2 * i, 0);
    }
    lab_set(GUEST_CS_SELECTOR, SELECTOR_CODE);
    lab_set(GUEST_CS_ACCESS, ACCESS_CODE64);
    lab_set(GUEST_LDTR_SELECTOR, 0);
    lab_set(GUEST_LDTR_ACCESS, ACCESS_UNUSABLE);
    lab_set(GUEST_TR_SELECTOR, SELECTOR_TASK);
    lab_set(GUEST_TR_ACCESS, ACCESS_BUSY_TSS);
    lab_set(GUEST_TR_LIMIT, TSS_LIMIT);
    lab_set(GUEST_TR_BASE, (u64)lab_tss);
    lab_set(GUEST_GDTR_BASE, (u64)lab_gdt);
    lab_set(GUEST_GDTR_LIMIT, GDT_LIMIT);
    lab_set(GUEST_IDTR_BASE, 0);
    lab_set(GUEST_IDTR_LIMIT, 0);
    lab_set(GUEST_SYSENTER_CS, 0);
    lab_set(GUEST_SYSENTER_ESP, 0);
    lab_set(GUEST_SYSENTER_EIP, 0);
    lab_set(GUEST_INTERRUPTIBILITY, 0);
    lab_set(GUEST_ACTIVITY_STATE, 0);
    lab_set(GUEST_PENDING_DEBUG, 0);
    lab_set(VMCS_LINK_POINTER, ~0ull);
    lab_set(GUEST_RFLAGS, RFLAGS_ALWAYS);
    lab_set(GUEST_RSP, (u64)lab_inner_stack);
    lab_set(GUEST_RIP, (u64)lab_inner);
}

void lab_prepare(void)
{
    expect(vmx_vmclear((u64)&lab_vmcs) == DONE, "VMCLEAR failed");
    expect(vmx_vmptrld((u64)&lab_vmcs) == DONE, "VMPTRLD failed");
    set_controls(PIN_CONTROLS, MSR_VMX_PIN, 0);
    set_controls(PROC_CONTROLS, MSR_VMX_PROC, PROC_HLT_EXITING);
    set_controls(EXIT_CONTROLS, MSR_VMX_EXIT, EXIT_HOST_ADDRESS_SPACE);
    set_controls(ENTRY_CONTROLS, MSR_VMX_ENTRY, ENTRY_IA32E_GUEST);
    for (u32 field = EXCEPTION_BITMAP; field <= CR3_TARGET_COUNT; field += 2)
        lab_set(field, 0);
    lab_set(EXIT_MSR_STORE_COUNT, 0);
    lab_set(EXIT_MSR_LOAD_COUNT, 0);
    lab_set(ENTRY_MSR_LOAD_COUNT, 0);
    lab_set(ENTRY_INTERRUPTION_INFO, 0);
    lab_set(CR0_MASK, 0);
    lab_set(CR4_MASK, 0);
    set_host();
    set_guest();
}

u32 lab_try(struct registers *inner, u32 how)
{
    u32 failed = lab_enter(inner, how);
    if (failed)
        return vmx_answer(failed == 1, failed == 2);
    return EXIT((u32)lab_field(EXIT_REASON) & 0xff, (u32)lab_field(EXIT_QUALIFICATION) & 0xff);
}

/* Rootlet knows; a bare CPU does not tell. */
void lab_say_why(void)
{
    static char text[4096];
    u32 bytes;

    if (!hypercall_present() || hypercall_refusal((u64)text, sizeof text - 1, &bytes) != ROOTLET_OK)
        return;
    text[bytes < sizeof text ? bytes : sizeof text - 1] = 0;
    print("lab: Rootlet says why:\n%s", text);
}

static void skip_instruction(void)
{
    lab_set(GUEST_RIP, lab_field(GUEST_RIP) + lab_field(EXIT_INSTRUCTION_LENGTH));
}

/* False: the inner guest has ended. */
static bool handle_exit(struct registers *inner)
{
    u32 reason = (u32)lab_field(EXIT_REASON);

    switch (reason) {
    case REASON_CPUID:
        print("lab: the inner guest executed CPUID with EAX=%x\n", (u32)inner->rax);
        inner->rbx = NUMBER_FOR_GUEST;
        skip_instruction();
        return true;
    case REASON_HLT:
        print("lab: it executed HLT\n");
        skip_instruction();
        return true;
    case REASON_VMCALL:
        print("lab: it executed VMCALL with EAX=%u\n", (u32)inner->rax);
        expect((u32)inner->rax == NUMBER_FOR_GUEST, "the inner guest did not get its number");
        return false;
    default:
        print("FAIL: exit reason %x\n", reason);
        guest_exit(1);
    }
}

static void run_inner_guest(void)
{
    struct registers inner = {0};

    lab_prepare();
    for (u32 how = LAUNCH;; how = RESUME) {
        u32 answer = lab_try(&inner, how);
        if (answer < EXIT(0, 0))
            lab_say_why();
        expect(answer >= EXIT(0, 0), "the VM entry failed");
        if (!handle_exit(&inner))
            return;
    }
}

int guest_main(void)
{
    bool runs = !guest_option("only");

    if (!(cpu_cpuid(1, 0).ecx & CPUID_VMX))
        guest_fail("this CPU has no VMX; a VM has it with nested=on");
    enable_vmx();
    lab_mistakes_before_vmxon();
    expect(vmx_vmxon((u64)&lab_vmxon_region) == DONE, "VMXON failed");
    u32 wrong = lab_mistakes(runs);
    if (runs)
        run_inner_guest();
    expect(vmx_off() == DONE, "VMXOFF failed");
    if (wrong)
        guest_fail("the CPU did not say what the SDM says");
    print("lab ok\n");
    return 0;
}
