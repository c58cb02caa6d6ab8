/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * APIC virtualisation: which controls a mode has, which MSRs are left to the CPU, and that no request is lost between
 * those who post and the CPU, whose IRR, RVI, SVI and EOI-exit bitmap must be right at each entry. SDM 3C 24.6.8
 * "Controls for APIC Virtualization", 29.5 "Virtualizing MSR-Based APIC Accesses".
 *
 * links: vmx/apicv.c vmx/event.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 *
 * libs: -lpthread
 */
#define _GNU_SOURCE /* REG_EFL */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "test/fake/vmx_bench.h"
#include "vmx/apicv.h"

#define XAPIC    0xfee00900ull
#define X2APIC   0xfee00d00ull
#define DISABLED 0xfee00100ull
#define MOVED    0xfec00900ull

static int set_up(void **state)
{
    (void)state;
    bench_start();
    vmx_features.has_apicv = true;
    vmx_features.msr_bitmap = hpa(0x1000);
    vmx_features.x2apic_bitmap = hpa(0x2000);
    bench.vm.ept_root = 0x5000;
    bench.vm.ept_apic_root = 0x6000;
    VMCS_SET(PROC2_CONTROLS, vmx_features.controls.value[VMX_PROC2]);
    return 0;
}

static void set_mode(u64 base)
{
    bench.apic_base = base;
    bench.virtual_delivery = base == XAPIC || base == X2APIC;
    bench.posted.news |= POSTED_STALE;
    vmx_event_prepare(&bench.v);
}

static void test_modes(void **state)
{
    (void)state;
    assert_int_equal(vmx_apicv_mode(XAPIC), APICV_XAPIC);
    assert_int_equal(vmx_apicv_mode(X2APIC), APICV_X2APIC);
    assert_int_equal(vmx_apicv_mode(0xfec00c00), APICV_X2APIC); /* MSRs have no address */
    assert_int_equal(vmx_apicv_mode(DISABLED), APICV_OFF);
    assert_int_equal(vmx_apicv_mode(MOVED), APICV_OFF);
    assert_int_equal(vmx_apicv_mode(0x1fee00900), APICV_OFF);
}

/* SDM 3C 26.2.1.1 "VM-Execution Control Fields": what VM entry checks of these controls, for every mode. */
static void check_entry_rules(u32 pin, u32 proc, u32 proc2)
{
    bool shadow = proc & PROC_TPR_SHADOW;

    if (!shadow)
        assert_false(proc2 & (PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS));
    if (proc2 & PROC2_X2APIC_MODE)
        assert_false(proc2 & PROC2_APIC_ACCESSES);
    if (proc2 & PROC2_VIRTUAL_INTERRUPTS)
        assert_true(pin & PIN_EXTERNAL_INTERRUPT_EXITING);
}

static void test_controls_of_each_mode(void **state)
{
    static const u64 bases[] = {XAPIC, X2APIC, DISABLED, XAPIC, MOVED, X2APIC};
    const u32 *value = vmx_features.controls.value;

    (void)state;
    VMCS_SET(PROC_CONTROLS, value[VMX_PROC] | PROC_MONITOR_TRAP_FLAG); /* others are left alone */
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
        bool on = bases[i] == XAPIC || bases[i] == X2APIC;
        set_mode(bases[i]);
        u32 proc = vmcs_read(PROC_CONTROLS), proc2 = vmcs_read(PROC2_CONTROLS);
        check_entry_rules(value[VMX_PIN], proc, proc2);
        assert_int_equal(!!(proc & PROC_TPR_SHADOW), on);
        assert_int_equal(!(proc & (PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING)), on);
        assert_int_equal(proc & ~(PROC_TPR_SHADOW | PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING),
                         (value[VMX_PROC] & ~(PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING)) |
                             PROC_MONITOR_TRAP_FLAG);
        assert_int_equal(!!(proc2 & PROC2_APIC_REGISTERS), on);
        assert_int_equal(!!(proc2 & PROC2_VIRTUAL_INTERRUPTS), on);
        assert_int_equal(!!(proc2 & PROC2_APIC_ACCESSES), bases[i] == XAPIC);
        assert_int_equal(!!(proc2 & PROC2_X2APIC_MODE), bases[i] == X2APIC);
        assert_int_equal(vmcs_read(EPT_POINTER) & ~0xfffull, bases[i] == XAPIC ? 0x6000 : 0x5000);
        assert_int_equal(vmcs_read(MSR_BITMAPS), bases[i] == X2APIC ? 0x2000 : 0x1000);
    }
}

