/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting, calling and stopping the other CPUs. A CPU here is a thread that a SIPI starts, and time is the number of
 * readings of the TSC, a microsecond each: it stands still while a CPU that will come is on its way. `cli; hlt` traps
 * in user mode, which is how a CPU is seen to stand. Each test has a process of its own, since CPUs start once.
 *
 * links: arch/x86/smp.c arch/x86/tsc_sync.c
 * flags: -Itest/fake
 */
#define _GNU_SOURCE /* REG_RIP */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/features.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mca.h"
#include "arch/x86/paging.h"
#include "arch/x86/smp.h"
#include "arch/x86/tsc.h"
#include "arch/x86/xsave.h"
#include "boot/ap.h"

#define ARCH_SET_GS 0x1001
#define CLI         0xfa
#define TRAMPOLINE  0x8000u
#define MACHINE     6u /* CPUs; an APIC id is 10 times the number */
#define TSC_HZ      1000000u
#define NEVER       9u

/* The assertions of cmocka are for the parent. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

asm(".pushsection .rodata\n"
    ".globl ap_trampoline_start, ap_trampoline_params, ap_trampoline_end\n"
    "ap_trampoline_start: .fill 128, 1, 0x90\n"
    "ap_trampoline_params: .fill 64, 1, 0\n"
    "ap_trampoline_end:\n"
    ".popsection");

const u64 boot_pml4[1];
u64 paging_image_offset;

static struct machine_cpu {
    struct cpu_local local;
    u32 comes_with; /* the first SIPI, the second one, or NEVER */
    u64 late_us;    /* it takes its ticket, and so much later it comes; UINT64_MAX: never */
    s64 tsc_ahead;
    bool tsc_stuck, tsc_drifts;
    bool deaf;                     /* it never looks into its mailbox */
    bool panics;                   /* by itself, when the NMI comes */
    u32 inits, sipis, kicks, nmis; /* that it was sent */
    u64 init_us, first_sipi_us;
    sem_t interrupt;             /* a kick or an NMI */
    u32 nmi, halted, count_seen; /* atomic */
    char missing[100];
    s64 moved;
} cpus[MACHINE];

static u8 page[4096] ALIGNED(4096);
static u64 now = 1; /* atomic */
static __thread struct machine_cpu *me = &cpus[0];
static struct machine_cpu *arriving;
static u64 arrival;
static u32 no_memory_at = NEVER;
static u32 refused_apic = UINT32_MAX;

static struct machine_cpu *by_apic(u32 apic_id)
{
    CHECK(apic_id % 10 == 0 && apic_id / 10 < MACHINE);
    return &cpus[apic_id / 10];
}

/* ---- the machine ---- */

u64 cpu_tsc(void)
{
    if (me == &cpus[0] && arriving && __atomic_load_n(&now, __ATOMIC_SEQ_CST) >= arrival) {
        while (!__atomic_load_n(&cpu_local_of(arriving->local.id)->online, __ATOMIC_SEQ_CST))
            sched_yield();
        arriving = NULL;
    }
    u64 time = __atomic_fetch_add(&now, 1, __ATOMIC_SEQ_CST);
    return time + (u64)me->tsc_ahead + (me->tsc_drifts ? time : 0);
}

void tsc_move(s64 ticks)
{
    if (!me->tsc_stuck)
        me->tsc_ahead += ticks;
}

void *phys_to_virt(hpa_t address)
{
    CHECK(address.raw - TRAMPOLINE < sizeof page);
    return page + (address.raw - TRAMPOLINE);
}

hpa_t virt_to_phys(const void *pointer)
{
    CHECK(pointer == boot_pml4);
    return hpa(0x5000);
}

u64 paging_cr3(void)
{
    return 0x6000;
}

u64 features_efer(void)
{
    return 0xd00;
}

static struct cpu_local *blocks[CPU_MAX];

struct cpu_local *cpu_local_of(u32 id)
{
    return blocks[id];
}

enum status percpu_create(u32 id, u32 apic_id, struct cpu_local **out)
{
    struct machine_cpu *cpu = by_apic(apic_id);

    if (apic_id == no_memory_at)
        return STATUS_NO_MEMORY;
    cpu->local = (struct cpu_local){.self = &cpu->local, .id = id, .apic_id = apic_id};
    *out = blocks[id] = &cpu->local;
    return STATUS_OK;
}

void percpu_load(struct cpu_local *cpu)
{
    CHECK(cpu == &me->local);
}

void lapic_init_cpu(void) {}
void lapic_timer_init_cpu(void) {}
void xsave_init_cpu(void) {}
void mca_init_cpu(void) {}

void cpu_sleep_until_interrupt(void)
{
    sem_wait(&me->interrupt);
}

