/*
 * The registers that a function keeps (RBX, RBP, R12 to R15) over every kind of exit that is handled in a hurry, over
 * others, and over a change of vCPU or CPU in between. kept.asm has the operations.
 */
#include "guests/apic/apic.h"

#define VECTOR_TICK 0x71u
#define TICK_NS     200000u
#define SPIN_NS     15000000ull /* longer than a slice */
#define TURNS       64u

u32 kept_lost(void (*operation)(void), u32 turns);
void kept_cpuid(void), kept_in(void), kept_out(void), kept_outs(void), kept_rdmsr(void), kept_wrmsr(void);
void kept_yield(void), kept_halt(void), kept_load(void), kept_load_kept(void), kept_store(void), kept_slow(void);
void kept_spin(void);
extern u32 kept_spin_ticks;

static const struct {
    const char *name;
    void (*operation)(void);
    u32 turns;
} operations[] = {
    {"cpuid",     kept_cpuid,     TURNS},
    {"in",        kept_in,        TURNS},
    {"out",       kept_out,       TURNS},
    {"outs",      kept_outs,      TURNS},
    {"rdmsr",     kept_rdmsr,     TURNS},
    {"wrmsr",     kept_wrmsr,     TURNS},
    {"vmcall",    kept_yield,     TURNS},
    {"hlt",       kept_halt,      8    },
    {"load",      kept_load,      TURNS},
    {"load-kept", kept_load_kept, TURNS},
    {"store",     kept_store,     TURNS},
    {"wbinvd",    kept_slow,      TURNS},
    {"spin",      kept_spin,      2    },
};

/* With a timer that interrupts all of it now and then. */
static void registers_stay(void)
{
    kept_spin_ticks = (u32)tsc_of_ns(SPIN_NS);
    ioapic_read(1);
    apic_write(APIC_LVT_TIMER, VECTOR_TICK | LVT_PERIODIC);
    apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
    apic_write(APIC_TIMER_INITIAL, TICK_NS);
    for (u32 i = 0; i < ARRAY_LENGTH(operations); i++) {
        u32 lost = kept_lost(operations[i].operation, operations[i].turns);
        need(lost == 0, "over %s: %x", operations[i].name, lost);
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    need(cpus[cpu_index()].count[VECTOR_TICK] > 20, "the timer came %u times", cpus[cpu_index()].count[VECTOR_TICK]);
}

static void registers_stay_everywhere(void)
{
    run_on_all(registers_stay);
}

const struct check kept_checks[] = {
    {"kept-registers", registers_stay_everywhere, CHECK_BOTH, 1},
    {NULL,             NULL,                      0,          0},
};