/* A CPU that lacks a part, or insists on CR8 exits, has none. */
static void test_all_or_nothing(void **state)
{
    static const struct {
        u8 group;
        u32 bit;
    } needed[] = {
        {VMX_PROC,  PROC_TPR_SHADOW         },
        {VMX_PROC,  PROC_MSR_BITMAPS        },
        {VMX_PROC2, PROC2_APIC_ACCESSES     },
        {VMX_PROC2, PROC2_X2APIC_MODE       },
        {VMX_PROC2, PROC2_APIC_REGISTERS    },
        {VMX_PROC2, PROC2_VIRTUAL_INTERRUPTS}
    };

    (void)state;
    assert_true(vmx_controls_have_apicv(&vmx_features.caps));
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        struct vmx_caps caps = vmx_features.caps;
        caps.group[needed[i].group].may_be_one &= ~needed[i].bit;
        assert_false(vmx_controls_have_apicv(&caps));
    }
    struct vmx_caps caps = vmx_features.caps;
    caps.group[VMX_PROC].must_be_one |= PROC_CR8_STORE_EXITING;
    assert_false(vmx_controls_have_apicv(&caps));
}

/* SDM 3A 10.12.1.2, table "Local APIC Register Address Map Supported by x2APIC". */
static bool can_read(u32 msr)
{
    return msr == 0x802 || msr == 0x803 || msr == 0x808 || msr == 0x80a || msr == 0x80d || msr == 0x80f ||
           (msr >= 0x810 && msr <= 0x828) || msr == 0x830 || (msr >= 0x832 && msr <= 0x838) || msr == 0x83e;
}

static void test_bitmap(void **state)
{
    static u8 bitmap[4096], before[4096];

    (void)state;
    memset(before, 0xff, sizeof before);
    memset(before + 0x170 / 8, 0x5a, 4); /* some other MSR */
    memcpy(bitmap, before, sizeof bitmap);
    vmx_apicv_open_bitmap(bitmap);
    for (u32 msr = 0x800; msr < 0x900; msr++) {
        assert_int_equal(!(bitmap[msr / 8] >> msr % 8 & 1), can_read(msr));
        assert_int_equal(!(bitmap[2048 + msr / 8] >> msr % 8 & 1), msr == 0x808 || msr == 0x80b || msr == 0x83f);
    }
    memset(bitmap + 0x100, 0xff, 0x20);
    memset(bitmap + 2048 + 0x100, 0xff, 0x20);
    assert_memory_equal(bitmap, before, sizeof bitmap);
}

static u32 *irr(u32 vector)
{
    return &bench.apic_page[0x80 + vector / 32 * 4];
}

/* What vmx_apicv_prepare() passes on; -1: nothing. */
static int take(void)
{
    VMCS_SET(GUEST_INTERRUPT_STATUS, 0);
    bench.v.apicv = APICV_X2APIC;
    vmx_apicv_prepare(&bench.v);
    return vmcs_read(GUEST_INTERRUPT_STATUS) ? (int)vmcs_read(GUEST_INTERRUPT_STATUS) : -1;
}

