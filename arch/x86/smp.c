/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting, calling and stopping the other CPUs. A mailbox is a lock-free stack that many push to and only its CPU
 * empties, whole, so no ABA problem arises. Interrupts off everywhere.
 * Invariant: online_count changes only on the boot CPU, inside smp_start_all, while no other CPU has left ap_main yet.
 * SDM 3A 8.4.4.1 "Typical BSP Initialization Sequence", 10.6.1 "Interrupt Command Register (ICR)".
 */
#include "arch/x86/smp.h"
#include "arch/x86/cpu.h"
#include "arch/x86/features.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mca.h"
#include "arch/x86/paging.h"
#include "arch/x86/tsc.h"
#include "arch/x86/tsc_sync.h"
#include "arch/x86/xsave.h"
#include "boot/ap.h"
#include "kernel/lib/string.h"

#define INIT_WAIT_US    10000u
#define FIRST_WAIT_US   1000u     /* after the first SIPI; most CPUs are there within 0.1 ms */
#define SECOND_WAIT_US  1000000u  /* after the second one: a virtual CPU may wait for a real one */
#define ARRIVAL_WAIT_US 10000000u /* for one that has begun */
#define STOP_WAIT_US    100000u
#define TSC_HZ_UNKNOWN  10000000000ull /* too long a wait is harmless */
#define TSC_READINGS    64u
#define TSC_LIMIT_US    1u
#define US_A_SECOND     1000000u

static struct {
    struct smp_request *head;
    struct smp_request stop;
    u32 stopped;
} ALIGNED(64) mailboxes[CPU_MAX];

static u32 online_count = 1;
static u64 wait_tsc_hz = TSC_HZ_UNKNOWN;
static u32 panicking_cpu; /* id + 1; 0: none */

/* Meeting of the boot CPU and the one that starts. */
static void (*ap_entry)(struct cpu_local *cpu);
static enum status (*ap_check)(struct refusal *why);
static enum status ap_status;
static struct refusal ap_why;
static u32 released;
/* What the boot CPU asks of the other; 0: nothing, or it is done. */
enum request { NOTHING, TSC_READ, TSC_MOVE, COME_IN, DISMISS };
static struct {
    u32 request;
    u64 value;
} meeting;

NORETURN void smp_halt_forever(void)
{
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

/* True if *flag became nonzero within the time. */
static bool wait_for(const u32 *flag, u32 limit_us)
{
    u64 start = cpu_tsc();
    u64 limit = wait_tsc_hz / US_A_SECOND * limit_us;

    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        if (cpu_tsc() - start > limit)
            return false;
        cpu_pause();
    }
    return true;
}

static void wait_us(u32 us)
{
    static const u32 never;
    (void)wait_for(&never, us);
}

void smp_init(u64 tsc_hz)
{
    wait_tsc_hz = tsc_hz;
    irq_set_handler(IRQ_VECTOR_KICK, smp_mailbox_run);
}

static void meet_boot_cpu(void)
{
    u32 request = NOTHING;

    while (request != COME_IN && request != DISMISS) {
        while (!(request = __atomic_load_n(&meeting.request, __ATOMIC_ACQUIRE)))
            cpu_pause();
        if (request == TSC_READ)
            meeting.value = cpu_tsc_ordered();
        else if (request == TSC_MOVE)
            tsc_move((s64)meeting.value);
        __atomic_store_n(&meeting.request, NOTHING, __ATOMIC_RELEASE);
    }
    if (request == DISMISS)
        smp_halt_forever();
}

/* The first C code of an application processor. */
static void ap_main(struct cpu_local *cpu)
{
    percpu_load(cpu);
    lapic_init_cpu();
    lapic_timer_init_cpu();
    ap_status = ap_check ? ap_check(&ap_why) : STATUS_OK;
    if (ap_status == STATUS_OK) {
        xsave_init_cpu(); /* an XCR0 that another kind of CPU does not take would be #GP */
        mca_init_cpu();
    }
    __atomic_store_n(&cpu->online, 1, __ATOMIC_RELEASE);
    meet_boot_cpu();
    /* Asleep, so that on a machine with fewer real CPUs the next one gets its turn. */
    while (!__atomic_load_n(&released, __ATOMIC_ACQUIRE))
        cpu_sleep_until_interrupt();
    if (cpu->id >= smp_cpu_count())
        smp_halt_forever(); /* it came after all, but nobody counts on it any more */
    ap_entry(cpu);
    smp_halt_forever();
}

static u64 ask(enum request request, u64 value)
{
    meeting.value = value;
    __atomic_store_n(&meeting.request, request, __ATOMIC_RELEASE);
    while (__atomic_load_n(&meeting.request, __ATOMIC_ACQUIRE))
        cpu_pause();
    return meeting.value;
}

