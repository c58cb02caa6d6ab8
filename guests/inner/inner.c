/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hypervisor whose inner guests try one thing after the other: what exits and with what information, which events
 * come when, what state goes in and out, what memory does. Each scenario says `inner: <name> ok`, or what it saw and
 * what the SDM says. It runs on a bare CPU just as well, which shows that the scenarios are right. With wild= it is
 * hostile instead: wild.c.
 */
#include "guests/inner/inner.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_BASIC       0x480u
#define MSR_VMX_CR0_FIXED0  0x486u
#define MSR_VMX_CR4_FIXED0  0x488u
#define BASIC_TRUE          (1ull << 55)
#define FEATURE_VMX         4u
#define CPUID_VMX           (1u << 5)

#define ACCESS_CODE32   0xc09bu
#define ACCESS_CODE64   0xa09bu
#define ACCESS_DATA     0xc093u
#define ACCESS_BUSY_TSS 0x8bu
#define ACCESS_UNUSABLE 0x10000u
#define DR7_ALWAYS      0x400u
#define TSS_LIMIT       103u
#define GDT_LIMIT       39u
#define VECTORS         64u
#define STUB_SIZE       16u
#define ENTRY_FAILED    0x80000000u

struct gate {
    u16 offset_low, selector, type, offset_middle;
    u32 offset_high, reserved;
};

extern u8 inner_stubs[], inner_host_stubs[];

struct trap inner_trap, inner_host_trap;
u64 inner_host_count, inner_host_fixup;
bool inner_bare;
struct registers inner_registers;
void (*inner_other)(void);
u8 inner_other_stack[PAGE_BYTES] __attribute__((aligned(16)));
u8 inner_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static struct gate idt[VECTORS], host_idt[VECTORS];
u64 inner_pml4[512] __attribute__((aligned(PAGE_BYTES)));
static u64 pdpt[512] __attribute__((aligned(PAGE_BYTES)));
static u64 directories[4][512] __attribute__((aligned(PAGE_BYTES)));
static struct region vmxon_region, vmcs;
static bool launched;
static u64 basic;

/* ---- scenarios ---- */

static const char *scenario;
static bool scenario_failed, scenario_left_out;
static u32 scenarios, failures;

void inner_scenario(const char *name)
{
    scenario = name;
    scenario_failed = scenario_left_out = false;
}

void inner_scenario_end(void)
{
    scenarios++;
    failures += scenario_failed;
    if (!scenario_failed && !scenario_left_out)
        print("inner: %s ok\n", scenario);
}

void inner_leave_out(const char *why)
{
    scenario_left_out = true;
    print("inner: %s left out: %s\n", scenario, why);
}

void inner_run(const struct inner_row *rows, u32 count, const char *missing)
{
    for (u32 i = 0; i < count; i++) {
        inner_scenario(rows[i].name);
        if (missing)
            inner_leave_out(missing);
        else
            rows[i].run();
        inner_scenario_end();
    }
}

void inner_want(const char *what, u64 seen, u64 wanted)
{
    if (seen == wanted)
        return;
    scenario_failed = true;
    print("inner: %s FAIL: %s is %llx, the SDM says %llx\n", scenario, what, seen, wanted);
}

void inner_want_exit(u32 reason, program *at, u64 offset)
{
    inner_want("exit reason", inner_go(), reason);
    inner_want("RIP's offset", inner_get(GUEST_RIP) - (u64)at, offset);
}

void inner_want_call(u64 rax)
{
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    inner_want("RAX", inner_registers.rax, rax);
    inner_skip();
}

/* ---- the VMCS ---- */

