/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A debugger's hold on a vCPU: its registers in memory while it is paused, breakpoints, watchpoints and single steps
 * while it runs. Nothing here is reached unless v->debug is set. A step is RFLAGS.TF with #DB intercepted; not every
 * CPU has a monitor trap flag. Home CPU with the vCPU's VMCS current, unless a function says otherwise. SDM 3B 17.2
 * "Debug Registers", 17.3 "Debug Exceptions"; 3C 24.4.2 "Guest Non-Register State".
 */
#include "vmx/report/debug.h"
#include "arch/x86/xsave.h"
#include "kernel/gdb/points.h"
#include "kernel/gdb/stub.h"
#include "kernel/lib/string.h"
#include "vmx/ept.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/load.h"
#include "vmx/nested/nested.h"
#include "vmx/points.h"

#define QUALIFICATION_POINTS 0xfull /* B0 to B3: SDM 3C, table 27-1 "Exit Qualification for Debug Exceptions" */
#define QUALIFICATION_OTHER  BIT(13)
#define QUALIFICATION_STEP   BIT(14)
#define DR6_INIT             0xffff0ff0ull
#define DR7_FIXED            0x400ull

static struct vmx_debug states[VM_MAX_VCPUS];

void virt_debug_begin(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vmx_vcpu_of(vm->vcpus[i])->debug = &states[i];
}

void virt_debug_end(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vmx_vcpu_of(vm->vcpus[i])->debug = NULL;
}

/* ---- guest memory ---- */

struct space {
    const struct vm *vm;
    const struct vcpu *inner;
};

/* EPT may allow to read it, or to execute only. */
static bool find_in_vm(const struct space *space, gpa_t *address)
{
    const struct vmx_vcpu *v = space->inner ? vmx_vcpu_of((struct vcpu *)(uintptr_t)space->inner) : NULL;

    return !v || v->inner_physical(v, address->raw, EPT_READ, false, &address->raw) ||
           v->inner_physical(v, address->raw, EPT_EXECUTE, false, &address->raw);
}

static bool read_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    const struct space *space = context;

    *value = 0;
    return find_in_vm(space, &address) && guest_memory_read(&space->vm->memory, address, value, bytes) == STATUS_OK;
}

/* As the supervisor, with no regard to access rights: CR0.WP, SMEP, SMAP and RFLAGS.AC do not matter to a debugger. */
bool virt_debug_translate(const struct vm *vm, const struct debug_registers *registers, u64 linear, gpa_t *out)
{
    struct space space = {vm, registers->inner};
    struct gva_context context = {
        .cr0 = registers->cr0,
        .cr3 = registers->cr3,
        .cr4 = registers->cr4 & ~(CR4_SMEP | CR4_SMAP),
        .efer = registers->efer,
        .physical_bits = (u8)cpu_cpuid(0x80000008, 0).eax,
        .gigabyte_pages = cpu_cpuid(0x80000001, 0).edx & BIT(26),
        .context = &space,
        .read_entry = read_entry,
    };
    u32 error;

    memcpy(context.pdpte, registers->pdpte, sizeof context.pdpte);
    if (registers->efer & EFER_LMA) {
        if (!gva_is_canonical(linear, registers->cr4))
            return false;
    } else {
        linear = (u32)linear;
    }
    return gva_translate(&context, linear, GVA_READ, out, &error) == GVA_OK && find_in_vm(&space, out);
}

static void read_paging(const struct vmx_vcpu *v, struct debug_registers *out)
{
    out->inner = v->inner_physical ? &v->base : NULL;
    out->cr0 = vmcs_read(GUEST_CR0);
    out->cr3 = vmcs_read(GUEST_CR3);
    out->cr4 = vmcs_read(GUEST_CR4);
    out->efer = vmcs_read(GUEST_EFER);
    memset(out->pdpte, 0, sizeof out->pdpte);
    if ((out->cr0 & CR0_PG) && (out->cr4 & CR4_PAE) && !(out->efer & EFER_LMA)) {
        out->pdpte[0] = vmcs_read(GUEST_PDPTE0);
        out->pdpte[1] = vmcs_read(GUEST_PDPTE1);
        out->pdpte[2] = vmcs_read(GUEST_PDPTE2);
        out->pdpte[3] = vmcs_read(GUEST_PDPTE3);
    }
}

