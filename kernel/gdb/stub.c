/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stub's state, its serial port, and the operations of kernel/gdb/command.h on real vCPUs. While the VM runs
 * nothing here is looked at but by breakpoints; a stop pauses each of its vCPUs on its home CPU, and the last one to be
 * saved answers GDB. `lock` guards all; it is taken with no other lock held, and none is taken under it.
 *
 *   running --breakpoint, Ctrl-C, a packet--> stopping --last vCPU saved--> stopped --continue, step--> running
 *   any --the VM ends--> ended
 */
#include "kernel/gdb/stub.h"
#include "arch/x86/irq.h"
#include "arch/x86/regs.h"
#include "arch/x86/spinlock.h"
#include "kernel/gdb/points.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/sched/sched.h"
#include "kernel/serial_line.h"

#define IN_BYTES        4096u
#define OUT_BYTES       (4 * GDB_CONTENT_BYTES)
#define INTERRUPT_LOOPS 16u      /* no debugger holds the CPU with an endless stream of packets */
#define FLUSH_POLLS     1000000u /* some seconds at most */

#define SIGABRT 6u
#define SIGKILL 9u

enum stub_state { STUB_RUNNING, STUB_STOPPING, STUB_STOPPED, STUB_ENDED };

struct thread {
    bool saved; /* its registers are in `registers` */
    bool stepping;
    struct gdb_stop unreported; /* a watchpoint's stop while another's was reported; thread 0: none */
    u64 rip;                    /* when it was saved */
    struct debug_registers registers;
};

static struct {
    struct spinlock lock;
    struct vm *vm; /* NULL: no stub */
    u32 bits;      /* 32, 64, or 0: the vCPU's mode decides */
    enum stub_state state;
    struct gdb_stop stop;
    bool closed;     /* there is no port */
    bool has_packet; /* a packet has stopped the VM, and is run when it stands: GDB waits for no stop reply */
    bool stop_again; /* unreported stops came before what GDB wanted to run */
    bool for_other;  /* it stops for stand(): GDB hears of it when that is over */
    bool stands;     /* between stand() and stood(): GDB waits, so that the VM is not killed meanwhile */
    struct thread threads[VM_MAX_VCPUS];
    struct gdb_session session;
    struct serial_line line;
    u8 frame[GDB_FRAME_BYTES]; /* the last one, for "send again" */
    size_t frame_bytes;
} stub;
static u8 in[IN_BYTES], out[OUT_BYTES];

/* ---- the port ---- */

static void queue(const u8 *bytes, size_t count)
{
    struct serial_line *line = &stub.line;

    for (size_t i = 0; i < count && line->out_head - line->out_tail < OUT_BYTES; i++)
        out[line->out_head++ % OUT_BYTES] = bytes[i];
}

static void queue_byte(u8 byte)
{
    queue(&byte, 1);
}

static void send_reply(void)
{
    stub.frame_bytes = gdb_packet_frame(&stub.session.reply, stub.frame);
    queue(stub.frame, stub.frame_bytes);
}

/* ---- stopping ---- */

static struct vcpu *vcpu_of(u32 thread)
{
    return stub.vm->vcpus[thread - 1];
}

static bool is_alive(u32 thread)
{
    return __atomic_load_n(&vcpu_of(thread)->started, __ATOMIC_SEQ_CST);
}

/* Those that have not started pause as soon as they start. */
static void begin_stop(enum gdb_stop_kind kind, u32 thread, u64 value)
{
    stub.state = STUB_STOPPING;
    stub.stop = (struct gdb_stop){kind, thread, value};
    for (u32 i = 0; i < stub.vm->spec.cpus; i++)
        if (!stub.threads[i].saved)
            sched_pause(stub.vm->vcpus[i]);
}

static bool begins_session(void)
{
    return string_starts_with((const char *)stub.session.reader.content, "qSupported");
}

/* GDB asks once what registers there are: those of the mode that the first vCPU is in then, or of gdb=NAME,32 or 64. */
static void choose_arch(void)
{
    u32 bits = stub.bits;

    if (!bits)
        bits = stub.threads[0].registers.efer & EFER_LMA ? 64 : 32;
    stub.session.arch = bits == 64 ? GDB_X86_64 : GDB_I386;
}

static void detach(void);

