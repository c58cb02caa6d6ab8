/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual machine: its configuration, memory, buses, devices and vCPUs, from its module line to its stop report.
 * Life: created by the boot CPU; runs; the first vm_stop() wins; each vCPU is retired by its home CPU; the last one to
 * retire prints the stop line and releases guest memory. The object stays for the statistics until vm_destroy().
 */
#ifndef ROOTLET_KERNEL_VM_VM_H
#define ROOTLET_KERNEL_VM_VM_H

#include "arch/x86/spinlock.h"
#include "kernel/vm/bus.h"
#include "kernel/clock.h"
#include "kernel/vm/memory.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vcpu.h"
#include "kernel/vm/spec.h"
#include "kernel/vm/start.h"

/* vm_stop_reason_name() gives the words, docs/guest-abi.md the reasons. */
enum vm_stop_reason {
    VM_RUNNING,
    VM_STOP_POWEROFF,
    VM_STOP_RESET,
    VM_STOP_HALT,
    VM_STOP_EXIT,
    VM_STOP_LIMIT,
    VM_STOP_KILLED,
    VM_STOP_WATCHDOG,
    VM_STOP_TRIPLE_FAULT,
    VM_STOP_ENTRY_FAILURE,
    VM_STOP_UNKNOWN_EXIT,
    VM_STOP_UNSUPPORTED_INSTRUCTION,
    VM_STOP_NO_MEMORY,
};

/* What a guest asks of the boot CPU's work: snapshot.h. */
enum vm_wish { VM_WISH_NONE, VM_WISH_SNAPSHOT, VM_WISH_RESTORE, VM_WISH_SNAPSHOT_AT };

#define VM_CONSOLE_LINE_BYTES 512
#define VM_DETAIL_BYTES       128
#define VM_WHERE_BYTES        80
#define VM_REMARK_BYTES       160
#define VM_KEPT_BYTES         65536u /* of what it printed */
#define VM_SCREEN_ROWS        25u
#define VM_SCREEN_COLUMNS     80u

/* The terminal at the host's console and this VM. */
enum vm_terminal {
    VM_TERMINAL_NOT,    /* what it prints goes out line by line; it gets no input */
    VM_TERMINAL_BEHIND, /* likewise, but only while the monitor is in front of it */
    VM_TERMINAL_HAS,    /* its bytes go to and come from the console as they are */
};

struct vm_board;
struct vm_watcher;

/* Of all vCPUs; what virt.h counts goes from run to run by itself. */
struct vm_sums {
    u64 run_tsc, wall_tsc, slices, migrations;
};

/* watchdog=, a vCPU: the signs of life of the whole VM when it looked last, and its run time when it saw one. */
struct vm_watch {
    u64 signs;
    u64 since_run_tsc;
};

struct vm {
    struct vm_spec spec;
    u32 id;
    u32 restart;      /* which of its restarts this run is; 0: its first run */
    u32 stop_claimed; /* atomic: the first vm_stop() sets it and writes the reason */
    u32 stopping;     /* atomic: 1 once the reason is written */
    u32 vcpus_live;   /* atomic: vCPUs that are not yet retired */
    u32 vcpus_in;     /* atomic: vCPUs that have not yet left their guest for good */
    u32 end_step;     /* how far its end is told: end_piece() */
    enum vm_stop_reason reason;
    u32 exit_status;
    char detail[VM_DETAIL_BYTES]; /* key=value pairs for the stop line */
    char where[VM_WHERE_BYTES];   /* " function=..." of the vCPU that stopped it, as far as known */
    char remark[VM_REMARK_BYTES]; /* what explains its end, "" if nothing is known */
    bool clean;                   /* ended by its own will or its limit */
    bool over;                    /* atomic: the end has been told to the boot CPU, which may free the object */

    const struct vm_board *board;
    const struct vm_watcher *watcher;

