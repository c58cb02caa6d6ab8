/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's registers: what they hold after reset, what a mode lacks, how it is switched off in software and by
 * IA32_APIC_BASE, its errors, and its pins LINT0 and LINT1. SDM 3A 10.4 "Local APIC", 10.12 "Extended XAPIC (x2APIC)".
 */
#include "guests/apic/apic.h"

#define VECTOR       0x51u
#define VECTOR_ERROR 0x52u
#define ESR_SEND     0x20u
#define ESR_RECEIVE  0x40u
#define ESR_REGISTER 0x80u

static void check_own_id(void)
{
    u32 id = cpu_cpuid(1, 0).ebx >> 24;
    u32 cpu = cpu_index();

    need(id == cpu, "vCPU %u: CPUID says APIC ID %u", cpu, id);
    need(apic_read(APIC_ID) == (x2apic ? id : id << 24), "vCPU %u: ID register %x", cpu, apic_read(APIC_ID));
    need(cpu_cpuid(0xb, 0).edx == id, "vCPU %u: CPUID leaf BH says %u", cpu, cpu_cpuid(0xb, 0).edx);
    u64 base = msr_read(MSR_APIC_BASE);
    u64 due = APIC_MEMORY | BASE_ENABLED | (x2apic ? BASE_EXTENDED : 0) | (cpu == 0 ? BASE_BSP : 0);
    need(base == due, "vCPU %u: IA32_APIC_BASE %llx", cpu, base);
}

static void check_id(void)
{
    run_on_all(check_own_id);
}

static void check_version(void)
{
    u32 version = apic_read(APIC_VERSION);

    need((version & 0xf0) == 0x10, "version %x", version);
    need((version >> 16 & 0xff) >= 5, "only %u LVT entries", (version >> 16 & 0xff) + 1);
    need((version & 0xfe00ff00) == 0, "reserved bits in %x", version);
}

/* Off and on again is a reset here, as IA32_APIC_BASE[11] may make it. */
static void check_reset(void)
{
    apic_write(APIC_TPR, 0x30);
    apic_write(APIC_LVT_ERROR, VECTOR);
    apic_write(APIC_TIMER_INITIAL, 1000000000);
    cpu_interrupts_off();
    apic_send(0, TO_SELF | 0x41);
    apic_enter_mode(x2apic);
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        need(apic_read(lvt) == LVT_MASKED, "LVT %x is %x", lvt, apic_read(lvt));
    need(apic_read(APIC_SVR) == 0xff, "SVR is %x", apic_read(APIC_SVR));
    static const u16 zero[] = {APIC_TPR, APIC_PPR, APIC_ESR, APIC_TIMER_INITIAL, APIC_TIMER_CURRENT, APIC_TIMER_DIVIDE};
    for (u32 i = 0; i < ARRAY_LENGTH(zero); i++)
        need(apic_read(zero[i]) == 0, "register %x is %x", zero[i], apic_read(zero[i]));
    for (u32 bank = APIC_ISR; bank < APIC_ESR; bank += 16)
        need(apic_read(bank) == 0, "register %x is %x", bank, apic_read(bank));
    if (!x2apic)
        need(apic_read(APIC_DFR) == 0xffffffff && apic_read(APIC_LDR) == 0, "DFR or LDR");
    else
        need(apic_read(APIC_LDR) == 1, "LDR is %x", apic_read(APIC_LDR));
    need(read_cr8() == 0, "CR8 is %llx", read_cr8());
}

static void check_software_disable(void)
{
    apic_write(APIC_LVT_ERROR, VECTOR_ERROR);
    cpu_interrupts_off();
    apic_send(0, TO_SELF | VECTOR);
    apic_write(APIC_SVR, VECTOR_SPURIOUS);
    need(apic_read(APIC_LVT_ERROR) == (LVT_MASKED | VECTOR_ERROR), "LVT is not masked by SVR");
    apic_write(APIC_LVT_ERROR, VECTOR_ERROR);
    need(apic_read(APIC_LVT_ERROR) & LVT_MASKED, "LVT can be unmasked while disabled");
    apic_send(0, TO_SELF | 0x61);
    need(!apic_has(APIC_IRR, 0x61), "a fixed interrupt is accepted while disabled");
    need(apic_has(APIC_IRR, VECTOR), "IRR is lost by the software disable");
    apic_write(APIC_SVR, SVR_ENABLED | VECTOR_SPURIOUS);
    cpu_interrupts_on();
    settle();
    need(cpus[0].count[VECTOR] == 1, "what was pending came %u times", cpus[0].count[VECTOR]);
    need(cpus[0].count[0x61] == 0, "what was sent while disabled came");
}