static void run_packet(void)
{
    if (begins_session())
        choose_arch();
    if (gdb_command_run(&stub.session)) {
        send_reply();
    } else if (stub.stop_again) {
        stub.stop_again = false;
        gdb_command_stopped(&stub.session, &stub.stop);
        send_reply();
    }
}

/* All that run have been saved: a vCPU that another one has just started counts as soon as it is so marked. */
static void end_stop_if_complete(void)
{
    for (u32 i = 0; i < stub.vm->spec.cpus; i++)
        if (is_alive(i + 1) && !stub.threads[i].saved)
            return;
    stub.state = STUB_STOPPED;
    sched_request_work(); /* stand() may wait */
    if (stub.for_other)
        return;
    if (stub.closed) {
        detach();
        return;
    }
    gdb_command_stopped(&stub.session, &stub.stop);
    if (stub.has_packet)
        run_packet();
    else if (stub.session.attached)
        send_reply();
    stub.has_packet = false;
}

static void take_packet(void)
{
    struct gdb_session *session = &stub.session;

    if (begins_session())
        session->no_ack = false; /* it is new, and knows of no agreement */
    if (!session->no_ack)
        queue_byte('+');
    if (stub.state != STUB_RUNNING) {
        run_packet();
        return;
    }
    stub.has_packet = true;
    begin_stop(GDB_STOP_TRAP, session->thread, 0);
}

/* Runs what has come; while the VM is stopping it waits. A reply must have room: else the next interrupt goes on. */
static void pump(void)
{
    struct serial_line *line = &stub.line;

    while (stub.state != STUB_STOPPING && !stub.for_other && !stub.stands && line->in_head != line->in_tail &&
           line->out_head - line->out_tail < OUT_BYTES - GDB_FRAME_BYTES - 2) {
        switch (gdb_packet_feed(&stub.session.reader, (u8)serial_line_take(line))) {
        case GDB_INPUT_PACKET:
            take_packet();
            break;
        case GDB_INPUT_BAD:
            queue_byte('-');
            break;
        case GDB_INPUT_RESEND:
            queue(stub.frame, stub.frame_bytes);
            break;
        case GDB_INPUT_INTERRUPT:
            if (stub.state == STUB_RUNNING && stub.session.attached)
                begin_stop(GDB_STOP_INTERRUPT, stub.session.thread, 0);
            break;
        default:
            break;
        }
    }
}

static void handle_interrupt(void)
{
    spin_lock(&stub.lock);
    serial_line_interrupt(&stub.line, INTERRUPT_LOOPS, pump);
    spin_unlock(&stub.lock);
}

bool gdb_stub_stopped(struct vcpu *vcpu, enum gdb_stop_kind kind, u64 value)
{
    u32 thread = vcpu->index + 1;

    spin_lock(&stub.lock);
    bool first = stub.state == STUB_RUNNING;
    if (first)
        begin_stop(kind, thread, value);
    else if (kind >= GDB_STOP_WRITE && kind <= GDB_STOP_ACCESS) /* others meet their reason again */
        stub.threads[vcpu->index].unreported = (struct gdb_stop){kind, thread, value};
    spin_unlock(&stub.lock);
    return first;
}

/* As struct vm_watcher. */
static void paused(struct vcpu *vcpu)
{
    struct thread *thread = &stub.threads[vcpu->index];

    virt_debug_save(vcpu, &thread->registers); /* nobody else reads it before `saved` */
    spin_lock(&stub.lock);
    thread->rip = thread->registers.rip;
    thread->saved = true;
    if (stub.state == STUB_RUNNING && thread->stepping) /* it stepped over HLT */
        begin_stop(GDB_STOP_TRAP, vcpu->index + 1, 0);
    if (stub.state == STUB_STOPPING) {
        end_stop_if_complete();
        pump();
        serial_line_feed(&stub.line);
    }
    spin_unlock(&stub.lock);
}

/* ---- registers, memory, points ---- */

static struct debug_registers *registers(u32 thread)
{
    return &stub.threads[thread - 1].registers;
}

static const char *describe(u32 thread)
{
    const struct vcpu *vcpu = vcpu_of(thread);

    if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS)
        return "waits for SIPI";
    if (vcpu->halted)
        return vcpu->halted_masked ? "in HLT, interrupts off" : "in HLT";
    return vcpu->sleep_until_tsc ? "asleep by hypercall" : "in the guest";
}

