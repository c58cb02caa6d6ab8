/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Builds the board and carries messages between its parts: device -> I/O APIC -> local APIC -> vCPU, and IPIs from one
 * local APIC to the others. Callbacks come with the VM's lock held.
 */
#include "kernel/start/board.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "drivers/virt/pc.h"
#include "drivers/virt/vlapic.h"
#include "drivers/virt/vlapic_timer.h"
#include "kernel/clock.h"
#include "kernel/frames.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/load/load.h"
#include "kernel/log.h"
#include "kernel/monitor/com2.h"
#include "kernel/monitor/terminal.h"
#include "kernel/start/life.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

struct board_cpu {
    struct vlapic apic;
    struct vcpu *vcpu;
    struct board *board;
};

struct board {
    struct pc_host host;
    struct vm *vm;
    struct pc pc;
    struct trace_story last; /* what led to the VM's end, as far as it is not printed */
    struct board_cpu cpus[];
};

/* ---- from the PC's devices ---- */

static void console_put(void *context, u8 character)
{
    struct board *board = context;
    vm_console_offer(board->vm, character);
}

static int console_get(void *context)
{
    struct board *board = context;
    return board->vm->spec.com2 ? com2_read(board->vm) : terminal_read(board->vm);
}

static void take_input(void *devices)
{
    struct board *board = devices;
    pc_take_input(&board->pc);
}

static void press_power_button(void *devices)
{
    struct board *board = devices;
    pm_press_power_button(&board->pc.pm);
}

/* No lock: an entry that changes meanwhile is another vCPU's, which runs. */
static bool may_raise_nmi(const void *devices)
{
    const struct board *board = devices;

    for (u32 i = 0; i < board->vm->spec.cpus; i++)
        if (vlapic_has_nmi_on_lint0(&board->cpus[i].apic))
            return true;
    return vioapic_has_nmi(&board->pc.ioapic);
}

/* A device may not stop its VM inside an access: vm_port_write does it once the lock is free. */
static void request(void *context, enum pc_request what)
{
    struct board *board = context;

    board->vm->requested = what == PC_REQUEST_RESET ? VM_STOP_RESET : VM_STOP_POWEROFF;
    board->vm->write_effect = true;
}

/* The 8259A's INTR is the boot processor's LINT0. */
static void interrupt_raised(void *context)
{
    struct board *board = context;
    struct board_cpu *boot = &board->cpus[0];

    if (LIKELY(boot->apic.extint))
        sched_notify(boot->vcpu, VCPU_REQUEST_EVENT);
    else
        vlapic_raise_lint0(&boot->apic);
}

/* ---- between the APICs ---- */

static COLD bool deliver(struct board_cpu *cpu, u8 delivery, u8 vector, bool level)
{
    switch (delivery) {
    case APIC_FIXED:
    case APIC_LOWEST_PRIORITY:
        return vlapic_accept(&cpu->apic, vector, level);
    case APIC_NMI:
        vm_nmi(cpu->vcpu);
        return true;
    case APIC_INIT:
        vm_init_vcpu(cpu->vcpu);
        return true;
    case APIC_SIPI:
        vm_sipi(cpu->vcpu, vector);
        return true;
    default:
        return false;
    }
}

/*
 * To each local APIC that the message is for; true if one accepted it. Of those that a lowest-priority one is for, the
 * one with the least priority takes it. sender: needed for shorthands only.
 */
static COLD bool send_to_all(struct board *board, const struct board_cpu *sender, const struct vlapic_ipi *m,
                             bool level)
{
    struct board_cpu *lowest = NULL;
    bool accepted = false;

    for (u32 i = 0; i < board->vm->spec.cpus; i++) {
        struct board_cpu *cpu = &board->cpus[i];
        if (!vlapic_receives(&cpu->apic, &sender->apic, m))
            continue;
        if (m->delivery != APIC_LOWEST_PRIORITY)
            accepted |= deliver(cpu, m->delivery, m->vector, level);
        else if (!lowest || vlapic_priority(&cpu->apic) < vlapic_priority(&lowest->apic))
            lowest = cpu;
    }
    return lowest ? deliver(lowest, APIC_FIXED, m->vector, level) : accepted;
}

