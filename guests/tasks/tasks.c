/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hardware task switches, which VMX leaves to the hypervisor: CALL, JMP and IRET, task gates of INT n, interrupts, NMIs
 * and exceptions, 16-bit TSSs, LDT, debug registers, virtual-8086 mode; then each fault in a switch, and those by
 * paging. All of it holds on a bare CPU too, where this guest can be booted. Ends with status 0.
 */
#include "guests/tasks/tasks.h"
#include "guests/lib/interrupts.h"

#define CATCHER_COUNT 10u
#define STACK_BYTES   4096u
#define DEBUG_LOCAL   0x155u
#define DEBUG_GLOBAL  0x2aau
#define DR6_BT        0x8000u
#define TICKS         20u

#define APIC_BASE     0xfee00000u
#define APIC_ID       0x20u
#define APIC_EOI      0xb0u
#define APIC_SVR      0xf0u
#define APIC_ICR_LOW  0x300u
#define APIC_ICR_HIGH 0x310u
#define ICR_NMI       0x4400u
#define ICR_SELF      0x44000u

#define VM86_AT 0x8000u

/* The vectors behind whose gates a task catches. */
static const u8 catchers[CATCHER_COUNT] = {VECTOR_DF, VECTOR_TS, VECTOR_NP,  VECTOR_SS, VECTOR_GP,
                                           VECTOR_PF, VECTOR_UD, VECTOR_NMI, VECTOR_BP, VECTOR_OF};

static bool has_error_code(u8 vector)
{
    return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF);
}

u64 gdt[64];
struct tss main_tss;
struct tss16 task16;
struct tss *task;
void (*task_work)(void);
volatile struct caught caught;

static struct tss first_task, catcher_tss[CATCHER_COUNT];
static u8 task_stack[STACK_BYTES], catcher_stacks[CATCHER_COUNT][STACK_BYTES];
volatile u32 resume_eip; /* where MAIN goes on behind a fault; 0: where it came */
static volatile u32 runs;

void task_catch(u32 vector, u32 error);

/* ---- tables ---- */

u64 descriptor(u32 base, u32 limit, u32 access)
{
    u64 high = (base & 0xff000000) | (limit & 0xf0000) | (access & 0xf0ff) << 8 | (base >> 16 & 0xff);
    return high << 32 | (base & 0xffff) << 16 | (limit & 0xffff);
}

u8 access_of(u16 selector)
{
    return (u8)(gdt[selector >> 3] >> 40);
}

static u64 tss_descriptor(const void *at, u32 access)
{
    return descriptor((u32)at, access & 8 ? sizeof(struct tss) - 1 : sizeof(struct tss16) - 1, access);
}

static u64 *idt(void)
{
    struct {
        u16 limit;
        u64 *base;
    } __attribute__((packed)) pointer;

    __asm__ volatile("sidt %0" : "=m"(pointer));
    return pointer.base;
}

void tasks_set_gate(u8 vector, u16 selector)
{
    idt()[vector] = (u64)0x8500 << 32 | (u32)selector << 16;
}

static u64 plain_gates[256];

void tasks_catch(u8 vector, bool catches)
{
    for (u32 i = 0; i < CATCHER_COUNT; i++)
        if (catchers[i] == vector && catches)
            tasks_set_gate(vector, (u16)(CATCHERS + 8 * i));
    if (!catches)
        idt()[vector] = plain_gates[vector];
}

void tasks_move(struct tss *to)
{
    *to = *task;
    task = to;
    gdt[TASK >> 3] = tss_descriptor(task, ACCESS_TSS);
}