static void test_posted_requests_arrive(void **state)
{
    struct posted_requests *posted = &bench.posted;

    (void)state;
    for (unsigned vector = 16; vector < 256; vector++) {
        memset(bench.apic_page, 0, sizeof bench.apic_page);
        *irr(0x21) = 1u << 1;
        posted_add(posted, (u8)vector, false);
        assert_true(posted_news(posted));
        assert_int_equal(take(), vector);
        assert_true(*irr(vector) >> vector % 32 & 1);
        assert_true(*irr(0x21) & 1u << 1);
        assert_false(posted_news(posted));
        assert_int_equal(take(), -1);
    }
    for (unsigned vector = 16; vector < 256; vector++)
        posted_add(posted, (u8)vector, vector % 3 == 0);
    assert_int_equal(take(), 255);
    for (unsigned vector = 16; vector < 256; vector++)
        assert_true(*irr(vector) >> vector % 32 & 1);
}

static u16 status(void)
{
    return vmcs_read(GUEST_INTERRUPT_STATUS);
}

static void test_requesting_virtual_interrupt(void **state)
{
    struct posted_requests *posted = &bench.posted;

    (void)state;
    bench.apic_page[0x40 + 4] = 1u << 3; /* ISR: 0x23 */
    *irr(0x31) |= 1u << 0x11;
    set_mode(X2APIC);
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x2331); /* SVI, RVI from the page */
    posted_add(posted, 0x30, false);
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x2331);
    assert_true(*irr(0x30) & 1u << 0x10);
    posted_add(posted, 0x45, false);
    posted_add(posted, 0xee, false);
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x23ee);
    *irr(0xee) = 0; /* the CPU delivers it, and the EOI follows */
    VMCS_SET(GUEST_INTERRUPT_STATUS, 0x2345);
    posted->news |= POSTED_STALE; /* software ended 0x23 */
    bench.apic_page[0x40 + 4] = 0;
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x0045);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0); /* nothing is injected */
    assert_int_equal(bench.v.base.windows, 0);
}

/* TMR bits make EOI exit, and no longer once the vector has come as an edge. */
/* With posted interrupts on such an engine, and only there: IRR is never empty, and what is delivered stays the same.
 */
static void test_empty_notifications(void **state)
{
    (void)state;
    set_mode(X2APIC);
    assert_int_equal(*irr(0), 0);
    quirks_found = BIT(QUIRK_EMPTY_NOTIFICATION);
    set_mode(X2APIC);
    assert_int_equal(*irr(0), 0);
    vmx_features.has_posted = true;
    set_mode(DISABLED);
    assert_int_equal(*irr(0), 0);
    set_mode(XAPIC);
    assert_int_equal(*irr(0), 1);
    assert_int_equal(status(), 0);
    posted_add(&bench.posted, 0x45, false);
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x0045);
}

static void test_eoi_exits(void **state)
{
    (void)state;
    bench.apic_page[0x60 + 4 * 1] = 1u << 5; /* TMR of 0x25 */
    bench.v.eoi_exits[3] = 4;                /* of before INIT */
    set_mode(XAPIC);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_0), 1ull << 0x25);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_3), 0);
    bench.apic_page[0x60 + 4 * 7] = 1u << 31;
    bench.apic_page[0x60 + 4 * 1] = 0;
    posted_add(&bench.posted, 0xff, false);
    posted_add(&bench.posted, 0x25, false);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_0), 0);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_1), 0);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_2), 0);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_3), 1ull << 63);
}

/* HLT ends if the CPU is going to deliver: not with interrupts off, nor below the task priority. */
static void test_halt(void **state)
{
    (void)state;
    set_mode(X2APIC);
    bench.v.base.halted = true;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_apicv_prepare(&bench.v);
    assert_true(bench.v.base.halted);
    bench.apic_page[0x28] = 0x40; /* PPR */
    posted_add(&bench.posted, 0x4f, false);
    vmx_apicv_prepare(&bench.v);
    assert_true(bench.v.base.halted);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    posted_add(&bench.posted, 0x50, false);
    vmx_apicv_prepare(&bench.v);
    assert_true(bench.v.base.halted);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_apicv_prepare(&bench.v);
    assert_false(bench.v.base.halted);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
}