void irq_set_handler(u8 vector, void (*handler)(void))
{
    CHECK(vector == IRQ_VECTOR_KICK && handler == smp_mailbox_run);
}

void lapic_send_ipi(u32 apic_id, u8 vector)
{
    CHECK(vector == IRQ_VECTOR_KICK);
    __atomic_fetch_add(&by_apic(apic_id)->kicks, 1, __ATOMIC_SEQ_CST);
    sem_post(&by_apic(apic_id)->interrupt);
}

void lapic_send_nmi(u32 apic_id)
{
    by_apic(apic_id)->nmis++;
    __atomic_store_n(&by_apic(apic_id)->nmi, 1, __ATOMIC_SEQ_CST);
    sem_post(&by_apic(apic_id)->interrupt);
}

void lapic_send_init(u32 apic_id)
{
    by_apic(apic_id)->inits++;
    by_apic(apic_id)->init_us = __atomic_load_n(&now, __ATOMIC_SEQ_CST);
}

static struct ap_params *params(void)
{
    return (struct ap_params *)(page + (ap_trampoline_params - ap_trampoline_start));
}

static void set_gs(struct cpu_local *local)
{
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, local) == 0);
}

/* As the trampoline does it. */
static void *begin(void *argument)
{
    me = argument;
    while (__atomic_load_n(&now, __ATOMIC_SEQ_CST) < me->late_us)
        sched_yield();
    set_gs(params()->cpu);
    params()->entry(params()->cpu);
    return NULL;
}

void lapic_send_startup(u32 apic_id, u32 start)
{
    struct machine_cpu *cpu = by_apic(apic_id);
    pthread_t thread;

    CHECK(start == TRAMPOLINE);
    if (++cpu->sipis == 1)
        cpu->first_sipi_us = __atomic_load_n(&now, __ATOMIC_SEQ_CST);
    if (cpu->sipis != cpu->comes_with)
        return;
    CHECK(params()->cr3 == 0x6000 && params()->boot_cr3 == 0x5000 && params()->efer == 0xd00);
    CHECK(__atomic_exchange_n(&params()->ticket, 0, __ATOMIC_SEQ_CST) == apic_id + 1);
    if (cpu->late_us == UINT64_MAX)
        return;
    arrival = cpu->late_us += __atomic_load_n(&now, __ATOMIC_SEQ_CST);
    arriving = cpu;
    CHECK(pthread_create(&thread, NULL, begin, cpu) == 0);
}

/* It has executed CLI. */
static void stand_still(void)
{
    __atomic_store_n(&me->halted, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pause();
}

static void trap(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)number;
    (void)info;
    CHECK(*(const u8 *)registers[REG_RIP] == CLI);
    registers[REG_RIP] = (greg_t)stand_still;
    registers[REG_RSP] = (registers[REG_RSP] & -16) - 8;
}

/* What a CPU does when it is in: sleep, serve its mailbox, and take NMIs. */
static void work(struct cpu_local *local)
{
    CHECK(local == cpu_local());
    __atomic_store_n(&me->count_seen, smp_cpu_count(), __ATOMIC_SEQ_CST);
    for (;;) {
        if (!me->deaf)
            smp_mailbox_run();
        if (__atomic_exchange_n(&me->nmi, 0, __ATOMIC_SEQ_CST)) {
            if (me->panics)
                smp_stop_others_for_panic();
            else
                smp_handle_nmi();
            CHECK(!"it stands still");
        }
        cpu_sleep_until_interrupt();
    }
}

static enum status check(struct refusal *why)
{
    return me->local.apic_id == refused_apic ? refuse(why, STATUS_UNSUPPORTED, "it has no EPT") : STATUS_OK;
}

static void missing(u32 apic_id, const char *why)
{
    snprintf(by_apic(apic_id)->missing, sizeof cpus[0].missing, "%s", why);
}

static void moved_tsc(u32 apic_id, s64 ticks)
{
    by_apic(apic_id)->moved = ticks;
}

static void start_all(u32 count)
{
    static const u32 apic_ids[MACHINE] = {10, 0, 20, 30, 40, 50}; /* the boot CPU is not the first of the MADT */
    struct smp_plan plan = {.apic_ids = apic_ids,
                            .count = count,
                            .trampoline = hpa(TRAMPOLINE),
                            .entry = work,
                            .check = check,
                            .missing = missing,
                            .moved_tsc = moved_tsc};

    smp_start_all(&plan);
}

static void wait_until(const u32 *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_SEQ_CST))
        sched_yield();
}

