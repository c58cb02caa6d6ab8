/*
 * An interrupt line: a wire from a device to one pin of a controller. And the controller as the CPU sees it.
 */
#ifndef ROOTLET_KERNEL_LINE_H
#define ROOTLET_KERNEL_LINE_H

#include "kernel/lib/types.h"

struct line {
    void (*set)(void *controller, u8 pin, bool level);
    void (*pulse)(void *controller, u8 pin); /* low and high again; needed only by devices that pulse */
    void *controller;
    u8 pin;
};

/* Idempotent: a device may set a level that the line already has. A line that is wired to nothing ignores it. */
static inline void line_set(const struct line *line, bool level)
{
    if (line->set)
        line->set(line->controller, line->pin, level);
}

/* One rising edge: the line drops, if it is high, and rises. As short as possible, since each timer tick does it. */
static ALWAYS_INLINE void line_pulse(const struct line *line)
{
    if (line->pulse)
        line->pulse(line->controller, line->pin);
}

/* What the boot vCPU asks of the interrupt controller (SDM 3A 6.3.1 "External Interrupts"; the 8259A's INTR and INTA).
 */
struct intc {
    const bool *pending;             /* INTR is asserted */
    u8 (*acknowledge)(void *device); /* the INTA cycle: the vector; the request becomes in-service */
    void *device;
};

/*
 * Requests on their way into a local APIC whose IRR its CPU changes by itself: whoever has one sets its bit, the vCPU's
 * home CPU moves it into IRR. `vectors` and `control` are a posted-interrupt descriptor: where there are posted
 * interrupts, a CPU in the guest that gets the notification vector takes `vectors` by itself. It must not take a
 * level-triggered one, whose EOI exit has to be arranged first: those wait in `level` for the home CPU.
 * SDM 3C 29.6 "Posted-Interrupt Processing".
 */
struct posted_requests {
    u64 vectors[4];    /* atomic */
    u64 control[4];    /* atomic; bit 0 is ON, outstanding notification */
    u64 level[4];      /* atomic */
    u32 news;          /* atomic; bit n: vectors[n] or level[n] has requests */
    bool notification; /* the CPU takes what was posted; constant while the vCPU runs */
} ALIGNED(64);

/* In `news`, by the home CPU: who delivers may have changed, or software changed IRR or ISR behind the CPU's back. */
#define POSTED_STALE 16u
/* In `news`: ON has been set. */
#define POSTED_NOTIFIED 32u

#define POSTED_ON 1ull /* in control[0] */

static ALWAYS_INLINE u32 posted_news(const struct posted_requests *posted)
{
    return __atomic_load_n(&posted->news, __ATOMIC_RELAXED);
}

/* First the request, then the news of it; who takes them goes the other way. */
static ALWAYS_INLINE void posted_add(struct posted_requests *posted, u8 vector, bool level)
{
    unsigned word = vector / 64;

    __atomic_fetch_or(level ? &posted->level[word] : &posted->vectors[word], 1ull << vector % 64, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&posted->news, 1u << word, __ATOMIC_SEQ_CST);
}

/*
 * After posted_add(): whether the notification vector has to be sent, to where the vCPU is then. Invariant: while ON is
 * set, a notification is on its way to the guest, whose CPU then clears ON, or POSTED_NOTIFIED stands in the news or is
 * about to, so that ON is cleared before the next entry. (A notification that arrives outside the guest is gone.)
 */
static ALWAYS_INLINE bool posted_notify(struct posted_requests *posted)
{
    if (__atomic_fetch_or(&posted->control[0], POSTED_ON, __ATOMIC_SEQ_CST) & POSTED_ON)
        return false;
    __atomic_fetch_or(&posted->news, POSTED_NOTIFIED, __ATOMIC_SEQ_CST);
    return true;
}

/*
 * Home CPU, outside the guest; next it takes the requests. Once ON is clear, who posts sends a notification. Who found
 * ON set before that sends none, and its news may have come too late for these: so its request, wherever it is, is
 * taken now. (To exchange the news again would lose another POSTED_NOTIFIED.)
 */
static ALWAYS_INLINE u32 posted_take_news(struct posted_requests *posted)
{
    u32 news = __atomic_exchange_n(&posted->news, 0, __ATOMIC_SEQ_CST);

    if (UNLIKELY(news & POSTED_NOTIFIED)) {
        __atomic_fetch_and(&posted->control[0], ~POSTED_ON, __ATOMIC_SEQ_CST);
        news |= POSTED_STALE - 1;
    }
    return news;
}

static ALWAYS_INLINE u64 posted_look(const struct posted_requests *posted, unsigned word)
{
    return __atomic_load_n(&posted->vectors[word], __ATOMIC_RELAXED) |
           __atomic_load_n(&posted->level[word], __ATOMIC_RELAXED);
}

static ALWAYS_INLINE u64 posted_take(struct posted_requests *posted, unsigned word)
{
    u64 requests = __atomic_exchange_n(&posted->vectors[word], 0, __ATOMIC_SEQ_CST);

    if (UNLIKELY(__atomic_load_n(&posted->level[word], __ATOMIC_RELAXED)))
        requests |= __atomic_exchange_n(&posted->level[word], 0, __ATOMIC_SEQ_CST);
    return requests;
}

/*
 * A vCPU's local APIC as the CPU sees it: what may be delivered now (two loads), the INTA, and its registers. Callers
 * of the functions hold the VM's device lock.
 */
struct cpu_apic {
    void *device;
    const s16 *pending;           /* the vector to deliver, or -1 */
    const bool *extint;           /* it passes the 8259A's INTR on to the CPU */
    const bool *intr;             /* that INTR; the boot CPU alone is wired to it */
    const u64 *base;              /* IA32_APIC_BASE */
    u32 *page;                    /* the registers */
    const bool *virtual_delivery; /* the CPU itself delivers what the page requests; nothing is ever pending */
    const struct cpu_apic_ops *ops;
};

struct cpu_apic_ops {
    u8 (*acknowledge)(void *device);
    void (*end_interrupt)(void *device);             /* EOI */
    u64 (*read)(void *device, u64 offset, u8 bytes); /* xAPIC registers */
    void (*write)(void *device, u64 offset, u8 bytes, u64 value);
    bool (*read_msr)(void *device, u32 index, u64 *value); /* x2APIC; false: #GP */
    bool (*write_msr)(void *device, u32 index, u64 value);
    bool (*write_base)(void *device, u64 value);
    u64 (*read_cr8)(void *device);
    void (*write_cr8)(void *device, u64 value);
    void (*reset)(void *device); /* INIT, once its vCPU has stopped */
    /* With virtual delivery: a request waits that the priorities let through; the CPU has written a register into the
     * page; it has ended a level-triggered interrupt. */
    bool (*is_waiting)(const void *device);
    void (*written)(void *device, u32 offset);
    void (*end_level)(void *device, u8 vector);
};

#endif
