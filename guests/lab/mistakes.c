/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Typical mistakes, each made alone in a VMCS that is right otherwise, and the answer that the SDM promises: SDM 3C 26
 * "VM Entries", 30.4 "VM Instruction Error Numbers". Rootlet prints why an entry was refused, beside.
 */
#include "guests/lab/lab.h"
#include "guests/lib/guest.h"

#define MSR_VMX_MISC    0x485u
#define MISC_WRITES_ANY (1u << 29)
#define MSR_FS_BASE     0xc0000100u
#define NO_SUCH_FIELD   0x6c7eu
#define EVENT           0x80000000u
#define EVENT_BIT_12    0x1000u
#define EVENT_INTERRUPT 0x000u
#define EVENT_RESERVED  0x100u
#define EVENT_EXCEPTION 0x300u
#define PRESENT         1u
#define VMXE            0x2000u
#define PAE             0x20u
#define PE              1u
#define RFLAGS_VM       0x20000u
#define NOT_CANONICAL   0x800000000000ull
#define ALL             (~0ull)
#define MAX_CHANGES     4u

/* field = (field & ~clear) | set; ends at the first row that changes nothing. */
struct change {
    enum field field;
    u64 clear, set;
};

struct mistake {
    const char *what;
    u32 answer;
    struct change changes[MAX_CHANGES];
};

static u64 page[PAGE_BYTES / 8] __attribute__((aligned(PAGE_BYTES)));
static u32 number, wrong;
static struct registers registers;