    struct spinlock lock; /* devices, bus, timers of vCPU 0, console line */
    u64 start_tsc;        /* guest time 0 */
    u64 born_tsc;         /* when it began to run: later, if it is a copy of another */
    u64 limit_tsc;        /* UINT64_MAX: none */
    u64 watchdog_tsc;     /* 0: none */
    struct vm_watch watch[VM_MAX_VCPUS];
    struct image boot_image; /* as the boot loader left it; the VM's own copy is in `memory` */
    struct guest_memory memory;
    struct bus bus;
    struct intc intc;
    u8 *apic_pages; /* a 4 KiB page for each vCPU's local APIC */
    void *devices;
    void (*press_power_button)(void *devices);
    void (*take_input)(void *devices);          /* the devices fetch what was typed, with console_read() */
    bool (*may_raise_nmi)(const void *devices); /* an interrupt controller would make an interrupt an NMI */
    u8 terminal;                                /* atomic, enum vm_terminal */
    bool has_debugger;                          /* gdb=: whoever debugs it may change what it waits for */
    bool input_waiting;                         /* atomic: take_input is due */
    bool button_pressed;                        /* atomic: press_power_button is due, with it */
    u32 halted_count;                           /* atomic: vCPUs halted for good or never started */
    bool is_copy;                               /* it began as another VM's snapshot */
    u32 wish;         /* atomic, enum vm_wish: while there is one, nobody lets its vCPUs go but who grants it */
    u32 wisher;       /* index of the vCPU that made the wish */
    u64 wish_due_tsc; /* boot CPU: not granted before */

    char line[VM_CONSOLE_LINE_BYTES];
    u32 line_length;
    u8 *kept;                      /* its last VM_KEPT_BYTES, a ring; NULL: there was no memory for it */
    u64 kept_total;                /* atomic: bytes that ever went there */
    u32 console_position;          /* behind its last byte at the console */
    u32 console_queued;            /* its bytes there that waited when it wrote last */
    bool write_effect;             /* a port write has printed a line or asked for the VM's end */
    bool console_full;             /* a character was refused: the instruction that wrote it is to be restarted */
    bool line_printed;             /* a line has gone out since the throttle last looked */
    enum vm_stop_reason requested; /* by a device: poweroff or reset, after the current access */

    u64 ept_root;      /* the EPT's top frame; owned by vmx/ept.c */
    u64 ept_apic_root; /* likewise, with the page where the local APIC is; 0: none */
    bool has_ept;
    u32 symbol_steps; /* atomic: what its functions' names have cost (kernel/vm/symbols.h) */
    u64 object_frames;
    u64 overhead_frames; /* all but guest memory and EPT */
    u64 busy_window;     /* these three: note_use() in sched.c; atomic */
    u32 busy_vcpus;      /* those that have used a part of this window */
    u32 busy_before;     /* and of the one before */
    u64 stop_tsc;
    u32 readers;                /* atomic: between vm_begin_reading() and vm_end_reading() */
    struct vm_sums before;      /* of the runs before this one */
    u64 seen_tsc, seen_run_tsc; /* boot CPU: when the monitor last said what it costs, and its run time then */
    struct vcpu *vcpus[VM_MAX_VCPUS];
    struct vm *next;
};

static inline bool vm_may_raise_nmi(const struct vm *vm)
{
    return vm->may_raise_nmi && vm->may_raise_nmi(vm->devices);
}

struct load_request;

/* What the composition root does for a VM, whose own code knows neither devices nor loaders, nor who counts the VMs. */
struct vm_board {
    size_t (*device_bytes)(u32 cpus); /* room that attach() needs */
    /* Loads the image into vm->memory, fills *start and sets vm->spec.kind. acpi_root: the RSDP. */
    enum status (*load)(struct vm *vm, const struct load_request *request, gpa_t acpi_root, struct start_state *start,
                        struct refusal *why);
    enum status (*attach)(struct vm *vm, void *room);
    /* The state of devices and local APICs, into device_bytes() and then 4 KiB for each vCPU; and into the devices of
     * this VM or of another one with as many vCPUs. No vCPU runs. */
    void (*save)(struct vm *vm, void *state);
    void (*copy)(struct vm *vm, const void *state);
    /* The last vCPU has left its guest: keeps what led to the VM's end, before others' records push that out. */
    void (*note_end)(struct vm *vm);
    /* Prints a line of it, before the stop line, while the VM's memory is still there. False: there is none left. */
    bool (*explain)(struct vm *vm);
    /* console=com2: a byte for that port, and how many wait there. */
    void (*put_com2)(u8 byte);
    u32 (*com2_waiting)(void);
    /* A word on device `n` and its state, without a lock: what it does meanwhile may show half. False: there are no
     * more. */
    bool (*describe)(struct vm *vm, u32 n, char *text, size_t size);
    /* Its memory is released, and nobody else touches the object any more. Any CPU. */
    void (*ended)(struct vm *vm);
};