/* NMI, INIT and SIPI are received in the disabled state, too. */
static void check_disabled_nmi(void)
{
    apic_write(APIC_SVR, VECTOR_SPURIOUS);
    apic_send(0, MODE_NMI);
    settle();
    need(cpus[0].count[VECTOR_NMI] == 1, "NMIs: %u", cpus[0].count[VECTOR_NMI]);
}

static void check_global_disable(void)
{
    u64 base = msr_read(MSR_APIC_BASE), value;
    u64 off = base & ~(BASE_ENABLED | BASE_EXTENDED);

    cpu_interrupts_off();
    msr_write(MSR_APIC_BASE, off);
    need(msr_read(MSR_APIC_BASE) == off, "IA32_APIC_BASE is %llx", msr_read(MSR_APIC_BASE));
    need(!(cpu_cpuid(1, 0).edx & 1u << 9), "CPUID still shows the APIC");
    need(!apic_try_read(MSR_X2APIC + APIC_ID / 16, &value), "an x2APIC register can be read");
    u32 id = *(volatile u32 *)(APIC_MEMORY + APIC_ID);
    need(id == 0xffffffff, "the ID reads %x by memory", id);
    *(volatile u32 *)(APIC_MEMORY + APIC_TPR) = 0x40;
    apic_enter_mode(x2apic);
    need(cpu_cpuid(1, 0).edx & 1u << 9, "CPUID does not show the APIC again");
    need(msr_read(MSR_APIC_BASE) == base, "IA32_APIC_BASE is %llx, was %llx", msr_read(MSR_APIC_BASE), base);
    need(apic_read(APIC_TPR) == 0, "TPR was written while disabled");
}

/* SDM 3A 10.12.5 "State Management and Transitions" */
static void check_transitions(void)
{
    u64 base = msr_read(MSR_APIC_BASE) & ~(BASE_ENABLED | BASE_EXTENDED);
    u64 xapic = base | BASE_ENABLED, x2 = xapic | BASE_EXTENDED, invalid = base | BASE_EXTENDED;

    need(!apic_try_write(MSR_APIC_BASE, invalid), "EXTD without EN");
    if (x2apic)
        need(!apic_try_write(MSR_APIC_BASE, xapic), "x2APIC to xAPIC");
    need(!apic_try_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | 1), "bit 0 can be set");
    need(!apic_try_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | 0x200), "bit 9 can be set");
    need(!apic_try_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | 1ull << 63), "bit 63 can be set");
    need(apic_try_write(MSR_APIC_BASE, base), "to disabled");
    need(!apic_try_write(MSR_APIC_BASE, x2), "disabled to x2APIC");
    need(!apic_try_write(MSR_APIC_BASE, invalid), "disabled to EXTD without EN");
    need(apic_try_write(MSR_APIC_BASE, xapic), "disabled to xAPIC");
    need(apic_try_write(MSR_APIC_BASE, x2), "xAPIC to x2APIC");
    need(!apic_try_write(MSR_APIC_BASE, xapic), "x2APIC to xAPIC");
    need(apic_try_write(MSR_APIC_BASE, base), "x2APIC to disabled");
    apic_enter_mode(x2apic);
}

