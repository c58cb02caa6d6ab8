/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Switching APIC virtualisation with the guest's APIC mode, and passing requests on to it. While the guest runs, its
 * CPU changes TPR, PPR, IRR, ISR and ICR in the page; so others post requests, and here, between exit and entry on the
 * vCPU's CPU, they are moved into IRR. Invariant at each entry: RVI and SVI are the highest vectors of IRR and ISR, and
 * EOI exits for the vectors whose TMR bit is set. SDM 3C 29.1 "Virtual APIC State", 29.2 "Evaluation and Delivery of
 * Virtual Interrupts", 29.4 "Virtualizing Memory-Mapped APIC Accesses", 29.5 "Virtualizing MSR-Based APIC Accesses".
 */
#include "vmx/apicv.h"
#include "arch/x86/quirks.h"
#include "vmx/ept.h"
#include "vmx/event.h"

#define PROC_ON   PROC_TPR_SHADOW
#define PROC_OFF  (PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING)
#define PROC2_ON  (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS)
#define PROC2_ALL (PROC2_ON | PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE)

/* Word `vector / 32` of the page's vector registers. */
#define PAGE_PPR    (APIC_PPR / 4)
#define PAGE_ISR(w) (0x100 / 4 + 4 * (w))
#define PAGE_TMR(w) (0x180 / 4 + 4 * (w))
#define PAGE_IRR(w) (0x200 / 4 + 4 * (w))

enum vmx_apicv_mode vmx_apicv_mode(u64 apic_base)
{
    if (!(apic_base & APIC_BASE_EN))
        return APICV_OFF;
    if (apic_base & APIC_BASE_EXTD)
        return APICV_X2APIC;
    return apic_base >> 12 == APIC_ADDRESS >> 12 ? APICV_XAPIC : APICV_OFF;
}

/* "Process posted interrupts" needs virtual-interrupt delivery: SDM 3C 26.2.1.1. */
u32 vmx_apicv_pin_controls(enum vmx_apicv_mode mode, u32 pin, bool posted)
{
    pin &= ~PIN_POSTED_INTERRUPTS;
    return mode != APICV_OFF && posted ? pin | PIN_POSTED_INTERRUPTS : pin;
}

u32 vmx_apicv_proc_controls(enum vmx_apicv_mode mode, u32 proc)
{
    return mode == APICV_OFF ? (proc & ~PROC_ON) | PROC_OFF : (proc & ~PROC_OFF) | PROC_ON;
}

u32 vmx_apicv_proc2_controls(enum vmx_apicv_mode mode, u32 proc2)
{
    static const u32 on[] = {0, PROC2_ON | PROC2_APIC_ACCESSES, PROC2_ON | PROC2_X2APIC_MODE};

    return (proc2 & ~PROC2_ALL) | on[mode];
}

/*
 * Bit n: MSR 0x800 + n. Reading: what can be read and stands in the page, so all but the timer's current count.
 * Writing: TPR, EOI and SELF_IPI; other writes would reach the CPU's own APIC.
 */
#define VECTOR_REGISTERS (0xffffffull << 0x10)
#define LVT_REGISTERS    (0x3full << 0x32)
#define X2APIC_READ                                                                                                    \
    (BIT(0x02) | BIT(0x03) | BIT(0x08) | BIT(0x0a) | BIT(0x0d) | BIT(0x0f) | VECTOR_REGISTERS | BIT(0x28) |            \
     BIT(0x30) | LVT_REGISTERS | BIT(0x38) | BIT(0x3e))
#define X2APIC_WRITE (BIT(0x08) | BIT(0x0b) | BIT(0x3f))

void vmx_apicv_open_bitmap(u8 *bitmap)
{
    for (u32 i = 0; i < 8; i++) {
        bitmap[0x800 / 8 + i] &= (u8) ~(X2APIC_READ >> 8 * i);
        bitmap[2048 + 0x800 / 8 + i] &= (u8) ~(X2APIC_WRITE >> 8 * i);
    }
}

/* ---- requests ---- */

/* The highest vector of the eight words from page[first] on; 0 stands for none, as in RVI and SVI. */
static u32 top_vector(const u32 *page, u32 first)
{
    for (u32 w = 8; w-- > 0;)
        if (page[first + w * 4])
            return w * 32 + 31 - (u32)__builtin_clz(page[first + w * 4]);
    return 0;
}