u32 inner_invalidate(bool vpid, u64 type, u64 first, u64 second)
{
    struct {
        u64 first, second;
    } descriptor = {first, second};
    bool cf, zf;

    if (vpid)
        __asm__ volatile("invvpid %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "m"(descriptor), "r"(type) : "memory");
    else
        __asm__ volatile("invept %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "m"(descriptor), "r"(type) : "memory");
    return vmx_answer(cf, zf);
}

u64 inner_read_msr(u32 index)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

void inner_write_msr(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

u64 inner_get(u32 field)
{
    u64 value = 0;
    expect(vmx_read(field, &value) == DONE, "VMREAD failed");
    return value;
}

void inner_set(u32 field, u64 value)
{
    u32 answer = vmx_write(field, value);
    if (answer != DONE)
        print("FAIL: VMWRITE of field %x: %x\n", field, answer);
}

/* SDM 3D A.2 to A.5: those that must be 1 below, those that may be 1 above. */
static u64 allowed(u32 field)
{
    bool has_true = basic & BASIC_TRUE;

    switch (field) {
    case PIN_CONTROLS:
        return inner_read_msr(has_true ? 0x48d : 0x481);
    case PROC_CONTROLS:
        return inner_read_msr(has_true ? 0x48e : 0x482);
    case EXIT_CONTROLS:
        return inner_read_msr(has_true ? 0x48f : 0x483);
    case ENTRY_CONTROLS:
        return inner_read_msr(has_true ? 0x490 : 0x484);
    default:
        return allowed(PROC_CONTROLS) >> 32 & PROC_SECONDARY ? inner_read_msr(0x48b) : 0;
    }
}

bool inner_can(u32 field, u32 controls)
{
    return !(controls & ~(u32)(allowed(field) >> 32));
}

void inner_add(u32 field, u32 controls)
{
    expect(inner_can(field, controls), "a control cannot be set");
    inner_set(field, inner_get(field) | controls);
    if (field == PROC2_CONTROLS)
        inner_set(PROC_CONTROLS, inner_get(PROC_CONTROLS) | PROC_SECONDARY);
}

void inner_drop(u32 field, u32 controls)
{
    inner_set(field, inner_get(field) & ~(u64)controls);
}

static void set_zeros(void)
{
    static const u16 fields[] = {EXCEPTION_BITMAP,
                                 PF_ERROR_MASK,
                                 PF_ERROR_MATCH,
                                 CR3_TARGET_COUNT,
                                 EXIT_MSR_STORE_COUNT,
                                 EXIT_MSR_LOAD_COUNT,
                                 ENTRY_MSR_LOAD_COUNT,
                                 ENTRY_INTERRUPTION_INFO,
                                 CR0_MASK,
                                 CR4_MASK,
                                 CR0_SHADOW,
                                 CR4_SHADOW,
                                 GUEST_DEBUGCTL,
                                 GUEST_LDTR_SELECTOR,
                                 GUEST_SYSENTER_CS,
                                 GUEST_SYSENTER_ESP,
                                 GUEST_SYSENTER_EIP,
                                 GUEST_INTERRUPTIBILITY,
                                 GUEST_ACTIVITY_STATE,
                                 GUEST_PENDING_DEBUG,
                                 HOST_SYSENTER_CS,
                                 HOST_SYSENTER_ESP,
                                 HOST_SYSENTER_EIP,
                                 HOST_FS_BASE,
                                 HOST_GS_BASE};

    for (u32 i = 0; i < ARRAY_LENGTH(fields); i++)
        inner_set(fields[i], 0);
}

void inner_set_host(void)
{
    inner_set(HOST_CR0, cpu_read_cr0());
    inner_set(HOST_CR3, (u64)inner_pml4);
    inner_set(HOST_CR4, cpu_read_cr4());
    for (u32 field = HOST_ES_SELECTOR; field <= HOST_GS_SELECTOR; field += 2)
        inner_set(field, field == HOST_CS_SELECTOR ? SELECTOR_CODE : SELECTOR_DATA);
    inner_set(HOST_TR_SELECTOR, SELECTOR_TASK);
    inner_set(HOST_TR_BASE, (u64)lab_tss);
    inner_set(HOST_GDTR_BASE, (u64)lab_gdt);
    inner_set(HOST_IDTR_BASE, (u64)host_idt);
    inner_set(HOST_RIP, (u64)lab_exit);
}

static void set_guest(program *start)
{
    inner_set(GUEST_CR0, cpu_read_cr0());
    inner_set(GUEST_CR3, (u64)inner_pml4);
    inner_set(GUEST_CR4, cpu_read_cr4());
    inner_set(GUEST_DR7, DR7_ALWAYS);
    for (u32 i = 0; i < 6; i++) { /* ES, CS, SS, DS, FS, GS */
        inner_set(GUEST_ES_SELECTOR + 2 * i, SELECTOR_DATA);
        inner_set(GUEST_ES_ACCESS + 2 * i, ACCESS_DATA);
        inner_set(GUEST_ES_LIMIT + 2 * i, 0xffffffff);
        inner_set(GUEST_ES_BASE + 2 * i, 0);
    }
    inner_set(GUEST_CS_SELECTOR, SELECTOR_CODE);
    inner_set(GUEST_CS_ACCESS, ACCESS_CODE64);
    inner_set(GUEST_LDTR_ACCESS, ACCESS_UNUSABLE);
    inner_set(GUEST_TR_SELECTOR, SELECTOR_TASK);
    inner_set(GUEST_TR_ACCESS, ACCESS_BUSY_TSS);
    inner_set(GUEST_TR_LIMIT, TSS_LIMIT);
    inner_set(GUEST_TR_BASE, (u64)lab_tss);
    inner_set(GUEST_GDTR_BASE, (u64)lab_gdt);
    inner_set(GUEST_GDTR_LIMIT, GDT_LIMIT);
    inner_set(GUEST_IDTR_BASE, (u64)idt);
    inner_set(GUEST_IDTR_LIMIT, sizeof idt - 1);
    inner_set(VMCS_LINK_POINTER, ~0ull);
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED);
    inner_set(GUEST_RSP, (u64)lab_inner_stack);
    inner_set(GUEST_RIP, (u64)start);
}

void inner_begin(program *start)
{
    expect(vmx_vmclear((u64)&vmcs) == DONE, "VMCLEAR failed");
    expect(vmx_vmptrld((u64)&vmcs) == DONE, "VMPTRLD failed");
    launched = false;
    inner_fill(start);
}

void inner_fill(program *start)
{
    inner_set(PIN_CONTROLS, (u32)allowed(PIN_CONTROLS));
    inner_set(PROC_CONTROLS, (u32)allowed(PROC_CONTROLS));
    inner_set(EXIT_CONTROLS, (u32)allowed(EXIT_CONTROLS) | EXIT_HOST_ADDRESS_SPACE);
    inner_set(ENTRY_CONTROLS, (u32)allowed(ENTRY_CONTROLS) | ENTRY_IA32E_GUEST);
    if (inner_can(PROC_CONTROLS, PROC_SECONDARY))
        inner_set(PROC2_CONTROLS, 0);
    set_zeros();
    inner_set_host();
    set_guest(start);
    inner_registers =
        (struct registers){.rbx = (u64)inner_page, .rcx = 0x1234, .rsi = (u64)inner_page, .rdi = (u64)inner_page};
}

void inner_leave_long_mode(u64 cr0)
{
    inner_drop(ENTRY_CONTROLS, ENTRY_IA32E_GUEST);
    inner_set(GUEST_CR0, cr0);
    inner_set(GUEST_CS_ACCESS, ACCESS_CODE32);
}

void inner_protected_mode(void)
{
    static u64 pointers[4] __attribute__((aligned(32)));

    for (u32 gib = 0; gib < 4; gib++)
        pointers[gib] = (u64)directories[gib] | 1;
    inner_leave_long_mode(cpu_read_cr0());
    inner_set(GUEST_CR3, (u64)pointers);
}

u32 inner_go(void)
{
    u32 failed = lab_enter(&inner_registers, launched ? RESUME : LAUNCH);
    if (failed)
        return NOT_ENTERED | vmx_answer(failed == 1, failed == 2);
    u32 reason = (u32)inner_get(EXIT_REASON);
    launched |= !(reason & ENTRY_FAILED);
    return reason;
}

u64 inner_vmxon_region(void)
{
    return (u64)&vmxon_region;
}

void inner_skip(void)
{
    inner_set(GUEST_RIP, inner_get(GUEST_RIP) + inner_get(EXIT_INSTRUCTION_LENGTH));
}

/* ---- the hypervisor itself ---- */

static void make_idt(struct gate *table, const u8 *stubs)
{
    for (u32 i = 0; i < VECTORS; i++) {
        u64 at = (u64)stubs + i * STUB_SIZE;
        table[i] = (struct gate){(u16)at, SELECTOR_CODE, 0x8e00, (u16)(at >> 16), (u32)(at >> 32), 0};
    }
}

void inner_load_idt(void)
{
    struct __attribute__((packed)) {
        u16 limit;
        u64 base;
    } pointer = {sizeof host_idt - 1, (u64)host_idt};

    __asm__ volatile("lidt %0" : : "m"(pointer));
}

/* The first 4 GiB one to one, in pages of 2 MiB, for each ring; devices uncached. */
static void map_4g(void)
{
    inner_pml4[0] = (u64)pdpt | 7;
    for (u32 gib = 0; gib < 4; gib++) {
        pdpt[gib] = (u64)directories[gib] | 7;
        for (u32 i = 0; i < 512; i++)
            directories[gib][i] = (u64)(gib * 512 + i) << 21 | 0x87 | (gib == 3 ? 0x18 : 0);
    }
    cpu_write_cr3((u64)inner_pml4);
}

void inner_enable_vmx(void)
{
    u64 control = inner_read_msr(MSR_FEATURE_CONTROL);
    if (!(control & 1))
        inner_write_msr(MSR_FEATURE_CONTROL, control | 1 | FEATURE_VMX);
    cpu_write_cr0(cpu_read_cr0() | inner_read_msr(MSR_VMX_CR0_FIXED0));
    cpu_write_cr4(cpu_read_cr4() | inner_read_msr(MSR_VMX_CR4_FIXED0));
}

PROGRAM(stay, "1: jmp 1b")

/* With stay= there is one inner guest, which never exits. With stay=2 its hypervisor has only written its VMCS. */
static void run_for_ever(void)
{
    inner_begin(stay);
    if (guest_option_number("stay", 1) == 2) {
        inner_set(GUEST_RIP, 0x4711);
        print("inner waits\n");
        for (;;)
            cpu_pause();
    }
    print("inner stays\n");
    print("FAIL: exit reason %x\n", inner_go());
}

int guest_main(void)
{
    if (!(cpu_cpuid(1, 0).ecx & CPUID_VMX))
        guest_fail("this CPU has no VMX; a VM has it with nested=on");
    inner_bare = !hypercall_present();
    cpu_out8(0x21, 0xff); /* the BIOS has left IRQs on */
    cpu_out8(0xa1, 0xff);
    map_4g();
    make_idt(idt, inner_stubs);
    make_idt(host_idt, inner_host_stubs);
    inner_load_idt();
    inner_enable_vmx();
    basic = inner_read_msr(MSR_VMX_BASIC);
    vmxon_region.revision = vmcs.revision = (u32)basic & 0x7fffffff;
    expect(vmx_vmxon((u64)&vmxon_region) == DONE, "VMXON failed");
    if (guest_option("stay"))
        run_for_ever();
    u32 rounds = guest_option_number("rounds", 0), wild = guest_option_number("wild", 0);
    if (wild)
        inner_wild(wild);
    if (!rounds && !wild)
        inner_measure(); /* first, while nothing is pending that would slow exits */
    if (!rounds && !wild && !guest_option("measure")) {
        inner_controls();
        inner_events();
        inner_state();
        inner_memory();
        inner_tasks();
        inner_life();
        inner_several();
    }
    for (u32 i = 0; i < rounds; i++) /* long enough to come to another CPU on the way */
        inner_memory();
    expect(vmx_off() == DONE, "VMXOFF failed");
    print("inner: %u scenarios, %u failed\n", scenarios, failures);
    if (failures)
        return 1;
    print("inner ok\n");
    return 0;
}