/* As the guest reads them: SDM 3C 24.6.6 "Guest/Host Masks and Read Shadows for CR0 and CR4". */
static void show_as_guest_sees(struct debug_registers *out)
{
    u64 cr0_mask = vmcs_read(CR0_MASK), cr4_mask = vmcs_read(CR4_MASK);

    out->cr0 = (out->cr0 & ~cr0_mask) | (vmcs_read(CR0_SHADOW) & cr0_mask);
    out->cr4 = (out->cr4 & ~cr4_mask) | (vmcs_read(CR4_SHADOW) & cr4_mask);
}

/* Where the guest's stack pointer points. SDM 1 6.2.3 "Address-Size Attributes for Stack Accesses" */
static u64 linear_stack(const struct vmx_vcpu *v)
{
    u64 rsp = vmcs_read(GUEST_RSP);

    if (guest_is_code64(v))
        return rsp;
    if (!(vmcs_read(GUEST_SS_ACCESS) & SEGMENT_BIG))
        rsp = (u16)rsp;
    return (u32)(vmcs_read(GUEST_SS_BASE) + (u32)rsp);
}

static bool locate(const struct vmx_vcpu *v, u64 linear, gpa_t *out)
{
    struct debug_registers paging;

    read_paging(v, &paging);
    return virt_debug_translate(v->base.vm, &paging, linear, out);
}

/* ---- single step ---- */

static bool is_prefix(u8 byte, bool code64)
{
    static const u8 prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

    for (size_t i = 0; i < sizeof prefixes; i++)
        if (byte == prefixes[i])
            return true;
    return code64 && (byte & 0xf0) == 0x40; /* REX */
}

/* Looks at the instruction that will be stepped. */
static u8 step_kind(const struct vmx_vcpu *v)
{
    u64 at = guest_linear_rip(v);
    gpa_t where;
    u8 byte;

    for (unsigned i = 0; i < 14; i++) {
        if (!locate(v, at + i, &where) || guest_memory_read(&v->base.vm->memory, where, &byte, 1) != STATUS_OK)
            break;
        if (is_prefix(byte, guest_is_code64(v)))
            continue;
        if (byte == 0x9c) /* PUSHF: SDM 2B "PUSHF/PUSHFD/PUSHFQ" */
            return STEP_PUSHES;
        return byte == 0x9d || byte == 0xcf ? STEP_POPS : STEP_PLAIN; /* POPF, IRET */
    }
    return STEP_PLAIN;
}

static void set_tf(bool on)
{
    u64 rflags = vmcs_read(GUEST_RFLAGS) & ~RFLAGS_TF;
    vmcs_write(GUEST_RFLAGS, rflags | (on ? RFLAGS_TF : 0));
}

/*
 * With blocking by STI or MOV SS, VM entry insists on a pending single-step trap if TF is set, which would come before
 * the step. SDM 3C 26.3.1.5 "Checks on Guest Non-Register State". So the blocking goes, and an interrupt may come one
 * instruction early.
 */
static void begin_step(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;
    u64 rflags = vmcs_read(GUEST_RFLAGS);
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    d->stepping = true;
    d->guest_tf = rflags & RFLAGS_TF;
    d->kind = step_kind(v);
    d->from_rip = vmcs_read(GUEST_RIP);
    set_tf(true);
    if (blocking & INTERRUPTIBILITY_STI_MOV_SS)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_STI_MOV_SS);
}

/* The TF in what PUSHF has pushed was not the guest's. */
static void clean_pushed_flags(struct vmx_vcpu *v)
{
    const struct guest_memory *memory = &v->base.vm->memory;
    gpa_t where;
    u8 byte;

    if (!locate(v, linear_stack(v) + 1, &where) || guest_memory_read(memory, where, &byte, 1) != STATUS_OK)
        return;
    byte &= (u8) ~(RFLAGS_TF >> 8);
    (void)!guest_memory_write(memory, where, &byte, 1);
}

