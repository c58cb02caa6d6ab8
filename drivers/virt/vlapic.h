/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's local APIC. Its registers are a 4 KiB page laid out as the virtual-APIC page of hardware APIC
 * virtualisation, so that both can work on the same state. Beside the page stand only caches of it and what has no
 * register. SDM 3A 10.4 "Local APIC", 10.6 "Issuing Interprocessor Interrupts", 10.12 "Extended XAPIC (x2APIC)".
 * Callers hold the VM's device lock.
 */
#ifndef ROOTLET_DRIVERS_VIRT_VLAPIC_H
#define ROOTLET_DRIVERS_VIRT_VLAPIC_H

#include "kernel/lib/apic.h"
#include "kernel/vm/posted.h"
#include "kernel/vm/vtimer.h"

#define VLAPIC_PAGE_BYTES 4096u
#define VLAPIC_BROADCAST  0xffffffffu /* as a destination */

enum vlapic_shorthand { VLAPIC_TO_DESTINATION, VLAPIC_TO_SELF, VLAPIC_TO_ALL, VLAPIC_TO_OTHERS };

/* An IPI that leaves its APIC: delivery is fixed, lowest priority, NMI, INIT or SIPI; never to itself alone. */
struct vlapic_ipi {
    u32 destination; /* VLAPIC_BROADCAST: all, in either mode */
    u8 vector;
    u8 delivery;
    u8 shorthand;
    bool logical;
};

/* What an APIC reaches outside. All are needed. */
struct vlapic_host {
    void (*notify)(void *context); /* a vector, or the 8259A's request, became deliverable */
    void (*posted)(void *context); /* an edge-triggered request was posted */
    void (*nmi)(void *context);    /* by LINT1 */
    void (*ipi)(void *context, const struct vlapic_ipi *ipi);
    void (*eoi)(void *context, u8 vector);    /* the end of a level-triggered interrupt: for the I/O APIC */
    u64 (*ns_of_tsc)(void *context, u64 tsc); /* guest time by which the guest's TSC has reached `tsc`, rounded up */
};

struct vlapic_setup {
    const struct vlapic_host *host;
    void *context;
    void *page;       /* VLAPIC_PAGE_BYTES, aligned to as many */
    const bool *intr; /* the level of LINT0: the 8259A's INTR */
    struct vtimer_set *timers;
    u32 id;           /* up to 254 */
    u8 physical_bits; /* of a guest-physical address: the rest of IA32_APIC_BASE is reserved */
    bool boot;        /* this is the boot processor */
    bool x2apic;      /* x2APIC mode is provided */
    /* The timer's clock before the divider: ns of a tick * 2^54 and ticks in a ns * 2^60, both rounded up. */
    u64 timer_ns_scale, timer_tick_scale;
    /* Not NULL: the CPU can deliver interrupts by itself, in x2APIC mode and in xAPIC mode at the usual address, while
     * the APIC is enabled by SVR too. */
    struct posted_requests *posted;
};

struct vlapic {
    s16 pending;  /* the vector to deliver now, or -1 */
    bool extint;  /* LINT0 passes the 8259A's INTR on to the CPU */
    u8 irr_words; /* bit n: word n of IRR is not zero */
    u8 isr_words;
    u8 lint1;  /* its level */
    u8 errors; /* since the last write to ESR */
    struct vtimer *timer;
    bool lint0_in_service; /* remote IRR of LINT0, level-triggered */
    /* The CPU delivers interrupts out of the page itself ("virtual-interrupt delivery"), and changes TPR, PPR, IRR, ISR
     * and EOI there while the guest runs: nothing is ever `pending`, the word caches are stale, each new request is
     * posted and notifies. */
    bool virtual_delivery;
    /* What the timer goes by: the registers in the page may have been written by the CPU before we are told. */
    u32 lvt_timer, timer_initial, timer_divide;
    u64 base;        /* IA32_APIC_BASE */
    u64 deadline_ns; /* when the timer expires next, masked or not; VTIMER_NEVER */
    u64 tsc_deadline;
    u32 *page;
    struct vlapic_setup setup;
};

/* Power-up state: xAPIC mode, software-disabled, all of the LVT masked. */
void vlapic_init(struct vlapic *v, const struct vlapic_setup *setup);
/* INIT: as power-up but for IA32_APIC_BASE (SDM 3A 10.4.7.3 "Local APIC State After an INIT Reset"). */
void vlapic_handle_init(struct vlapic *v);
/* As firmware leaves a boot processor: enabled, LINT0 the 8259A, LINT1 NMI (virtual wire mode). */
void vlapic_set_virtual_wire(struct vlapic *v);