static enum tsc_verdict compare_tsc(s64 *correction)
{
    struct tsc_offset offset = TSC_OFFSET_UNKNOWN;

    for (u32 i = 0; i < TSC_READINGS; i++) {
        u64 before = cpu_tsc();
        u64 theirs = ask(TSC_READ, 0);
        tsc_offset_narrow(&offset, before, theirs, cpu_tsc_ordered());
    }
    return tsc_offset_judge(&offset, wait_tsc_hz / US_A_SECOND * TSC_LIMIT_US, correction);
}

/* The new CPU's TSC becomes the boot CPU's, for guests are told that there is one, and move. */
static enum status agree_on_tsc(const struct smp_plan *plan, u32 apic_id, struct refusal *why)
{
    s64 correction, rest;

    if (plan->test_skew)
        ask(TSC_MOVE, (u64)plan->test_skew);
    enum tsc_verdict verdict = compare_tsc(&correction);
    if (verdict == TSC_DIFFERS) {
        if (!plan->test_stuck)
            ask(TSC_MOVE, (u64)correction);
        verdict = compare_tsc(&rest);
        if (verdict == TSC_ALIKE)
            plan->moved_tsc(apic_id, correction);
    }
    if (verdict == TSC_ALIKE)
        return STATUS_OK;
    if (verdict == TSC_UNSTEADY)
        return refuse(why, STATUS_UNSUPPORTED, "its TSC and the boot CPU's run at different rates");
    return refuse(why, STATUS_UNSUPPORTED, "its TSC differs from the boot CPU's by %ld ticks and cannot be set",
                  -correction);
}

/* Its block and its stack will be another's: it must be off them, even if that comes late. */
static void dismiss(const struct cpu_local *cpu)
{
    ask(DISMISS, 0);
    lapic_send_init(cpu->apic_id);
    wait_us(INIT_WAIT_US);
}

enum arrival { ARRIVED, ABSENT, HALFWAY };

/*
 * A CPU that has taken its ticket may be on its stack, so its block cannot be another's any more; one that has not
 * never will be, however late it comes.
 */
static enum arrival start_cpu(struct cpu_local *cpu, hpa_t trampoline)
{
    struct ap_params params = {.cr3 = paging_cr3(),
                               .boot_cr3 = virt_to_phys(boot_pml4).raw,
                               .efer = features_efer(),
                               .stack_top = cpu->stack_top,
                               .cpu = cpu,
                               .entry = ap_main};
    struct ap_params *there = phys_to_virt(hpa(trampoline.raw + (u64)(ap_trampoline_params - ap_trampoline_start)));

    cpu->online = 0;
    memcpy(there, &params, sizeof params);
    __atomic_store_n(&there->ticket, (u64)cpu->apic_id + 1, __ATOMIC_SEQ_CST);
    lapic_send_startup(cpu->apic_id, (u32)trampoline.raw);
    if (wait_for(&cpu->online, FIRST_WAIT_US))
        return ARRIVED;
    lapic_send_startup(cpu->apic_id, (u32)trampoline.raw);
    if (wait_for(&cpu->online, SECOND_WAIT_US))
        return ARRIVED;
    if (!__atomic_exchange_n(&there->ticket, 0, __ATOMIC_SEQ_CST))
        return wait_for(&cpu->online, ARRIVAL_WAIT_US) ? ARRIVED : HALFWAY;
    lapic_send_init(cpu->apic_id); /* it shall not even begin */
    wait_us(INIT_WAIT_US);
    return ABSENT;
}

/* False: no more can be started, since one took its ticket and was not heard of again. */
static bool start_planned(const struct smp_plan *plan, u32 apic_id)
{
    struct cpu_local *cpu = NULL;

    if (online_count >= CPU_MAX) {
        plan->missing(apic_id, "more CPUs than supported");
        return true;
    }
    if (percpu_create(online_count, apic_id, &cpu) != STATUS_OK) {
        plan->missing(apic_id, "no memory for its stacks");
        return true;
    }
    switch (start_cpu(cpu, plan->trampoline)) {
    case ARRIVED:
        if (ap_status != STATUS_OK || agree_on_tsc(plan, apic_id, &ap_why) != STATUS_OK) {
            dismiss(cpu);
            plan->missing(apic_id, ap_why.text);
            return true;
        }
        ask(COME_IN, 0);
        __atomic_store_n(&online_count, online_count + 1, __ATOMIC_RELEASE);
        return true;
    case ABSENT:
        plan->missing(apic_id, "does not answer INIT-SIPI-SIPI");
        return true;
    case HALFWAY:
        plan->missing(apic_id, "began to start and then stood still");
        return false;
    }
    return false;
}

