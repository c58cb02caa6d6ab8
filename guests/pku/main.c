/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Protection keys: a page that PKRU denies is denied to whoever reads or writes it for the guest, too: a hypervisor
 * that carries out INS, OUTS or an instruction with a device's register. The same instructions find the page once PKRU
 * lets them. SDM 3A 4.6.2 "Protection Keys", 4.7 "Page-Fault Exceptions". Ends with status 0.
 */
#include "guests/lib/guest.h"

#define CR0_WP          (1ul << 16)
#define CR4_PKE         (1ul << 22)
#define LEAF7_ECX_PKU   (1u << 3)
#define LEAF7_ECX_OSPKE (1u << 4)

#define PAGE      0x400000ul   /* the user page with key 1 */
#define IO_APIC   0xfec00000ul /* its index register: no RAM */
#define TEST_PORT 0x80         /* the first DMA page register: writes to it change nothing else */
#define READ_PORT 0x61

/* PKRU's bits. Key 0 is left alone: it is that of the supervisor's pages, which PKRU does not protect, but Bochs thinks
 * so. */
#define KEY_0       3u
#define DENY_ALL    (1u << 2) /* of key 1 */
#define DENY_WRITES (2u << 2)

#define ERROR_P    1u
#define ERROR_W    2u
#define ERROR_KEY  32u
#define ERROR_NONE 0xffffu

#define CODE_SEGMENT 0x08u
#define GATE_RING0   0x8e00u
#define VECTOR_PF    14u

struct gate {
    u16 offset_low, segment, attributes, offset_middle;
    u32 offset_high, reserved;
};

void pku_fault(void);
u64 pku_resume, pku_address;
u32 pku_error;

static struct gate idt[VECTOR_PF + 1] __attribute__((aligned(16)));

/* Where the instruction stands afterwards: all of them move RSI and RDI, unless they fault. */
static u64 rsi, rdi;

#define TRY(instruction, port)                                                                                         \
    __asm__ volatile("movq $1f, pku_resume\n\t" instruction "\n1:" : "+S"(rsi), "+D"(rdi) : "d"(port) : "memory")

/* What no CPU carries out by itself under a hypervisor. */
enum operation { OUTS, INS, FROM_DEVICE, OPERATIONS };
static const struct {
    const char *name;
    bool writes;
} operations[OPERATIONS] = {
    {"outs",        false},
    {"ins",         true },
    {"from-device", true },
};

static void carry_out(enum operation operation)
{
    pku_error = ERROR_NONE;
    rsi = operation == FROM_DEVICE ? IO_APIC : PAGE;
    rdi = PAGE;
    switch (operation) {
    case OUTS:
        TRY("outsb", TEST_PORT);
        break;
    case INS:
        TRY("insb", READ_PORT);
        break;
    default:
        TRY("movsl", 0);
        break;
    }
}

static void write_pkru(u32 value)
{
    __asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0));
}

static void check(const char *when, u32 pkru, bool reads_fault, bool writes_fault)
{
    for (u32 i = 0; i < OPERATIONS; i++) {
        bool faults = operations[i].writes ? writes_fault : reads_fault;
        u32 due = faults ? ERROR_P | ERROR_KEY | (operations[i].writes ? ERROR_W : 0) : ERROR_NONE;
        u64 start_rsi = i == FROM_DEVICE ? IO_APIC : PAGE;

        pku_address = 0;
        write_pkru(pkru);
        carry_out(i);
        write_pkru(0);
        if (pku_error != due || (faults && (pku_address != PAGE || rsi != start_rsi || rdi != PAGE))) {
            print("FAIL: %s %s error=%x due=%x cr2=%llx rsi=%llx rdi=%llx\n", when, operations[i].name, pku_error, due,
                  pku_address, rsi, rdi);
            guest_exit(1);
        }
    }
    print("pku %s ok\n", when);
}

static void set_gate(void)
{
    u64 entry = (u64)pku_fault;
    idt[VECTOR_PF] = (struct gate){(u16)entry, CODE_SEGMENT, GATE_RING0, (u16)(entry >> 16), (u32)(entry >> 32), 0};
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u64)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

int guest_main(void)
{
    if (cpu_cpuid(0, 0).eax < 7 || !(cpu_cpuid(7, 0).ecx & LEAF7_ECX_PKU)) {
        print("pku ok: this CPU has no protection keys\n");
        return 0;
    }
    set_gate();
    cpu_write_cr0(cpu_read_cr0() | CR0_WP);
    cpu_write_cr4(cpu_read_cr4() | CR4_PKE);
    expect(cpu_cpuid(7, 0).ecx & LEAF7_ECX_OSPKE, "CPUID does not show OSPKE");
    check("open", 0, false, false);
    check("other-keys", ~(KEY_0 | DENY_ALL | DENY_WRITES), false, false);
    check("denied", DENY_ALL, true, true);
    check("read-only", DENY_WRITES, false, true);
    cpu_write_cr0(cpu_read_cr0() & ~CR0_WP);
    check("read-only-without-wp", DENY_WRITES, false, false);
    check("denied-without-wp", DENY_ALL, true, true);
    write_pkru(DENY_ALL);
    cpu_write_cr4(cpu_read_cr4() & ~CR4_PKE);
    carry_out(OUTS);
    expect(pku_error == ERROR_NONE, "PKRU counts without CR4.PKE");
    print("pku ok\n");
    return 0;
}