static size_t read_memory(u32 thread, u64 address, u8 *bytes, size_t count)
{
    return gdb_points_read_memory(registers(thread), address, bytes, count);
}

static bool write_memory(u32 thread, u64 address, const u8 *bytes, size_t count)
{
    return gdb_points_write_memory(registers(thread), address, bytes, count);
}

static bool insert_point(u32 thread, enum gdb_point point, u64 address, u64 bytes)
{
    return gdb_points_insert(registers(thread), point, address, bytes);
}

/* ---- running ---- */

static bool report_unreported(const struct gdb_resume *plan)
{
    for (u32 i = 0; i < stub.vm->spec.cpus; i++) {
        struct gdb_stop *stop = &stub.threads[i].unreported;
        if (!stop->thread || plan->actions[i] == GDB_ACTION_STAY)
            continue;
        stub.stop = *stop;
        stop->thread = 0;
        return true;
    }
    return false;
}

/* Also a vCPU that has not started: it begins with these points. */
static void resume_thread(u32 index, const struct debug_step *step, const struct debug_points *points)
{
    struct thread *thread = &stub.threads[index];
    struct vcpu *vcpu = stub.vm->vcpus[index];

    if (thread->saved && thread->registers.rip != thread->rip) /* sent elsewhere, it waits no longer */
        vcpu->halted = vcpu->halted_masked = false;
    thread->saved = false;
    thread->stepping = step->on;
    virt_debug_prepare(vcpu, &thread->registers, points, step);
    sched_unpause(vcpu, step->on && !vcpu->halted ? VCPU_PAUSE_AT_HALT : VCPU_PAUSE_NOT);
}

static void resume(const struct gdb_resume *plan)
{
    struct debug_points points;

    if (report_unreported(plan)) {
        stub.stop_again = true;
        return;
    }
    gdb_points_collect(&points);
    stub.state = STUB_RUNNING;
    for (u32 i = 0; i < stub.vm->spec.cpus; i++) {
        u8 action = is_alive(i + 1) ? plan->actions[i] : plan->others;
        struct debug_step step = {action == GDB_ACTION_STEP, plan->start, plan->end};
        if (action != GDB_ACTION_STAY)
            resume_thread(i, &step, &points);
        else if (!is_alive(i + 1))
            sched_pause(stub.vm->vcpus[i]);
    }
}

static void detach(void)
{
    struct gdb_resume plan;

    gdb_points_remove_all();
    memset(&plan, GDB_ACTION_CONTINUE, sizeof plan);
    for (u32 i = 0; i < stub.vm->spec.cpus; i++)
        stub.threads[i].unreported.thread = 0;
    resume(&plan);
}

static void kill(void)
{
    vm_stop(stub.vm, VM_STOP_KILLED, "what=\"by the debugger\"");
}

static struct gdb_ops ops = {
    .is_alive = is_alive,
    .registers = registers,
    .describe = describe,
    .read = read_memory,
    .write = write_memory,
    .insert = insert_point,
    .remove = gdb_points_remove,
    .remove_all = gdb_points_remove_all,
    .resume = resume,
    .detach = detach,
    .kill = kill,
};

/* ---- life ---- */

static struct gdb_stop end_of(const struct vm *vm)
{
    if (vm->reason == VM_STOP_EXIT || vm->clean)
        return (struct gdb_stop){GDB_STOP_EXITED, 1, vm->exit_status};
    return (struct gdb_stop){GDB_STOP_SIGNALLED, 1, vm->reason == VM_STOP_KILLED ? SIGKILL : SIGABRT};
}

/* As struct vm_watcher: GDB hears of the end. */
static void ended(struct vm *vm)
{
    spin_lock(&stub.lock);
    bool waits = stub.session.attached && stub.state != STUB_STOPPED;
    struct gdb_stop end = end_of(vm);
    stub.state = STUB_ENDED;
    stub.for_other = stub.stands = false;
    gdb_command_stopped(&stub.session, &end);
    if (stub.has_packet)
        run_packet();
    else if (waits)
        send_reply();
    stub.has_packet = false;
    serial_line_feed(&stub.line); /* the interrupt sends the rest */
    spin_unlock(&stub.lock);
    virt_debug_end(vm);
}