static u32 read_cr3(void)
{
    u32 value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static u32 read_eflags(void)
{
    u32 value;
    __asm__ volatile("pushf\n\tpop %0" : "=r"(value));
    return value;
}

static u16 read_tr(void)
{
    u16 value;
    __asm__ volatile("str %0" : "=r"(value));
    return value;
}

static struct tss new_task(const void *entry, u8 *stack)
{
    return (struct tss){
        .cr3 = read_cr3(),
        .eip = (u32)entry,
        .eflags = 2,
        .esp = (u32)stack + STACK_BYTES,
        .es = DATA,
        .cs = CODE,
        .ss = DATA,
        .ds = DATA,
        .fs = DATA,
        .gs = DATA,
    };
}

static void nothing(void) {}

void tasks_reset(void (*work)(void))
{
    task = &first_task;
    *task = new_task(task_entry, task_stack);
    task_work = work ? work : nothing;
    task16 = (struct tss16){
        .flags = 2,
        .sp = STACK_BYTES,
        .es = DATA,
        .cs = CODE16,
        .ss = STACK16,
        .ds = DATA,
    };
    gdt[TASK >> 3] = tss_descriptor(task, ACCESS_TSS);
    gdt[TASK16 >> 3] = tss_descriptor(&task16, ACCESS_TSS16);
    for (u32 i = 0; i < CATCHER_COUNT; i++) {
        catcher_tss[i] = new_task(catch_entry, catcher_stacks[i]);
        catcher_tss[i].eax = catchers[i];
        catcher_tss[i].ebx = has_error_code(catchers[i]);
        gdt[CATCHERS / 8 + i] = tss_descriptor(&catcher_tss[i], ACCESS_TSS);
    }
    main_tss.cr3 = read_cr3(); /* which no switch saves */
    caught = (struct caught){0};
    runs = 0;
}

static void tables_init(void)
{
    gdt[CODE >> 3] = descriptor(0, 0xfffff, ACCESS_CODE);
    gdt[DATA >> 3] = descriptor(0, 0xfffff, ACCESS_DATA);
    gdt[USER_CODE >> 3] = descriptor(0, 0xfffff, ACCESS_CODE | 0x60);
    gdt[USER_DATA >> 3] = descriptor(0, 0xfffff, ACCESS_DATA | 0x60);
    gdt[MAIN >> 3] = tss_descriptor(&main_tss, ACCESS_TSS);
    gdt[GATE >> 3] = (u64)0x8500 << 32 | TASK << 16;
    gdt[CODE16 >> 3] = descriptor((u32)task16_entry, 0xff, 0x409b);
    gdt[STACK16 >> 3] = descriptor((u32)task16_stack, STACK_BYTES - 1, 0x93);
    struct {
        u16 limit;
        u64 *base;
    } __attribute__((packed)) pointer = {sizeof gdt - 1, gdt};
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    __asm__ volatile("ltr %w0" : : "r"(MAIN));
    interrupts_init();
    for (u32 i = 0; i < 48; i++)
        plain_gates[i] = idt()[i];
    for (u32 i = 0; i < CATCHER_COUNT; i++)
        tasks_catch(catchers[i], true);
}

/* ---- switching ---- */

struct far_pointer {
    u32 offset; /* of no meaning to a task switch */
    u16 selector;
} __attribute__((packed));

void far_call(u16 selector)
{
    struct far_pointer to = {0xdeadbeef, selector};
    __asm__ volatile("movl $1f, resume_eip\n\tlcall *%0\n1:" : : "m"(to) : "memory", "cc");
}

void far_jump(u16 selector)
{
    struct far_pointer to = {0xdeadbeef, selector};
    __asm__ volatile("movl $1f, resume_eip\n\tljmp *%0\n1:" : : "m"(to) : "memory", "cc");
}

static struct tss *tss_of(u16 selector)
{
    u64 d = gdt[selector >> 3];
    return (struct tss *)(u32)((d >> 16 & 0xffffff) | (d >> 32 & 0xff000000));
}

/* In a task of its own. Notes what came, and goes on in MAIN behind what caused it. */
void task_catch(u32 vector, u32 error)
{
    struct tss *own = tss_of(read_tr());
    const struct tss *in = tss_of(own->link);

    caught.count++;
    caught.vector = vector;
    caught.error = error;
    __asm__ volatile("mov %%cr2, %0" : "=r"(caught.cr2));
    caught.link = own->link;
    caught.eip = own->link == TASK16 ? task16.ip : in->eip;
    caught.eflags = own->link == TASK16 ? task16.flags : in->eflags;
    own->link = MAIN;
    gdt[MAIN >> 3] |= (u64)ACCESS_BUSY << 40;
    if (resume_eip)
        main_tss.eip = resume_eip;
    main_tss.eflags &= ~EFLAGS_NT;
}

void expect_caught(u32 vector, u32 error, u16 link, const char *text)
{
    if (caught.count == 1 && caught.vector == vector && caught.error == error && caught.link == link)
        return;
    print("caught %u: vector %u error %x in %x at %x\n", caught.count, caught.vector, caught.error, caught.link,
          caught.eip);
    guest_fail(text);
}

/* ---- the ways in and out ---- */

static volatile u32 seen_flags, seen_cr0, seen_dr7;
static volatile u16 seen_tr, seen_link, seen_ldt, seen_fs;
static volatile u8 seen_main, seen_task;

static void look(void)
{
    runs++;
    seen_flags = read_eflags();
    seen_cr0 = (u32)cpu_read_cr0();
    seen_tr = read_tr();
    seen_link = tss_of(seen_tr)->link;
    seen_main = access_of(MAIN);
    seen_task = access_of(TASK);
    __asm__ volatile("mov %%dr7, %0" : "=r"(seen_dr7));
    __asm__ volatile("sldt %0" : "=m"(seen_ldt));
    __asm__ volatile("mov %%fs, %0" : "=m"(seen_fs));
}

static void call_and_iret(u16 selector)
{
    tasks_reset(look);
    __asm__ volatile("clts");
    far_call(selector);
    expect(runs == 1 && seen_tr == TASK && seen_link == MAIN && seen_flags & EFLAGS_NT, "CALL");
    expect(seen_cr0 & CR0_TS && cpu_read_cr0() & CR0_TS, "TS by a task switch");
    expect(seen_main == 0x8b && seen_task == 0x8b, "busy bits in a nested task");
    expect(access_of(MAIN) == 0x8b && access_of(TASK) == 0x89, "busy bits behind IRET");
    expect(read_tr() == MAIN && !(read_eflags() & EFLAGS_NT), "back by IRET");
    expect(!(task->eflags & EFLAGS_NT) && task->eip == (u32)task_entry + 7, "what IRET has saved");
    far_call(selector); /* it goes on behind its IRET */
    expect(runs == 2, "CALL once more");
}

volatile u32 kept;

/* Each register is the task's own. */
static void registers(void)
{
    u32 ecx, edx, esi, edi;

    tasks_reset(look);
    task->ecx = task->edx = task->esi = task->edi = task->ebx = 1;
    __asm__ volatile("movl %%esp, kept\n\t"
                     "movl $2f, resume_eip\n\t"
                     "movl $0x11, %%ecx\n\tmovl $0x22, %%edx\n\tmovl $0x33, %%esi\n\tmovl $0x44, %%edi\n\t"
                     "lcall $0x30, $0\n2:\n\t"
                     "subl %%esp, kept"
                     : "=c"(ecx), "=d"(edx), "=S"(esi), "=D"(edi)
                     :
                     : "memory", "cc");
    expect(ecx == 0x11 && edx == 0x22 && esi == 0x33 && edi == 0x44 && kept == 0, "registers behind a task");
    expect(main_tss.ecx == 0x11 && main_tss.edi == 0x44 && main_tss.fs == DATA, "registers saved");
}

static void jump_back(void)
{
    look();
    far_jump(MAIN);
}

static void jump_and_jump(void)
{
    tasks_reset(jump_back);
    task->link = 0x1234;
    far_jump(TASK);
    expect(runs == 1 && seen_tr == TASK && seen_link == 0x1234 && !(seen_flags & EFLAGS_NT), "JMP");
    expect(seen_main == 0x89 && seen_task == 0x8b, "busy bits behind JMP");
    expect(access_of(MAIN) == 0x8b && access_of(TASK) == 0x89 && read_tr() == MAIN, "JMP back");
}

static void software_interrupts(void)
{
    u32 behind;

    tasks_reset(look);
    tasks_set_gate(VECTOR_INT, TASK);
    __asm__ volatile("movl $1f, %0\n\tint $0x2f\n1:" : "=r"(behind) : : "memory");
    expect(runs == 1 && seen_link == MAIN && main_tss.eip == behind && !(main_tss.eflags & EFLAGS_RF), "INT n");
    resume_eip = 0;
    __asm__ volatile("movl $1f, %0\n\tint3\n1:" : "=r"(behind) : : "memory");
    expect(caught.vector == VECTOR_BP && caught.eip == behind, "INT3");
    tasks_reset(look);
    __asm__ volatile("movl $1f, %0\n\tmovb $0x7f, %%al\n\taddb $1, %%al\n\tinto\n1:"
                     : "=r"(behind)
                     :
                     : "eax", "memory", "cc");
    expect(caught.vector == VECTOR_OF && caught.eip == behind, "INTO");
}

static void tick(void)
{
    runs++;
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x20);
}