/* The guest has its own TF again, and no trap of a step that is not its own. */
static void take_tf_out(struct vmx_vcpu *v)
{
    bool tf = v->debug->guest_tf;
    u64 pending = vmcs_read(GUEST_PENDING_DEBUG);

    set_tf(tf);
    if (!tf && (pending & PENDING_DEBUG_SINGLE_STEP))
        vmcs_write(GUEST_PENDING_DEBUG, pending & ~PENDING_DEBUG_SINGLE_STEP);
}

/*
 * Takes the debugger's TF out again. If it is not in RFLAGS, a handler runs (an interrupt, a fault, a system call) and
 * will bring it back with its IRET.
 */
static void interrupt_step(struct vmx_vcpu *v)
{
    if (vmcs_read(GUEST_RFLAGS) & RFLAGS_TF)
        take_tf_out(v);
    else
        v->debug->owed = true;
}

/* The same, and the instruction may be done. */
static void end_step(struct vmx_vcpu *v, bool done)
{
    struct vmx_debug *d = v->debug;
    bool tf = vmcs_read(GUEST_RFLAGS) & RFLAGS_TF;

    d->stepping = false;
    if (!done) {
        interrupt_step(v);
        return;
    }
    if (d->kind == STEP_POPS) {
        d->guest_tf = tf && !d->owed;
        d->owed = false;
    }
    if (d->kind == STEP_PUSHES && !d->guest_tf && vmcs_read(GUEST_RIP) != d->from_rip)
        clean_pushed_flags(v);
    take_tf_out(v);
}

/* ---- breakpoints and watchpoints ---- */

static void write_debug_registers(struct vmx_vcpu *v, const u64 address[4], u64 dr6)
{
    memcpy(v->dr, address, sizeof v->dr);
    v->dr6 = dr6;
    vmx_points_begin(v);
}

/* From now on MOV DR exits, and the guest has what it believes to have in guest_dr. */
static void take_registers(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    memcpy(d->guest_dr, v->dr, sizeof d->guest_dr);
    d->guest_dr6 = v->dr6;
    d->guest_dr7 = vmcs_read(GUEST_DR7);
    d->guest_used = v->debug_used;
    d->owns_registers = true;
    write_debug_registers(v, d->points.address, DR6_INIT);
    vmcs_write(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) | PROC_MOV_DR_EXITING);
}

/* Inside, the guest hypervisor may want the exits that the debugger has made. */
static bool hypervisor_wants(const struct vmx_vcpu *v, enum check_field controls, u32 bit)
{
    return nested_is_inside(v) && v->nested->image.value[controls] & bit;
}

/* The vCPU's registers are about to be taken off the CPU. */
static void give_registers_back(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    write_debug_registers(v, d->guest_dr, d->guest_dr6);
    vmcs_write(GUEST_DR7, d->guest_dr7);
    if (!d->guest_used && !(d->guest_dr7 & POINTS_DR7_ENABLES)) /* it may have enabled one meanwhile */
        vmx_points_end(v);
    else if (!hypervisor_wants(v, FIELD_PROC_CONTROLS, PROC_MOV_DR_EXITING))
        vmcs_write(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) & ~PROC_MOV_DR_EXITING);
    d->owns_registers = false;
}

static void intercept_int3(const struct vmx_vcpu *v, bool on)
{
    u32 bitmap = vmcs_read(EXCEPTION_BITMAP) & ~(u32)BIT(VECTOR_BP);

    on = on || hypervisor_wants(v, FIELD_EXCEPTION_BITMAP, BIT(VECTOR_BP));
    vmcs_write(EXCEPTION_BITMAP, bitmap | (on ? (u32)BIT(VECTOR_BP) : 0));
}

enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;
    const struct points_bank bank = {d->guest_dr, &d->guest_dr6, &d->guest_dr7};

    return vmx_points_move(v, vmcs_read(EXIT_QUALIFICATION), &bank);
}

static enum gdb_stop_kind kind_of(u64 dr7, unsigned point)
{
    static const u8 kinds[] = {GDB_STOP_HARDWARE, GDB_STOP_WRITE, GDB_STOP_ACCESS, GDB_STOP_ACCESS};
    return (enum gdb_stop_kind)kinds[dr7 >> (16 + 4 * point) & 3];
}