static void check_esr(void)
{
    apic_write(APIC_LVT_ERROR, VECTOR_ERROR);
    apic_send(0, TO_SELF | 5);
    settle();
    need(apic_read(APIC_ESR) == 0, "ESR shows %x before it is written", apic_read(APIC_ESR));
    need(cpus[0].count[VECTOR_ERROR] == 1, "error interrupts: %u", cpus[0].count[VECTOR_ERROR]);
    apic_write(APIC_ESR, 0);
    need(apic_read(APIC_ESR) & ESR_SEND, "ESR is %x after an illegal vector", apic_read(APIC_ESR));
    need(!(apic_read(APIC_ESR) & ~(ESR_SEND | ESR_RECEIVE)), "ESR is %x", apic_read(APIC_ESR));
    apic_write(APIC_ESR, 0);
    need(apic_read(APIC_ESR) == 0, "ESR is %x after a second write", apic_read(APIC_ESR));
    for (u32 vector = 0; vector < 16; vector++) {
        apic_send(0, TO_SELF | vector);
        apic_write(APIC_ESR, 0);
        need(apic_read(APIC_ESR) & ESR_SEND, "vector %u: ESR is %x", vector, apic_read(APIC_ESR));
    }
    apic_send(0, TO_SELF | 16);
    apic_write(APIC_ESR, 0);
    settle();
    need(apic_read(APIC_ESR) == 0 && cpus[0].count[16] == 1, "vector 16: ESR is %x, %u came", apic_read(APIC_ESR),
         cpus[0].count[16]);
    if (x2apic) {
        msr_write(MSR_X2APIC + APIC_SELF_IPI / 16, 3);
        apic_write(APIC_ESR, 0);
        need(apic_read(APIC_ESR) & ESR_SEND, "SELF IPI: ESR is %x", apic_read(APIC_ESR));
    }
}

/* The LVT entry decides about the interrupt alone. */
static void check_error_masked(void)
{
    apic_send(0, TO_SELF | 5);
    settle();
    need(cpus[0].order_length == 0, "an interrupt by a masked LVT entry");
    apic_write(APIC_ESR, 0);
    need(apic_read(APIC_ESR) & ESR_SEND, "ESR is %x", apic_read(APIC_ESR));
}

static void check_no_register(void)
{
    static const u16 none[] = {0x000, 0x010, 0x040, 0x070, 0x290, 0x3f0};

    for (u32 i = 0; i < ARRAY_LENGTH(none); i++) {
        u32 value = apic_read(none[i]);
        apic_write(APIC_ESR, 0);
        need(apic_read(APIC_ESR) == ESR_REGISTER, "offset %x: ESR is %x", none[i], apic_read(APIC_ESR));
        need(value == 0, "offset %x reads %x", none[i], value);
    }
    u64 value;
    for (u32 index = 0; index < 0x100; index++)
        need(!apic_try_read(MSR_X2APIC + index, &value), "MSR %x in xAPIC mode", MSR_X2APIC + index);
    need(!apic_try_write(MSR_X2APIC + APIC_TPR / 16, 0), "WRMSR in xAPIC mode");
}

struct refusal {
    u16 offset;
    u64 value;
};

static void check_x2_faults(void)
{
    static const u16 no_read[] = {0x000, 0x0b0, 0x0e0, 0x310, 0x3f0, 0x400, 0xff0};
    static const u16 no_write[] = {0x020, 0x030, 0x0a0, 0x0d0, 0x0e0, 0x100, 0x180, 0x200, 0x310, 0x390};
    static const struct refusal reserved[] = {
        {APIC_TPR,           0x100     },
        {APIC_TPR,           1ull << 32},
        {APIC_EOI,           1         },
        {APIC_ESR,           1         },
        {APIC_SVR,           0x10000   },
        {APIC_SVR,           1ull << 63},
        {APIC_ICR,           0x2000    },
        {APIC_ICR,           0x100000  },
        {APIC_LVT_TIMER,     0x100000  },
        {APIC_LVT_TIMER,     0x100     },
        {APIC_LVT_LINT0,     0x800     },
        {APIC_LVT_ERROR,     0x700     },
        {APIC_TIMER_DIVIDE,  4         },
        {APIC_TIMER_INITIAL, 1ull << 32},
        {APIC_SELF_IPI,      0x100     },
    };
    u64 value;

    for (u32 i = 0; i < ARRAY_LENGTH(no_read); i++)
        need(!apic_try_read(MSR_X2APIC + no_read[i] / 16, &value), "MSR %x can be read", MSR_X2APIC + no_read[i] / 16);
    for (u32 i = 0; i < ARRAY_LENGTH(no_write); i++)
        need(!apic_try_write(MSR_X2APIC + no_write[i] / 16, 0), "MSR %x can be written", MSR_X2APIC + no_write[i] / 16);
    for (u32 i = 0; i < ARRAY_LENGTH(reserved); i++)
        need(!apic_try_write(MSR_X2APIC + reserved[i].offset / 16, reserved[i].value), "register %x takes %llx",
             reserved[i].offset, reserved[i].value);
    need(cpus[0].order_length == 0, "a write that faulted had an effect");
    need(*(volatile u32 *)(APIC_MEMORY + APIC_VERSION) == 0xffffffff, "the registers can be read by memory");
}

