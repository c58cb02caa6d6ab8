/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of the local APIC: acceptance, priorities, delivery, end. A request that arrives or is acknowledged settles
 * by itself what is pending. Every other change of IRR, ISR or TPR ends in vlapic_update(), which runs the priority
 * logic. Asking for what is pending then costs a load. Runs in VMX root operation under the VM's device lock; also on
 * the host in tests. SDM 3A 10.8 "Handling Interrupts".
 */
#include "drivers/virt/vlapic_requests.h"
#include "kernel/lib/bits.h"

#define PRIORITY_CLASS       0xf0
#define ERROR_RECEIVE_VECTOR 0x40u

static ALWAYS_INLINE u32 *vector_word(const struct vlapic *v, u32 bank, unsigned vector)
{
    return &v->page[bank / 4 + vector / 32 * 4];
}

static ALWAYS_INLINE void set_vector(struct vlapic *v, u32 bank, u8 *words, unsigned vector)
{
    *vector_word(v, bank, vector) |= 1u << vector % 32;
    *words |= (u8)(1u << vector / 32);
}

static ALWAYS_INLINE void clear_vector(struct vlapic *v, u32 bank, u8 *words, unsigned vector)
{
    u32 *word = vector_word(v, bank, vector);

    *word &= ~(1u << vector % 32);
    if (*word == 0)
        *words &= (u8) ~(1u << vector / 32);
}

/* Of a value that is not 0. */
static ALWAYS_INLINE unsigned top_bit(u32 value)
{
    return 31u ^ (unsigned)__builtin_clz(value);
}

/* The highest vector of a bank, or -1. */
static ALWAYS_INLINE int top_vector(const struct vlapic *v, u32 bank, unsigned words)
{
    if (words == 0)
        return -1;
    unsigned high = top_bit(words);
    return (int)(high * 32 + top_bit(v->page[bank / 4 + high * 4]));
}

static u8 words_in_use(const struct vlapic *v, u32 bank)
{
    unsigned words = 0;

    for (unsigned i = 0; i < 8; i++)
        words |= (unsigned)(*vector_word(v, bank, i * 32) != 0) << i;
    return (u8)words;
}

static COLD void update_virtual(struct vlapic *v);

void vlapic_update(struct vlapic *v)
{
    if (UNLIKELY(v->virtual_delivery)) {
        update_virtual(v);
        return;
    }
    int serving = top_vector(v, APIC_ISR, v->isr_words) & ~15; /* -16 if none: below all */
    int priority = (int)*vlapic_register(v, APIC_TPR);
    int before = v->pending;

    if (serving > (priority & PRIORITY_CLASS))
        priority = serving;
    *vlapic_register(v, APIC_PPR) = (u32)priority;

    int request = top_vector(v, APIC_IRR, v->irr_words);
    v->pending = (s16)((request & ~15) > (priority & PRIORITY_CLASS) ? request : -1);
    if (v->pending > before)
        vlapic_notify(v);
}

static void sync(struct vlapic *v)
{
    v->irr_words = words_in_use(v, APIC_IRR);
    v->isr_words = words_in_use(v, APIC_ISR);
    v->pending = -1;
    vlapic_update(v);
}

static void note_stale(struct vlapic *v)
{
    __atomic_fetch_or(&v->setup.posted->news, POSTED_STALE, __ATOMIC_SEQ_CST);
    vlapic_notify(v);
}

/* Software stood in for the CPU, which has to look at the page again; PPR is kept for those who read it meanwhile. */
static COLD void update_virtual(struct vlapic *v)
{
    int serving = top_vector(v, APIC_ISR, words_in_use(v, APIC_ISR)) & ~15;
    int priority = (int)*vlapic_register(v, APIC_TPR);

    *vlapic_register(v, APIC_PPR) = (u32)(serving > (priority & PRIORITY_CLASS) ? serving : priority);
    note_stale(v);
}

/*
 * Base or SVR may have changed: who delivers? The CPU would let in a self-IPI while the APIC is disabled by SVR, so it
 * does not deliver then. What was posted must not wait for the other one.
 */