/* One of the debugger's points, or -1. A CPU may report conditions that are met but not enabled. */
static int point_of(const struct vmx_debug *d, u64 qualification)
{
    for (int i = 0; d->owns_registers && i < (int)DEBUG_POINTS; i++)
        if (qualification >> i & 1 && d->points.dr7 >> 2 * i & 3)
            return i;
    return -1;
}

static void meet_point(struct vmx_vcpu *v, unsigned point)
{
    enum gdb_stop_kind kind = kind_of(v->debug->points.dr7, point);
    bool reported = gdb_stub_stopped(&v->base, kind, v->debug->points.address[point]);

    /* Another stop came first: the instruction breakpoint shall be met again, which RF would prevent. */
    if (!reported && kind == GDB_STOP_HARDWARE)
        vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) & ~RFLAGS_RF);
}

static void step_done(struct vmx_vcpu *v)
{
    const struct debug_step *step = &v->debug->step;
    u64 rip = vmcs_read(GUEST_RIP);

    if (rip >= step->start && rip < step->end)
        begin_step(v);
    else
        (void)gdb_stub_stopped(&v->base, GDB_STOP_TRAP, 0);
}

static bool debug_exception(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    bool step = qualification & QUALIFICATION_STEP;
    int point = point_of(d, qualification);
    bool guests = !d->owns_registers && qualification & (QUALIFICATION_POINTS | QUALIFICATION_OTHER);

    if (point >= 0)
        meet_point(v, (unsigned)point);
    if (step && d->stepping) {
        guests |= d->guest_tf;
        end_step(v, true);
        if (point < 0)
            step_done(v);
    } else if (step && d->owed) {
        d->owed = false;
        set_tf(false);
    } else if (step) {
        guests = true; /* it steps itself */
    }
    if (guests && d->owns_registers)
        d->guest_dr6 |= qualification & (QUALIFICATION_STEP | QUALIFICATION_OTHER);
    return !guests;
}

bool vmx_debug_exception(struct vmx_vcpu *v, u32 info)
{
    gpa_t where;

    if ((u8)info == VECTOR_DB)
        return EVENT_TYPE(info) != EVENT_TYPE_PRIV_SOFT_EXC && debug_exception(v); /* INT1 is the guest's */
    if ((u8)info != VECTOR_BP || !locate(v, guest_linear_rip(v), &where) || !gdb_points_has_planted(v->base.vm, where))
        return false;
    (void)gdb_stub_stopped(&v->base, GDB_STOP_SOFTWARE, 0);
    return true;
}

/* ---- pausing and going on ---- */

static void read_segments(const struct vmx_vcpu *v, struct debug_registers *out)
{
    out->selectors[DEBUG_CS] = vmcs_read(GUEST_CS_SELECTOR);
    out->selectors[DEBUG_SS] = vmcs_read(GUEST_SS_SELECTOR);
    out->selectors[DEBUG_DS] = vmcs_read(GUEST_DS_SELECTOR);
    out->selectors[DEBUG_ES] = vmcs_read(GUEST_ES_SELECTOR);
    out->selectors[DEBUG_FS] = vmcs_read(GUEST_FS_SELECTOR);
    out->selectors[DEBUG_GS] = vmcs_read(GUEST_GS_SELECTOR);
    out->fs_base = vmcs_read(GUEST_FS_BASE);
    out->gs_base = vmcs_read(GUEST_GS_BASE);
    out->code64 = guest_is_code64(v);
}

/* IF and blocking by STI go together, and an interrupt that is about to be delivered needs IF: SDM
 * 3C 26.3.1.4, 26.3.1.5. */
static void write_registers(struct vmx_vcpu *v, const struct debug_registers *registers)
{
    u64 rflags = registers->rflags;
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    memcpy(v->gpr, registers->gpr, sizeof v->gpr);
    vmcs_write(GUEST_RSP, registers->gpr[GPR_RSP]);
    vmcs_write(GUEST_RIP, registers->rip);
    if ((v->reinject.info & EVENT_VALID) && EVENT_TYPE(v->reinject.info) == EVENT_TYPE_EXTERNAL)
        rflags |= RFLAGS_IF;
    vmcs_write(GUEST_RFLAGS, rflags);
    if (!(rflags & RFLAGS_IF))
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_STI);
}