/* The PIC's vector goes in by injection, beside what the CPU delivers; if it must wait, its window is armed. */
static void test_external_interrupt_beside(void **state)
{
    (void)state;
    set_mode(XAPIC);
    posted_add(&bench.posted, 0x61, false);
    bench.interrupt = true;
    bench.vector = 0x20;
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(bench.v.base.windows, PROC_INTERRUPT_WINDOW);
    assert_int_equal(status(), 0x61);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);
    assert_int_equal(bench.v.base.windows, 0);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_TPR_SHADOW);
}

/* ---- posted interrupts ---- */

static void test_posted_interrupts_need_delivery(void **state)
{
    struct vmx_caps caps = vmx_features.caps;

    (void)state;
    caps.group[VMX_PIN].may_be_one &= ~PIN_POSTED_INTERRUPTS;
    assert_true(vmx_controls_have_apicv(&caps));
    assert_false(vmx_controls_have_posted(&caps));
    caps.group[VMX_PIN].may_be_one |= PIN_POSTED_INTERRUPTS;
    assert_true(vmx_controls_have_posted(&caps));
    caps.group[VMX_PROC2].may_be_one &= ~PROC2_VIRTUAL_INTERRUPTS;
    assert_false(vmx_controls_have_posted(&caps));
    for (unsigned mode = APICV_OFF; mode <= APICV_X2APIC; mode++)
        for (unsigned posted = 0; posted < 2; posted++)
            assert_int_equal(vmx_apicv_pin_controls(mode, PIN_NMI_EXITING | PIN_POSTED_INTERRUPTS, posted),
                             PIN_NMI_EXITING | (posted && mode != APICV_OFF ? PIN_POSTED_INTERRUPTS : 0));
    vmx_features.has_posted = true;
    set_mode(XAPIC);
    assert_true(vmcs_read(PIN_CONTROLS) & PIN_POSTED_INTERRUPTS);
    set_mode(DISABLED);
    assert_false(vmcs_read(PIN_CONTROLS) & PIN_POSTED_INTERRUPTS);
    vmx_features.has_posted = false;
    set_mode(X2APIC);
    assert_false(vmcs_read(PIN_CONTROLS) & PIN_POSTED_INTERRUPTS);
}

/* SDM 3C 29.6, table "Format of Posted-Interrupt Descriptor": 64 bytes, requests first, then ON as bit 256. */
static void test_descriptor(void **state)
{
    struct posted_requests *posted = &bench.posted;
    const u64 *descriptor = (const u64 *)posted;

    (void)state;
    assert_int_equal((uintptr_t)posted % 64, 0);
    posted_add(posted, 0x41, false);
    posted_add(posted, 0x85, true);
    assert_true(descriptor[1] == BIT(1) && descriptor[2] == 0);
    assert_true(posted_look(posted, 1) == BIT(1) && posted_look(posted, 2) == BIT(5));
    assert_true(posted_notify(posted));
    assert_int_equal(descriptor[4], 1);
    assert_false(posted_notify(posted)); /* one is on its way */
    for (unsigned i = 5; i < 8; i++)
        assert_int_equal(descriptor[i], 0);
    assert_int_equal(take(), 0x85);
    assert_int_equal(descriptor[4], 0);
    assert_true(posted_notify(posted));
}

/* A level-triggered request comes with its EOI exit, never by the CPU, which knows of none. */
static void test_level_waits_for_software(void **state)
{
    struct posted_requests *posted = &bench.posted;

    (void)state;
    set_mode(X2APIC);
    bench.apic_page[0x60 + 4 * 2] = 1u << 9; /* TMR of 0x49 */
    posted_add(posted, 0x49, true);
    posted_add(posted, 0x48, false);
    assert_int_equal(__atomic_exchange_n(&posted->vectors[1], 0, __ATOMIC_SEQ_CST), BIT(8)); /* the CPU's share */
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_1), 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(status(), 0x49);
    assert_int_equal(vmcs_read(EOI_EXIT_BITMAP_1), BIT(9));
}