/* ---- snapshots ---- */

static bool stand(struct vm *vm)
{
    (void)vm;
    spin_lock(&stub.lock);
    if (stub.state == STUB_RUNNING) {
        stub.for_other = true;
        begin_stop(GDB_STOP_TRAP, stub.session.thread, 0);
    }
    stub.stands = stub.state == STUB_STOPPED;
    if (stub.stands)
        gdb_points_lift();
    bool stands = stub.stands;
    spin_unlock(&stub.lock);
    return stands;
}

static bool may_move(const struct vm *vm)
{
    (void)vm;
    return stub.for_other;
}

static void save_all_again(void)
{
    for (u32 i = 0; i < stub.vm->spec.cpus; i++) {
        struct thread *thread = &stub.threads[i];
        if (!thread->saved)
            continue;
        virt_debug_save_again(stub.vm->vcpus[i], &thread->registers);
        thread->rip = thread->registers.rip;
        thread->stepping = false;
        thread->unreported.thread = 0;
    }
}

/* A debugger that has let the VM run gets it back, stopped, and reads why. If there is none the VM runs on. */
static void stood(struct vm *vm, bool moved)
{
    (void)vm;
    spin_lock(&stub.lock);
    bool stands = stub.stands;
    stub.stands = false;
    if (stands)
        gdb_points_plant_again();
    if (stands && moved)
        save_all_again();
    if (stands && stub.for_other) {
        stub.for_other = false;
        gdb_command_say(&stub.session, moved ? "Rootlet: the VM has gone back to a snapshot\n"
                                             : "Rootlet: a snapshot of the VM was asked for\n");
        if (stub.session.attached) {
            send_reply();
            gdb_command_stopped(&stub.session, &stub.stop);
            send_reply();
        } else {
            detach();
        }
    }
    pump();
    serial_line_feed(&stub.line);
    spin_unlock(&stub.lock);
}

static const struct vm_watcher watcher = {paused, ended, stand, may_move, stood};

void gdb_stub_connect(struct vm *vm, const struct host_options *options)
{
    ops.threads = vm->spec.cpus;
    stub.vm = vm;
    vm->watcher = &watcher;
    vm->has_debugger = true;
    stub.line = (struct serial_line){SERIAL_COM2, OUT_BYTES, IN_BYTES, out, in, 0, 0, 0, 0};
    gdb_points_begin(vm);
    stub.bits = options->gdb_bits;
    stub.stop = (struct gdb_stop){GDB_STOP_TRAP, 1, 0};
    gdb_command_init(&stub.session, &ops);
    virt_debug_begin(vm);
    sched_shorten_slices(true);
    if (!options->gdb_nowait)
        begin_stop(GDB_STOP_TRAP, 1, 0);
}

/* It has stopped for nobody. */
static void give_up(void)
{
    spin_lock(&stub.lock);
    stub.closed = true;
    if (stub.state == STUB_STOPPED)
        detach();
    spin_unlock(&stub.lock);
}

enum status gdb_stub_open(struct refusal *why)
{
    enum status status = STATUS_OK;

    if (!serial_init(SERIAL_COM2))
        status = refuse(why, STATUS_UNSUPPORTED, "nothing answers at COM2 (port 0x2f8)");
    irq_set_handler(IRQ_VECTOR_COM2, handle_interrupt);
    if (status == STATUS_OK && !irq_route_isa(SERIAL_COM2_ISA_IRQ, IRQ_VECTOR_COM2))
        status = refuse(why, STATUS_UNSUPPORTED, "no I/O APIC pin for the interrupt of COM2");
    if (status != STATUS_OK) {
        give_up();
        return status;
    }
    serial_set_interrupts(SERIAL_COM2, true, true);
    log_event("gdb name=%s port=com2 state=%s", stub.vm->spec.name, stub.state == STUB_RUNNING ? "runs" : "waits");
    return STATUS_OK;
}

void gdb_stub_flush(void)
{
    if (!stub.vm)
        return;
    spin_lock(&stub.lock);
    struct serial_line *line = &stub.line;
    for (u32 i = 0; i < FLUSH_POLLS && (line->out_head != line->out_tail || !serial_is_idle(SERIAL_COM2)); i++)
        serial_line_feed(line);
    spin_unlock(&stub.lock);
}