/* Somebody who looks after one VM: a debugger. NULL in struct vm: nobody does. */
struct vm_watcher {
    /* From the home CPU's loop: the vCPU has left its guest and rests until sched_unpause(). */
    void (*paused)(struct vcpu *vcpu);
    /* The VM has ended, and its memory is about to go. All its vCPUs are retired. */
    void (*ended)(struct vm *vm);
    /* Boot CPU's work, before the VM's state is copied or replaced. True: its vCPUs are paused, and nothing of the
     * watcher's is in their state and in memory, until stood(). Else work is asked for when that is so. */
    bool (*stand)(struct vm *vm);
    /* stand() has paused them; else somebody knows the state that they have, and it must not be replaced. */
    bool (*may_move)(const struct vm *vm);
    /* moved: it has been replaced. */
    void (*stood)(struct vm *vm, bool moved);
};

struct vm_setup {
    const struct vm_spec *spec;
    const struct load_request *request; /* NULL: the memory is what `memory` has, shared, and nothing is loaded */
    struct layer *memory;
    const struct vm_board *board;
    u32 id;
    u32 restart; /* as struct vm's */
};

/*
 * Builds the VM: memory, image, EPT, vCPUs, devices. The vCPUs are not queued yet. On refusal nothing is held.
 */
enum status vm_create(const struct vm_setup *setup, struct vm **out, struct refusal *why) MUST_CHECK;
/* Sets guest time 0, announces the VM and queues its boot vCPU; of a copy, all that had started. */
void vm_start(struct vm *vm);
/* VMs that have started and not ended. */
COLD u32 vm_running_count(void);
/* Undoes vm_create(): it has not been started. */
COLD void vm_discard(struct vm *vm);
/* Frees the object of a stopped VM. */
void vm_destroy(struct vm *vm);
/* All that it has run, before this run and in it. */
COLD struct vm_sums vm_sums(const struct vm *vm);

/*
 * Stops the VM with a reason, once: later calls are ignored. `detail` is a format of key=value pairs for the stop line,
 * or NULL. Callable from any CPU with no lock held; the VM's vCPUs leave their guests soon after.
 */
void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...) PRINTF(3, 4);
/* Stops the VM with reason=exit, as vm_stop; it ended well if status is 0. */
void vm_exit(struct vm *vm, u32 status);
/*
 * Pauses the whole VM, beside any debugger: each vCPU leaves its guest and rests, with its VMCS clear; one that starts
 * meanwhile rests before its first instruction. Guest time goes on, run time does not. Any CPU, no lock held. The boot
 * CPU's work is asked for as they come to rest.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
/* All vCPUs that have started rest; none enters its guest until vm_resume(). */
bool vm_is_at_rest(const struct vm *vm);
/* Its ACPI power button is pressed. Any CPU, no lock held; so the next two. */
void vm_press_power_button(struct vm *vm);
/* An NMI to the first vCPU. */
void vm_raise_nmi(struct vm *vm);
/* Weight, cap, affinity and limit become those of *spec. */
COLD void vm_change(struct vm *vm, const struct vm_spec *spec);
/* STATUS_OUT_OF_RANGE: affinity= names no CPU that there is. */
COLD enum status vm_check_affinity(const struct vm_spec *spec, struct refusal *why) MUST_CHECK;
static inline bool vm_is_stopping(const struct vm *vm)
{
    return __atomic_load_n(&vm->stopping, __ATOMIC_ACQUIRE);
}
/*
 * Whoever is none of the VM's own CPUs reads its memory between these two, shortly and without sched_share_cpu(): the
 * VM's end waits for it. False: the VM ends, and its memory goes or is gone.
 */
COLD bool vm_begin_reading(struct vm *vm) MUST_CHECK;
COLD void vm_end_reading(struct vm *vm);
/* Once for each vCPU of a stopping VM that had started, on its home CPU: it has left its guest for good. */
void vm_begin_retiring(struct vcpu *vcpu);
/*
 * Then there: reports and retires it; with the last one the VM ends, too. In pieces, each far shorter than a slice, so
 * that others run in between. False: it is to be called again. True: the vCPU may be gone already.
 */
bool vm_retire_vcpu(struct vcpu *vcpu) MUST_CHECK;
/* The stopping VM has more to print than a line or two, or had. */
bool vm_has_report(const struct vm *vm);
/* A vCPU can never run again by itself: with the last one of its VM so, the VM stops with reason=halt. */
void vm_note_halted_forever(struct vcpu *vcpu);
/* The VM has gone back to where this vCPU had started: if it has not in this run, it does, with the state it has. */
COLD void vm_start_restored(struct vcpu *vcpu);
/* Starts a waiting vCPU (hypercall). False if there is no such vCPU or it has been started. */
bool vm_start_vcpu(struct vm *vm, u32 index, const struct start_state *start);