/* ---- the pins ---- */

static void end_pic(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x20);
}

static void check_lint0_extint(void)
{
    vector_handlers[VECTOR_PIC] = end_pic;
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xfe);
    pit_start(0, 100);
    wait_ns(200000);
    need(cpus[0].count[VECTOR_PIC] == 0, "the 8259A interrupts through a masked LINT0");
    apic_write(APIC_LVT_LINT0, MODE_EXTINT);
    need(wait_for(&cpus[0].count[VECTOR_PIC], 1), "the 8259A's request does not come once LINT0 is unmasked");
    apic_write(APIC_TPR, 0xf0);
    pit_start(0, 100);
    need(wait_for(&cpus[0].count[VECTOR_PIC], 2), "TPR holds ExtINT back");
    need(!apic_has(APIC_ISR, VECTOR_PIC), "ExtINT is in service");
    apic_write(APIC_SVR, VECTOR_SPURIOUS);
    pit_start(0, 100);
    wait_ns(200000);
    need(cpus[0].count[VECTOR_PIC] == 2, "LINT0 is open though the APIC is disabled by software");
}

static void check_lint0_fixed(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xfe);
    apic_write(APIC_LVT_LINT0, VECTOR);
    pit_start(0, 100);
    need(wait_for(&cpus[0].count[VECTOR], 1), "no fixed interrupt by LINT0");
    settle();
    need(cpus[0].count[VECTOR] == 1 && cpus[0].count[VECTOR_PIC] == 0, "LINT0 came %u times", cpus[0].count[VECTOR]);
    /* The 8259A still waits for its acknowledgement; polling it is one. */
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x0c);
    need(cpu_in8(ROOTLET_PORT_PIC_MASTER) == 0x80, "the 8259A has no request");
    end_pic();
}

static void check_lint0_nmi(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xfe);
    apic_write(APIC_LVT_LINT0, MODE_NMI);
    pit_start(0, 100);
    need(wait_for(&cpus[0].count[VECTOR_NMI], 1), "no NMI by LINT0");
    settle();
    need(cpus[0].order_length == 1, "%u interrupts", cpus[0].order_length);
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x0c);
    cpu_in8(ROOTLET_PORT_PIC_MASTER);
    end_pic();
}

/* Without a local APIC the 8259A's request is the CPU's. */
static void check_pic_without_apic(void)
{
    u64 base = msr_read(MSR_APIC_BASE);

    vector_handlers[VECTOR_PIC] = end_pic;
    cpu_interrupts_off();
    msr_write(MSR_APIC_BASE, base & ~(BASE_ENABLED | BASE_EXTENDED));
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xfe);
    pit_start(0, 100);
    cpu_interrupts_on();
    need(wait_for(&cpus[0].count[VECTOR_PIC], 1), "no interrupt");
    pic_mask_all();
    apic_enter_mode(x2apic);
}

const struct check local_checks[] = {
    {"id",               check_id,               CHECK_BOTH,  1},
    {"version",          check_version,          CHECK_BOTH,  1},
    {"reset",            check_reset,            CHECK_BOTH,  1},
    {"software-disable", check_software_disable, CHECK_BOTH,  1},
    {"disabled-nmi",     check_disabled_nmi,     CHECK_BOTH,  1},
    {"global-disable",   check_global_disable,   CHECK_BOTH,  1},
    {"transitions",      check_transitions,      CHECK_BOTH,  1},
    {"esr",              check_esr,              CHECK_BOTH,  1},
    {"error-masked",     check_error_masked,     CHECK_BOTH,  1},
    {"no-register",      check_no_register,      CHECK_XAPIC, 1},
    {"x2-faults",        check_x2_faults,        CHECK_X2,    1},
    {"lint0-extint",     check_lint0_extint,     CHECK_BOTH,  1},
    {"lint0-fixed",      check_lint0_fixed,      CHECK_BOTH,  1},
    {"lint0-nmi",        check_lint0_nmi,        CHECK_BOTH,  1},
    {"pic-without-apic", check_pic_without_apic, CHECK_BOTH,  1},
    {NULL,               NULL,                   0,           0},
};
