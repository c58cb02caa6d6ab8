/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two vCPUs: what the one sends while the other is in its inner guest, INIT in and outside VMX root operation, a VMCS
 * that goes from the one to the other, and an EPT that both use. SDM 3C 25.2 "Other Causes of VM Exits", 23.8
 * "Restrictions on VMX Operation", 24.11.1 "Software Use of Virtual-Machine Control Structures", 28.3.3.4 "Guidelines
 * for Use of the INVEPT Instruction".
 */
#include "guests/inner/inner.h"

#define OTHER          1u /* its APIC ID */
#define VECTOR         0x39u
#define SIPI_VECTOR    8u
#define PATIENCE       100000000ull /* ticks: two seconds of Bochs's */
#define START_PATIENCE 5000000ull
#define AREA           0x800000ull
#define CHANGES        16u

#define EPT_ALL     7u
#define WRITE_BACK  (6u << 3)
#define LARGE       0x80u
#define EPTP_WALK_4 (3u << 3 | 6u)
#define SINGLE      1u
#define GLOBAL      2u

/* ---- the other vCPU, which does one job after the other ---- */

static void (*volatile job)(void);
static volatile u32 starts, reasons, reason;
static volatile u64 counter;
static struct region other_vmxon, other_vmcs;
static u8 other_inner_stack[PAGE_BYTES] __attribute__((aligned(16)));

static void work(void)
{
    inner_load_idt();
    inner_enable_vmx();
    apic_write(APIC_SPURIOUS, APIC_ON);
    starts++;
    for (;;) {
        if (job) {
            job();
            job = NULL;
        }
        cpu_pause();
    }
}

/* False, and the scenario has failed: it does not come. */
static bool await(const char *what, const volatile u32 *value, u32 wanted)
{
    u64 end = cpu_rdtsc() + PATIENCE;

    while (*value != wanted && cpu_rdtsc() < end)
        cpu_pause();
    inner_want(what, *value, wanted);
    return *value == wanted;
}

static bool await_job(void)
{
    u64 end = cpu_rdtsc() + PATIENCE;

    while (job && cpu_rdtsc() < end)
        cpu_pause();
    inner_want("the other vCPU has not done its job", job != NULL, 0);
    return !job;
}

static void send(u32 to, u32 command)
{
    apic_write(APIC_ICR_HIGH, to << 24);
    apic_write(APIC_ICR, command);
}

/* A SIPI that comes before INIT has been taken is lost: so again and again. */
static bool start_other(u64 patience)
{
    u32 before = starts;
    u64 end = cpu_rdtsc() + patience;

    while (starts == before && cpu_rdtsc() < end) {
        send(OTHER, ICR_SIPI | SIPI_VECTOR);
        for (u32 i = 0; i < 1000; i++)
            cpu_pause();
    }
    return starts == before + 1;
}

/* Whether there is another at all is seen when it starts, or does not. */
static bool have_other(void)
{
    static bool is_tried;

    if (is_tried)
        return starts;
    is_tried = true;
    for (u8 *from = inner_trampoline, *to = (u8 *)(SIPI_VECTOR << 12); from < inner_trampoline_end;)
        *to++ = *from++;
    inner_other = work;
    apic_write(APIC_SPURIOUS, APIC_ON);
    send(OTHER, ICR_INIT);
    return start_other(START_PATIENCE);
}

/* ---- what it sends while the inner guest runs ---- */

/* They tell that they are there. */
PROGRAM(runs, "1: movl $1, (%rbx)\n\tjmp 1b")
PROGRAM(sleeps, "movl $1, (%rbx)\n\t1: hlt\n\tjmp 1b")

static volatile u32 *const inside = (volatile u32 *)inner_page;
static u32 command;

static void send_to_inner(void)
{
    while (!*inside)
        cpu_pause();
    send(0, command);
}

static void interrupts_and_nmis(void)
{
    static const struct {
        u32 command, pin, reason, info;
    } rows[] = {
        {ICR_FIXED | VECTOR, PIN_EXTERNAL_INTERRUPTS, REASON_INTERRUPT, VALID | EXTERNAL | VECTOR},
        {ICR_FIXED | VECTOR, 0,                       REASON_VMCALL,    0                        },
        {ICR_NMI,            PIN_NMI,                 REASON_EXCEPTION, VALID | NMI | 2          },
        {ICR_NMI,            0,                       REASON_VMCALL,    0                        },
    };

    for (u32 i = 0; i < 2 * ARRAY_LENGTH(rows); i++) {
        u32 row = i / 2;
        bool is_nmi = rows[row].command == ICR_NMI;
        inner_begin(i % 2 ? sleeps : runs);
        inner_set(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        inner_add(PIN_CONTROLS, rows[row].pin);
        inner_add(EXIT_CONTROLS, EXIT_ACKNOWLEDGE);
        *inside = 0;
        command = rows[row].command;
        job = send_to_inner;
        inner_want("exit reason", inner_go(), rows[row].reason);
        if (rows[row].pin)
            inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), rows[row].info);
        else
            inner_want("RAX", inner_registers.rax, TRAPPED(is_nmi ? 2 : VECTOR));
        if (is_nmi)
            inner_end_nmi();
        else
            apic_write(APIC_EOI, 0);
        if (!await_job())
            return;
    }
}