/* Virtual delivery: what has been posted so far is in the page afterwards. The vCPU does not run. */
COLD void vlapic_settle(struct vlapic *v);
/* Takes over what the guest has made of another APIC, which was settled, and whose page is `page`: all but whom it is
 * wired to, and its timer. What has been posted to this one is gone. The vCPU does not run. */
COLD void vlapic_copy(struct vlapic *v, const struct vlapic *from, const void *page);

/* An interrupt message (fixed or lowest priority). False: not accepted, as the APIC is disabled or the vector is
 * below 16, which ESR then tells. */
bool vlapic_accept(struct vlapic *v, u8 vector, bool level);
/* LINT0, the 8259A's INTR, has risen; its level is read where it matters, so that nobody tells of its fall. Levels are
 * logical: LVT polarity has no effect. */
void vlapic_raise_lint0(struct vlapic *v);
/* True if what the 8259A requests becomes an NMI here. */
bool vlapic_has_nmi_on_lint0(const struct vlapic *v);
/* LINT1 is NMI. */
void vlapic_set_lint1(struct vlapic *v, bool level);
/* Moves the pending vector into service and returns it; with none pending, the spurious vector. */
u8 vlapic_acknowledge(struct vlapic *v);
/* What a write to EOI does. */
void vlapic_end_interrupt(struct vlapic *v);
/* The part of that which is outside the page, for a vector whose TMR bit is set; an EOI that hardware did needs it. */
void vlapic_end_level(struct vlapic *v, u8 vector);
/* After TPR alone was changed in the page. Also what keeps PPR in the page up to date. */
void vlapic_update(struct vlapic *v);
/* Virtual delivery: the CPU has written the register at `offset`, in the page, for the guest. */
void vlapic_written(struct vlapic *v, u32 offset);
/* Virtual delivery, for a vCPU that does not run: a request waits that TPR and what is in service let through. */
bool vlapic_is_waiting(const struct vlapic *v);

/* Globally enabled: a message that is sent to it arrives. */
static inline bool vlapic_is_present(const struct vlapic *v)
{
    return v->base & APIC_BASE_EN;
}

/* Whether the destination of a message, or an IPI of `sender`, is this APIC; false if it is globally disabled. Lowest
 * priority goes to that one of them whose vlapic_priority() is least. */
bool vlapic_matches(const struct vlapic *v, u32 destination, bool logical);
bool vlapic_receives(const struct vlapic *v, const struct vlapic *sender, const struct vlapic_ipi *ipi);

/* xAPIC registers, as of struct bus_ops. In another mode reads give ones and writes nothing. Only aligned writes of 32
 * bits (or 64, the upper ones ignored) are taken. */
u64 vlapic_read(void *v, u64 offset, u8 bytes);
void vlapic_write(void *v, u64 offset, u8 bytes, u64 value);
/* x2APIC registers: MSR 0x800 + index. False: #GP. Not in x2APIC mode: always false. */
bool vlapic_read_msr(struct vlapic *v, u32 index, u64 *value) MUST_CHECK;
bool vlapic_write_msr(struct vlapic *v, u32 index, u64 value) MUST_CHECK;
/* IA32_APIC_BASE; its value is v->base. False: #GP. */
bool vlapic_write_base(struct vlapic *v, u64 value) MUST_CHECK;

static inline u32 *vlapic_register(const struct vlapic *v, u32 offset)
{
    return &v->page[offset / 4];
}

/* The vector that the CPU may be given now, or -1. */
static inline int vlapic_pending(const struct vlapic *v)
{
    return v->pending;
}

/* True if the CPU may be given the 8259A's vector (its INTA cycle). It goes before what is pending here. */
static inline bool vlapic_extint(const struct vlapic *v)
{
    return v->extint && *v->setup.intr;
}

static inline u8 vlapic_priority(const struct vlapic *v)
{
    return (u8)*vlapic_register(v, APIC_PPR);
}

/* CR8 */
static inline u64 vlapic_read_cr8(const struct vlapic *v)
{
    return *vlapic_register(v, APIC_TPR) >> 4 & 15;
}

static inline void vlapic_write_cr8(struct vlapic *v, u64 value)
{
    *vlapic_register(v, APIC_TPR) = (u32)(value & 15) << 4;
    vlapic_update(v);
}

#endif
