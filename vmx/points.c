/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See points.h. Nothing here is on the way of a guest that has no breakpoints: run.c comes here for those flags of
 * RFLAGS that are in `end_flags`, and mmio.c's slots have no shortcut while there are breakpoints.
 */
#include "vmx/points.h"
#include "arch/x86/cpu.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/load.h"

#define DR7_FIXED    0x400ull
#define DR7_WRITABLE 0xffff2bffull
#define DR6_FIXED    0xffff0ff0ull
#define DR6_WRITABLE 0xe00full

#define EXIT_REASON_IO 30u
#define IO_BYTES(q)    ((u32)((7 & (q)) + 1))
#define IO_STRING      BIT(4)
#define IO_PORT(q)     ((u64)(u16)((q) >> 16))

u32 points_match(u64 dr7, const u64 address[4], enum points_access access, u64 first, u32 bytes)
{
    static const u8 lengths[] = {1, 2, 8, 4};
    u32 met = 0;

    for (u32 i = 0; i < 4; i++) {
        enum points_access kind = (enum points_access)(dr7 >> (16 + 4 * i) & 3);
        u64 length = lengths[dr7 >> (18 + 4 * i) & 3];
        u64 begin = address[i] & ~(length - 1);
        bool same_kind = kind == access || (kind == POINTS_READ && access == POINTS_WRITE);

        if ((dr7 >> 2 * i & 3) && same_kind && (first - begin < length || begin - first < bytes))
            met |= 1u << i;
    }
    return met;
}

/* What mmio.c has decoded depends on it. */
static void switch_to(struct vmx_vcpu *v, bool used)
{
    v->debug_used = used;
    v->end_flags = VMX_END_FLAGS | (used ? (u32)RFLAGS_ONE : 0);
    v->points_met = 0;
    for (u32 i = 0; i < MMIO_SLOTS; i++)
        v->mmio[i].cs_access = 0;
}

void vmx_points_begin(struct vmx_vcpu *v)
{
    switch_to(v, true);
    vmx_load_debug_registers(v);
}

void vmx_points_end(struct vmx_vcpu *v)
{
    switch_to(v, false);
}

/* SDM 3C 27.2.1, table "Exit Qualification for MOV DR"; 25.1.3: the exit comes before the checks of CPL and CR4.DE. */
enum outcome vmx_points_move(struct vmx_vcpu *v, u64 qualification, const struct points_bank *bank)
{
    u32 dr = qualification & 7;
    u32 gpr = (u32)bits_field(qualification, 11, 8);
    u64 *shadow = dr < 4 ? &bank->dr[dr] : dr & 1 ? bank->dr7 : bank->dr6;
    u64 value = vmx_vcpu_gpr(v, gpr) & (guest_is_code64(v) ? ~0ull : UINT32_MAX);

    if ((dr == 4 || dr == 5) && vmcs_read(GUEST_CR4) & CR4_DE)
        return vmx_inject_ud(v);
    if (vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL)
        return vmx_inject_gp(v);
    if (qualification & BIT(4)) {
        vmx_vcpu_set_gpr(v, gpr, *shadow);
        return OUTCOME_SKIP;
    }
    if (dr >= 4 && value >> 32)
        return vmx_inject_gp(v);
    if (dr >= 4)
        value = dr & 1 ? (value & DR7_WRITABLE) | DR7_FIXED : (value & DR6_WRITABLE) | DR6_FIXED;
    *shadow = value;
    return OUTCOME_SKIP;
}

static u32 match(enum points_access access, u64 first, u32 bytes)
{
    const u64 address[4] = {dr0_read(), dr1_read(), dr2_read(), dr3_read()};

    return points_match(vmcs_read(GUEST_DR7), address, access, first, bytes);
}

void vmx_points_note(struct vmx_vcpu *v, u64 linear, u32 bytes, bool write)
{
    v->points_met |= (u8)match(write ? POINTS_WRITE : POINTS_READ, linear, bytes);
}

/* I/O breakpoints want CR4.DE. */
static u32 match_port(u64 qualification)
{
    return vmcs_read(GUEST_CR4) & CR4_DE ? match(POINTS_PORT, IO_PORT(qualification), IO_BYTES(qualification)) : 0;
}

void vmx_points_note_port(struct vmx_vcpu *v, u64 qualification)
{
    v->points_met |= (u8)match_port(qualification);
}

/* The port of IN and OUT, whose handlers note nothing; INS and OUTS have noted theirs, if they came to one. */
static u32 match_last_exit(void)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    bool io = (u16)vmcs_read(EXIT_REASON) == EXIT_REASON_IO && !(qualification & IO_STRING);

    return io ? match_port(qualification) : 0;
}

/* Without a single step only breakpoints can have left a trap, also one that MOV SS has put off. */
bool vmx_points_finish(struct vmx_vcpu *v, bool single_step)
{
    vmx_event_end_blocking();
    if (!single_step && !v->debug_used)
        return false;
    u64 before = vmcs_read(GUEST_PENDING_DEBUG);
    u64 pending = before | (single_step ? PENDING_DEBUG_SINGLE_STEP : 0);

    if (v->debug_used) {
        u32 met = v->points_met | match_last_exit();
        v->points_met = 0;
        pending |= met ? PENDING_DEBUG_ENABLED | met : 0;
    }
    if (pending != before)
        vmcs_write(GUEST_PENDING_DEBUG, pending);
    if (!(pending & PENDING_DEBUG_VALID))
        return false;
    vmx_event_trap_first(v);
    return true;
}

bool vmx_points_finish_iteration(struct vmx_vcpu *v)
{
    u64 rflags = vmcs_read(GUEST_RFLAGS);

    if (!(rflags & v->end_flags) || !vmx_points_finish(v, rflags & RFLAGS_TF))
        return false;
    vmcs_write(GUEST_RFLAGS, rflags | RFLAGS_RF);
    return true;
}