/* Most often it is for one, and a physical destination is an index: APIC ids are. */
static ALWAYS_INLINE bool send(struct board *board, const struct board_cpu *sender, const struct vlapic_ipi *m,
                               bool level)
{
    bool single = m->shorthand == VLAPIC_TO_DESTINATION && !m->logical;

    if (UNLIKELY(!single || m->destination >= board->vm->spec.cpus))
        return send_to_all(board, sender, m, level);
    struct board_cpu *cpu = &board->cpus[m->destination];
    if (LIKELY(m->delivery == APIC_FIXED))
        return vlapic_accept(&cpu->apic, m->vector, level);
    return vlapic_is_present(&cpu->apic) && deliver(cpu, m->delivery, m->vector, level);
}

static bool message(void *context, const struct vioapic_message *m)
{
    const struct vlapic_ipi ipi = {m->destination, m->vector, m->delivery, VLAPIC_TO_DESTINATION, m->logical};
    struct board *board = context;

    return send(board, &board->cpus[0], &ipi, m->level);
}

static void ipi(void *context, const struct vlapic_ipi *m)
{
    const struct board_cpu *sender = context;
    (void)send(sender->board, sender, m, false);
}

static void notify(void *context)
{
    struct board_cpu *cpu = context;
    sched_notify(cpu->vcpu, VCPU_REQUEST_EVENT);
}

static void posted(void *context)
{
    struct board_cpu *cpu = context;
    sched_notify_posted(cpu->vcpu);
}

static void nmi(void *context)
{
    struct board_cpu *cpu = context;
    vm_nmi(cpu->vcpu);
}

static void end_level(void *context, u8 vector)
{
    struct board_cpu *cpu = context;
    pc_end_interrupt(&cpu->board->pc, vector);
}

/* The guest's TSC is the host's, less its value when the VM started, unless the guest wrote it. */
static u64 ns_of_tsc(void *context, u64 tsc)
{
    struct board_cpu *cpu = context;
    return vm_ns_of_guest_tsc(cpu->vcpu, tsc);
}

static const struct vlapic_host apic_host = {notify, posted, nmi, ipi, end_level, ns_of_tsc};

/* ---- the CPU's side ---- */

static u8 apic_acknowledge(void *device)
{
    return vlapic_acknowledge(device);
}

static bool apic_read_msr(void *device, u32 index, u64 *value)
{
    return vlapic_read_msr(device, index - MSR_IA32_X2APIC_BASE, value);
}

static bool apic_write_msr(void *device, u32 index, u64 value)
{
    return vlapic_write_msr(device, index - MSR_IA32_X2APIC_BASE, value);
}

static u64 apic_read_deadline(void *device)
{
    return vlapic_timer_read_deadline(device);
}

static void apic_write_deadline(void *device, u64 tsc)
{
    vlapic_timer_write_deadline(device, tsc);
}

static bool apic_write_base(void *device, u64 value)
{
    return vlapic_write_base(device, value);
}

static u64 apic_read_cr8(void *device)
{
    return vlapic_read_cr8(device);
}

static void apic_write_cr8(void *device, u64 value)
{
    vlapic_write_cr8(device, value);
}

static void apic_reset(void *device)
{
    vlapic_handle_init(device);
}

static void apic_end_interrupt(void *device)
{
    vlapic_end_interrupt(device);
}

static bool apic_is_waiting(const void *device)
{
    return vlapic_is_waiting(device);
}

static void apic_written(void *device, u32 offset)
{
    vlapic_written(device, offset);
}

static void apic_end_level(void *device, u8 vector)
{
    vlapic_end_level(device, vector);
}

static const struct cpu_apic_ops apic_ops = {
    .acknowledge = apic_acknowledge,
    .end_interrupt = apic_end_interrupt,
    .read = vlapic_read,
    .write = vlapic_write,
    .read_msr = apic_read_msr,
    .write_msr = apic_write_msr,
    .read_deadline = apic_read_deadline,
    .write_deadline = apic_write_deadline,
    .write_base = apic_write_base,
    .read_cr8 = apic_read_cr8,
    .write_cr8 = apic_write_cr8,
    .reset = apic_reset,
    .is_waiting = apic_is_waiting,
    .written = apic_written,
    .end_level = apic_end_level,
};

/* ---- building ---- */

static size_t bytes(u32 cpus)
{
    return sizeof(struct board) + cpus * sizeof(struct board_cpu);
}