/* The vectors 64 * i to 64 * i + 63 whose last request was level-triggered: their EOI exits. */
static ALWAYS_INLINE void update_eoi_exits(struct vmx_vcpu *v, unsigned i)
{
    static const struct vmcs_64_rw fields[] = {{ENCODING_EOI_EXIT_BITMAP_0},
                                               {ENCODING_EOI_EXIT_BITMAP_1},
                                               {ENCODING_EOI_EXIT_BITMAP_2},
                                               {ENCODING_EOI_EXIT_BITMAP_3}};
    const u32 *page = v->base.apic.page;
    u64 levels = (u64)page[PAGE_TMR(2 * i + 1)] << 32 | page[PAGE_TMR(2 * i)];

    if (LIKELY(v->eoi_exits[i] == levels))
        return;
    v->eoi_exits[i] = levels;
    vmcs_write_64(fields[i], levels);
}

/* Moves what was posted into IRR; the highest vector moved, or 0. Others may post meanwhile; TMR has been set before.
 */
static ALWAYS_INLINE u32 take_posted(struct vmx_vcpu *v, u32 news)
{
    u32 *page = v->base.apic.page;
    u32 top = 0;

    for (u32 words = news & (POSTED_STALE - 1); words;) {
        unsigned i = 31u ^ (unsigned)__builtin_clz(words);
        u64 requests = posted_take(v->base.posted, i);

        words ^= 1u << i;
        page[PAGE_IRR(2 * i)] |= (u32)requests;
        page[PAGE_IRR(2 * i + 1)] |= (u32)(requests >> 32);
        update_eoi_exits(v, i);
        if (top == 0 && requests) /* none: taken with earlier news */
            top = i * 64 + (63u ^ (unsigned)__builtin_clzll(requests));
    }
    return top;
}

/* Puts the VMCS into the mode that the APIC is in now, and takes over what the page holds. */
static COLD void configure(struct vmx_vcpu *v)
{
    const struct vm *vm = v->base.vm;
    u32 *page = v->base.apic.page;
    enum vmx_apicv_mode mode = *v->base.apic.virtual_delivery ? vmx_apicv_mode(*v->base.apic.base) : APICV_OFF;
    hpa_t bitmap = mode == APICV_X2APIC ? vmx_features.x2apic_bitmap : vmx_features.msr_bitmap;

    v->apicv = (u8)mode;
    /* Else RVI becomes 255 when the vectors have been taken before their notification came. */
    if (mode != APICV_OFF && vmx_features.has_posted && quirks_have(QUIRK_EMPTY_NOTIFICATION))
        page[PAGE_IRR(0)] |= 1;
    vmcs_write(PIN_CONTROLS, vmx_apicv_pin_controls(mode, vmcs_read(PIN_CONTROLS), vmx_features.has_posted));
    vmcs_write(PROC_CONTROLS, vmx_apicv_proc_controls(mode, vmcs_read(PROC_CONTROLS)));
    vmcs_write(PROC2_CONTROLS, vmx_apicv_proc2_controls(mode, vmcs_read(PROC2_CONTROLS)));
    vmcs_write(MSR_BITMAPS, bitmap.raw);
    /* Other vCPUs may be in another mode: hence two EPTs, whose translations the CPU tells apart. */
    vmcs_write(EPT_POINTER, ept_pointer(mode == APICV_XAPIC ? vm->ept_apic_root : vm->ept_root));
    vmcs_write(GUEST_INTERRUPT_STATUS, (u16)(top_vector(page, PAGE_ISR(0)) << 8 | top_vector(page, PAGE_IRR(0))));
    for (unsigned i = 0; i < 4; i++)
        update_eoi_exits(v, i);
}

void vmx_apicv_prepare(struct vmx_vcpu *v)
{
    u32 news = posted_take_news(v->base.posted);
    u32 vector = take_posted(v, news);

    if (UNLIKELY(news & POSTED_STALE))
        configure(v);
    if (UNLIKELY(!v->apicv))
        return;
    u32 status = vmcs_read(GUEST_INTERRUPT_STATUS);
    if ((u8)status < vector) {
        status = (status & 0xff00) | vector;
        vmcs_write(GUEST_INTERRUPT_STATUS, (u16)status);
    }
    if (v->base.halted && (status & 0xf0) > (v->base.apic.page[PAGE_PPR] & 0xf0) && vmcs_read(GUEST_RFLAGS) & RFLAGS_IF)
        v->base.halted = false;
}