#define NOTIFICATIONS    30000u
#define PATIENCE_SECONDS 5 /* without any request, before one counts as lost */

static const u8 vector_of[2] = {0x45, 0x89}; /* in different words */
static u32 interrupt_waits, taken_count[2], gave_up;

/* The rounds in which both vectors have been taken. */
static u32 rounds_done(void)
{
    u32 first = __atomic_load_n(&taken_count[0], __ATOMIC_SEQ_CST);
    u32 second = __atomic_load_n(&taken_count[1], __ATOMIC_SEQ_CST);

    return first < second ? first : second;
}

static void *post_and_wait(void *argument)
{
    u8 vector = *(const u8 *)argument;

    for (u32 i = 0; i < NOTIFICATIONS && !__atomic_load_n(&gave_up, __ATOMIC_SEQ_CST); i++) {
        posted_add(&bench.posted, vector, false);
        if (posted_notify(&bench.posted))
            __atomic_store_n(&interrupt_waits, 1, __ATOMIC_SEQ_CST);
        while (rounds_done() == i && !__atomic_load_n(&gave_up, __ATOMIC_SEQ_CST))
            sched_yield();
    }
    return NULL;
}

/* The guest takes what is in IRR. */
static void note_taken(void)
{
    for (unsigned i = 0; i < 2; i++) {
        u32 bit = 1u << vector_of[i] % 32;
        if (!(*irr(vector_of[i]) & bit))
            continue;
        *irr(vector_of[i]) &= ~bit;
        __atomic_fetch_add(&taken_count[i], 1, __ATOMIC_SEQ_CST);
    }
}

/* The notification in the guest: SDM 3C 29.6, steps 3 to 5. */
static void process_notification(void)
{
    struct posted_requests *posted = &bench.posted;

    if (!__atomic_exchange_n(&interrupt_waits, 0, __ATOMIC_SEQ_CST))
        return;
    __atomic_fetch_and(&posted->control[0], ~POSTED_ON, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 4; i++) {
        u64 requests = __atomic_exchange_n(&posted->vectors[i], 0, __ATOMIC_SEQ_CST);
        *irr(64 * i) |= (u32)requests;
        *irr(64 * i + 32) |= (u32)(requests >> 32);
    }
    note_taken();
}

/*
 * Two post, one request each a round, to a vCPU that is outside its guest for a while, in which notifications reach
 * somebody else and are gone, then enters it and stays until the round is over: nothing but a notification, which
 * nobody will send any more, could then bring a request that the entry has left behind.
 */
static void test_no_notification_is_missed(void **state)
{
    pthread_t threads[2];
    time_t limit;

    (void)state;
    set_mode(X2APIC);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_and_wait, (void *)&vector_of[i]), 0);
    for (u32 round = 0; round < NOTIFICATIONS && !gave_up; round++) {
        limit = time(NULL) + PATIENCE_SECONDS;
        for (u32 i = round % 4; i > 0; i--)
            sched_yield();
        __atomic_store_n(&interrupt_waits, 0, __ATOMIC_SEQ_CST);
        vmx_event_prepare(&bench.v);
        note_taken();
        while (rounds_done() == round && !gave_up) {
            process_notification();
            sched_yield();
            if (time(NULL) > limit)
                __atomic_store_n(&gave_up, 1, __ATOMIC_SEQ_CST);
        }
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(taken_count[0], NOTIFICATIONS);
    assert_int_equal(taken_count[1], NOTIFICATIONS);
}

#define RFLAGS_TF_BIT 0x100

static u32 steps_left;
static bool posted_meanwhile, sent_notification;