static void run_in_process(void (*test)(void))
{
    int status;
    pid_t child = fork();

    if (!child) {
        struct sigaction action = {.sa_sigaction = trap, .sa_flags = SA_SIGINFO};
        sigaction(SIGSEGV, &action, NULL);
        for (u32 i = 0; i < MACHINE; i++) {
            cpus[i].comes_with = 1;
            sem_init(&cpus[i].interrupt, 0, 0);
        }
        cpus[0].local = (struct cpu_local){.self = &cpus[0].local};
        blocks[0] = &cpus[0].local;
        set_gs(&cpus[0].local);
        smp_init(TSC_HZ);
        alarm(60); /* a CPU that waits for ever is a failure */
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- starting ---- */

/* SDM 3A 8.4.4.1 "Typical BSP Initialization Sequence": INIT, 10 ms, SIPI; a second one if it does not come. */
static void all_come(void)
{
    cpus[3].comes_with = 2;
    start_all(5);
    CHECK(smp_cpu_count() == 5);
    for (u32 i = 1; i < 5; i++) {
        wait_until(&cpus[i].count_seen);
        CHECK(cpus[i].count_seen == 5); /* the final count */
        CHECK(cpus[i].local.id == i && cpu_local_of(i)->apic_id == 10 * i);
        CHECK(cpus[i].inits == 1 && cpus[i].sipis == (i == 3 ? 2 : 1));
        CHECK(cpus[i].first_sipi_us - cpus[i].init_us >= 10000);
        CHECK(cpus[i].kicks == 1); /* out of its sleep */
        CHECK(!cpus[i].missing[0] && !cpus[i].moved);
    }
    CHECK(cpus[0].inits + cpus[0].sipis == 0);
    CHECK(cpus[5].inits + cpus[5].sipis == 0);
}

/* Ids stay dense, and a CPU that comes late finds no ticket. */
static void one_is_absent(void)
{
    cpus[2].comes_with = NEVER;
    cpus[4].comes_with = NEVER;
    start_all(5);
    CHECK(smp_cpu_count() == 3);
    CHECK(!strcmp(cpus[2].missing, "does not answer INIT-SIPI-SIPI"));
    CHECK(!strcmp(cpus[4].missing, cpus[2].missing) && params()->ticket == 0);
    CHECK(cpus[2].sipis == 2 && cpus[2].inits == 2 && cpus[2].init_us > cpus[2].first_sipi_us);
    CHECK(cpus[3].local.id == 2 && !cpus[3].missing[0]);
}

/* One that has taken its ticket may be on the stack that is its own: nobody else is given it. */
static void one_stands_still(void)
{
    cpus[2].late_us = UINT64_MAX;
    start_all(4);
    CHECK(smp_cpu_count() == 2);
    CHECK(!strcmp(cpus[2].missing, "began to start and then stood still"));
    CHECK(!strcmp(cpus[3].missing, "one before it stood still"));
    CHECK(cpus[3].sipis == 0 && cpus[2].inits == 1);
    wait_until(&cpus[1].count_seen);
}

static void one_is_slow(void)
{
    cpus[2].comes_with = 2;
    cpus[2].late_us = 3000000;
    start_all(3);
    CHECK(smp_cpu_count() == 3 && cpus[2].inits == 1 && !cpus[2].missing[0]);
}

static void one_is_refused(void)
{
    refused_apic = 20;
    no_memory_at = 30;
    start_all(5);
    CHECK(smp_cpu_count() == 3);
    CHECK(!strcmp(cpus[2].missing, "it has no EPT"));
    CHECK(!strcmp(cpus[3].missing, "no memory for its stacks"));
    wait_until(&cpus[2].halted); /* off its stack, and INIT keeps it there */
    CHECK(cpus[2].inits == 2 && !cpus[2].count_seen && cpus[3].sipis == 0);
    CHECK(cpus[4].local.id == 2);
}

/* Guests are told of one TSC. */
static void tscs_differ(void)
{
    cpus[1].tsc_ahead = 5000;
    cpus[2].tsc_ahead = -7000;
    cpus[3].tsc_ahead = 9000;
    cpus[3].tsc_stuck = true;
    cpus[4].tsc_drifts = true;
    start_all(6);
    CHECK(smp_cpu_count() == 4);
    CHECK(cpus[1].moved >= -5001 && cpus[1].moved <= -4999 && cpus[1].tsc_ahead == 5000 + cpus[1].moved);
    CHECK(cpus[2].moved >= 6999 && cpus[2].moved <= 7001);
    CHECK(strstr(cpus[3].missing, "cannot be set") && !cpus[3].moved);
    CHECK(strstr(cpus[4].missing, "at different rates"));
    CHECK(!cpus[5].missing[0] && !cpus[5].moved && cpus[5].local.id == 3);
    wait_until(&cpus[3].halted);
    wait_until(&cpus[4].halted);
}

/* ---- calling ---- */

static char order[8];

static void note(void *argument)
{
    order[strlen(order)] = *(const char *)argument;
}

static void mailbox(void)
{
    struct smp_request a = {note, "a", NULL, 0}, b = {note, "b", NULL, 0}, c = {note, "c", NULL, 0};

    CHECK(smp_post(0, &a) && smp_post(0, &b) && smp_post(0, &c));
    CHECK(!smp_post(0, &b)); /* it waits already */
    CHECK(cpus[0].kicks == 1);
    smp_mailbox_run();
    CHECK(!strcmp(order, "abc") && !a.pending && !b.pending && !c.pending);
    CHECK(smp_post(0, &b) && cpus[0].kicks == 2);
    smp_mailbox_run();
    smp_mailbox_run();
    smp_call(0, note, "d");
    CHECK(!strcmp(order, "abcbd") && cpus[0].kicks == 2);
}

static void answer(void *argument)
{
    *(u32 *)argument = cpu_id() + 1;
}

static void call_back(void *argument)
{
    smp_call(0, answer, argument);
}

/* The boot CPU waits for CPU 1, which waits for the boot CPU. */
static void calls_in_both_directions(void)
{
    start_all(3);
    for (u32 i = 0; i < 100; i++) {
        u32 who = 0;
        smp_call(1, call_back, &who);
        CHECK(who == 1);
        smp_call(2, answer, &who);
        CHECK(who == 3);
    }
}

#define POSTS 2000u
static struct numbered {
    struct smp_request request;
    u32 poster, number;
} numbered[3][POSTS];
static u32 next_of[3], got;

static void in_its_turn(void *argument)
{
    const struct numbered *n = argument;
    CHECK(n->number == next_of[n->poster]++);
    got++;
}

static void post_many(void *argument)
{
    struct numbered *mine = argument;

    for (u32 i = 0; i < POSTS; i++)
        CHECK(smp_post(0, &mine[i].request));
}

/* Three push at once while one empties: each request runs once, and those of one poster in their order. */
static void many_posters(void)
{
    static struct smp_request go[3];

    start_all(4);
    for (u32 p = 0; p < 3; p++) {
        for (u32 i = 0; i < POSTS; i++)
            numbered[p][i] = (struct numbered){
                {in_its_turn, &numbered[p][i], NULL, 0},
                p, i
            };
        go[p] = (struct smp_request){post_many, numbered[p], NULL, 0};
        CHECK(smp_post(p + 1, &go[p]));
    }
    while (got < 3 * POSTS)
        smp_mailbox_run();
    CHECK(next_of[0] == POSTS && next_of[1] == POSTS && next_of[2] == POSTS);
}

/* ---- stopping ---- */

static void stop_all(void)
{
    u64 before;

    cpus[2].deaf = true;
    start_all(4);
    before = now;
    smp_stop_all();
    wait_until(&cpus[1].halted);
    wait_until(&cpus[3].halted);
    CHECK(!cpus[0].halted && !cpus[2].halted);
    CHECK(now - before >= 100000); /* it waits for the one that does not hear, and no longer than it says */
    CHECK(now - before < 400000);
}

/* Only those that are in get the NMI: firmware may have parked the others anywhere. */
static void panics(void)
{
    cpus[2].comes_with = NEVER;
    cpus[3].panics = true;
    start_all(4);
    smp_handle_nmi(); /* nobody panics */
    smp_stop_others_for_panic();
    wait_until(&cpus[1].halted);
    wait_until(&cpus[3].halted);
    CHECK(cpus[1].nmis == 1 && cpus[3].nmis == 1 && cpus[0].nmis + cpus[2].nmis == 0);
    smp_stop_others_for_panic(); /* a fault while it reports */
    smp_handle_nmi();
    CHECK(cpus[1].nmis == 1 && cpus[3].nmis == 1 && cpus[0].nmis == 0 && !cpus[0].halted);
}

#define TEST(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        run_in_process(name);                                                                                          \
    }

TEST(all_come)
TEST(one_is_absent)
TEST(one_stands_still)
TEST(one_is_slow)
TEST(one_is_refused)
TEST(tscs_differ)
TEST(mailbox)
TEST(calls_in_both_directions)
TEST(many_posters)
TEST(stop_all)
TEST(panics)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_come),         cmocka_unit_test(test_one_is_absent),
        cmocka_unit_test(test_one_stands_still), cmocka_unit_test(test_one_is_slow),
        cmocka_unit_test(test_one_is_refused),   cmocka_unit_test(test_tscs_differ),
        cmocka_unit_test(test_mailbox),          cmocka_unit_test(test_calls_in_both_directions),
        cmocka_unit_test(test_many_posters),     cmocka_unit_test(test_stop_all),
        cmocka_unit_test(test_panics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
