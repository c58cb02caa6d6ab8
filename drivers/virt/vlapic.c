/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC but for its requests (vlapic_requests.c): pins, IPIs, registers, modes. Which registers exist in which
 * mode stands in bitmaps over offset / 16. Bits that a register does not have are ignored in xAPIC mode and #GP in
 * x2APIC mode. Runs in VMX root operation under the VM's device lock; also on the host in tests. SDM 3A 10.4
 * to 10.8, 10.12.
 */
#include "drivers/virt/vlapic.h"
#include "drivers/virt/vlapic_requests.h"
#include "drivers/virt/vlapic_timer.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define VERSION   0x00050014u /* integrated, six LVT entries, no suppression of the EOI broadcast */
#define SVR_RESET 0xffu

#define ERROR_SEND_VECTOR 0x20u
#define ERROR_REGISTER    0x80u

#define LVT_MODE       0x700u
#define LVT_STATUS     0x1000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_LEVEL      0x8000u

#define ICR_DELIVERY  0x700u
#define ICR_LOGICAL   0x800u
#define ICR_STATUS    0x1000u
#define ICR_ASSERT    0x4000u
#define ICR_LEVEL     0x8000u
#define ICR_SHORTHAND 0xc0000u
#define ICR_WRITABLE  0xccfffu

#define DFR_ONES 0x0fffffffu
#define DFR_FLAT 0xfu

#define AT(offset)       BIT((offset) >> 4)
#define LVT_REGISTERS    (0x3full << (APIC_LVT_TIMER >> 4))
#define VECTOR_REGISTERS (0xffffffull << (APIC_ISR >> 4))
#define BOTH_MODES_WRITE                                                                                               \
    (AT(APIC_TPR) | AT(APIC_EOI) | AT(APIC_SVR) | AT(APIC_ESR) | AT(APIC_ICR) | LVT_REGISTERS |                        \
     AT(APIC_TIMER_INITIAL) | AT(APIC_TIMER_DIVIDE))
#define BOTH_MODES_READ                                                                                                \
    ((BOTH_MODES_WRITE & ~AT(APIC_EOI)) | AT(APIC_ID) | AT(APIC_VERSION) | AT(APIC_PPR) | AT(APIC_LDR) |               \
     VECTOR_REGISTERS | AT(APIC_TIMER_CURRENT))
#define XAPIC_WRITE  (BOTH_MODES_WRITE | AT(APIC_LDR) | AT(APIC_DFR) | AT(APIC_ICR_HIGH))
#define XAPIC_EXISTS (XAPIC_WRITE | BOTH_MODES_READ)
#define X2APIC_WRITE (BOTH_MODES_WRITE | AT(APIC_SELF_IPI))
#define REGISTERS    64u