/*
 * The VM's lock. A VM with one vCPU is only ever touched by that vCPU's home CPU, so it needs none: most VMs, and ten
 * instructions less on every port access.
 */
static inline void vm_lock(struct vm *vm)
{
    if (vm->spec.cpus > 1)
        spin_lock(&vm->lock);
}

static inline void vm_unlock(struct vm *vm)
{
    if (vm->spec.cpus > 1)
        spin_unlock(&vm->lock);
}

/* Signals that reach a vCPU from its local APIC; the VM's lock is held. SDM 3A 8.4 "Multiple-Processor (MP)
 * Initialization" */
void vm_nmi(struct vcpu *vcpu);
void vm_init_vcpu(struct vcpu *vcpu);
void vm_sipi(struct vcpu *vcpu, u8 vector);
/* Guest time in ns at which the vCPU's TSC has reached `tsc`, rounded up; 0 if it has passed before the VM started. */
u64 vm_ns_of_guest_tsc(const struct vcpu *vcpu, u64 tsc);
/* A vCPU's own local APIC, under the VM's lock; timers that moved take effect. */
u64 vm_apic_read(struct vcpu *vcpu, u64 offset, u8 bytes);
void vm_apic_write(struct vcpu *vcpu, u64 offset, u8 bytes, u64 value);
bool vm_apic_read_msr(struct vcpu *vcpu, u32 index, u64 *value) MUST_CHECK;
bool vm_apic_write_msr(struct vcpu *vcpu, u32 index, u64 value) MUST_CHECK;
u64 vm_apic_read_deadline(struct vcpu *vcpu);
void vm_apic_write_deadline(struct vcpu *vcpu, u64 tsc);
bool vm_apic_write_base(struct vcpu *vcpu, u64 value) MUST_CHECK;
void vm_apic_write_cr8(struct vcpu *vcpu, u64 value);
/* The vCPU's VMX operation (nested=on) begins, or ends: INIT is blocked meanwhile, and one that came then takes effect.
 * SDM 3C 23.8 "Restrictions on VMX Operation" */
COLD void vm_block_init(struct vcpu *vcpu, bool block);
/* As struct cpu_apic_ops. */
void vm_apic_reset(struct vcpu *vcpu);
void vm_apic_written(struct vcpu *vcpu, u32 offset);
void vm_apic_end_level(struct vcpu *vcpu, u8 vector);

/* EOI of a vCPU's local APIC. */
static ALWAYS_INLINE void vm_apic_end_interrupt(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->end_interrupt(vcpu->apic.device);
    vm_unlock(vcpu->vm);
}

/* An interrupt waits that the vCPU's local APIC lets through and that is ours to inject. */
static ALWAYS_INLINE bool vm_interrupt_pending(const struct vcpu *vcpu)
{
    return (*vcpu->apic.intr && *vcpu->apic.extint) || *vcpu->apic.pending >= 0;
}

/* Likewise, or that the CPU will deliver; of a vCPU that does not run. */
static inline bool vm_interrupt_waiting(const struct vcpu *vcpu)
{
    return vm_interrupt_pending(vcpu) ||
           (*vcpu->apic.virtual_delivery && vcpu->apic.ops->is_waiting(vcpu->apic.device));
}

/* The devices' timers belong to vCPU 0: if an access moved the earliest, its deadline moves too. */
static inline bool vm_timers_moved(const struct vm *vm)
{
    return vm->vcpus[0]->timers.next_ns != vm->vcpus[0]->timer_ns;
}

/* Off the short path of an access: passes on that timers moved, and returns `value`. */
COLD u64 vm_note_moved_timers(struct vm *vm, u64 value);
/*
 * What a write can cause beyond the device: moved timers, a printed line that fills the console, the end of the VM.
 * False: the console was full, and nothing has been written.
 */
COLD bool vm_write_effects(struct vcpu *vcpu);

/* Port accesses of a VM with several vCPUs: under its lock. */
u32 vm_port_read_locked(struct vm *vm, u16 port, u8 bytes);
bool vm_port_write_locked(struct vcpu *vcpu, u16 port, u8 bytes, u32 value);

/* Port accesses of a vCPU; bytes: 1, 2 or 4. */
static ALWAYS_INLINE u32 vm_port_read(struct vcpu *vcpu, u16 port, u8 bytes)
{
    struct vm *vm = vcpu->vm;
    u32 value =
        LIKELY(vm->spec.cpus == 1) ? bus_read_port(&vm->bus, port, bytes) : vm_port_read_locked(vm, port, bytes);

    return LIKELY(!vm_timers_moved(vm)) ? value : (u32)vm_note_moved_timers(vm, value);
}