static void interrupts(void)
{
    tasks_reset(tick);
    tasks_set_gate(VECTOR_IRQ, TASK);
    interrupts_set_irq(0, NULL);
    pit_set_periodic(2000);
    cpu_interrupts_on();
    while (runs < TICKS)
        __asm__ volatile("hlt");
    cpu_interrupts_off();
    interrupts_mask_irq(0);
    expect(access_of(TASK) == 0x89 && task->link == MAIN, "interrupts by a task gate");
}

static void exceptions(void)
{
    u32 at;

    tasks_reset(NULL);
    __asm__ volatile("movl $1f, resume_eip\n\tmovl $2f, %0\n2:\tud2\n1:" : "=r"(at) : : "memory");
    expect_caught(VECTOR_UD, 0, MAIN, "#UD by a task gate");
    expect(caught.eip == at && caught.eflags & EFLAGS_RF, "the return address of a fault");
    tasks_reset(NULL);
    __asm__ volatile("movl $1f, resume_eip\n\tmovw %w0, %%fs\n1:" : : "r"(0x1f8) : "memory");
    expect_caught(VECTOR_GP, 0x1f8, MAIN, "#GP by a task gate");
}

/* No stack at all: PUSH faults, and the gate of its #SS is a plain one. */
static void double_fault(void)
{
    tasks_reset(NULL);
    tasks_catch(VECTOR_SS, false);
    gdt[SCRATCH >> 3] = descriptor(0, 0xfff, 0x4093);
    __asm__ volatile("movl $1f, resume_eip\n\t"
                     "movl %%esp, %%ebx\n\t"
                     "movw %w0, %%ss\n\t"
                     "pushl $0\n"
                     "1:\tmovw %w1, %%ss\n\t"
                     "movl %%ebx, %%esp"
                     :
                     : "r"(SCRATCH), "r"(DATA)
                     : "ebx", "memory");
    expect_caught(VECTOR_DF, 0, MAIN, "#DF by a task gate");
    tasks_catch(VECTOR_SS, true);
}