/* Remote IRR of LINT0, in the page too. The guest's CPU may be writing there: then vlapic_written() puts it right. */
static void set_lint0_in_service(struct vlapic *v, bool on)
{
    u32 *lvt = vlapic_register(v, APIC_LVT_LINT0);

    v->lint0_in_service = on;
    if (on)
        __atomic_fetch_or(lvt, LVT_REMOTE_IRR, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(lvt, ~LVT_REMOTE_IRR, __ATOMIC_SEQ_CST);
}

/* Acts on a local interrupt pin after its level, its LVT entry or the mode has changed. */
static void evaluate_lint(struct vlapic *v, unsigned pin, bool rises)
{
    u32 *lvt = vlapic_register(v, APIC_LVT_LINT0 + pin * 16);
    bool present = v->base & APIC_BASE_EN;
    bool open = !present || !(*lvt & APIC_LVT_MASKED);
    bool level = open && (pin == 0 ? *v->setup.intr : v->lint1);
    unsigned mode = present ? *lvt >> 8 & 7 : pin == 0 ? APIC_EXTINT : APIC_NMI; /* without APIC: INTR and NMI */

    if (pin == 0) {
        v->extint = open && mode == APIC_EXTINT;
        if (v->extint && level)
            vlapic_notify(v);
    }
    if (level && rises && mode == APIC_NMI)
        v->setup.host->nmi(v->setup.context);
    if (!level || mode != APIC_FIXED)
        return;
    bool by_level = pin == 0 && *lvt & LVT_LEVEL; /* LINT1 knows edges only */
    if (by_level ? v->lint0_in_service : !rises)
        return;
    if (vlapic_accept(v, (u8)*lvt, by_level) && by_level)
        set_lint0_in_service(v, true);
}

void vlapic_raise_lint0(struct vlapic *v)
{
    evaluate_lint(v, 0, true);
}

bool vlapic_has_nmi_on_lint0(const struct vlapic *v)
{
    u32 lvt = *vlapic_register(v, APIC_LVT_LINT0);
    return v->base & APIC_BASE_EN && !(lvt & APIC_LVT_MASKED) && (lvt >> 8 & 7) == APIC_NMI;
}

void vlapic_set_lint1(struct vlapic *v, bool level)
{
    bool rises = level && !v->lint1;

    v->lint1 = level;
    evaluate_lint(v, 1, rises);
}

void vlapic_end_level(struct vlapic *v, u8 vector)
{
    if (v->lint0_in_service && (u8)*vlapic_register(v, APIC_LVT_LINT0) == vector) {
        set_lint0_in_service(v, false);
        evaluate_lint(v, 0, false);
    }
    v->setup.host->eoi(v->setup.context, vector);
}

/* ---- interprocessor interrupts ---- */

static u32 x2apic_logical_id(u32 id)
{
    return (id >> 4) << 16 | 1u << (id & 15);
}

bool vlapic_matches(const struct vlapic *v, u32 destination, bool logical)
{
    u32 own = *vlapic_register(v, APIC_LDR);

    if (!(v->base & APIC_BASE_EN))
        return false;
    if (destination == VLAPIC_BROADCAST)
        return true;
    if (!logical)
        return destination == v->setup.id;
    if (v->base & APIC_BASE_EXTD)
        return destination >> 16 == own >> 16 && destination & own & 0xffff;
    own >>= 24;
    switch (*vlapic_register(v, APIC_DFR) >> 28) {
    case DFR_FLAT:
        return destination & own;
    case 0: /* clusters */
        return destination >> 4 == own >> 4 && destination & own & 15;
    default:
        return false;
    }
}

bool vlapic_receives(const struct vlapic *v, const struct vlapic *sender, const struct vlapic_ipi *ipi)
{
    if (ipi->shorthand == VLAPIC_TO_DESTINATION)
        return vlapic_matches(v, ipi->destination, ipi->logical);
    return v->base & APIC_BASE_EN &&
           (ipi->shorthand == VLAPIC_TO_ALL || (v == sender) == (ipi->shorthand == VLAPIC_TO_SELF));
}

/* Table "Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command Register": what
 * is not valid there is not sent. Fixed interrupts are sent as edges whatever the trigger mode says. */
static void send_ipi(struct vlapic *v, u32 command, u32 destination)
{
    struct vlapic_ipi ipi = {destination, (u8)command, command >> 8 & 7, command >> 18 & 3, command & ICR_LOGICAL};
    if (LIKELY(!(command & (ICR_DELIVERY | ICR_LOGICAL | ICR_SHORTHAND)) && ipi.vector >= VLAPIC_LOWEST_VECTOR)) {
        v->setup.host->ipi(v->setup.context, &ipi);
        return;
    }
    bool sends_vector = ipi.delivery == APIC_FIXED || ipi.delivery == APIC_LOWEST_PRIORITY;
    bool deasserts = (command & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL;
    bool to_self = ipi.shorthand == VLAPIC_TO_SELF || ipi.shorthand == VLAPIC_TO_ALL;

    if (!sends_vector && (ipi.delivery < APIC_NMI || ipi.delivery > APIC_SIPI))
        return;
    if ((ipi.delivery == APIC_INIT && deasserts) || (to_self && ipi.delivery != APIC_FIXED))
        return;
    if (sends_vector && ipi.vector < VLAPIC_LOWEST_VECTOR)
        vlapic_note_error(v, ERROR_SEND_VECTOR);
    if (ipi.shorthand == VLAPIC_TO_SELF)
        vlapic_accept(v, ipi.vector, false);
    else
        v->setup.host->ipi(v->setup.context, &ipi);
}

/* ---- registers ---- */

/* The bits that a write can change, by offset / 16. EOI and ESR have none: in x2APIC mode 0 alone is written. */
static const u32 writable_bits[REGISTERS] = {
    [APIC_TPR >> 4] = 0xff,
    [APIC_LDR >> 4] = 0xff000000,
    [APIC_DFR >> 4] = ~DFR_ONES,
    [APIC_SVR >> 4] = 0x3ff,
    [APIC_ICR >> 4] = ICR_WRITABLE,
    [APIC_ICR_HIGH >> 4] = 0xff000000,
    [APIC_LVT_TIMER >> 4] = 0x700ff,
    [APIC_LVT_THERMAL >> 4] = 0x107ff,
    [APIC_LVT_PMC >> 4] = 0x107ff,
    [APIC_LVT_LINT0 >> 4] = 0x1a7ff,
    [APIC_LVT_LINT1 >> 4] = 0x1a7ff,
    [APIC_LVT_ERROR >> 4] = 0x100ff,
    [APIC_TIMER_INITIAL >> 4] = 0xffffffff,
    [APIC_TIMER_DIVIDE >> 4] = 0xb,
    [APIC_SELF_IPI >> 4] = 0xff,
};

static void write_lvt(struct vlapic *v, u32 offset, u32 value)
{
    u32 *lvt = vlapic_register(v, offset);

    if (!vlapic_is_enabled(v))
        value |= APIC_LVT_MASKED;
    if (offset == APIC_LVT_TIMER) {
        vlapic_timer_write_lvt(v, value);
        return;
    }
    if (offset == APIC_LVT_LINT0) {
        v->lint0_in_service &= value & LVT_LEVEL && !(value & LVT_MODE);
        value |= v->lint0_in_service ? LVT_REMOTE_IRR : 0;
    }
    *lvt = value;
    if (offset == APIC_LVT_LINT0 || offset == APIC_LVT_LINT1)
        evaluate_lint(v, (offset - APIC_LVT_LINT0) / 16, false);
}

/* A register that can be written, in either mode, but for the ICR. value: has no reserved bits. */
static void write_register(struct vlapic *v, u32 offset, u32 value)
{
    if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR) {
        write_lvt(v, offset, value);
        return;
    }
    switch (offset) {
    case APIC_EOI:
        vlapic_end_interrupt(v);
        break;
    case APIC_ESR:
        *vlapic_register(v, APIC_ESR) = v->errors;
        v->errors = 0;
        break;
    case APIC_SELF_IPI:
        send_ipi(v, (u32)VLAPIC_TO_SELF << 18 | value, 0);
        break;
    case APIC_TIMER_INITIAL:
        vlapic_timer_write_initial(v, value);
        break;
    case APIC_TIMER_DIVIDE:
        vlapic_timer_write_divide(v, value);
        break;
    case APIC_SVR:
        *vlapic_register(v, APIC_SVR) = value;
        for (u32 lvt = APIC_LVT_TIMER; !(value & APIC_SVR_ENABLED) && lvt <= APIC_LVT_ERROR; lvt += 16)
            write_lvt(v, lvt, *vlapic_register(v, lvt));
        vlapic_choose_delivery(v);
        break;
    default:
        *vlapic_register(v, offset) = offset == APIC_DFR ? value | DFR_ONES : value;
        if (offset == APIC_TPR)
            vlapic_update(v);
        break;
    }
}

u64 vlapic_read(void *device, u64 offset, u8 bytes)
{
    struct vlapic *v = device;
    u32 at = (u32)offset & 0xff0;
    u32 value = 0;

    if ((v->base & APIC_BASE_MODE) != APIC_BASE_EN)
        return bits_mask_of_bytes(bytes);
    if (at >> 4 >= REGISTERS || !(XAPIC_EXISTS >> (at >> 4) & 1))
        vlapic_note_error(v, ERROR_REGISTER);
    else
        value = at == APIC_TIMER_CURRENT ? vlapic_timer_read_current(v) : *vlapic_register(v, at);
    return (u64)value >> ((offset & 15) < 4 ? 8 * (offset & 15) : 32) & bits_mask_of_bytes(bytes);
}

void vlapic_write(void *device, u64 offset, u8 bytes, u64 value)
{
    struct vlapic *v = device;
    u32 at = (u32)offset & 0xff0;

    if ((v->base & APIC_BASE_MODE) != APIC_BASE_EN || offset & 15 || bytes < 4)
        return;
    if (at >> 4 >= REGISTERS || !(XAPIC_EXISTS >> (at >> 4) & 1)) {
        vlapic_note_error(v, ERROR_REGISTER);
        return;
    }
    if (!(XAPIC_WRITE >> (at >> 4) & 1))
        return;
    u32 kept = (u32)value & writable_bits[at >> 4];
    if (at == APIC_ICR) {
        u32 destination = *vlapic_register(v, APIC_ICR_HIGH) >> 24;
        *vlapic_register(v, APIC_ICR) = kept;
        send_ipi(v, kept, destination == 0xff ? VLAPIC_BROADCAST : destination);
    } else {
        write_register(v, at, kept);
    }
}

void vlapic_written(struct vlapic *v, u32 offset)
{
    u32 value = *vlapic_register(v, offset);

    if (v->base & APIC_BASE_EXTD)
        write_register(v, offset, (u8)value); /* SELF_IPI with a vector that the CPU leaves to us */
    else if (offset == APIC_ID)
        *vlapic_register(v, APIC_ID) = v->setup.id << 24;
    else
        vlapic_write(v, offset, 4, value);
}

bool vlapic_read_msr(struct vlapic *v, u32 index, u64 *value)
{
    if (!(v->base & APIC_BASE_EXTD) || index >= REGISTERS || !(BOTH_MODES_READ >> index & 1))
        return false;
    u32 at = index << 4;
    *value = at == APIC_TIMER_CURRENT ? vlapic_timer_read_current(v) : *vlapic_register(v, at);
    if (at == APIC_ICR)
        *value |= (u64)*vlapic_register(v, APIC_ICR + 4) << 32;
    return true;
}

/* One write sends. */
static bool write_x2apic_icr(struct vlapic *v, u64 value)
{
    u32 destination = (u32)(value >> 32);
    u32 kept = (u32)value & ICR_WRITABLE;

    if ((u32)value & ~(ICR_WRITABLE | ICR_STATUS))
        return false;
    *vlapic_register(v, APIC_ICR) = kept;
    *vlapic_register(v, APIC_ICR + 4) = destination;
    send_ipi(v, kept, destination);
    return true;
}

bool vlapic_write_msr(struct vlapic *v, u32 index, u64 value)
{
    u32 at = index << 4;

    if (LIKELY(index == APIC_ICR >> 4) && v->base & APIC_BASE_EXTD)
        return write_x2apic_icr(v, value);
    if (!(v->base & APIC_BASE_EXTD) || index >= REGISTERS || !(X2APIC_WRITE >> index & 1))
        return false;
    u64 known = writable_bits[index];
    if (LVT_REGISTERS >> index & 1)
        known |= LVT_STATUS | (at == APIC_LVT_LINT0 || at == APIC_LVT_LINT1 ? LVT_REMOTE_IRR : 0);
    if (value & ~known)
        return false;
    write_register(v, at, (u32)value & writable_bits[index]);
    return true;
}

/* ---- modes and reset ---- */

/* The APIC IDs, in the form of the present mode. */
static void set_ids(struct vlapic *v)
{
    bool extended = v->base & APIC_BASE_EXTD;

    *vlapic_register(v, APIC_ID) = extended ? v->setup.id : v->setup.id << 24;
    *vlapic_register(v, APIC_LDR) = extended ? x2apic_logical_id(v->setup.id) : 0;
}

void vlapic_handle_init(struct vlapic *v)
{
    memset(v->page, 0, REGISTERS * 16); /* nobody writes behind them */
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        *vlapic_register(v, lvt) = APIC_LVT_MASKED;
    *vlapic_register(v, APIC_VERSION) = VERSION;
    *vlapic_register(v, APIC_SVR) = SVR_RESET;
    *vlapic_register(v, APIC_DFR) = 0xffffffff;
    set_ids(v);
    v->errors = 0;
    v->lint0_in_service = false;
    v->lvt_timer = APIC_LVT_MASKED;
    v->timer_initial = v->timer_divide = 0;
    vlapic_timer_stop(v);
    vlapic_drop_requests(v);
    evaluate_lint(v, 0, false);
}

bool vlapic_write_base(struct vlapic *v, u64 value)
{
    u64 modes = v->setup.x2apic ? APIC_BASE_MODE : APIC_BASE_EN;
    u64 address = (BIT(v->setup.physical_bits) - 1) & ~(u64)(VLAPIC_PAGE_BYTES - 1);
    u64 from = v->base & APIC_BASE_MODE;
    u64 to = value & APIC_BASE_MODE;

    if (value & ~(address | APIC_BASE_BSP | modes))
        return false;
    /* Into x2APIC mode only out of xAPIC mode, and out of it only by disabling the APIC. */
    if (to == APIC_BASE_EXTD || (from == 0 && to == APIC_BASE_MODE) || (from == APIC_BASE_MODE && to == APIC_BASE_EN))
        return false;
    v->base = value;
    if (to != from && to != APIC_BASE_MODE) {
        vlapic_handle_init(v);
        vlapic_notify(v);
        return true;
    }
    if (to != from) {
        set_ids(v);
        *vlapic_register(v, APIC_ICR_HIGH) = 0;
    }
    vlapic_choose_delivery(v); /* the address may be another, too */
    return true;
}

void vlapic_init(struct vlapic *v, const struct vlapic_setup *setup)
{
    memset(v, 0, sizeof *v);
    v->setup = *setup;
    v->page = setup->page;
    v->base = APIC_ADDRESS | APIC_BASE_EN | (setup->boot ? APIC_BASE_BSP : 0);
    v->pending = -1;
    vlapic_timer_init(v);
    vlapic_handle_init(v);
}

void vlapic_set_virtual_wire(struct vlapic *v)
{
    write_register(v, APIC_SVR, SVR_RESET | APIC_SVR_ENABLED);
    write_register(v, APIC_LVT_LINT0, APIC_EXTINT << 8);
    write_register(v, APIC_LVT_LINT1, APIC_NMI << 8);
}

void vlapic_settle(struct vlapic *v)
{
    if (v->setup.posted)
        vlapic_choose_delivery(v);
}

void vlapic_copy(struct vlapic *v, const struct vlapic *from, const void *page)
{
    struct vlapic own = *v;

    vlapic_settle(v); /* of the other past */
    *v = *from;
    v->timer = own.timer;
    v->page = own.page;
    v->setup = own.setup;
    memcpy(v->page, page, VLAPIC_PAGE_BYTES);
    v->virtual_delivery = v->virtual_delivery && v->setup.posted;
    vlapic_choose_delivery(v); /* the vCPU takes over what the page has; without posting, so do the sums of it here */
}