void smp_start_all(const struct smp_plan *plan)
{
    u32 own = cpu_local()->apic_id;
    bool any = false, go_on = true;

    ap_entry = plan->entry;
    ap_check = plan->check;
    memcpy(phys_to_virt(plan->trampoline), ap_trampoline_start, (size_t)(ap_trampoline_end - ap_trampoline_start));
    for (u32 i = 0; i < plan->count; i++) {
        if (plan->apic_ids[i] == own)
            continue;
        lapic_send_init(plan->apic_ids[i]);
        any = true;
    }
    if (any)
        wait_us(INIT_WAIT_US); /* one wait for all of them */
    for (u32 i = 0; i < plan->count; i++) {
        if (plan->apic_ids[i] == own)
            continue;
        if (go_on)
            go_on = start_planned(plan, plan->apic_ids[i]);
        else
            plan->missing(plan->apic_ids[i], "one before it stood still");
    }
    __atomic_store_n(&released, 1, __ATOMIC_RELEASE);
    for (u32 id = 1; id < online_count; id++)
        smp_kick(id);
}

u32 smp_cpu_count(void)
{
    return __atomic_load_n(&online_count, __ATOMIC_ACQUIRE);
}

void smp_kick(u32 id)
{
    lapic_send_ipi(cpu_local_of(id)->apic_id, IRQ_VECTOR_KICK);
}

void smp_notify_posted(u32 id)
{
    lapic_send_ipi(cpu_local_of(id)->apic_id, IRQ_VECTOR_POSTED);
}

bool smp_post(u32 id, struct smp_request *request)
{
    struct smp_request *head = __atomic_load_n(&mailboxes[id].head, __ATOMIC_RELAXED);

    if (__atomic_exchange_n(&request->pending, 1, __ATOMIC_ACQUIRE))
        return false;
    do
        request->next = head;
    while (!__atomic_compare_exchange_n(&mailboxes[id].head, &head, request, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    /* Whoever found the box empty has kicked; one kick empties the whole box. */
    if (!head)
        smp_kick(id);
    return true;
}

void smp_call(u32 id, void (*function)(void *), void *argument)
{
    struct smp_request request = {.function = function, .argument = argument};

    if (id == cpu_id()) {
        function(argument);
        return;
    }
    (void)smp_post(id, &request);
    while (__atomic_load_n(&request.pending, __ATOMIC_ACQUIRE)) {
        smp_mailbox_run(); /* the other CPU may be waiting for us */
        cpu_pause();
    }
}

void smp_mailbox_run(void)
{
    u32 id = cpu_id();
    struct smp_request *newest, *oldest = NULL;

    if (LIKELY(!__atomic_load_n(&mailboxes[id].head, __ATOMIC_RELAXED)))
        return;
    newest = __atomic_exchange_n(&mailboxes[id].head, NULL, __ATOMIC_ACQUIRE);
    while (newest) {
        struct smp_request *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct smp_request *next = oldest->next;
        oldest->function(oldest->argument);
        __atomic_store_n(&oldest->pending, 0, __ATOMIC_RELEASE); /* from here on it may be gone */
        oldest = next;
    }
}

static NORETURN void stop_here(void)
{
    __atomic_store_n(&mailboxes[cpu_id()].stopped, 1, __ATOMIC_RELEASE);
    smp_halt_forever();
}

static void stop_on_request(void *unused)
{
    (void)unused;
    stop_here();
}

void smp_stop_all(void)
{
    for (u32 id = 0; id < smp_cpu_count(); id++) {
        mailboxes[id].stop.function = stop_on_request;
        if (id != cpu_id())
            (void)smp_post(id, &mailboxes[id].stop);
    }
    for (u32 id = 0; id < smp_cpu_count(); id++)
        if (id != cpu_id())
            (void)wait_for(&mailboxes[id].stopped, STOP_WAIT_US);
}

void smp_stop_others_for_panic(void)
{
    u32 nobody = 0;
    u32 self = cpu_id() + 1;

    if (!__atomic_compare_exchange_n(&panicking_cpu, &nobody, self, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (nobody != self)
            stop_here();
        return; /* a second fault on the panicking CPU itself: the others have been told */
    }
    /* One by one: CPUs that firmware parked elsewhere must not get an NMI. */
    for (u32 id = 0; id < smp_cpu_count(); id++)
        if (id + 1 != self)
            lapic_send_nmi(cpu_local_of(id)->apic_id);
    for (u32 id = 0; id < smp_cpu_count(); id++)
        if (id + 1 != self)
            (void)wait_for(&mailboxes[id].stopped, STOP_WAIT_US);
}

void smp_handle_nmi(void)
{
    u32 panicking = __atomic_load_n(&panicking_cpu, __ATOMIC_ACQUIRE);

    if (panicking && panicking != cpu_id() + 1)
        stop_here();
}