/* ---- what a TSS has besides ---- */

static void task_of_16_bits(void)
{
    tasks_reset(NULL);
    task16.ax = 0x4321;
    far_call(TASK16);
    expect(task16_runs == 1 && (u16)task16_eax == 0x4321, "CALL to a 16-bit TSS");
    expect(task16.link == MAIN && task16.ip == (u16)(task16_iret + 1 - task16_entry) && task16.cs == CODE16 &&
               task16.sp == STACK_BYTES && !(task16.flags & EFLAGS_NT),
           "what is saved in a 16-bit TSS");
    expect(access_of(MAIN) == 0x8b && access_of(TASK16) == 0x81, "busy bits of a 16-bit TSS");
    /* As the handler of an exception with error code, which it gets in a word. */
    tasks_reset(NULL);
    tasks_set_gate(VECTOR_GP, TASK16);
    task16_takes_error = 1;
    __asm__ volatile("movl $1f, resume_eip\n\tmovw %w0, %%fs\n1:" : : "r"(0x1f8) : "memory");
    expect(task16_error == (0x1f8u << 16 | (STACK_BYTES - 2)), "the error code in a 16-bit TSS's task");
    tasks_catch(VECTOR_GP, true);
}

volatile u32 traps, trap_at;

__asm__(".text\n"
        "on_debug:\n\t"
        "incl traps\n\t"
        "popl trap_at\n\t"
        "pushl trap_at\n\t"
        "iret\n");
