/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: tries to become a hypervisor. In a VM without nested=on as on a CPU without VMX: CPUID says no, CR4.VMXE
 * cannot be set (#GP), each VMX instruction is unknown (#UD), the VMX MSRs do not exist (#GP). Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define MSR_IA32_VMX_BASIC  0x480u
#define MSR_IA32_VMX_VMFUNC 0x491u

static u64 region[512] __attribute__((aligned(4096)));
static u64 pointer;
static u64 descriptor[2];

#define EXPECT_UD(instruction)                                                                                         \
    do {                                                                                                               \
        __asm__ volatile(TRAP_TRY(instruction) : "+m"(pointer), "+m"(descriptor) : "a"(0), "c"(0) : "memory");         \
        expect(trap_vector == VECTOR_UD, instruction ": no #UD");                                                      \
    } while (0)

static void check_instructions(void)
{
    EXPECT_UD("vmxon %0");
    EXPECT_UD("vmxoff");
    EXPECT_UD("vmlaunch");
    EXPECT_UD("vmresume");
    EXPECT_UD("vmclear %0");
    EXPECT_UD("vmptrld %0");
    EXPECT_UD("vmptrst %0");
    EXPECT_UD("vmread %%eax, %%ecx");
    EXPECT_UD("vmwrite %%eax, %%ecx");
    EXPECT_UD("invept %1, %%eax");
    EXPECT_UD("invvpid %1, %%eax");
    EXPECT_UD("vmfunc");
}

int guest_main(void)
{
    interrupts_init();
    pointer = (u32)region;
    print("vmxinsn trying every VMX instruction\n");
    expect(!(cpu_cpuid(1, 0).ecx & 1u << 5), "CPUID shows VMX");
    check_instructions();

    u32 cr4 = (u32)cpu_read_cr4();
    __asm__ volatile(TRAP_TRY("mov %0, %%cr4") : : "r"(cr4 | CR4_VMXE) : "memory");
    expect(trap_vector == VECTOR_GP, "CR4.VMXE can be set");
    expect(cpu_read_cr4() == cr4, "CR4 shows a bit that the guest did not set");

    u64 value;
    for (u32 index = MSR_IA32_VMX_BASIC; index <= MSR_IA32_VMX_VMFUNC; index++)
        expect(!msr_try_read(index, &value) && trap_vector == VECTOR_GP, "a VMX capability MSR exists");
    print("vmxinsn ok\n");
    return 0;
}