void vlapic_choose_delivery(struct vlapic *v)
{
    struct posted_requests *posted = v->setup.posted;
    bool usual = v->base & APIC_BASE_EXTD || (v->base & ~(APIC_BASE_MODE | APIC_BASE_BSP)) == APIC_ADDRESS;

    if (posted) {
        v->virtual_delivery = usual && vlapic_is_enabled(v);
        for (unsigned i = 0; i < 4; i++) {
            u64 requests = posted_take(posted, i);
            *vector_word(v, APIC_IRR, i * 64) |= (u32)requests;
            *vector_word(v, APIC_IRR, i * 64 + 32) |= (u32)(requests >> 32);
        }
        note_stale(v);
    }
    sync(v);
}

void vlapic_drop_requests(struct vlapic *v)
{
    struct posted_requests *posted = v->setup.posted;

    if (posted) {
        for (unsigned i = 0; i < 4; i++)
            (void)posted_take(posted, i);
        __atomic_fetch_or(&posted->news, POSTED_STALE, __ATOMIC_SEQ_CST);
    }
    v->virtual_delivery = false;
    v->irr_words = v->isr_words = 0;
    v->pending = -1;
}

bool vlapic_is_waiting(const struct vlapic *v)
{
    int priority = (int)*vlapic_register(v, APIC_PPR) | 15;

    for (unsigned i = 4; i-- > 0;) { /* most often one has just been posted */
        u64 requests = posted_look(v->setup.posted, i);
        if (requests && (int)(i * 64 + 63) - __builtin_clzll(requests) > priority)
            return true;
    }
    return top_vector(v, APIC_IRR, words_in_use(v, APIC_IRR)) > priority;
}

/* It was the highest request, and above TPR: until it ends, no other request is of a higher class. */
u8 vlapic_acknowledge(struct vlapic *v)
{
    int vector = v->pending;

    if (UNLIKELY(vector < 0))
        return (u8)*vlapic_register(v, APIC_SVR);
    clear_vector(v, APIC_IRR, &v->irr_words, (unsigned)vector);
    set_vector(v, APIC_ISR, &v->isr_words, (unsigned)vector);
    *vlapic_register(v, APIC_PPR) = (u32)vector & PRIORITY_CLASS;
    v->pending = -1;
    return (u8)vector;
}

/* ---- acceptance ---- */

/* The first error after a write to ESR interrupts. */
COLD void vlapic_note_error(struct vlapic *v, unsigned error)
{
    u32 lvt = *vlapic_register(v, APIC_LVT_ERROR);
    bool first = v->errors == 0;

    v->errors |= (u8)error;
    if (first && !(lvt & APIC_LVT_MASKED))
        vlapic_accept(v, (u8)lvt, false);
}

/* Adds a request to IRR. Of all requests only this one can become deliverable by it. */
static ALWAYS_INLINE void request(struct vlapic *v, u8 vector)
{
    set_vector(v, APIC_IRR, &v->irr_words, vector);
    if (vector > v->pending && (vector & PRIORITY_CLASS) > vlapic_priority(v)) {
        v->pending = vector;
        vlapic_notify(v);
    }
}

bool vlapic_accept(struct vlapic *v, u8 vector, bool level)
{
    u32 *trigger = vector_word(v, APIC_TMR, vector);
    u32 bit = 1u << vector % 32;

    if (!vlapic_is_enabled(v))
        return false;
    if (vector < VLAPIC_LOWEST_VECTOR) {
        vlapic_note_error(v, ERROR_RECEIVE_VECTOR);
        return false;
    }
    *trigger = level ? *trigger | bit : *trigger & ~bit;
    if (v->virtual_delivery) {
        posted_add(v->setup.posted, vector, level);
        if (LIKELY(!level))
            v->setup.host->posted(v->setup.context);
        else
            vlapic_notify(v);
    } else {
        request(v, vector);
    }
    return true;
}

void vlapic_end_interrupt(struct vlapic *v)
{
    if (UNLIKELY(v->virtual_delivery))
        v->isr_words = words_in_use(v, APIC_ISR);
    if (UNLIKELY(v->isr_words == 0))
        return;
    unsigned high = top_bit(v->isr_words);
    u32 *word = &v->page[APIC_ISR / 4 + high * 4];
    unsigned low = top_bit(*word);

    *word &= ~(1u << low);
    if (LIKELY(!*word))
        v->isr_words &= (u8) ~(1u << high);
    if (UNLIKELY(word[(APIC_TMR - APIC_ISR) / 4] >> low & 1))
        vlapic_end_level(v, (u8)(high * 32 + low));
    vlapic_update(v);
}