void on_debug(void);

static void debug_registers(void)
{
    u32 dr6;

    tasks_reset(look);
    interrupts_set_gate(VECTOR_DB, on_debug);
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400 | DEBUG_LOCAL | DEBUG_GLOBAL));
    far_call(TASK);
    expect((seen_dr7 & 0x3ff) == DEBUG_GLOBAL, "DR7 in a new task");
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400));
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0));
    tasks_reset(look);
    task->trap = 1;
    far_call(TASK);
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    expect(traps == 1 && trap_at == (u32)task_entry && dr6 & DR6_BT && runs == 1, "the trap of the T bit");
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0));
}

static volatile u32 step_at;

static void clear_tf(void)
{
    runs++;
    step_at = main_tss.eip;
    main_tss.eflags &= ~EFLAGS_TF;
}

/* Leaves with TF clear. */
__asm__(".text\n"
        "on_step:\n\t"
        "incl traps\n\t"
        "popl trap_at\n\t"
        "pushl trap_at\n\t"
        "andl $~0x100, 8(%esp)\n\t"
        "iret\n");
void on_step(void);

/* A switch is no step: the first is that behind the way back. And #DB by a task gate, by INT1 and by a step. */
static void single_steps(void)
{
    u32 behind;

    tasks_reset(look);
    interrupts_set_gate(VECTOR_DB, on_step);
    traps = 0;
    __asm__ volatile("movl $2f, %0\n\tmovl $1f, resume_eip\n\t"
                     "pushf\n\torl $0x100, (%%esp)\n\tpopf\n\t"
                     "lcall $0x30, $0\n1:\tnop\n2:\tnop"
                     : "=r"(behind)
                     :
                     : "memory", "cc");
    expect(runs == 1 && !(seen_flags & EFLAGS_TF), "TF in a new task");
    expect(traps == 1 && trap_at == behind, "the step behind a task");
    tasks_reset(look);
    tasks_set_gate(VECTOR_DB, TASK);
    __asm__ volatile("movl $1f, %0\n\t.byte 0xf1\n1:" : "=r"(behind) : : "memory");
    expect(runs == 1 && main_tss.eip == behind, "INT1 by a task gate");
    tasks_reset(clear_tf);
    __asm__ volatile("movl $1f, %0\n\tpushf\n\torl $0x100, (%%esp)\n\tpopf\n\tnop\n1:"
                     : "=r"(behind)
                     :
                     : "memory", "cc");
    expect(runs == 1 && step_at == behind, "a step by a task gate");
    interrupts_set_gate(VECTOR_DB, on_debug);
}

static u64 ldt[2];

static void local_tables(void)
{
    tasks_reset(look);
    gdt[LDT >> 3] = descriptor((u32)ldt, sizeof ldt - 1, ACCESS_LDT);
    ldt[1] = descriptor(0, 0xfffff, ACCESS_DATA & ~1u);
    task->ldt = LDT;
    task->fs = 0x0c;
    far_call(TASK);
    u16 mine;
    __asm__ volatile("sldt %0" : "=m"(mine));
    expect(seen_ldt == LDT && seen_fs == 0x0c && mine == 0, "a task's LDT");
    expect(ldt[1] == descriptor(0, 0xfffff, ACCESS_DATA), "the accessed flag");
}

