/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals to vCPUs that sleep: the last vCPU sends as fast as it can, the others are in HLT. (With one vCPU there is
 * nobody to send to but itself.)
 */
#include "guests/hostile/hostile.h"

#define ICR_ASSERT    0x4000u
#define ICR_OTHERS    0xc0000u /* all but self */
#define ICR_NMI       0x400u
#define ICR_INIT      0x500u
#define ICR_SIPI      0x600u
#define FIRST_VECTOR  0x20u
#define SLEEPER_PAGE  8u /* SIPI: real mode at 0x8000 */
#define MSR_APIC_BASE 0x1bu
#define X2APIC        0xc00u
#define X2_ICR        0x830u
#define X2_SVR        0x80fu
#define X2_TPR        0x808u
#define TO_ALL        0xffffffffull

static bool is_sender(u32 self)
{
    return self == hostile_vcpus() - 1;
}

/* The boot vCPU notices the end by its PIT, unless somebody else does. */
static void sleep_masked(void)
{
    hostile_open_apic(TPR_ALL);
    pit_set_periodic(60000);
    hostile_sleep();
}

static void sleep_open(void)
{
    hostile_open_apic(0);
    hostile_sleep();
}

static void sleep_in_nmi_only(void)
{
    hostile_open_apic(0);
    while (!hostile_is_over())
        __asm__ volatile("cli; hlt");
}

/* One sleeper, which takes none; all vectors. */
static void ipi(u32 self)
{
    if (!is_sender(self)) {
        sleep_masked();
        return;
    }
    apic_write(APIC_ICR_HIGH, 0);
    while (!hostile_is_over())
        for (u32 vector = FIRST_VECTOR; vector < 0x100; vector++)
            apic_write(APIC_ICR_LOW, ICR_ASSERT | vector);
    hypercall_exit(0);
}

/* All others at once, which take none. */
static void broadcast(u32 self)
{
    if (!is_sender(self)) {
        sleep_masked();
        return;
    }
    hostile_open_apic(TPR_ALL);
    while (!hostile_is_over())
        for (u32 vector = FIRST_VECTOR; vector < 0x100; vector++)
            apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | vector);
    hypercall_exit(0);
}

/* All others, who wake, end the interrupt and sleep again. */
static void wakes(u32 self)
{
    if (!is_sender(self)) {
        sleep_open();
        return;
    }
    hostile_open_apic(TPR_ALL);
    while (!hostile_is_over())
        apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | VECTOR_TAKEN);
    hypercall_exit(0);
}

static void enter_x2apic(u32 tpr)
{
    u64 base;

    expect(msr_try_read(MSR_APIC_BASE, &base), "no IA32_APIC_BASE");
    write_msr(MSR_APIC_BASE, base | X2APIC);
    write_msr(X2_SVR, SVR_ENABLED);
    write_msr(X2_TPR, tpr);
}

/* As broadcast, in x2APIC mode, by a destination instead of a shorthand. */
static void x2(u32 self)
{
    if (!is_sender(self)) {
        enter_x2apic(TPR_ALL);
        pit_set_periodic(60000);
        hostile_sleep();
        return;
    }
    enter_x2apic(TPR_ALL);
    while (!hostile_is_over())
        for (u32 vector = FIRST_VECTOR; vector < 0x100; vector++)
            write_msr(X2_ICR, TO_ALL << 32 | ICR_ASSERT | vector);
    hypercall_exit(0);
}

/* One that has not loaded its IDT yet would end the VM. */
static void nmi(u32 self)
{
    static u32 ready;

    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    if (!is_sender(self)) {
        sleep_in_nmi_only();
        return;
    }
    while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < hostile_vcpus())
        cpu_pause();
    while (!hostile_is_over())
        apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | ICR_NMI);
    hypercall_exit(0);
}

/* An NMI to itself, in each of its vCPUs. */
static void selfnmi(u32 self)
{
    hostile_open_apic(0);
    apic_write(APIC_ICR_HIGH, self << 24);
    while (!hostile_is_over())
        apic_write(APIC_ICR_LOW, ICR_ASSERT | ICR_NMI);
}

/* INIT and SIPI to all but the boot vCPU and itself: what they start sleeps at once. */
static void init(u32 self)
{
    if (self == 0) {
        sleep_masked();
        return;
    }
    if (!is_sender(self)) {
        sleep_open();
        return;
    }
    while (!hostile_is_over()) {
        for (u32 to = 1; to < self; to++) {
            apic_write(APIC_ICR_HIGH, to << 24);
            apic_write(APIC_ICR_LOW, ICR_ASSERT | ICR_INIT);
            apic_write(APIC_ICR_LOW, ICR_ASSERT | ICR_SIPI | SLEEPER_PAGE);
        }
    }
    hypercall_exit(0);
}

static void place_sleeper(void)
{
    static const u8 code[] = {0xfa, 0xf4, 0xeb, 0xfd}; /* CLI, HLT, back to the HLT */

    for (u32 i = 0; i < sizeof code; i++)
        ((volatile u8 *)(SLEEPER_PAGE << 12))[i] = code[i];
}

/* Each wakes the next one and sleeps, with interrupts off in between: one taken there would not end the sleep. */
static void chain(u32 self)
{
    u32 next = (self + 1) % hostile_vcpus();

    hostile_open_apic(0);
    while (!hostile_is_over()) {
        apic_write(APIC_ICR_HIGH, next << 24);
        apic_write(APIC_ICR_LOW, ICR_ASSERT | VECTOR_TAKEN);
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    hypercall_exit(0);
}

/* Whoever gives itself to others' timers: vCPU 0 sleeps, and the others move its timers. */
static void moves(u32 self)
{
    if (self == 0) {
        sleep_masked();
        return;
    }
    while (!hostile_is_over())
        pit_set_oneshot(1000);
    hypercall_exit(0);
}

#define EACH(name)                                                                                                     \
    static void first_##name(void)                                                                                     \
    {                                                                                                                  \
        name(0);                                                                                                       \
    }
EACH(ipi)
EACH(broadcast)
EACH(wakes)
EACH(x2)
EACH(nmi)
EACH(selfnmi)
EACH(init)
EACH(chain)
EACH(moves)

const struct attack hostile_signals[] = {
    {"ipi",       NULL,          first_ipi,       ipi      },
    {"broadcast", NULL,          first_broadcast, broadcast},
    {"wakes",     NULL,          first_wakes,     wakes    },
    {"x2",        NULL,          first_x2,        x2       },
    {"nmi",       NULL,          first_nmi,       nmi      },
    {"selfnmi",   NULL,          first_selfnmi,   selfnmi  },
    {"init",      place_sleeper, first_init,      init     },
    {"chain",     NULL,          first_chain,     chain    },
    {"moves",     NULL,          first_moves,     moves    },
    {NULL,        NULL,          NULL,            NULL     },
};
