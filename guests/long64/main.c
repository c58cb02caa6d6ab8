/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Long mode with its own page tables and a ring 3 task that calls by SYSCALL and by INT 80H and whose every misdeed
 * must be caught. Also checks the hypercalls in 64-bit mode, and that the MSRs behind SYSCALL and SWAPGS stay this VM's
 * own while others run. With exits=N it makes N exits of each ordinary kind besides. Ends with status 0.
 */
#include "guests/lib/guest.h"

#define CODE_SEGMENT   0x08u
#define GATE_RING0     0x8e00u
#define GATE_RING3     0xee00u
#define VECTOR_SYSCALL 0x80u
#define EXCEPTIONS     32u

#define MSR_APIC_BASE      0x1bu
#define MSR_LSTAR          0xc0000082u
#define MSR_KERNEL_GS_BASE 0xc0000102u

#define NOBODYS_MEMORY  0xd0000ul
#define TURNS_PER_YIELD 1000u

/* What the stubs of entry.asm push, lowest address first. */
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

struct gate {
    u16 offset_low, segment, attributes, offset_middle;
    u32 offset_high, reserved;
};

enum { CALL_EXIT, CALL_PRINT, CALL_ADD };

extern const u64 long64_vectors[EXCEPTIONS + 1];
extern void long64_task(void);
extern u8 long64_task_stack[];
void long64_enter_user(void (*entry)(void), void *stack);
void long64_leave_user(void) __attribute__((noreturn));
void long64_trap(struct trap_frame *frame);
u64 long64_syscall(u64 first, u64 second, u64 third, u64 number);

static struct gate idt[256] __attribute__((aligned(16)));
static u32 task_result = 1, syscalls;
static u8 caught[16];
static u32 caught_count;

static u64 read_msr(u32 index)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

static void write_msr(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void set_gate(u32 vector, u64 entry, u16 attributes)
{
    idt[vector] = (struct gate){(u16)entry, CODE_SEGMENT, attributes, (u16)(entry >> 16), (u32)(entry >> 32), 0};
}

static void load_idt(void)
{
    for (u32 vector = 0; vector < EXCEPTIONS; vector++)
        set_gate(vector, long64_vectors[vector], GATE_RING0);
    set_gate(VECTOR_SYSCALL, long64_vectors[EXCEPTIONS], GATE_RING3);
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u64)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

u64 long64_syscall(u64 first, u64 second, u64 third, u64 number)
{
    (void)third;
    syscalls++;
    switch (number) {
    case CALL_EXIT:
        task_result = (u32)first;
        long64_leave_user();
    case CALL_PRINT:
        print("%s", (const char *)first);
        return 0;
    case CALL_ADD:
        /* Others run meanwhile: whoever does not give this VM its MSRs back breaks the next SYSCALL. */
        if (syscalls % TURNS_PER_YIELD == 0 && hypercall_present())
            hypercall_yield();
        return first + second;
    default:
        guest_fail("the task made an unknown call");
    }
}

void long64_trap(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_SYSCALL) {
        frame->rax = long64_syscall(frame->rdi, frame->rsi, frame->rdx, frame->rax);
        return;
    }
    if (!(frame->cs & 3) || caught_count == ARRAY_LENGTH(caught)) {
        print("FAIL: exception vector=%u error=%x rip=%llx\n", (u32)frame->vector, (u32)frame->error, frame->rip);
        guest_exit(1);
    }
    caught[caught_count++] = (u8)frame->vector;
    frame->rip = frame->r15;
}

/* In the order of the task's misdeeds: CLI, kernel memory, VMCALL, WRMSR, OUT, MOV to CR3, HLT. */
static void check_caught(void)
{
    static const u8 due[] = {13, 14, 6, 13, 13, 13, 13};
    expect(caught_count == ARRAY_LENGTH(due), "a misdeed in ring 3 was not caught");
    for (u32 i = 0; i < ARRAY_LENGTH(due); i++)
        expect(caught[i] == due[i], "a misdeed in ring 3 gave the wrong exception");
}

/* Only the low halves of registers count, and results come back extended by zeros. */
static void check_hypercalls(void)
{
    u64 rax = 0xffffffff00000000 | ROOTLET_CALL_VERSION, rbx = ~0ull;
    __asm__ volatile("vmcall" : "+a"(rax), "+b"(rbx) : : "memory");
    expect(rax == ROOTLET_OK && rbx == ROOTLET_ABI_VERSION, "the version call in 64-bit mode");
    rax = 0xffffffff00000000 | ROOTLET_CALL_COUNT;
    __asm__ volatile("vmcall" : "+a"(rax) : : "memory");
    expect(rax == ROOTLET_ERROR_UNKNOWN, "an unknown call in 64-bit mode");
    u64 start_ns = hypercall_clock_ns();
    expect(hypercall_sleep_until(start_ns + 1000000) == ROOTLET_OK, "sleep in 64-bit mode");
    expect(hypercall_clock_ns() - start_ns >= 1000000, "sleep in 64-bit mode returned early");
}

/* The most ordinary exits, so many of each kind: what they cost a hypervisor below ours is counted there. */
static void make_exits(u32 count)
{
    for (u32 i = 0; i < count; i++) {
        u32 eax = 0, ebx, ecx = 0, edx;
        __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        (void)read_msr(MSR_APIC_BASE);
        (void)cpu_in8(ROOTLET_PORT_PIC_MASTER + 1);
        (void)*(volatile u32 *)NOBODYS_MEMORY;
    }
}

int guest_main(void)
{
    load_idt();
    /* The task runs with interrupts on, but nobody here would handle one. */
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xff);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE + 1, 0xff);
    u64 gs = 0xffff800000000000 | (cpu_rdtsc() & 0xfffff000);
    u64 lstar = read_msr(MSR_LSTAR);
    write_msr(MSR_KERNEL_GS_BASE, gs);
    print("long64: entering ring 3\n");
    long64_enter_user(long64_task, long64_task_stack);

    expect(task_result == 0, "the task failed");
    check_caught();
    expect(read_msr(MSR_KERNEL_GS_BASE) == gs && read_msr(MSR_LSTAR) == lstar, "an MSR was changed");
    if (hypercall_present())
        check_hypercalls();
    make_exits(guest_option_number("exits", 0));
    print("long64 ok syscalls=%u caught=%u\n", syscalls, caught_count);
    return 0;
}