static const char *words_of(u32 error)
{
    static const char *const words[] = {
        [2] = "VMCLEAR with invalid physical address",
        [3] = "VMCLEAR with VMXON pointer",
        [4] = "VMLAUNCH with non-clear VMCS",
        [5] = "VMRESUME with non-launched VMCS",
        [7] = "VM entry with invalid control field(s)",
        [8] = "VM entry with invalid host-state field(s)",
        [9] = "VMPTRLD with invalid physical address",
        [10] = "VMPTRLD with VMXON pointer",
        [11] = "VMPTRLD with incorrect VMCS revision identifier",
        [12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
        [13] = "VMWRITE to read-only VMCS component",
        [15] = "VMXON executed in VMX root operation",
        [26] = "VM entry with events blocked by MOV SS",
        [28] = "invalid operand to INVEPT/INVVPID",
    };
    return error < ARRAY_LENGTH(words) && words[error] ? words[error] : "?";
}

static void print_answer(u32 answer)
{
    if (answer == DONE)
        print("it succeeded");
    else if (answer == INVALID)
        print("VMfailInvalid, no error number: there is no current VMCS");
    else if (answer >= EXIT(0, 0))
        print("exit reason %u, qualification %u", answer >> 8 & 0xff, answer & 0xff);
    else
        print("error %u, %s", answer, words_of(answer));
}

static void name(const char *what)
{
    print("lab: %2u. %s\n", ++number, what);
}

static void check(u32 answer, u32 promised)
{
    print("lab:     ");
    print_answer(answer);
    if (answer != promised) {
        print("; the SDM says: ");
        print_answer(promised);
        wrong++;
    }
    print("\n");
}

void lab_mistakes_before_vmxon(void)
{
    name("VMXON with a region that has another revision identifier");
    lab_vmxon_region.revision ^= 1;
    check(vmx_vmxon((u64)&lab_vmxon_region), INVALID);
    lab_vmxon_region.revision ^= 1;
    name("VMXON with a region that is not aligned to 4 KiB");
    check(vmx_vmxon((u64)&lab_vmxon_region + 64), INVALID);
}

/* ---- instructions, and the launch state ---- */

static void mistakes_without_vmcs(void)
{
    name("VMPTRLD of the VMXON region, no VMCS is current");
    check(vmx_vmptrld((u64)&lab_vmxon_region), INVALID);
    name("VMLAUNCH, no VMCS is current");
    check(lab_try(&registers, LAUNCH), INVALID);
}

static void mistakes_with_instructions(void)
{
    u64 value;

    lab_prepare();
    name("VMXON in VMX operation");
    check(vmx_vmxon((u64)&lab_vmxon_region), 15);
    name("VMPTRLD of the VMXON region");
    check(vmx_vmptrld((u64)&lab_vmxon_region), 10);
    name("VMPTRLD of a page without the revision identifier");
    check(vmx_vmptrld((u64)page), 11);
    name("VMPTRLD of a VMCS that is not aligned to 4 KiB");
    check(vmx_vmptrld((u64)&lab_vmcs + 8), 9);
    name("VMCLEAR of the VMXON region");
    check(vmx_vmclear((u64)&lab_vmxon_region), 3);
    name("VMCLEAR of a VMCS that is not aligned to 4 KiB");
    check(vmx_vmclear((u64)&lab_vmcs + 8), 2);
    name("VMREAD of a field that does not exist");
    check(vmx_read(NO_SUCH_FIELD, &value), 12);
    name("VMWRITE of a field that does not exist");
    check(vmx_write(NO_SUCH_FIELD, 0), 12);
    name("VMWRITE of the exit reason, a read-only field (unless IA32_VMX_MISC bit 29 is 1)");
    check(vmx_write(EXIT_REASON, 0), lab_read_msr(MSR_VMX_MISC) & MISC_WRITES_ANY ? DONE : 13);
    name("INVEPT of type 0");
    check(vmx_invept(0), 28);
}

static void mistakes_before_launch(void)
{
    name("VMRESUME of a VMCS that was not launched");
    lab_prepare();
    check(lab_try(&registers, RESUME), 5);
    lab_say_why();
    name("VMLAUNCH right behind MOV SS");
    check(lab_try(&registers, LAUNCH_BEHIND_MOV_SS), 26);
}

/* ---- fields ---- */

/* clang-format off */
static const struct mistake mistakes[] = {
    /* SDM 3C 26.2.1 "Checks on VMX Controls": error 7 */
    {"a reserved pin-based control is 0 that must be 1", 7, {{PIN_CONTROLS, 2, 0}}},
    {"a reserved secondary control is 1", 7, {{PROC_CONTROLS, 0, PROC_SECONDARY}, {PROC2_CONTROLS, ALL, 0x80000000}}},
    {"more CR3-target values than there are", 7, {{CR3_TARGET_COUNT, ALL, 257}}},
    {"an MSR bitmap that is not aligned", 7, {{PROC_CONTROLS, 0, PROC_MSR_BITMAPS}, {MSR_BITMAPS, ALL, 0x1008}}},
    {"NMI-window exiting without virtual NMIs", 7, {{PROC_CONTROLS, 0, PROC_NMI_WINDOW}}},
    {"VPID is enabled and 0", 7,
     {{PROC_CONTROLS, 0, PROC_SECONDARY}, {PROC2_CONTROLS, ALL, PROC2_VPID}, {VPID, ALL, 0}}},
    {"an EPT pointer with a walk of three levels", 7,
     {{PROC_CONTROLS, 0, PROC_SECONDARY}, {PROC2_CONTROLS, ALL, PROC2_EPT}, {EPT_POINTER, ALL, 0x1000 | 2 << 3 | 6}}},
    {"unrestricted guest without EPT", 7,
     {{PROC_CONTROLS, 0, PROC_SECONDARY}, {PROC2_CONTROLS, ALL, PROC2_UNRESTRICTED_GUEST}}},
    {"an MSR-load area that is not aligned", 7, {{ENTRY_MSR_LOAD_COUNT, ALL, 1}, {ENTRY_MSR_LOAD_ADDRESS, ALL, 0x1008}}},
    {"injection of an event of a reserved type", 7, {{ENTRY_INTERRUPTION_INFO, ALL, EVENT | EVENT_RESERVED | 13}}},
    {"injection of exception 32", 7, {{ENTRY_INTERRUPTION_INFO, ALL, EVENT | EVENT_EXCEPTION | 32}}},
    {"injection of an event with a reserved bit", 7,
     {{ENTRY_INTERRUPTION_INFO, ALL, EVENT | EVENT_BIT_12 | EVENT_EXCEPTION | 6}}},
    /* SDM 3C 26.2.2 to 26.2.4, the host: error 8 */
    {"the host's CS selector is 0", 8, {{HOST_CS_SELECTOR, ALL, 0}}},
    {"the host's TR selector is 0", 8, {{HOST_TR_SELECTOR, ALL, 0}}},
    {"the host's SS selector has RPL 3", 8, {{HOST_SS_SELECTOR, 0, 3}}},
    {"the host's CR4 without VMXE", 8, {{HOST_CR4, VMXE, 0}}},
    {"the host's CR4 without PAE, in 64-bit mode", 8, {{HOST_CR4, PAE, 0}}},
    {"the host's RIP is not canonical", 8, {{HOST_RIP, ALL, NOT_CANONICAL}}},
    {"the host's FS base is not canonical", 8, {{HOST_FS_BASE, ALL, NOT_CANONICAL}}},
    {"a 64-bit host without the control 'host address-space size'", 8, {{EXIT_CONTROLS, EXIT_HOST_ADDRESS_SPACE, 0}}},
    /* SDM 3C 26.3.1 "Checks on the Guest State Area": exit 33 */
    {"the guest's RFLAGS with bit 1 clear", EXIT(33, 0), {{GUEST_RFLAGS, ALL, 0}}},
    {"the guest's CR0 with PG, without PE", EXIT(33, 0), {{GUEST_CR0, PE, 0}}},
    {"the guest's CR4 without VMXE", EXIT(33, 0), {{GUEST_CR4, VMXE, 0}}},
    {"the guest's CR4 without PAE, in IA-32e mode", EXIT(33, 0), {{GUEST_CR4, PAE, 0}}},
    {"a null segment with access rights 0, not marked unusable", EXIT(33, 0),
     {{GUEST_FS_SELECTOR, ALL, 0}, {GUEST_FS_ACCESS, ALL, 0}}},
    {"CS is code of 64 and of 32 bits", EXIT(33, 0), {{GUEST_CS_ACCESS, ALL, 0xe09b}}},
    {"a data segment that was not accessed", EXIT(33, 0), {{GUEST_DS_ACCESS, ALL, 0xc092}}},
    {"a segment whose limit does not fit its granularity", EXIT(33, 0), {{GUEST_ES_LIMIT, ALL, 0x1000}}},
    {"SS with another DPL than RPL", EXIT(33, 0), {{GUEST_SS_ACCESS, 0, 0x60}}},
    {"TR is a TSS that is not busy", EXIT(33, 0), {{GUEST_TR_ACCESS, ALL, 0x89}}},
    {"LDTR is usable and no LDT", EXIT(33, 0), {{GUEST_LDTR_ACCESS, ALL, 0x81}}},
    {"the GDT's limit has more than 16 bits", EXIT(33, 0), {{GUEST_GDTR_LIMIT, ALL, 0xffffffff}}},
    {"an activity state that does not exist", EXIT(33, 0), {{GUEST_ACTIVITY_STATE, ALL, 7}}},
    {"blocking by STI and by MOV SS", EXIT(33, 0), {{GUEST_INTERRUPTIBILITY, ALL, 3}}},
    {"an interrupt is injected while IF is 0", EXIT(33, 0),
     {{ENTRY_INTERRUPTION_INFO, ALL, EVENT | EVENT_INTERRUPT | 0x30}}},
    {"a VMCS link pointer of 0, not of all ones", EXIT(33, 4), {{VMCS_LINK_POINTER, ALL, 0}}},
};
/* clang-format on */

static void make(const struct change *changes)
{
    for (u32 i = 0; i < MAX_CHANGES && (changes[i].clear || changes[i].set); i++) {
        u64 old = 0;
        (void)vmx_read(changes[i].field, &old);
        lab_set(changes[i].field, (old & ~changes[i].clear) | changes[i].set);
    }
}

/* A guest of 32 bits, valid otherwise: CR4.PAE makes it PAE paging, of whose four entries none is present. */
static void leave_ia32e_mode(void)
{
    page[0] = page[1] = 0;
    lab_set(GUEST_CR3, (u64)page);
    lab_set(ENTRY_CONTROLS, lab_field(ENTRY_CONTROLS) & ~(u64)ENTRY_IA32E_GUEST);
    lab_set(GUEST_CS_ACCESS, 0xc09b);
}

static void mistake_in_virtual_8086_mode(void)
{
    name("virtual-8086 mode with a base that is not 16 times the selector");
    lab_prepare();
    leave_ia32e_mode();
    lab_set(GUEST_RFLAGS, RFLAGS_VM | 2);
    for (u32 i = 0; i < 6; i++) {
        lab_set(GUEST_ES_ACCESS + 2 * i, 0xf3);
        lab_set(GUEST_ES_LIMIT + 2 * i, 0xffff);
        lab_set(GUEST_ES_BASE + 2 * i, lab_field(GUEST_ES_SELECTOR + 2 * i) << 4);
    }
    lab_set(GUEST_DS_BASE, 0);
    check(lab_try(&registers, LAUNCH), EXIT(33, 0));
}

/* Not each CPU looks: Bochs enters, and the inner guest ends by a triple fault, which is exit 2. */
static void mistake_in_rip(void)
{
    name("bits 63:48 of the guest's RIP are not alike (Bochs enters all the same)");
    lab_prepare();
    lab_set(GUEST_RIP, NOT_CANONICAL << 1);
    u32 answer = lab_try(&registers, LAUNCH);
    check(answer, answer == EXIT(2, 0) ? answer : EXIT(33, 0));
}

static void mistake_in_pdptes(void)
{
    name("PAE paging with reserved bits set in a page-directory-pointer-table entry");
    lab_prepare();
    leave_ia32e_mode();
    page[0] = 0x1e6 | PRESENT;
    check(lab_try(&registers, LAUNCH), EXIT(33, 2));
}

/* SDM 3C 26.4 "Loading MSRs": an entry of 16 bytes is the MSR's index and its value. */
static void mistake_in_msr_list(void)
{
    name("the MSR-load area has IA32_FS_BASE, which is a field of its own");
    lab_prepare();
    page[0] = MSR_FS_BASE;
    page[1] = 0;
    lab_set(ENTRY_MSR_LOAD_ADDRESS, (u64)page);
    lab_set(ENTRY_MSR_LOAD_COUNT, 1);
    check(lab_try(&registers, LAUNCH), EXIT(34, 1));
}

static void mistake_after_launch(void)
{
    lab_prepare();
    expect(lab_try(&registers, LAUNCH) == EXIT(10, 0), "the VMCS without a mistake did not come to its CPUID");
    name("VMLAUNCH of a VMCS that was launched");
    check(lab_try(&registers, LAUNCH), 4);
}

u32 lab_mistakes(bool with_launch)
{
    mistakes_without_vmcs();
    mistakes_with_instructions();
    mistakes_before_launch();
    for (u32 i = 0; i < ARRAY_LENGTH(mistakes); i++) {
        name(mistakes[i].what);
        lab_prepare();
        make(mistakes[i].changes);
        check(lab_try(&registers, LAUNCH), mistakes[i].answer);
    }
    mistake_in_virtual_8086_mode();
    mistake_in_pdptes();
    mistake_in_msr_list();
    mistake_in_rip();
    if (with_launch)
        mistake_after_launch();
    return wrong;
}