/* After each instruction; behind the last of `steps_left` another CPU posts. */
static void step_done(int signal, siginfo_t *info, void *context)
{
    ucontext_t *at = context;

    (void)signal;
    (void)info;
    if (--steps_left > 0)
        return;
    at->uc_mcontext.gregs[REG_EFL] &= ~RFLAGS_TF_BIT;
    posted_add(&bench.posted, vector_of[1], false);
    sent_notification = posted_notify(&bench.posted);
    posted_meanwhile = true;
}

static void prepare_stepping(u32 steps)
{
    steps_left = steps;
    posted_meanwhile = false;
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | RFLAGS_TF_BIT);
    vmx_apicv_prepare(&bench.v);
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(u64)RFLAGS_TF_BIT);
}

/*
 * A request and a notification stand; between any two instructions of the way to the entry somebody else posts. Either
 * that has been taken for this entry, or its notification is on its way. (The APIC is off: the shortest way.)
 */
static void test_posting_at_each_instruction(void **state)
{
    struct sigaction action = {.sa_sigaction = step_done, .sa_flags = SA_SIGINFO}, before;
    struct posted_requests *posted = &bench.posted;
    u32 taken = 0, notified = 0;

    (void)state;
    assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
    for (u32 steps = 1;; steps++) {
        memset(posted, 0, sizeof *posted);
        *irr(vector_of[0]) = *irr(vector_of[1]) = 0;
        posted_add(posted, vector_of[0], false);
        assert_true(posted_notify(posted));
        prepare_stepping(steps);
        if (!posted_meanwhile)
            break;
        assert_true(*irr(vector_of[0]) >> vector_of[0] % 32 & 1);
        if (!sent_notification)
            assert_true(*irr(vector_of[1]) >> vector_of[1] % 32 & 1);
        taken += !sent_notification;
        notified += sent_notification;
    }
    assert_int_equal(sigaction(SIGTRAP, &before, NULL), 0);
    assert_true(taken > 2 && notified > 2);
}

#define POSTS 200000u

static u32 finished;

static void *post(void *argument)
{
    u8 vector = *(u8 *)argument;

    for (u32 i = 0; i < POSTS; i++)
        posted_add(&bench.posted, (u8)(vector + i % 8), false);
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Two post into the same words while a third takes them: the last request of each vector is in IRR in the end. */
static void test_posting_while_taking(void **state)
{
    pthread_t threads[2];
    u8 first[2] = {0x40, 0x48};
    u32 taken = 0;

    (void)state;
    finished = 0;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post, &first[i]), 0);
    for (bool last = false; !last;) {
        last = __atomic_load_n(&finished, __ATOMIC_SEQ_CST) == 2;
        int top = take();
        if (top < 0)
            continue;
        assert_true(top >= 0x40 && top < 0x50);
        assert_true(*irr(0x40) >> (top - 0x40) & 1);
        taken |= *irr(0x40);
        *irr(0x40) = 0;
    }
    assert_int_equal(taken, 0xffff);
    assert_false(posted_news(&bench.posted));
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test_setup(test_controls_of_each_mode, set_up),
        cmocka_unit_test_setup(test_all_or_nothing, set_up),
        cmocka_unit_test(test_bitmap),
        cmocka_unit_test_setup(test_posted_requests_arrive, set_up),
        cmocka_unit_test_setup(test_requesting_virtual_interrupt, set_up),
        cmocka_unit_test_setup(test_empty_notifications, set_up),
        cmocka_unit_test_setup(test_eoi_exits, set_up),
        cmocka_unit_test_setup(test_halt, set_up),
        cmocka_unit_test_setup(test_external_interrupt_beside, set_up),
        cmocka_unit_test_setup(test_posting_while_taking, set_up),
        cmocka_unit_test_setup(test_posted_interrupts_need_delivery, set_up),
        cmocka_unit_test_setup(test_descriptor, set_up),
        cmocka_unit_test_setup(test_level_waits_for_software, set_up),
        cmocka_unit_test_setup(test_no_notification_is_missed, set_up),
        cmocka_unit_test_setup(test_posting_at_each_instruction, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
