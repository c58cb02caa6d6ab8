/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt requests that are posted to a vCPU, from any CPU and without a lock, and how its home CPU takes them. The
 * first half of the structure is the CPU's own posted-interrupt descriptor.
 * SDM 3C 29.6 "Posted-Interrupt Processing".
 */
#ifndef ROOTLET_KERNEL_VM_POSTED_H
#define ROOTLET_KERNEL_VM_POSTED_H

#include "kernel/lib/types.h"

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

#endif
