/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operands of instructions that exit, as on bare hardware: INS, OUTS, MOVS and CMPS fault where a segment forbids their
 * operand in memory; SMSW, moves of XMM and YMM registers, PUSH, POP, CALL and JMP work on a device's registers, and
 * with a stack there. The device is the HPET, whose comparators keep what is written. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define VECTOR_DE 0u
#define VECTOR_SS 12u
#define PORT_POST 0x80u

#define SELECTOR_SHORT     0x18u /* data up to 4 MiB */
#define SELECTOR_READ_ONLY 0x20u
#define SELECTOR_DATA      0x10u
#define SHORT_END          0x400000u

#define HPET_SCRATCH 0x100u /* timer 0: configuration, comparator; timer 1 behind it */
#define COMPARATOR_1 0x128u

static const u64 gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00c09300000003ff, 0x00cf91000000ffff};

static volatile u32 *hpet(u32 offset)
{
    return (volatile u32 *)(ROOTLET_MMIO_HPET + offset);
}

static void load_gdt(void)
{
    static struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) pointer = {sizeof gdt - 1, 0};

    pointer.base = (u32)gdt;
    __asm__ volatile("lgdt %0" : : "m"(pointer));
}

static void expect_trap(u32 vector, const char *what)
{
    expect(trap_vector == vector && (vector == VECTOR_NONE || trap_error == 0), what);
}

/* With this selector in ES; it is put back before anybody else needs it. */
#define WITH_ES(instruction) "movl %[selector], %%es\n\t" TRAP_TRY(instruction) "\n\tmovl %[flat], %%es"

static void ins_to(u32 selector, u32 offset, u32 vector, const char *what)
{
    u32 edi = offset;

    __asm__ volatile(WITH_ES("insl")
                     : "+D"(edi)
                     : "d"(PORT_POST), [selector] "r"(selector), [flat] "r"(SELECTOR_DATA)
                     : "memory");
    expect_trap(vector, what);
    expect(edi == offset + (vector == VECTOR_NONE ? 4 : 0), what);
}

static void string_io_faults(void)
{
    static u32 word;
    u32 esi;

    ins_to(SELECTOR_SHORT, (u32)&word, VECTOR_NONE, "INS within its segment");
    ins_to(SELECTOR_SHORT, SHORT_END - 2, VECTOR_GP, "INS across the limit");
    ins_to(SELECTOR_READ_ONLY, (u32)&word, VECTOR_GP, "INS to a read-only segment");
    ins_to(0, (u32)&word, VECTOR_GP, "INS to a null segment");
    esi = SHORT_END - 1;
    __asm__ volatile("movl %2, %%fs\n\t" TRAP_TRY("outsw %%fs:(%%esi), %%dx")
                     : "+S"(esi)
                     : "d"(PORT_POST), "r"(SELECTOR_SHORT)
                     : "memory");
    expect_trap(VECTOR_GP, "OUTS across the limit of FS");
    esi = (u32)&word;
    __asm__ volatile("movl %2, %%fs\n\t" TRAP_TRY("outsb %%fs:(%%esi), %%dx")
                     : "+S"(esi)
                     : "d"(PORT_POST), "r"(SELECTOR_READ_ONLY)
                     : "memory");
    expect_trap(VECTOR_NONE, "OUTS from a read-only segment");
    esi = SHORT_END;
    __asm__ volatile("movl %2, %%ss\n\t" TRAP_TRY("outsb %%ss:(%%esi), %%dx") "\n\tmovl %3, %%ss"
                     : "+S"(esi)
                     : "d"(PORT_POST), "r"(SELECTOR_SHORT), "r"(SELECTOR_DATA)
                     : "memory");
    expect_trap(VECTOR_SS, "OUTS beyond the limit of SS");
}

/* The device is one operand, the other one faults. */
static void second_operand_faults(void)
{
    static u32 word;
    const u32 device = (u32)hpet(0);
    u32 esi = device, edi = SHORT_END - 2;

    __asm__ volatile(WITH_ES("movsl")
                     : "+S"(esi), "+D"(edi)
                     : [selector] "r"(SELECTOR_SHORT), [flat] "r"(SELECTOR_DATA)
                     : "memory");
    expect_trap(VECTOR_GP, "MOVS from a device across the limit");
    edi = (u32)&word;
    __asm__ volatile(WITH_ES("movsl")
                     : "+S"(esi), "+D"(edi)
                     : [selector] "r"(SELECTOR_READ_ONLY), [flat] "r"(SELECTOR_DATA)
                     : "memory");
    expect_trap(VECTOR_GP, "MOVS from a device to a read-only segment");
    expect(esi == device && edi == (u32)&word, "registers after a fault of MOVS");
    edi = SHORT_END;
    __asm__ volatile("movl %2, %%ss\n\t" TRAP_TRY("cmpsl %%es:(%%edi), %%ss:(%%esi)") "\n\tmovl %3, %%ss"
                     : "+S"(edi), "+D"(esi)
                     : "r"(SELECTOR_SHORT), "r"(SELECTOR_DATA)
                     : "memory", "cc");
    expect_trap(VECTOR_SS, "CMPS of a device with what is beyond the limit of SS");
}

