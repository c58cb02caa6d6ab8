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
#include "drivers/host/serial.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/platform.h"
#include "kernel/sched.h"

#define IN_BYTES        4096u
#define OUT_BYTES       (4 * GDB_CONTENT_BYTES)
#define INTERRUPT_LOOPS 16u      /* no debugger holds the CPU with an endless stream of packets */
#define FLUSH_POLLS     1000000u /* some seconds at most */
#define PLANTED_MAX     64u
#define INT3            0xccu

#define SIGABRT 6u
#define SIGKILL 9u

enum stub_state { STUB_RUNNING, STUB_STOPPING, STUB_STOPPED, STUB_ENDED };

struct planted {
    bool used;
    u64 address; /* as GDB names it */
    gpa_t where;
    u8 original;
};

struct hardware {
    bool used;
    enum gdb_point point;
    u64 address; /* what this register watches... */
    u64 bytes;
    u64 of_address, of_bytes; /* ... for this request of GDB's, which may take several */
};

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
    struct thread threads[VM_MAX_VCPUS];
    struct planted planted[PLANTED_MAX];
    struct hardware hardware[DEBUG_POINTS];
    struct gdb_session session;
    u8 in[IN_BYTES], out[OUT_BYTES]; /* rings: the counters run freely */
    u32 in_head, in_tail, out_head, out_tail;
    u8 frame[GDB_FRAME_BYTES]; /* the last one, for "send again" */
    size_t frame_bytes;
} stub;

/* ---- the port ---- */

static void feed_transmitter(void)
{
    if (stub.out_head == stub.out_tail || !serial_can_send(SERIAL_COM2))
        return;
    for (u32 i = 0; i < SERIAL_FIFO_BYTES && stub.out_head != stub.out_tail; i++)
        serial_send(SERIAL_COM2, stub.out[stub.out_tail++ % OUT_BYTES]);
}