/* ---- INIT ---- */

static void begin_other(program *start)
{
    inner_fill(start);
    inner_set(GUEST_RSP, (u64)other_inner_stack + sizeof other_inner_stack);
}

static void vmx_on(void)
{
    u32 revision = (u32)inner_read_msr(0x480) & 0x7fffffff;

    other_vmxon.revision = other_vmcs.revision = revision;
    inner_want("VMXON", vmx_vmxon((u64)&other_vmxon), DONE);
    inner_want("VMCLEAR", vmx_vmclear((u64)&other_vmcs), DONE);
    inner_want("VMPTRLD", vmx_vmptrld((u64)&other_vmcs), DONE);
}

static void enter(u32 how)
{
    struct registers registers = {.rbx = (u64)inner_page};
    u32 failed = lab_enter(&registers, how);

    reason = failed ? NOT_ENTERED | vmx_answer(failed == 1, failed == 2) : (u32)inner_get(EXIT_REASON);
    reasons++;
}

/* It enters until it is told that it is enough, then counts in root operation. */
static volatile bool enough;

static void exits_and_counts(void)
{
    vmx_on();
    begin_other(runs);
    for (u32 how = LAUNCH; !enough; how = RESUME)
        enter(how);
    for (enough = false; !enough;)
        counter++;
    enter(RESUME);
    for (enough = false; !enough;)
        counter++;
    (void)vmx_off();
    counter = 0; /* not to come here is what the scenario is about */
    for (;;)
        cpu_pause();
}

static bool goes_on_counting(void)
{
    u64 before = counter, end = cpu_rdtsc() + PATIENCE;

    while (counter < before + 1000 && cpu_rdtsc() < end)
        cpu_pause();
    inner_want("the other vCPU counts", counter >= before + 1000, 1);
    return counter >= before + 1000;
}

static bool exits_by_init(u32 count, bool last)
{
    *inside = 0;
    if (!await("the other inner guest runs", inside, 1))
        return false;
    enough = last; /* while it cannot look */
    send(OTHER, ICR_INIT);
    bool came = await("exits of the other inner guest", &reasons, count);
    inner_want("exit reason", reason, REASON_INIT);
    return came;
}

static void inits(void)
{
    if (inner_bare) {
        inner_leave_out("INIT stays pending in Bochs");
        return;
    }
    u32 first = reasons;
    *inside = 0;
    enough = false;
    job = exits_and_counts;
    for (u32 i = 1; i <= 3; i++) { /* no exit by INIT leaves one behind */
        if (!exits_by_init(first + i, i == 3))
            return;
    }
    if (!goes_on_counting())
        return;
    send(OTHER, ICR_INIT); /* blocked in root operation, and not lost: it exits at once */
    if (!goes_on_counting())
        return;
    enough = true;
    if (!await("exits of the other inner guest", &reasons, first + 4))
        return;
    inner_want("exit reason", reason, REASON_INIT);
    if (!goes_on_counting())
        return;
    send(OTHER, ICR_INIT); /* it takes effect when VMXOFF unblocks it */
    if (!goes_on_counting())
        return;
    enough = true;
    job = NULL;
    inner_want("the other vCPU starts again", start_other(PATIENCE), 1);
    inner_want("what it did behind VMXOFF", counter == 0, 0);
}

/* ---- a VMCS that moves ---- */

PROGRAM(counts, "1: inc %rax\n\tmov %edx, %es\n\tvmcall\n\tjmp 1b")

static u64 moving;
static volatile u64 seen_rsp, seen_es;
static volatile u32 without_launch;

static void take_it_over(void)
{
    struct registers registers = {.rax = 41, .rdx = 0};

    vmx_on();
    inner_want("VMPTRLD", vmx_vmptrld(moving), DONE);
    seen_rsp = inner_get(GUEST_RSP);
    seen_es = inner_get(GUEST_ES_SELECTOR);
    inner_set_host();
    u32 failed = lab_enter(&registers, RESUME);
    without_launch = failed ? vmx_answer(failed == 1, failed == 2) : DONE;
    failed = lab_enter(&registers, LAUNCH);
    reason = failed ? NOT_ENTERED | vmx_answer(failed == 1, failed == 2) : (u32)inner_get(EXIT_REASON);
    inner_want("RAX of the other vCPU's inner guest", registers.rax, 42);
    inner_set(GUEST_RIP, inner_get(GUEST_RIP) + 3);
    inner_want("VMCLEAR", vmx_vmclear(moving), DONE);
    inner_want("VMXOFF", vmx_off(), DONE);
}