/*
 * False: not now, since the VM has as much waiting at the console as it may. The instruction is to be restarted, and
 * the vCPU waits first: until that has gone out, or an interrupt comes for it.
 */
static ALWAYS_INLINE bool vm_port_write(struct vcpu *vcpu, u16 port, u8 bytes, u32 value)
{
    struct vm *vm = vcpu->vm;

    if (UNLIKELY(vm->spec.cpus > 1))
        return vm_port_write_locked(vcpu, port, bytes, value);
    bus_write_port(&vm->bus, port, bytes, value);
    if (UNLIKELY(vm->write_effect || vm_timers_moved(vm)))
        return vm_write_effects(vcpu);
    return true;
}

/* Timers of a VM with several vCPUs: under its lock. */
void vm_run_timers_locked(struct vcpu *vcpu, u64 now_ns);

/* Fires the timers of a vCPU that have come due at host TSC `now_tsc`. */
static ALWAYS_INLINE void vm_run_timers(struct vcpu *vcpu, u64 now_tsc)
{
    const struct vm *vm = vcpu->vm;
    u64 now_ns = clock_elapsed_ns(now_tsc - vm->start_tsc);

    if (LIKELY(vm->spec.cpus == 1))
        vtimer_run(&vcpu->timers, now_ns);
    else
        vm_run_timers_locked(vcpu, now_ns);
}

const char *vm_stop_reason_name(enum vm_stop_reason reason);
/* Guest time: nanoseconds since the VM started. */
u64 vm_clock_ns(const struct vm *vm);
/* Host TSC value at which guest time `ns` is reached (rounded up, saturating). */
static inline u64 vm_tsc_of_ns(const struct vm *vm, u64 ns)
{
    u64 span = clock_deadline_span(ns);
    return UNLIKELY(span == UINT64_MAX) ? UINT64_MAX : vm->start_tsc + span;
}

/* Bus accesses of a vCPU, under the VM's lock; timers that they changed take effect. */
u64 vm_memory_read(struct vcpu *vcpu, gpa_t address, u8 bytes);
void vm_memory_write(struct vcpu *vcpu, gpa_t address, u8 bytes, u64 value);

/* The terminal comes or goes: whether the VM waits for good is asked again. Boot CPU, no lock held. */
COLD void vm_set_terminal(struct vm *vm, enum vm_terminal terminal);
/*
 * Copies what was kept of the VM's output from position `from` on, as far as it is still there, at most `bytes`;
 * returns how many, and in *at the position of the first. 0: there is no more.
 */
COLD size_t vm_read_kept(const struct vm *vm, u64 from, char *to, size_t bytes, u64 *at);
/* A new run goes on with what the one before it has printed. */
COLD void vm_carry_kept(struct vm *vm, struct vm *before);
/* A row of the guest's text page as printable characters, without the blanks at its end; false: there is none. */
COLD bool vm_screen_row(const struct vm *vm, u32 row, char text[VM_SCREEN_COLUMNS + 1]);
/* The rows up to the last one that is not blank, at least one. */
COLD u32 vm_screen_rows(const struct vm *vm);

/* Something was typed for this VM, whose CPU then hands it to the devices. Any CPU, no lock held. */
void vm_note_input(struct vm *vm);
void vm_take_input(struct vm *vm);

/* One character, or a block, for the VM's console; whole lines go out as "[name] text". VM lock held by the caller. */
void vm_console_put(struct vm *vm, u8 character);
/* The same from a device: while the VM has its share of the console waiting, the write is refused (vm_port_write). */
void vm_console_offer(struct vm *vm, u8 character);
void vm_console_flush(struct vm *vm);
/*
 * How many of the VM's bytes must leave the console before it should write again; 0: it may. Each VM has its share of
 * the console's ring, so that a loud one waits for its own text only, and a quiet one for nobody's.
 */
u32 vm_console_excess(const struct vm *vm);
/* It has some lines more than its share there: one that goes on while it should wait, when interrupts wake it. */
bool vm_console_is_full(const struct vm *vm);
/* If the VM has more waiting at the console than its share, holds this vCPU back until half of that has gone. */
void vm_console_throttle(struct vcpu *vcpu);
/*
 * A line of the hypervisor's own about what this vCPU's guest has done, charged to its VM as if the guest had written
 * it. False: the VM has too many waiting; it was not printed, and the vCPU is held back until half of them have gone.
 */
COLD bool vm_log_caused(struct vcpu *vcpu, const char *text);

#endif