/* The HPET need not keep 16 bits. */
static void check_smsw(void)
{
    __asm__ volatile(TRAP_TRY("smsw %0") : "=m"(*hpet(COMPARATOR_1)) : : "memory");
    expect_trap(VECTOR_NONE, "SMSW to a device");
}

static void expect_same(const u32 *words, u32 count, const char *what)
{
    for (u32 i = 0; i < count; i++)
        expect(words[i] == hpet(HPET_SCRATCH)[i], what);
}

static void check_sse(void)
{
    static u32 words[4] __attribute__((aligned(16)));

    __asm__ volatile(TRAP_TRY("movups (%0), %%xmm0") : : "r"(hpet(HPET_SCRATCH)) : "memory");
    expect_trap(VECTOR_UD, "MOVUPS from a device without CR4.OSFXSR");
    cpu_write_cr4(cpu_read_cr4() | CR4_OSFXSR);
    hpet(HPET_SCRATCH)[2] = 0x11223344;
    hpet(HPET_SCRATCH)[3] = 0x55667788;
    __asm__ volatile("movups (%0), %%xmm0\n\tmovaps %%xmm0, (%1)" : : "r"(hpet(HPET_SCRATCH)), "r"(words) : "memory");
    expect_same(words, 4, "MOVUPS from a device");
    words[2] = 0x99aabbcc;
    __asm__ volatile("movdqa (%1), %%xmm7\n\tmovdqa %%xmm7, (%0)" : : "r"(hpet(HPET_SCRATCH)), "r"(words) : "memory");
    expect(hpet(HPET_SCRATCH)[2] == 0x99aabbcc && hpet(HPET_SCRATCH)[3] == 0x55667788, "MOVDQA to a device");
    __asm__ volatile("pxor %%xmm1, %%xmm1\n\tmovq (%0), %%xmm1\n\tmovhps 8(%0), %%xmm1\n\tmovups %%xmm1, (%1)"
                     :
                     : "r"(hpet(HPET_SCRATCH)), "r"(words)
                     : "memory");
    expect_same(words, 4, "MOVQ and MOVHPS from a device");
    __asm__ volatile(TRAP_TRY("movaps 8(%0), %%xmm0") : : "r"(hpet(HPET_SCRATCH)) : "memory");
    expect_trap(VECTOR_GP, "MOVAPS from a device, misaligned");
}

#define LEAF1_AVX   (1u << 28)
#define LEAF1_XSAVE (1u << 26)

static void check_avx(void)
{
    static u32 words[16] __attribute__((aligned(32)));

    if ((cpu_cpuid(1, 0).ecx & (LEAF1_AVX | LEAF1_XSAVE)) != (LEAF1_AVX | LEAF1_XSAVE))
        return;
    cpu_write_cr4(cpu_read_cr4() | CR4_OSXSAVE);
    __asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    hpet(COMPARATOR_1)[0] = 0x31415926;
    __asm__ volatile("vmovdqu (%0), %%ymm2\n\tvmovups %%ymm2, (%1)" : : "r"(hpet(HPET_SCRATCH)), "r"(words) : "memory");
    expect_same(words, 4, "the first half of VMOVDQU from a device");
    __asm__ volatile("vmovdqu 16(%0), %%ymm2\n\tvmovups %%ymm2, (%1)"
                     :
                     : "r"(hpet(HPET_SCRATCH)), "r"(words)
                     : "memory");
    expect(words[6] == 0x31415926, "the second half of VMOVDQU from a device");
    words[6] = 0x27182818;
    __asm__ volatile("vmovaps (%1), %%ymm5\n\tvmovups %%ymm5, 16(%0)"
                     :
                     : "r"(hpet(HPET_SCRATCH)), "r"(words)
                     : "memory");
    expect(hpet(COMPARATOR_1)[0] == 0x27182818, "VMOVUPS to a device");
    __asm__ volatile("vmovdqu (%0), %%xmm5\n\tvmovups %%ymm5, (%1)" : : "r"(hpet(HPET_SCRATCH)), "r"(words) : "memory");
    expect_same(words, 4, "VMOVDQU of 16 bytes from a device");
    expect(words[4] == 0 && words[5] == 0 && words[6] == 0 && words[7] == 0, "the upper half behind VMOVDQU");
}