static void vmcs_moves(void)
{
    inner_begin(counts);
    __asm__ volatile("vmptrst %0" : "=m"(moving) : : "cc", "memory");
    inner_registers.rax = 0;
    inner_registers.rdx = SELECTOR_DATA;
    inner_want_call(1);
    inner_set(GUEST_RSP, 0x4714000);
    inner_want("VMCLEAR", vmx_vmclear(moving), DONE);
    job = take_it_over;
    if (!await_job())
        return;
    inner_want("RSP that the other vCPU sees", seen_rsp, 0x4714000);
    inner_want("ES that the other vCPU sees", seen_es, SELECTOR_DATA);
    inner_want("VMRESUME of a clear VMCS", without_launch, 5);
    inner_want("exit reason", reason, REASON_VMCALL);
    inner_want("VMPTRLD", vmx_vmptrld(moving), DONE);
    inner_want("ES", inner_get(GUEST_ES_SELECTOR), 0);
    inner_want("exit reason that the other left", inner_get(EXIT_REASON), REASON_VMCALL);
    inner_set_host();
    inner_registers.rax = 99;
    u32 failed = lab_enter(&inner_registers, LAUNCH);
    inner_want("VMLAUNCH", failed, 0);
    inner_want("RAX", inner_registers.rax, 100);
}

/* ---- an EPT of both ---- */

typedef u64 table[512] __attribute__((aligned(PAGE_BYTES)));
static table top, gib, directory, pages;

/* Copies what it reads in the page of RSI to RBX, for ever. */
PROGRAM(copies, "1: mov (%rsi), %eax\n\tmov %eax, (%rbx)\n\tjmp 1b")

static u64 page(u32 number)
{
    return AREA + number * 4096ull;
}

static void make_ept(void)
{
    top[0] = (u64)gib | EPT_ALL;
    gib[0] = (u64)directory | EPT_ALL;
    for (u32 i = 0; i < 512; i++) {
        directory[i] = (u64)i << 21 | EPT_ALL | WRITE_BACK | LARGE;
        pages[i] = page(i) | EPT_ALL | WRITE_BACK;
    }
    directory[AREA >> 21] = (u64)pages | EPT_ALL;
}

static void use_ept(program *start)
{
    inner_fill(start);
    inner_add(PROC2_CONTROLS, PROC2_EPT);
    inner_set(EPT_POINTER, (u64)top | EPTP_WALK_4);
    if (inner_can(PROC2_CONTROLS, PROC2_VPID)) {
        inner_add(PROC2_CONTROLS, PROC2_VPID);
        inner_set(VPID, 1);
    }
}

/* Each interrupt from the first vCPU is a request to forget translations, as hypervisors have it. */
static void copy_for_ever(void)
{
    struct registers registers = {.rbx = (u64)inner_page, .rsi = page(0)};

    vmx_on();
    use_ept(copies);
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF); /* Bochs wants it, for an exit by an interrupt */
    inner_add(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPTS);
    inner_add(EXIT_CONTROLS, EXIT_ACKNOWLEDGE);
    for (u32 how = LAUNCH; !enough; how = RESUME) {
        if (lab_enter(&registers, how) || inner_get(EXIT_REASON) != REASON_INTERRUPT)
            break;
        apic_write(APIC_EOI, 0);
        (void)inner_invalidate(false, SINGLE, inner_get(EPT_POINTER), 0);
        reasons++;
    }
    inner_want("VMXOFF", vmx_off(), DONE);
}

PROGRAM(reads, "mov (%rsi), %eax")

static void shared_ept(void)
{
    if (!inner_can(PROC_CONTROLS, PROC_SECONDARY) || !inner_can(PROC2_CONTROLS, PROC2_EPT)) {
        inner_leave_out("the CPU has no EPT");
        return;
    }
    make_ept();
    for (u32 i = 0; i < CHANGES; i++)
        *(volatile u32 *)page(i) = 0x100 + i;
    enough = false;
    job = copy_for_ever;
    bool copied = await("what the other vCPU's inner guest reads", inside, 0x100);
    for (u32 i = 1; copied && i < CHANGES; i++) {
        inner_begin(reads); /* meanwhile this vCPU's inner guest uses the same tables */
        use_ept(reads);
        inner_registers.rsi = page(0);
        inner_want_call(0x100 + i - 1);
        pages[0] = page(i) | EPT_ALL | WRITE_BACK;
        inner_want("INVEPT", inner_invalidate(false, SINGLE, inner_get(EPT_POINTER), 0), DONE);
        inner_set(GUEST_RIP, (u64)reads);
        inner_want_call(0x100 + i);
        send(OTHER, ICR_FIXED | VECTOR);
        copied = await("what it reads after INVEPT there", inside, 0x100 + i);
    }
    enough = true;
    send(OTHER, ICR_FIXED | VECTOR);
    (void)await_job();
}

void inner_several(void)
{
    static const struct inner_row scenarios[] = {
        {"another vCPU's interrupts and NMIs", interrupts_and_nmis},
        {"a VMCS goes to another vCPU",        vmcs_moves         },
        {"an EPT of two vCPUs",                shared_ept         },
        {"another vCPU's INITs",               inits              },
    };

    inner_run(scenarios, ARRAY_LENGTH(scenarios), have_other() ? NULL : "there is one vCPU only");
}
