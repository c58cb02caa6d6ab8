/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control registers as bare hardware has them: what the guest wrote is what it reads, and a write that the CPU would
 * refuse gives #GP and changes nothing. CR0, CR4, XCR0 and IA32_EFER. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)

#define MSR_IA32_EFER 0xc0000080u
#define EFER_SCE      0x001u
#define EFER_LME      0x100u
#define EFER_NXE      0x800u

static bool try_cr0(u32 value)
{
    __asm__ volatile(TRAP_TRY("mov %0, %%cr0") : : "r"(value) : "memory");
    return trap_vector == VECTOR_NONE;
}

static bool try_cr4(u32 value)
{
    __asm__ volatile(TRAP_TRY("mov %0, %%cr4") : : "r"(value) : "memory");
    return trap_vector == VECTOR_NONE;
}

static bool try_xcr0(u32 index, u32 low, u32 high)
{
    __asm__ volatile(TRAP_TRY("xsetbv") : : "c"(index), "a"(low), "d"(high) : "memory");
    return trap_vector == VECTOR_NONE;
}

static u64 read_xcr0(void)
{
    u32 low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (u64)high << 32 | low;
}

static void check_cr0(void)
{
    u32 start = (u32)cpu_read_cr0();
    static const u32 toggles[] = {CR0_MP, CR0_EM, CR0_TS, CR0_NE, CR0_WP, CR0_AM, CR0_CD, CR0_CD | CR0_NW};
    for (u32 i = 0; i < ARRAY_LENGTH(toggles); i++) {
        u32 value = start & ~(CR0_CD | CR0_NW);
        expect(try_cr0(value ^ toggles[i]), "a legal CR0 value gave a fault");
        expect((u32)cpu_read_cr0() == (value ^ toggles[i]), "CR0 does not read as written");
        expect(try_cr0(value), "CR0 cannot be put back");
    }
    expect(try_cr0(start), "the first CR0 value cannot be put back");
    expect(!try_cr0((start & ~CR0_CD) | CR0_NW) && trap_vector == VECTOR_GP, "CR0.NW without CD gave no #GP");
    expect(!try_cr0((start & ~CR0_PE) | CR0_PG) && trap_vector == VECTOR_GP, "CR0.PG without PE gave no #GP");
    expect((u32)cpu_read_cr0() == start, "a refused write changed CR0");

    /* The short forms touch no other bit. */
    __asm__ volatile("lmsw %w0" : : "r"(start | CR0_TS));
    expect((u32)cpu_read_cr0() == (start | CR0_TS), "LMSW");
    __asm__ volatile("clts");
    expect((u32)cpu_read_cr0() == (start & ~CR0_TS), "CLTS");
    expect(try_cr0(start), "CR0 cannot be put back");
}

static void check_cr4(void)
{
    u32 start = (u32)cpu_read_cr4();
    expect(try_cr4(start | CR4_PSE | CR4_PAE) && (u32)cpu_read_cr4() == (start | CR4_PSE | CR4_PAE),
           "CR4 does not read as written");
    expect(try_cr4(start | CR4_MCE) && (u32)cpu_read_cr4() == (start | CR4_MCE), "CR4.MCE does not read as written");
    expect(try_cr4(start) && (u32)cpu_read_cr4() == start, "CR4 cannot be put back");
    expect(!try_cr4(start | 1u << 15) && trap_vector == VECTOR_GP, "a reserved bit of CR4 gave no #GP");
    expect(!try_cr4(start | 1u << 31) && trap_vector == VECTOR_GP, "a reserved bit of CR4 gave no #GP");
    expect(!try_cr4(start | 1u << 17) && trap_vector == VECTOR_GP, "CR4.PCIDE outside long mode gave no #GP");
    expect((u32)cpu_read_cr4() == start, "a refused write changed CR4");
}

static void check_xcr0(void)
{
    if (!(cpu_cpuid(1, 0).ecx & 1u << 26)) {
        print("control: no XSAVE\n");
        return;
    }
    expect(!(cpu_cpuid(1, 0).ecx & 1u << 27), "CPUID shows OSXSAVE before CR4 has it");
    expect(!try_xcr0(0, 1, 0) && trap_vector == VECTOR_UD, "XSETBV without CR4.OSXSAVE gave no #UD");
    cpu_write_cr4(cpu_read_cr4() | CR4_OSXSAVE);
    expect(cpu_cpuid(1, 0).ecx & 1u << 27, "CPUID does not show OSXSAVE");
    struct cpuid leaf = cpu_cpuid(0xd, 0);
    expect(read_xcr0() == 1, "XCR0 does not begin as 1");
    expect(!try_xcr0(0, 0, 0) && trap_vector == VECTOR_GP, "XCR0 without x87 gave no #GP");
    expect(!try_xcr0(0, 5, 0) && trap_vector == VECTOR_GP, "XCR0 with AVX but without SSE gave no #GP");
    expect(!try_xcr0(0, 3, 0x80000000) && trap_vector == VECTOR_GP, "a reserved bit of XCR0 gave no #GP");
    expect(!try_xcr0(1, 3, 0) && trap_vector == VECTOR_GP, "XCR1 gave no #GP");
    if (!(leaf.eax & 4))
        expect(!try_xcr0(0, 7, 0) && trap_vector == VECTOR_GP, "XCR0 with an absent state gave no #GP");
    expect(try_xcr0(0, 3, 0) && read_xcr0() == 3, "XCR0 does not read as written");
}

static void check_efer(void)
{
    u64 value;
    expect(msr_try_read(MSR_IA32_EFER, &value) && !(value & EFER_LME), "IA32_EFER");
    expect(!msr_try_write(MSR_IA32_EFER, 1u << 1) && trap_vector == VECTOR_GP, "a reserved bit of EFER gave no #GP");
    expect(msr_try_write(MSR_IA32_EFER, EFER_SCE | EFER_LME | EFER_NXE), "EFER.LME cannot be set");
    expect(msr_try_read(MSR_IA32_EFER, &value) && value == (EFER_SCE | EFER_LME | EFER_NXE),
           "EFER does not read as written");
    /* Long mode needs PAE: without it paging must be refused. */
    expect(!try_cr0((u32)cpu_read_cr0() | CR0_PG) && trap_vector == VECTOR_GP, "long mode without PAE gave no #GP");
    expect(msr_try_write(MSR_IA32_EFER, 0), "EFER cannot be cleared");
}

int guest_main(void)
{
    interrupts_init();
    check_cr0();
    check_cr4();
    check_xcr0();
    check_efer();
    print("control ok\n");
    return 0;
}