static void queue(const u8 *bytes, size_t count)
{
    for (size_t i = 0; i < count && stub.out_head - stub.out_tail < OUT_BYTES; i++)
        stub.out[stub.out_head++ % OUT_BYTES] = bytes[i];
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

static void receive(void)
{
    for (int byte = serial_receive(SERIAL_COM2); byte >= 0; byte = serial_receive(SERIAL_COM2))
        if (stub.in_head - stub.in_tail < IN_BYTES)
            stub.in[stub.in_head++ % IN_BYTES] = (u8)byte;
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
    while (stub.state != STUB_STOPPING && stub.in_head != stub.in_tail &&
           stub.out_head - stub.out_tail < OUT_BYTES - GDB_FRAME_BYTES - 2) {
        switch (gdb_packet_feed(&stub.session.reader, stub.in[stub.in_tail++ % IN_BYTES])) {
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
    feed_transmitter();
}

static void handle_interrupt(void)
{
    u32 loops = 0;

    spin_lock(&stub.lock);
    /* Edge-triggered at the I/O APIC: every cause must be gone, or no further edge comes. */
    for (; loops < INTERRUPT_LOOPS && serial_acknowledge_interrupt(SERIAL_COM2); loops++) {
        receive();
        pump();
    }
    if (loops == INTERRUPT_LOOPS) { /* packets come faster than they are served: the guests' turn, then a new edge */
        serial_set_interrupts(SERIAL_COM2, false, false);
        serial_set_interrupts(SERIAL_COM2, true, true);
    }
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

void gdb_stub_paused(struct vcpu *vcpu)
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
    }
    spin_unlock(&stub.lock);
}

bool gdb_stub_has_planted(const struct vm *vm, gpa_t where)
{
    for (u32 i = 0; vm == stub.vm && i < PLANTED_MAX; i++)
        if (stub.planted[i].used && stub.planted[i].where.raw == where.raw)
            return true;
    return false;
}

/* ---- registers, memory ---- */

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
        return vcpu->halted_forever ? "in HLT, interrupts off" : "in HLT";
    return vcpu->sleep_until_tsc ? "asleep by hypercall" : "in the guest";
}

/* The part of [address, address + count) up to the page's end, in guest memory; 0: none. Devices are no memory. */
static size_t find_part(u32 thread, u64 address, size_t count, gpa_t *where)
{
    size_t room = FRAME_BYTES - (size_t)(address & (FRAME_BYTES - 1));
    size_t part = count < room ? count : room;

    if (!virt_debug_translate(stub.vm, registers(thread), address, where) ||
        !guest_memory_view(&stub.vm->memory, *where, part))
        return 0;
    return part;
}

/* What GDB reads has no breakpoints in it, and what it writes goes under them. */
static size_t read_memory(u32 thread, u64 address, u8 *bytes, size_t count)
{
    size_t done = 0;

    while (done < count) {
        gpa_t where;
        size_t part = find_part(thread, address + done, count - done, &where);
        if (!part || guest_memory_read(&stub.vm->memory, where, bytes + done, part) != STATUS_OK)
            break;
        for (u32 i = 0; i < PLANTED_MAX; i++) {
            const struct planted *planted = &stub.planted[i];
            if (planted->used && planted->where.raw - where.raw < part &&
                bytes[done + planted->where.raw - where.raw] == INT3)
                bytes[done + planted->where.raw - where.raw] = planted->original;
        }
        done += part;
    }
    return done;
}

static bool write_memory(u32 thread, u64 address, const u8 *bytes, size_t count)
{
    size_t part;

    for (size_t done = 0; done < count; done += part) {
        gpa_t where;
        part = find_part(thread, address + done, count - done, &where);
        if (!part || guest_memory_write(&stub.vm->memory, where, bytes + done, part) != STATUS_OK)
            return false;
        for (u32 i = 0; i < PLANTED_MAX; i++) {
            struct planted *planted = &stub.planted[i];
            if (!planted->used || planted->where.raw - where.raw >= part)
                continue;
            planted->original = bytes[done + planted->where.raw - where.raw];
            (void)!guest_memory_write(&stub.vm->memory, planted->where, &(u8){INT3}, 1);
        }
    }
    return true;
}

/* ---- breakpoints ---- */

static bool plant(u32 thread, u64 address)
{
    struct planted *free = NULL;
    gpa_t where;
    u8 original;

    for (u32 i = 0; i < PLANTED_MAX; i++) {
        if (stub.planted[i].used && stub.planted[i].address == address)
            return true;
        if (!stub.planted[i].used)
            free = &stub.planted[i];
    }
    if (!free || read_memory(thread, address, &original, 1) != 1 ||
        !virt_debug_translate(stub.vm, registers(thread), address, &where) ||
        guest_memory_write(&stub.vm->memory, where, &(u8){INT3}, 1) != STATUS_OK)
        return false;
    *free = (struct planted){true, address, where, original};
    return true;
}

/* If the guest has put something else there meanwhile, that stays; so does an INT3 that another address needs. */
static void pull(struct planted *planted)
{
    u8 now;

    planted->used = false;
    if (gdb_stub_has_planted(stub.vm, planted->where))
        return;
    if (guest_memory_read(&stub.vm->memory, planted->where, &now, 1) == STATUS_OK && now == INT3)
        (void)!guest_memory_write(&stub.vm->memory, planted->where, &planted->original, 1);
}

/* How many bytes from `address` on one debug register can watch: 1, 2, 4 or 8, aligned. SDM 3B 17.2.5 "Breakpoint Field
 * Recognition" */
static u64 watchable(u64 address, u64 bytes)
{
    u64 part = 8;

    while (part > bytes || (address & (part - 1)))
        part /= 2;
    return part;
}

static void remove_hardware(enum gdb_point point, u64 address, u64 bytes)
{
    for (u32 i = 0; i < DEBUG_POINTS; i++) {
        struct hardware *h = &stub.hardware[i];
        if (h->used && h->point == point && h->of_address == address && h->of_bytes == bytes)
            h->used = false;
    }
}

static bool insert_hardware(enum gdb_point point, u64 address, u64 bytes)
{
    u64 done = 0;

    if (point == GDB_POINT_HARDWARE)
        bytes = 1; /* an instruction is watched at its first byte */
    remove_hardware(point, address, bytes);
    for (u32 i = 0; i < DEBUG_POINTS && done < bytes; i++) {
        if (stub.hardware[i].used)
            continue;
        u64 part = watchable(address + done, bytes - done);
        stub.hardware[i] = (struct hardware){true, point, address + done, part, address, bytes};
        done += part;
    }
    if (done == bytes && bytes)
        return true;
    remove_hardware(point, address, bytes);
    return false;
}

static bool insert_point(u32 thread, enum gdb_point point, u64 address, u64 bytes)
{
    return point == GDB_POINT_SOFTWARE ? plant(thread, address) : insert_hardware(point, address, bytes);
}

static bool remove_point(enum gdb_point point, u64 address, u64 bytes)
{
    if (point != GDB_POINT_SOFTWARE)
        remove_hardware(point, address, point == GDB_POINT_HARDWARE ? 1 : bytes);
    for (u32 i = 0; point == GDB_POINT_SOFTWARE && i < PLANTED_MAX; i++)
        if (stub.planted[i].used && stub.planted[i].address == address)
            pull(&stub.planted[i]);
    return true;
}

static void remove_all(void)
{
    for (u32 i = 0; i < PLANTED_MAX; i++)
        if (stub.planted[i].used)
            pull(&stub.planted[i]);
    memset(stub.hardware, 0, sizeof stub.hardware);
}

/* SDM 3B 17.2.4 "Debug Control Register (DR7)" */
static void collect_points(struct debug_points *points)
{
    static const u8 kinds[] = {
        [GDB_POINT_HARDWARE] = 0, [GDB_POINT_WRITE] = 1, [GDB_POINT_READ] = 3, [GDB_POINT_ACCESS] = 3};
    static const u8 lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    *points = (struct debug_points){.dr7 = 0};
    for (u32 i = 0; i < PLANTED_MAX; i++)
        points->software |= stub.planted[i].used;
    for (u32 i = 0; i < DEBUG_POINTS; i++) {
        const struct hardware *h = &stub.hardware[i];
        if (!h->used)
            continue;
        points->address[i] = h->address;
        points->dr7 |= 2ull << 2 * i | (u64)(kinds[h->point] | lengths[h->bytes] << 2) << (16 + 4 * i);
    }
    if (points->dr7)
        points->dr7 |= 0x700; /* GE and LE, which old CPUs want; bit 10 is always 1 */
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
        vcpu->halted = vcpu->halted_forever = false;
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
    collect_points(&points);
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

    remove_all();
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
    .remove = remove_point,
    .remove_all = remove_all,
    .resume = resume,
    .detach = detach,
    .kill = kill,
};

/* ---- life ---- */

void gdb_stub_connect(struct vm *vm, const struct host_options *options)
{
    ops.threads = vm->spec.cpus;
    stub.vm = vm;
    stub.bits = options->gdb_bits;
    stub.stop = (struct gdb_stop){GDB_STOP_TRAP, 1, 0};
    gdb_command_init(&stub.session, &ops);
    virt_debug_begin(vm);
    sched_shorten_slices();
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
    if (status == STATUS_OK && !platform_route_isa(SERIAL_COM2_ISA_IRQ, IRQ_VECTOR_COM2))
        status = refuse(why, STATUS_UNSUPPORTED, "no I/O APIC pin for the interrupt of COM2");
    if (status != STATUS_OK) {
        give_up();
        return status;
    }
    serial_set_interrupts(SERIAL_COM2, true, true);
    log_event("gdb name=%s port=com2 state=%s", stub.vm->spec.name, stub.state == STUB_RUNNING ? "runs" : "waits");
    return STATUS_OK;
}

static struct gdb_stop end_of(const struct vm *vm)
{
    if (vm->reason == VM_STOP_EXIT || vm->clean)
        return (struct gdb_stop){GDB_STOP_EXITED, 1, vm->exit_status};
    return (struct gdb_stop){GDB_STOP_SIGNALLED, 1, vm->reason == VM_STOP_KILLED ? SIGKILL : SIGABRT};
}

void gdb_stub_vm_ended(struct vm *vm)
{
    if (vm != stub.vm)
        return;
    spin_lock(&stub.lock);
    bool waits = stub.session.attached && stub.state != STUB_STOPPED;
    struct gdb_stop end = end_of(vm);
    stub.state = STUB_ENDED;
    gdb_command_stopped(&stub.session, &end);
    if (stub.has_packet)
        run_packet();
    else if (waits)
        send_reply();
    stub.has_packet = false;
    feed_transmitter(); /* the interrupt sends the rest */
    spin_unlock(&stub.lock);
    virt_debug_end(vm);
}

void gdb_stub_flush(void)
{
    if (!stub.vm)
        return;
    spin_lock(&stub.lock);
    for (u32 i = 0; i < FLUSH_POLLS && (stub.out_head != stub.out_tail || !serial_is_idle(SERIAL_COM2)); i++)
        feed_transmitter();
    spin_unlock(&stub.lock);
}