/* HLT is not for virtual-8086 mode: #GP, which comes in the task with the segments that it had. */
static void virtual_8086(void)
{
    u8 *code = (u8 *)VM86_AT;

    for (u32 i = 0; i < (u32)(vm86_end - vm86_code); i++)
        code[i] = vm86_code[i];
    tasks_reset(NULL);
    task->eflags |= EFLAGS_VM;
    task->eip = 0;
    task->cs = VM86_AT >> 4;
    task->ss = 0x0900;
    task->esp = 0x100;
    task->gs = 0xffff; /* no selector of anything */
    far_call(TASK);
    expect_caught(VECTOR_GP, 0, TASK, "#GP in virtual-8086 mode");
    expect(caught.eip == 2 && caught.eflags & EFLAGS_VM && (u16)task->eax == VM86_AT >> 4 && task->gs == 0xffff,
           "a task in virtual-8086 mode");
}

/* CPL 3: INT n by a gate of its level to one more task, and back; then HLT, which it may not. */
static void user_task(void)
{
    u32 before = task16_runs;

    tasks_reset(NULL);
    idt()[VECTOR_USER] = (u64)0xe500 << 32 | TASK16 << 16;
    task16_takes_error = 0;
    task->eip = (u32)user_code;
    task->cs = USER_CODE;
    task->ss = task->ds = task->es = task->fs = task->gs = USER_DATA;
    far_call(TASK);
    expect_caught(VECTOR_GP, 0, TASK, "HLT of a task at CPL 3");
    expect(caught.eip == (u32)user_code + 2 && task->cs == USER_CODE && task->ss == USER_DATA, "a task at CPL 3");
    expect(task16_runs == before + 1 && task16.link == TASK, "a task gate at CPL 3");
}

/* ---- NMI ---- */

static volatile u32 *apic(u32 offset)
{
    return (volatile u32 *)(APIC_BASE + offset);
}

static void send_nmi(void)
{
    *apic(APIC_ICR_HIGH) = *apic(APIC_ID) & 0xff000000;
    *apic(APIC_ICR_LOW) = ICR_NMI;
}

static void end_apic(void)
{
    runs++;
    *apic(APIC_EOI) = 0;
}

static void local_interrupts(void)
{
    tasks_reset(end_apic);
    tasks_set_gate(VECTOR_IPI, TASK);
    *apic(APIC_SVR) |= 0x100;
    cpu_interrupts_on();
    for (u32 i = 0; i < TICKS; i++) {
        *apic(APIC_ICR_LOW) = ICR_SELF | VECTOR_IPI;
        for (u32 wait = 0; wait < 10000 && runs <= i; wait++)
            cpu_pause();
    }
    cpu_interrupts_off();
    expect(runs == TICKS, "interrupts of the local APIC by a task gate");
}

static volatile u32 nmis, nested, late;

/* Two more while one is in service are one: it comes behind the IRET. */
static void on_nmi(void)
{
    static volatile bool inside;

    nmis++;
    nested += inside;
    inside = true;
    if (nmis == 1) {
        send_nmi();
        send_nmi();
        for (volatile u32 i = 0; i < 100; i++)
            ;
        late = nmis;
    }
    inside = false;
}

static void nmi(void)
{
    tasks_reset(on_nmi);
    tasks_set_gate(VECTOR_NMI, TASK);
    *apic(APIC_SVR) |= 0x100;
    send_nmi();
    for (volatile u32 i = 0; i < 100; i++)
        ;
    expect(late == 1 && nested == 0, "blocking by NMI in a task");
    expect(nmis == 2, "one NMI latched");
    tasks_catch(VECTOR_NMI, true);
}

int guest_main(void)
{
    tables_init();
    call_and_iret(TASK);
    call_and_iret(GATE);
    registers();
    jump_and_jump();
    software_interrupts();
    interrupts();
    exceptions();
    double_fault();
    task_of_16_bits();
    debug_registers();
    single_steps();
    local_tables();
    virtual_8086();
    user_task();
    local_interrupts();
    nmi();
    test_segment_faults();
    test_paging();
    test_pae();
    print("tasks ok\n");
    return 0;
}