void vmx_debug_read(const struct vmx_vcpu *v, struct debug_registers *out)
{
    memcpy(out->gpr, v->gpr, sizeof out->gpr);
    out->gpr[GPR_RSP] = vmcs_read(GUEST_RSP);
    out->rip = vmcs_read(GUEST_RIP);
    out->rflags = vmcs_read(GUEST_RFLAGS);
    read_segments(v, out);
    read_paging(v, out);
    show_as_guest_sees(out);
}

/* What is not in its VMCS; it is on no CPU. */
static void read_saved(const struct vmx_vcpu *v, struct debug_registers *out)
{
    out->cr2 = v->cr2;
    xsave_area_export(v->xsave_area, out->fpu);
    out->changed = out->changed_f = false;
}

void virt_debug_save(struct vcpu *vcpu, struct debug_registers *out)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    vmx_load(v);
    if (v->debug->prepared) { /* it was let go and wanted again before it could run */
        v->debug->prepared = false;
        vmx_event_take_back(v);
        if (v->debug->registers)
            write_registers(v, v->debug->registers);
    }
    if (v->debug->stepping)
        end_step(v, false);
    if (v->debug->owns_registers)
        give_registers_back(v);
    vmx_debug_read(v, out);
    virt_vcpu_detach(vcpu);
    read_saved(v, out);
}

void virt_debug_save_again(struct vcpu *vcpu, struct debug_registers *out)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    hpa_t previous = vmx_open(v);

    v->debug->owed = false;
    vmx_debug_read(v, out);
    vmx_close(v, previous);
    read_saved(v, out);
}

void virt_debug_prepare(struct vcpu *vcpu, const struct debug_registers *registers, const struct debug_points *points,
                        const struct debug_step *step)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    struct vmx_debug *d = v->debug;

    d->registers = registers->changed ? registers : NULL;
    d->points = *points;
    d->step = *step;
    d->prepared = true;
    if (registers->changed_f) /* the vCPU is on no CPU: its FPU state is loaded from here */
        xsave_area_import(v->xsave_area, registers->fpu);
}

/* What the debugger wrote meanwhile was for the state before, and a step ended there. The guest's debug registers are
 * reset; those that vmx_vcpu_take_sipi() has reset may be the debugger's. */
void vmx_debug_begin_anew(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    d->registers = NULL;
    d->stepping = d->owed = d->put_off = false;
    memset(d->guest_dr, 0, sizeof d->guest_dr);
    d->guest_dr6 = DR6_INIT;
    d->guest_dr7 = DR7_FIXED;
    if (d->owns_registers)
        write_debug_registers(v, d->points.address, DR6_INIT);
}

void vmx_debug_enter(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    if (d->prepared) {
        d->prepared = false;
        if (d->registers)
            write_registers(v, d->registers);
        intercept_int3(v, d->points.software);
        if (d->points.dr7)
            take_registers(v);
        if (d->step.on)
            begin_step(v);
    }
    if (d->owns_registers) /* INIT resets it */
        vmcs_write(GUEST_DR7, d->points.dr7);
}

void vmx_debug_put_off(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    if (d->put_off)
        return;
    d->put_off = true;
    d->step_put_off = d->stepping;
    if (d->stepping)
        interrupt_step(v);
    d->stepping = false;
    if (d->owns_registers)
        vmcs_write(GUEST_DR7, d->guest_dr7);
}

void vmx_debug_go_on(struct vmx_vcpu *v)
{
    struct vmx_debug *d = v->debug;

    d->put_off = false;
    intercept_int3(v, d->points.software);
    if (d->owns_registers) {
        d->guest_dr7 = vmcs_read(GUEST_DR7);
        vmcs_write(GUEST_DR7, d->points.dr7);
        vmcs_write(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) | PROC_MOV_DR_EXITING);
    }
    if (d->step_put_off)
        begin_step(v);
}
