/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hypervisor in 32-bit mode, for a VM with nested=on: what each VMX instruction answers to operands that are wrong,
 * and how VM entries fail that the CPU refuses, as SDM 3C 30 "VMX Instruction Reference" and 26 "VM Entries" have it.
 * Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"
#include "guests/vmxroot/vmxroot.h"

#define MSR_IA32_FEATURE_CONTROL 0x3au
#define MSR_IA32_VMX_BASIC       0x480u
#define MSR_IA32_VMX_CR4_FIXED1  0x489u

#define PAGE_WORDS 1024u
static u32 directory[PAGE_WORDS] __attribute__((aligned(4096)));
static u32 regions[4][PAGE_WORDS] __attribute__((aligned(4096)));
enum { REGION_VMXON, REGION_VMCS, REGION_OTHER, REGION_BAD };
static u32 revision;

static u64 address_of(u32 region)
{
    return (u32)regions[region];
}

/* ---- instructions, each with the flags that it leaves ---- */

enum { OK = 0, INVALID = 0x01, VALID = 0x40, FAULTED = 0x100 }; /* CF, ZF */

#define DEFINE_POINTER_INSTRUCTION(name)                                                                               \
    static u32 name(u64 pointer)                                                                                       \
    {                                                                                                                  \
        u32 flags;                                                                                                     \
        __asm__ volatile(TRAP_TRY(#name " %1") "\n\tpushfl\n\tpopl %0" : "=r"(flags) : "m"(pointer) : "cc", "memory"); \
        return trap_vector == VECTOR_NONE ? flags & 0x8d5u : FAULTED | trap_vector;                                    \
    }
DEFINE_POINTER_INSTRUCTION(vmxon)
DEFINE_POINTER_INSTRUCTION(vmclear)
DEFINE_POINTER_INSTRUCTION(vmptrld)

static u32 vmxoff(void)
{
    u32 flags;
    __asm__ volatile(TRAP_TRY("vmxoff") "\n\tpushfl\n\tpopl %0" : "=r"(flags) : : "cc", "memory");
    return trap_vector == VECTOR_NONE ? flags & 0x8d5u : FAULTED | trap_vector;
}

static u32 vmread(u32 encoding, u32 *value)
{
    u32 flags, result = 0;
    __asm__ volatile(TRAP_TRY("vmread %2, %1") "\n\tpushfl\n\tpopl %0"
                     : "=&r"(flags), "+r"(result)
                     : "r"(encoding)
                     : "cc", "memory");
    *value = result;
    return trap_vector == VECTOR_NONE ? flags & 0x8d5u : FAULTED | trap_vector;
}

static u32 vmwrite(u32 encoding, u32 value)
{
    u32 flags;
    __asm__ volatile(TRAP_TRY("vmwrite %2, %1") "\n\tpushfl\n\tpopl %0"
                     : "=r"(flags)
                     : "r"(encoding), "m"(value)
                     : "cc", "memory");
    return trap_vector == VECTOR_NONE ? flags & 0x8d5u : FAULTED | trap_vector;
}

static u32 read_field(u32 encoding)
{
    u32 value;
    expect(vmread(encoding, &value) == OK, "VMREAD of a field fails");
    return value;
}

static void expect_error(u32 flags, u32 error, const char *text)
{
    expect(flags == VALID && read_field(VMCS_INSTRUCTION_ERROR) == error, text);
}

/* ---- VMX operation ---- */

static void turn_paging_on(void)
{
    for (u32 i = 0; i < PAGE_WORDS; i++)
        directory[i] = i << 22 | 0x83u; /* 4 MiB, writable, present */
    cpu_write_cr4(cpu_read_cr4() | CR4_PSE);
    cpu_write_cr3((u32)directory);
    cpu_write_cr0(cpu_read_cr0() | CR0_PG);
}

static bool sets_cr0(u32 value)
{
    __asm__ volatile(TRAP_TRY("mov %0, %%cr0") : : "r"(value) : "memory");
    return trap_vector == VECTOR_NONE;
}

static bool sets_cr4(u32 value)
{
    __asm__ volatile(TRAP_TRY("mov %0, %%cr4") : : "r"(value) : "memory");
    return trap_vector == VECTOR_NONE;
}

static void check_msrs(void)
{
    u64 value;

    expect(cpu_cpuid(1, 0).ecx & 1u << 5, "CPUID does not show VMX");
    expect(msr_try_read(MSR_IA32_FEATURE_CONTROL, &value) && value == 5, "IA32_FEATURE_CONTROL is not 5");
    expect(!msr_try_write(MSR_IA32_FEATURE_CONTROL, 5), "IA32_FEATURE_CONTROL, which is locked, can be written");
    for (u32 index = MSR_IA32_VMX_BASIC; index <= MSR_IA32_VMX_CR4_FIXED1; index++) {
        expect(msr_try_read(index, &value), "a VMX capability MSR does not exist");
        expect(!msr_try_write(index, value), "a VMX capability MSR can be written");
    }
    expect(msr_try_read(MSR_IA32_VMX_BASIC, &value), "no IA32_VMX_BASIC");
    revision = (u32)value & 0x7fffffff;
}

static void check_entering(void)
{
    u32 cr0 = (u32)cpu_read_cr0() | CR0_NE;

    expect(vmxon(address_of(REGION_VMXON)) == (FAULTED | VECTOR_UD), "VMXON without CR4.VMXE is not #UD");
    expect(sets_cr4((u32)cpu_read_cr4() | CR4_VMXE) && cpu_read_cr4() & CR4_VMXE, "CR4.VMXE cannot be set");
    expect(vmclear(address_of(REGION_VMCS)) == (FAULTED | VECTOR_UD), "VMCLEAR outside VMX operation is not #UD");
    expect(sets_cr0(cr0 & ~CR0_NE) && vmxon(address_of(REGION_VMXON)) == (FAULTED | VECTOR_GP),
           "VMXON with CR0.NE = 0 is not #GP");
    expect(sets_cr0(cr0 & ~CR0_PG) && vmxon(address_of(REGION_VMXON)) == (FAULTED | VECTOR_GP),
           "VMXON without paging is not #GP");
    expect(sets_cr0(cr0), "CR0 cannot be set");
    expect(vmxon(address_of(REGION_VMXON)) == INVALID, "VMXON with a wrong revision identifier");
    regions[REGION_VMXON][0] = regions[REGION_VMCS][0] = regions[REGION_OTHER][0] = revision;
    expect(vmxon(address_of(REGION_VMXON) + 8) == INVALID, "VMXON with a misaligned pointer");
    expect(vmxon(1ull << 52) == INVALID, "VMXON with a pointer beyond the physical-address width");
    expect(vmxon(address_of(REGION_VMXON)) == OK, "VMXON fails");
    expect(!sets_cr0(cr0 & ~CR0_PG), "CR0.PG can be cleared in VMX operation");
    expect(!sets_cr0(cr0 & ~CR0_NE), "CR0.NE can be cleared in VMX operation");
    expect(!sets_cr4((u32)cpu_read_cr4() & ~CR4_VMXE), "CR4.VMXE can be cleared in VMX operation");
    expect(cpu_read_cr0() == cr0 && cpu_read_cr4() & CR4_VMXE, "CR0 or CR4 is another after a #GP");
}

static void check_leaving(void)
{
    u32 value;

    expect(vmxoff() == OK, "VMXOFF fails");
    expect(vmxoff() == (FAULTED | VECTOR_UD), "VMXOFF outside VMX operation is not #UD");
    expect(vmread(VMCS_INSTRUCTION_ERROR, &value) == (FAULTED | VECTOR_UD), "VMREAD outside VMX operation is not #UD");
    expect(sets_cr0((u32)cpu_read_cr0() & ~CR0_PG), "CR0.PG cannot be cleared after VMXOFF");
    expect(sets_cr0((u32)cpu_read_cr0() | CR0_PG), "CR0.PG cannot be set");
    expect(sets_cr4((u32)cpu_read_cr4() & ~CR4_VMXE), "CR4.VMXE cannot be cleared after VMXOFF");
}

/* ---- the current VMCS ---- */

static u64 stored_pointer(void)
{
    u64 pointer = 0;
    __asm__ volatile("vmptrst %0" : "=m"(pointer) : : "cc", "memory");
    return pointer;
}

static void check_pointers(void)
{
    u32 value;

    expect(stored_pointer() == ~0ull, "VMPTRST without a current VMCS");
    expect(vmread(VMCS_INSTRUCTION_ERROR, &value) == INVALID, "VMREAD without a current VMCS");
    expect(vmwrite(VMCS_GUEST_RIP, 0) == INVALID, "VMWRITE without a current VMCS");
    expect(vmclear(address_of(REGION_VMCS) + 1) == INVALID, "VMCLEAR that fails without a current VMCS");
    expect(vmclear(address_of(REGION_VMCS)) == OK && vmptrld(address_of(REGION_VMCS)) == OK, "VMPTRLD fails");
    expect(stored_pointer() == address_of(REGION_VMCS), "VMPTRST");
    expect_error(vmclear(address_of(REGION_VMCS) + 1), 2, "VMCLEAR with an invalid address is not error 2");
    expect_error(vmclear(address_of(REGION_VMXON)), 3, "VMCLEAR with the VMXON pointer is not error 3");
    expect_error(vmptrld(1ull << 52), 9, "VMPTRLD with an invalid address is not error 9");
    expect_error(vmptrld(address_of(REGION_VMXON)), 10, "VMPTRLD with the VMXON pointer is not error 10");
    expect_error(vmptrld(address_of(REGION_BAD)), 11, "VMPTRLD with another revision identifier is not error 11");
    expect_error(vmptrld(0xfed00000), 11, "VMPTRLD of a device's registers is not error 11");
    expect_error(vmread(0x6bfe, &value), 12, "VMREAD of no field is not error 12");
    expect_error(vmread(0x4401, &value), 12, "VMREAD of the upper half of 32 bits is not error 12");
    expect_error(vmwrite(VMCS_EXIT_REASON, 0), 13, "VMWRITE to a read-only field is not error 13");
    expect_error(vmxon(address_of(REGION_VMXON)), 15, "VMXON in VMX operation is not error 15");
    expect(stored_pointer() == address_of(REGION_VMCS), "an error has changed the current VMCS");
}

static void check_fields(void)
{
    expect(vmwrite(VMCS_GUEST_RIP, 0x1234) == OK && read_field(VMCS_GUEST_RIP) == 0x1234, "a natural-width field");
    expect(vmwrite(VMCS_GUEST_CS_SELECTOR, 0x56789) == OK && read_field(VMCS_GUEST_CS_SELECTOR) == 0x6789,
           "a 16-bit field");
    expect(vmwrite(VMCS_LINK_POINTER, 0x11111111) == OK && vmwrite(VMCS_LINK_POINTER + 1, 0x22222222) == OK &&
               read_field(VMCS_LINK_POINTER) == 0x11111111 && read_field(VMCS_LINK_POINTER + 1) == 0x22222222,
           "a 64-bit field in two halves");
    expect(vmclear(address_of(REGION_OTHER)) == OK && vmptrld(address_of(REGION_OTHER)) == OK, "another VMCS");
    expect(vmwrite(VMCS_GUEST_RIP, 0x4321) == OK, "VMWRITE to another VMCS");
    expect(vmptrld(address_of(REGION_VMCS)) == OK && read_field(VMCS_GUEST_RIP) == 0x1234,
           "a VMCS has forgotten its field");
    expect(vmclear(address_of(REGION_OTHER)) == OK && vmptrld(address_of(REGION_OTHER)) == OK &&
               read_field(VMCS_GUEST_RIP) == 0x4321,
           "VMCLEAR has forgotten a field");
    expect(vmclear(address_of(REGION_OTHER)) == OK && stored_pointer() == ~0ull, "VMCLEAR of the current VMCS");
    expect(vmptrld(address_of(REGION_VMCS)) == OK, "VMPTRLD after VMCLEAR");
}

/* ---- entries ---- */

/* Bytes of the text that says why the last refused entry was so; it has these words. */
static u32 refusal(const char *words)
{
    static char text[4096];
    u32 bytes;

    expect(hypercall_refusal((u32)text, sizeof text - 1, &bytes) == ROOTLET_OK, "no text of the refusal");
    text[bytes < sizeof text ? bytes : sizeof text - 1] = 0;
    for (const char *at = text; *words; at++)
        if (text_begins_with(at, words))
            break;
        else
            expect(*at, words);
    return bytes;
}

static void check_entries(void)
{
    u32 value;

    expect(refusal("") == 0, "a reason for no refusal");
    expect_error(vmxroot_enter(false), 5, "VMRESUME of a VMCS that is clear is not error 5");
    refusal("vcpu=0 vmresume refused error=5 rule=\"the VMCS that VMRESUME enters must be launched");
    expect_error(vmxroot_enter(true), 7, "an empty VMCS is not refused with error 7");
    vmxroot_fill();
    expect(vmwrite(VMCS_HOST_CR0, 0) == OK, "VMWRITE");
    expect_error(vmxroot_enter(true), 8, "a wrong host CR0 is not refused with error 8");
    vmxroot_fill();
    expect(vmwrite(VMCS_GUEST_RFLAGS, 0) == OK, "VMWRITE");
    expect(vmxroot_enter(true) == OK, "a wrong guest state is not an exit");
    expect(read_field(VMCS_EXIT_REASON) == (1u << 31 | 33), "a wrong guest state is not exit 33");
    expect(read_field(VMCS_EXIT_QUALIFICATION) == 0, "the qualification of exit 33");
    vmxroot_fill();
    refusal("vcpu=0 vmlaunch refused exit=33 rule=\"bits 63:22, 15, 5 and 3 must be 0 and bit 1 must be 1\"");
    expect(vmwrite(VMCS_LINK_POINTER, 0) == OK && vmxroot_enter(true) == OK &&
               read_field(VMCS_EXIT_REASON) == (1u << 31 | 33) && read_field(VMCS_EXIT_QUALIFICATION) == 4,
           "a wrong link pointer is not exit 33 with qualification 4");
    vmxroot_fill();
    regions[REGION_BAD][0] = 0xc0000100; /* IA32_FS_BASE */
    expect(vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1) == OK && vmwrite(VMCS_ENTRY_MSR_LOAD, (u32)regions[REGION_BAD]) == OK,
           "VMWRITE");
    expect(vmxroot_enter(true) == OK && read_field(VMCS_EXIT_REASON) == (1u << 31 | 34) &&
               read_field(VMCS_EXIT_QUALIFICATION) == 1,
           "an MSR that cannot be loaded is not exit 34");
    regions[REGION_BAD][0] = MSR_IA32_VMX_BASIC; /* read-only, which only loading it shows */
    expect(vmxroot_enter(true) == OK && read_field(VMCS_EXIT_REASON) == (1u << 31 | 34), "an MSR that is read-only");
    refusal("vcpu=0 vmlaunch refused exit=34 rule=\"WRMSR of this value would cause #GP\" "
            "field=ENTRY_MSR_LOAD_ADDRESS entry=1 value=0x480 sdm=\"3C 26.4 Loading MSRs\"");
    expect_error(vmxroot_enter(false), 5, "a failed VMLAUNCH has launched");
    expect(vmclear(address_of(REGION_VMCS)) == OK && vmxroot_enter(true) == INVALID, "VMLAUNCH without a current VMCS");
    expect(vmread(VMCS_EXIT_REASON, &value) == INVALID, "VMREAD without a current VMCS");
}

/* INIT does nothing in VMX root operation, and exits as soon as an inner guest runs. SDM 3C 25.2 "Other Causes of VM
 * Exits" */
static void check_init(void)
{
    volatile u32 *icr = (volatile u32 *)(ROOTLET_MMIO_LOCAL_APIC + 0x300);

    expect(vmclear(address_of(REGION_VMCS)) == OK && vmptrld(address_of(REGION_VMCS)) == OK, "VMPTRLD");
    vmxroot_fill();
    icr[4] = 0; /* to itself */
    icr[0] = 0x4500;
    expect(vmxroot_enter(true) == OK && read_field(VMCS_EXIT_REASON) == 3, "a pending INIT is not exit 3");
    expect(vmxroot_enter(false) == OK && read_field(VMCS_EXIT_REASON) == 10, "CPUID is not exit 10");
    expect(vmclear(address_of(REGION_VMCS)) == OK, "VMCLEAR");
}

void vmxroot_write(u32 encoding, u32 value)
{
    expect(vmwrite(encoding, value) == OK, "VMWRITE fails");
}

u32 vmxroot_directory(void)
{
    return (u32)directory;
}

int guest_main(void)
{
    interrupts_init();
    turn_paging_on();
    check_msrs();
    check_entering();
    check_pointers();
    check_fields();
    check_entries();
    check_init();
    check_leaving();
    expect(sets_cr4((u32)cpu_read_cr4() | CR4_VMXE) && vmxon(address_of(REGION_VMXON)) == OK, "VMXON again");
    expect(vmxoff() == OK, "VMXOFF again");
    print("vmxroot ok\n");
    return 0;
}