static void attach_apic(struct board *board, u32 index, void *page)
{
    struct board_cpu *cpu = &board->cpus[index];
    struct vcpu *vcpu = board->vm->vcpus[index];
    static const bool unconnected = false; /* LINT0 of other processors */
    const bool *intr = index == 0 ? board->vm->intc.pending : &unconnected;
    const struct vlapic_setup setup = {
        .host = &apic_host,
        .context = cpu,
        .page = page,
        .intr = intr,
        .timers = &vcpu->timers,
        .id = index,
        .physical_bits = (u8)cpu_cpuid(0x80000008, 0).eax,
        .boot = index == 0,
        .x2apic = true,
        .timer_ns_scale = clock_ns_scale * clock_crystal_ratio(clock_tsc_hz()),
        .timer_tick_scale = clock_tsc_scale / clock_crystal_ratio(clock_tsc_hz()) + 1,
        .posted = virt_delivers_interrupts(board->vm) ? vcpu->posted : NULL,
    };

    cpu->vcpu = vcpu;
    cpu->board = board;
    vlapic_init(&cpu->apic, &setup);
    vcpu->apic = (struct cpu_apic){&cpu->apic, &cpu->apic.pending,          &cpu->apic.extint, intr, &cpu->apic.base,
                                   page,       &cpu->apic.virtual_delivery, &apic_ops};
}

static enum status attach(struct vm *vm, void *room)
{
    struct board *board = room;

    board->vm = vm;
    board->host = (struct pc_host){board, console_put, request, interrupt_raised, message, console_get};
    vm->devices = board;
    vm->take_input = take_input;
    vm->press_power_button = press_power_button;
    vm->may_raise_nmi = may_raise_nmi;
    vm->intc = pc_interrupt_controller(&board->pc);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        attach_apic(board, i, vm->apic_pages + i * VLAPIC_PAGE_BYTES);
    vlapic_set_virtual_wire(&board->cpus[0].apic);
    return pc_init(&board->pc, &board->host, &vm->bus, &vm->vcpus[0]->timers, clock_wall_seconds(), vm->spec.mem_bytes);
}

static void *pages_in(const struct vm *vm, const void *state)
{
    return (u8 *)(uintptr_t)state + bytes(vm->spec.cpus);
}

static void save(struct vm *vm, void *state)
{
    struct board *board = vm->devices;

    for (u32 i = 0; i < vm->spec.cpus; i++)
        vlapic_settle(&board->cpus[i].apic);
    memcpy(state, board, bytes(vm->spec.cpus));
    memcpy(pages_in(vm, state), vm->apic_pages, vm->spec.cpus * VLAPIC_PAGE_BYTES);
}

/* The PC first: LINT0 is its output. */
static void copy(struct vm *vm, const void *state)
{
    struct board *board = vm->devices;
    const struct board *from = state;

    pc_copy(&board->pc, &from->pc);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vlapic_copy(&board->cpus[i].apic, &from->cpus[i].apic, (const u8 *)pages_in(vm, state) + i * VLAPIC_PAGE_BYTES);
}

static enum status load(struct vm *vm, const struct load_request *request, gpa_t acpi_root, struct start_state *start,
                        struct refusal *why)
{
    struct load_request complete = *request;

    complete.acpi_root = acpi_root;
    vm->boot_image = request->boot;
    return load_image(&complete, &vm->memory, start, &vm->spec.kind, why);
}

static void note_end(struct vm *vm)
{
    struct board *board = vm->devices;

    trace_collect(vm, &board->last);
}

static bool explain(struct vm *vm)
{
    struct board *board = vm->devices;
    bool whole = vm->spec.dump == VM_DUMP_REGS || vm->spec.dump == VM_DUMP_VMCS;

    return trace_print_oldest(&board->last, !whole, vm, log_text);
}

/* ---- for those who look ---- */

static size_t describe_apic(const struct board_cpu *cpu, u32 index, char *text, size_t size)
{
    const struct vlapic *apic = &cpu->apic;

    return format_text(text, size, "device=lapic vcpu=%u base=0x%lx pending=%d extint=%u lvt_timer=0x%x", index,
                       apic->base, apic->pending, apic->extint, apic->lvt_timer);
}

static bool describe(struct vm *vm, u32 n, char *text, size_t size)
{
    const struct board *board = vm->devices;

    if (n < vm->spec.cpus)
        return describe_apic(&board->cpus[n], n, text, size);
    return pc_describe(&board->pc, n - vm->spec.cpus, text, size);
}

const struct vm_board board_pc = {bytes,   load,     attach,       save,     copy,          note_end,
                                  explain, com2_put, com2_waiting, describe, life_run_ended};