/* What Clang makes of `*device * x`, `*device <<= n`, ..., and #DE. */
static void check_arithmetic(void)
{
    volatile u32 *device = hpet(COMPARATOR_1);
    u32 low = 0x1000, high = 0, count = 4;
    u8 carry;

    *device = 0x12345;
    __asm__ volatile("mull (%2)" : "+a"(low), "=d"(high) : "r"(device) : "memory", "cc");
    expect(low == 0x12345000 && high == 0, "MUL by a device's register");
    __asm__ volatile("divl (%2)" : "+a"(low), "+d"(high) : "r"(device) : "memory", "cc");
    expect(low == 0x1000 && high == 0, "DIV by a device's register");
    __asm__ volatile("imull $-3, (%1), %0" : "=r"(low) : "r"(device) : "memory", "cc");
    expect(low == 0u - 3 * 0x12345, "IMUL of a device's register");
    __asm__ volatile("shll %%cl, (%1)" : : "c"(count), "r"(device) : "memory", "cc");
    expect(*device == 0x123450, "SHL of a device's register");
    __asm__ volatile("rorl $5, (%1)\n\tsetc %0" : "=q"(carry) : "r"(device) : "memory", "cc");
    expect(*device == 0x800091a2 && carry == 1, "ROR of a device's register");
    __asm__ volatile("bsfl (%2), %0\n\tbsrl (%2), %1" : "=&r"(low), "=&r"(high) : "r"(device) : "memory", "cc");
    expect(low == 1 && high == 31, "BSF and BSR of a device's register");
    low = *device;
    high = device[1];
    __asm__ volatile("lock cmpxchg8b (%3)\n\tsete %2"
                     : "+a"(low), "+d"(high), "=q"(carry)
                     : "S"(device), "b"(0), "c"(high)
                     : "memory", "cc");
    expect(carry == 1 && *device == 0, "CMPXCHG8B of a device's register");
    __asm__ volatile(TRAP_TRY("divl (%2)") : "+a"(low), "+d"(high) : "r"(device) : "memory", "cc");
    expect_trap(VECTOR_DE, "DIV by a device's register that is 0");
}

static volatile u32 calls;

static __attribute__((noinline)) void count_call(void)
{
    calls++;
}

static void check_stack(void)
{
    u32 result;
    volatile u32 *device = hpet(COMPARATOR_1);

    *device = (u32)count_call;
    __asm__ volatile("call *(%0)" : : "r"(device) : "eax", "ecx", "edx", "memory", "cc");
    expect(calls == 1, "CALL through a device's register");
    __asm__ volatile("pushl $1f\n\tjmp *(%0)\n1:" : : "r"(device) : "eax", "ecx", "edx", "memory", "cc");
    expect(calls == 2, "JMP through a device's register");
    *device = 0x600df00d;
    __asm__ volatile("pushl (%1)\n\tpopl %0" : "=r"(result) : "r"(device) : "memory");
    expect(result == 0x600df00d, "PUSH of a device's register");
    __asm__ volatile("pushl $0x12345678\n\tpopl (%0)" : : "r"(device) : "memory");
    expect(*device == 0x12345678, "POP to a device's register");
    /* A stack in the device: its top is the comparator of 8 bytes. */
    __asm__ volatile(
        "movl %%esp, %%ebx\n\tleal 8(%1), %%esp\n\tpushl $0x1234\n\tcall 1f\n1:\tpopl %%eax\n\tsubl $1b, %%eax\n\t"
        "popl %0\n\tmovl %%ebx, %%esp"
        : "=&r"(result)
        : "r"(device)
        : "eax", "ebx", "memory", "cc");
    expect(result == 0x1234, "PUSH, CALL and POP with a stack in a device");
    __asm__ volatile("movl %%esp, %%ebx\n\tleal 4(%1), %%esp\n\tcall 1f\n\tmovl $0x4321, %0\n\tjmp "
                     "2f\n1:\tret\n2:\tmovl %%ebx, %%esp"
                     : "=&r"(result)
                     : "r"(device)
                     : "ebx", "memory", "cc");
    expect(result == 0x4321, "CALL and RET with a stack in a device");
}

int guest_main(void)
{
    interrupts_init();
    load_gdt();
    string_io_faults();
    second_operand_faults();
    check_smsw();
    check_sse();
    check_avx();
    check_arithmetic();
    check_stack();
    print("operands ok\n");
    return 0;
}
