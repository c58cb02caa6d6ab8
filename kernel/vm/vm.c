/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual machines: built from a module line, run, stopped, reported. Guest memory is released when the last vCPU has
 * been retired; the object stays for the statistics at the end. Boot CPU builds; any CPU stops.
 */
#include "kernel/vm/vm.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/frames.h"
#include "kernel/vm/acpi.h"
#include "kernel/vm/firmware.h"
#include "kernel/vm/mptable.h"
#include "kernel/vm/smbios.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

static const char *const reasons[] = {
    [VM_RUNNING] = "running",
    [VM_STOP_POWEROFF] = "poweroff",
    [VM_STOP_RESET] = "reset",
    [VM_STOP_HALT] = "halt",
    [VM_STOP_EXIT] = "exit",
    [VM_STOP_LIMIT] = "limit",
    [VM_STOP_KILLED] = "killed",
    [VM_STOP_WATCHDOG] = "watchdog",
    [VM_STOP_TRIPLE_FAULT] = "triple-fault",
    [VM_STOP_ENTRY_FAILURE] = "entry-failure",
    [VM_STOP_UNKNOWN_EXIT] = "unknown-exit",
    [VM_STOP_UNSUPPORTED_INSTRUCTION] = "unsupported-instruction",
    [VM_STOP_NO_MEMORY] = "no-memory",
};

const char *vm_stop_reason_name(enum vm_stop_reason reason)
{
    return reason < ARRAY_SIZE(reasons) && reasons[reason] ? reasons[reason] : "unknown";
}

/* ---- time ---- */

u64 vm_clock_ns(const struct vm *vm)
{
    return clock_elapsed_ns(cpu_tsc() - vm->start_tsc);
}

static u64 timer_clock(void *clock)
{
    return vm_clock_ns(clock);
}

/* Guest time begins when the VM starts; what a device does when it is made, it does at 0. */
static COLD u64 no_time_yet(void *clock)
{
    (void)clock;
    return 0;
}

/* ---- console ---- */

#define CONSOLE_LEAST_BYTES 512u /* that a VM may have waiting, however many there are */

static u32 sharing; /* atomic: VMs that have started and not ended: they share the guests' part of the console */

/* How many of the VM's bytes still wait at the console: no more than it wrote, nor than stand before its last one. */
static u32 com1_queued(const struct vm *vm)
{
    u32 waiting = console_waiting(vm->console_position);
    return waiting < vm->console_queued ? waiting : vm->console_queued;
}

/* Or at its own port. */
static u32 console_queued(const struct vm *vm)
{
    return UNLIKELY(vm->spec.com2) ? vm->board->com2_waiting() : com1_queued(vm);
}

static void console_charge(struct vm *vm, u32 queued_before, u32 bytes)
{
    vm->console_queued = queued_before + bytes;
    vm->console_position = console_position();
    vm->line_printed = true;
    vm->write_effect = true;
}

static u32 console_budget(void)
{
    u32 sharers = __atomic_load_n(&sharing, __ATOMIC_RELAXED);
    u32 share = console_guest_bytes() / (sharers ? sharers : 1);

    return share > CONSOLE_LEAST_BYTES ? share : CONSOLE_LEAST_BYTES;
}

bool vm_console_is_full(const struct vm *vm)
{
    return console_queued(vm) >= console_budget() + CONSOLE_LEAST_BYTES;
}

u32 vm_console_excess(const struct vm *vm)
{
    u32 budget = console_budget();
    u32 queued = console_queued(vm);

    return queued >= budget ? queued - budget / 2 : 0;
}

void vm_console_flush(struct vm *vm)
{
    char text[VM_NAME_BYTES + VM_CONSOLE_LINE_BYTES + 8];

    if (!vm->line_length)
        return;
    size_t n = format_text(text, sizeof text, "[%s] %.*s\n", vm->spec.name, (int)vm->line_length, vm->line);
    u32 queued = console_queued(vm);
    console_write(text, n);
    vm->line_length = 0;
    console_charge(vm, queued, (u32)n);
}

void vm_set_terminal(struct vm *vm, enum vm_terminal terminal)
{
    __atomic_store_n(&vm->terminal, terminal, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        sched_notify(vm->vcpus[i], VCPU_REQUEST_RESCHEDULE);
}

size_t vm_read_kept(const struct vm *vm, u64 from, char *to, size_t bytes, u64 *at)
{
    u64 total = __atomic_load_n(&vm->kept_total, __ATOMIC_ACQUIRE);
    u64 first = total > VM_KEPT_BYTES ? total - VM_KEPT_BYTES : 0;

    *at = from > first ? from : first;
    if (!vm->kept || *at >= total)
        return 0;
    size_t count = total - *at < bytes ? (size_t)(total - *at) : bytes;
    for (size_t i = 0; i < count; i++)
        to[i] = (char)vm->kept[(*at + i) % VM_KEPT_BYTES];
    /* What its CPU has written over meanwhile is not there any more. */
    total = __atomic_load_n(&vm->kept_total, __ATOMIC_ACQUIRE);
    if (total > VM_KEPT_BYTES && total - VM_KEPT_BYTES > *at)
        return vm_read_kept(vm, total - VM_KEPT_BYTES, to, bytes, at);
    return count;
}

void vm_carry_kept(struct vm *vm, struct vm *before)
{
    u8 *kept = vm->kept;

    vm->kept = before->kept;
    vm->kept_total = before->kept_total;
    before->kept = kept;
}

void vm_note_input(struct vm *vm)
{
    __atomic_store_n(&vm->input_waiting, true, __ATOMIC_SEQ_CST);
    sched_notify(vm->vcpus[0], VCPU_REQUEST_RESCHEDULE);
}

void vm_press_power_button(struct vm *vm)
{
    __atomic_store_n(&vm->button_pressed, true, __ATOMIC_SEQ_CST);
    vm_note_input(vm);
}

void vm_take_input(struct vm *vm)
{
    __atomic_store_n(&vm->input_waiting, false, __ATOMIC_SEQ_CST);
    vm_lock(vm);
    vm->take_input(vm->devices);
    if (UNLIKELY(__atomic_exchange_n(&vm->button_pressed, false, __ATOMIC_SEQ_CST)))
        vm->press_power_button(vm->devices);
    vm_unlock(vm);
}

/* The user has connected the terminal to this VM: it is a terminal's business what the bytes mean. */
static void put_raw(struct vm *vm, u8 character)
{
    u32 queued = console_queued(vm);
    console_write_raw((const char *)&character, 1);
    console_charge(vm, queued, 1);
}

/* A guest's bytes reach a terminal: nothing but printable characters and tabs gets there as it is. */
void vm_console_put(struct vm *vm, u8 character)
{
    if (LIKELY(vm->kept)) {
        vm->kept[vm->kept_total % VM_KEPT_BYTES] = character;
        __atomic_store_n(&vm->kept_total, vm->kept_total + 1, __ATOMIC_RELEASE);
    }
    if (UNLIKELY(vm->spec.com2)) {
        vm->board->put_com2(character);
        vm->line_printed = vm->write_effect = true;
        return;
    }
    if (UNLIKELY(__atomic_load_n(&vm->terminal, __ATOMIC_RELAXED) == VM_TERMINAL_HAS)) {
        put_raw(vm, character);
        return;
    }
    if (character == '\n') {
        if (!vm->line_length) {
            vm->line[0] = ' ';
            vm->line_length = 1;
        }
        vm_console_flush(vm);
        return;
    }
    if (character == '\r')
        return;
    bool printable = (character >= ' ' && character <= '~') || character == '\t';
    vm->line[vm->line_length++] = printable ? (char)character : '?';
    if (vm->line_length == VM_CONSOLE_LINE_BYTES)
        vm_console_flush(vm);
}

/* In the middle of a line nothing goes out. */
void vm_console_offer(struct vm *vm, u8 character)
{
    if (LIKELY(vm->line_length) || LIKELY(!vm_console_excess(vm)))
        vm_console_put(vm, character);
    else
        vm->console_full = vm->write_effect = true;
}

static void rest(struct vcpu *vcpu, u32 excess)
{
    u64 until = cpu_tsc() + clock_tsc_from_ns(console_send_time_ns(excess));
    if (until > vcpu->sleep_until_tsc)
        vcpu->sleep_until_tsc = until;
    vcpu->waits_for_console = true;
    vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
}

void vm_console_throttle(struct vcpu *vcpu)
{
    u32 excess = vm_console_excess(vcpu->vm);

    vcpu->vm->line_printed = false;
    if (UNLIKELY(excess))
        rest(vcpu, excess);
}

#define LOG_PREFIX_BYTES 10u /* "rootlet: ", and the line's end */

bool vm_log_caused(struct vcpu *vcpu, const char *text)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    u32 queued = com1_queued(vm);
    bool has_room = queued < console_budget();
    if (has_room) {
        log_text(text);
        console_charge(vm, queued, LOG_PREFIX_BYTES + (u32)string_length(text));
    }
    vm_unlock(vm);
    if (!has_room)
        rest(vcpu, queued - console_budget() / 2);
    return has_room;
}

/* ---- building ---- */

/* The object, its devices behind it, and in frames of their own the registers of each vCPU's local APIC. */
static u64 object_frames(const struct vm_board *board, u32 cpus)
{
    return (sizeof(struct vm) + 64 + board->device_bytes(cpus) + FRAME_BYTES - 1) / FRAME_BYTES;
}

/* Frees what vm_create and the run allocated, apart from guest memory and EPT. */
void vm_destroy(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (vm->vcpus[i])
            virt_vcpu_destroy(vm->vcpus[i]);
    if (vm->kept)
        frames_free(virt_to_phys(vm->kept), VM_KEPT_BYTES / FRAME_BYTES);
    frames_free(virt_to_phys(vm), vm->object_frames);
}

static enum status create_vcpus(struct vm *vm, const struct start_state *start, struct refusal *why)
{
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        enum status status = virt_vcpu_create(vm, i, &vm->vcpus[i], why);
        if (status != STATUS_OK)
            return status;
        vtimer_set_init(&vm->vcpus[i]->timers, no_time_yet, vm);
        vm->vcpus[i]->timer_ns = VTIMER_NEVER;
        vm->vcpus[i]->sipi = i == 0 ? VCPU_RUNS : VCPU_WAITS_FOR_SIPI;
    }
    virt_vcpu_set_start(vm->vcpus[0], start);
    return STATUS_OK;
}

static enum status fill_memory(struct vm *vm, const struct load_request *request, struct start_state *start,
                               struct refusal *why)
{
    gpa_t acpi_root;
    enum status status = guest_firmware_install(&vm->memory);

    if (status == STATUS_OK)
        status = guest_acpi_install(&vm->memory, vm->spec.cpus, &acpi_root);
    if (status == STATUS_OK)
        status = guest_mptable_install(&vm->memory, vm->spec.cpus);
    if (status == STATUS_OK)
        status = guest_smbios_install(&vm->memory, &vm->spec);
    if (status != STATUS_OK)
        return refuse(why, status, "the firmware area cannot be written");
    return vm->board->load(vm, request, acpi_root, start, why);
}

static enum status build(struct vm *vm, const struct load_request *request, struct refusal *why)
{
    struct start_state start = {.mode = START_REAL16};
    enum status status = request ? fill_memory(vm, request, &start, why) : STATUS_OK;

    if (status == STATUS_OK)
        status = virt_vm_create(vm, why);
    if (status != STATUS_OK)
        return status;
    vm->has_ept = true;
    status = create_vcpus(vm, &start, why);
    if (status != STATUS_OK)
        return status;
    if (vm->board->attach(vm, vm + 1) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "a device could not be attached");
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vm->vcpus[i]->timers.clock_ns = timer_clock;
    return STATUS_OK;
}

enum status vm_check_affinity(const struct vm_spec *spec, struct refusal *why)
{
    u64 online = smp_cpu_count() == 64 ? ~0ull : BIT(smp_cpu_count()) - 1;

    if (sched_allowed_cpus(spec) & online)
        return STATUS_OK;
    return refuse(why, STATUS_OUT_OF_RANGE, "affinity= names no CPU that runs VMs; this machine has CPUs 0-%u",
                  smp_cpu_count() - 1);
}

static u64 limit_tsc(const struct vm_spec *spec)
{
    return spec->limit_ms ? clock_tsc_from_ns(spec->limit_ms * 1000000) : UINT64_MAX;
}

u32 vm_running_count(void)
{
    return __atomic_load_n(&sharing, __ATOMIC_RELAXED);
}

void vm_change(struct vm *vm, const struct vm_spec *spec)
{
    vm->spec.weight = spec->weight;
    vm->spec.cap_percent = spec->cap_percent;
    vm->spec.affinity = spec->affinity;
    vm->spec.limit_ms = spec->limit_ms;
    vm->limit_tsc = limit_tsc(spec);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (__atomic_load_n(&vm->vcpus[i]->started, __ATOMIC_SEQ_CST))
            sched_notify(vm->vcpus[i], VCPU_REQUEST_RESCHEDULE);
}

static enum status get_memory(struct vm *vm, const struct vm_setup *setup, struct refusal *why)
{
    if (setup->request)
        return guest_memory_allocate(&vm->memory, vm->spec.mem_bytes, why);
    vm->is_copy = true;
    if (guest_memory_share(&vm->memory, setup->memory) == STATUS_OK)
        return STATUS_OK;
    return refuse(why, STATUS_NO_MEMORY, "no memory for the VM's layer: %lu frames are free", frames_free_count());
}

void vm_discard(struct vm *vm)
{
    if (vm->has_ept)
        virt_vm_release(vm);
    guest_memory_release(&vm->memory);
    vm_destroy(vm);
}

static enum status create(const struct vm_setup *setup, struct vm **out, struct refusal *why)
{
    const struct vm_spec *spec = setup->spec;
    hpa_t frame;
    enum status status = vm_check_affinity(spec, why);

    if (status != STATUS_OK)
        return status;
    u64 object = object_frames(setup->board, spec->cpus);
    if (frames_allocate(object + spec->cpus, 1, &frame) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "no memory for the VM object: %lu frames are free", frames_free_count());
    struct vm *vm = phys_to_virt(frame);
    vm->spec = *spec;
    vm->board = setup->board;
    vm->object_frames = object + spec->cpus;
    vm->apic_pages = (u8 *)vm + object * FRAME_BYTES;
    vm->overhead_frames = vm->object_frames;
    vm->id = setup->id;
    vm->restart = setup->restart;
    vm->limit_tsc = limit_tsc(spec);
    vm->watchdog_tsc = clock_tsc_from_ns((u64)spec->watchdog_ms * 1000000);
    vm->vcpus_live = vm->vcpus_in = spec->cpus;
    vm->halted_count = spec->cpus - 1;
    bus_init(&vm->bus);
    if (frames_allocate(VM_KEPT_BYTES / FRAME_BYTES, 1, &frame) == STATUS_OK)
        vm->kept = phys_to_virt(frame);
    status = get_memory(vm, setup, why);
    if (status == STATUS_OK)
        status = build(vm, setup->request, why);
    if (status == STATUS_OK)
        *out = vm;
    else
        vm_discard(vm);
    return status;
}

enum status vm_create(const struct vm_setup *setup, struct vm **out, struct refusal *why)
{
    u32 number = trace_number_of_id(setup->id);

    trace_event(TRACE_VM_CREATE, NULL, number);
    enum status status = create(setup, out, why);
    trace_event(TRACE_VM_DONE, NULL, number);
    return status;
}

/* What the lines of a run say of it, if it is not the first. */
struct restart_text {
    char text[24];
};

static struct restart_text restart_text(const struct vm *vm)
{
    struct restart_text out = {""};

    if (vm->restart)
        format_text(out.text, sizeof out.text, " restart=%u", vm->restart);
    return out;
}

/* A copy goes on where its original was: which of its vCPUs have started, it knows. */
static void start_copied(struct vcpu *vcpu)
{
    if (!vcpu->started)
        return;
    __atomic_fetch_sub(&vcpu->vm->halted_count, 1, __ATOMIC_SEQ_CST);
    sched_add(vcpu);
}

void vm_start(struct vm *vm)
{
    vm->born_tsc = cpu_tsc();
    trace_event(TRACE_VM_START, vm->vcpus[0], 0);
    log_event("vm start name=%s kind=%s mem=%lu cpus=%u%s", vm->spec.name, image_kind_name(vm->spec.kind),
              vm->spec.mem_bytes, vm->spec.cpus, restart_text(vm).text);
    log_info("vm memory name=%s overhead_bytes=%lu", vm->spec.name, (u64)(vm->overhead_frames * FRAME_BYTES));
    __atomic_fetch_add(&sharing, 1, __ATOMIC_RELAXED);
    if (UNLIKELY(vm->is_copy)) {
        for (u32 i = 0; i < vm->spec.cpus; i++)
            start_copied(vm->vcpus[i]);
        return;
    }
    vm->start_tsc = vm->born_tsc;
    vm->vcpus[0]->started = 1;
    sched_add(vm->vcpus[0]);
}

/* A SIPI or the hypercall, which of the two comes first: the caller has taken vcpu->sipi out of "waits". */
static bool start_waiting(struct vcpu *vcpu, const struct start_state *start)
{
    u32 expected = 0;

    if (!__atomic_compare_exchange_n(&vcpu->started, &expected, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return false;
    virt_vcpu_set_start(vcpu, start);
    __atomic_fetch_sub(&vcpu->vm->halted_count, 1, __ATOMIC_SEQ_CST);
    sched_add(vcpu);
    return true;
}

void vm_start_restored(struct vcpu *vcpu)
{
    u32 expected = 0;

    if (!__atomic_compare_exchange_n(&vcpu->started, &expected, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    __atomic_fetch_sub(&vcpu->vm->halted_count, 1, __ATOMIC_SEQ_CST);
    sched_add(vcpu);
}

static bool end_wait(struct vcpu *vcpu, u32 sipi)
{
    u32 expected = VCPU_WAITS_FOR_SIPI;
    return __atomic_compare_exchange_n(&vcpu->sipi, &expected, sipi, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* It blocks on its home CPU, as if it waited for SIPI. Of two that come here the first one wins. */
static COLD bool start_fresh(struct vcpu *vcpu, const struct start_state *start)
{
    vm_lock(vcpu->vm);
    bool waits = vcpu->fresh && __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) == VCPU_WAITS_FOR_SIPI;
    if (waits) {
        virt_vcpu_set_start(vcpu, start);
        vcpu->fresh = false;
        waits = end_wait(vcpu, VCPU_HAS_START);
    }
    vm_unlock(vcpu->vm);
    if (waits)
        sched_notify(vcpu, VCPU_REQUEST_EVENT);
    return waits;
}

bool vm_start_vcpu(struct vm *vm, u32 index, const struct start_state *start)
{
    struct vcpu *vcpu = index < vm->spec.cpus ? vm->vcpus[index] : NULL;

    if (!vcpu)
        return false;
    if (UNLIKELY(vcpu->fresh))
        return start_fresh(vcpu, start);
    if (__atomic_load_n(&vcpu->started, __ATOMIC_SEQ_CST) || !end_wait(vcpu, VCPU_RUNS))
        return false;
    return start_waiting(vcpu, start);
}

/* ---- signals from local APICs ---- */

void vm_nmi(struct vcpu *vcpu)
{
    if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS)
        return;
    trace_event(TRACE_NMI, vcpu, 0);
    __atomic_store_n(&vcpu->nmi_waiting, true, __ATOMIC_SEQ_CST);
    sched_notify(vcpu, VCPU_REQUEST_EVENT);
}

void vm_raise_nmi(struct vm *vm)
{
    vm_lock(vm);
    vm_nmi(vm->vcpus[0]);
    vm_unlock(vm);
}

/* A boot processor that gets INIT starts at the reset vector, that is in firmware, and this PC's firmware resets. */
void vm_init_vcpu(struct vcpu *vcpu)
{
    trace_event(TRACE_INIT, vcpu, 0);
    if (vcpu->init_blocked) {
        __atomic_store_n(&vcpu->init_waiting, true, __ATOMIC_SEQ_CST);
        sched_notify(vcpu, VCPU_REQUEST_EVENT); /* an inner guest exits for it */
        return;
    }
    if (vcpu->index == 0) {
        vm_stop(vcpu->vm, VM_STOP_RESET, "what=\"INIT to the boot processor\"");
        return;
    }
    if (!__atomic_load_n(&vcpu->started, __ATOMIC_SEQ_CST) ||
        __atomic_exchange_n(&vcpu->sipi, VCPU_WAITS_FOR_SIPI, __ATOMIC_SEQ_CST) == VCPU_WAITS_FOR_SIPI)
        return;
    __atomic_store_n(&vcpu->nmi_waiting, false, __ATOMIC_SEQ_CST); /* nothing stays latched */
    sched_notify(vcpu, VCPU_REQUEST_INIT);
}

void vm_block_init(struct vcpu *vcpu, bool block)
{
    vm_lock(vcpu->vm);
    /* An INIT that came just before VMXON is taken yet, and ends VMX operation. */
    vcpu->init_blocked = block && __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) == VCPU_RUNS;
    if (!block && __atomic_exchange_n(&vcpu->init_waiting, false, __ATOMIC_SEQ_CST))
        vm_init_vcpu(vcpu);
    vm_unlock(vcpu->vm);
}

void vm_sipi(struct vcpu *vcpu, u8 vector)
{
    struct start_state start = {.mode = START_REAL16};

    trace_event(TRACE_SIPI, vcpu, vector);
    if (!end_wait(vcpu, VCPU_HAS_SIPI + vector)) /* it runs, or has one already */
        return;
    if (__atomic_load_n(&vcpu->started, __ATOMIC_SEQ_CST))
        sched_notify(vcpu, VCPU_REQUEST_EVENT);
    else
        (void)start_waiting(vcpu, &start); /* false: the VM stops */
}

/* ---- stopping ---- */

static bool is_clean(const struct vm *vm)
{
    return vm->reason == VM_STOP_POWEROFF || vm->reason == VM_STOP_HALT || vm->reason == VM_STOP_LIMIT ||
           (vm->reason == VM_STOP_EXIT && vm->exit_status == 0);
}

static bool wants_report(const struct vm *vm)
{
    return vm->spec.dump == VM_DUMP_REGS || vm->spec.dump == VM_DUMP_VMCS || vm->reason == VM_STOP_TRIPLE_FAULT ||
           vm->reason == VM_STOP_WATCHDOG || vm->reason >= VM_STOP_ENTRY_FAILURE;
}

/* The status of an exit is the guest's own word, a kill is somebody else's, and what led to it is nothing that records
 * could tell. */
static bool wants_records(const struct vm *vm)
{
    return wants_report(vm) || (!vm->clean && vm->reason != VM_STOP_EXIT && vm->reason != VM_STOP_KILLED);
}

bool vm_has_report(const struct vm *vm)
{
    return vm->has_ept && (vm->spec.dump == VM_DUMP_SCREEN || wants_report(vm) || !is_clean(vm));
}

/* True for the first caller, who alone writes the reason. */
static bool claim_stop(struct vm *vm)
{
    u32 expected = 0;
    return __atomic_compare_exchange_n(&vm->stop_claimed, &expected, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void publish_stop(struct vm *vm, enum vm_stop_reason reason);

void vm_exit(struct vm *vm, u32 status)
{
    if (!claim_stop(vm))
        return;
    vm->exit_status = status;
    format_text(vm->detail, sizeof vm->detail, " status=%u", status);
    publish_stop(vm, VM_STOP_EXIT);
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    va_list arguments;

    if (!claim_stop(vm))
        return;
    vm->detail[0] = 0;
    if (detail) {
        vm->detail[0] = ' ';
        va_start(arguments, detail);
        format_list(vm->detail + 1, sizeof vm->detail - 1, detail, arguments);
        va_end(arguments);
    }
    publish_stop(vm, reason);
}

static void publish_stop(struct vm *vm, enum vm_stop_reason reason)
{
    vm->reason = reason;
    __atomic_store_n(&vm->stopping, 1, __ATOMIC_SEQ_CST);
    /* vCPUs that never started have no home CPU: they are retired here. */
    for (u32 i = 1; i < vm->spec.cpus; i++) {
        u32 not_started = 0;
        if (__atomic_compare_exchange_n(&vm->vcpus[i]->started, &not_started, 1, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            vm->vcpus[i]->state = VCPU_STOPPED;
            __atomic_fetch_sub(&vm->vcpus_in, 1, __ATOMIC_SEQ_CST);
            __atomic_fetch_sub(&vm->vcpus_live, 1, __ATOMIC_SEQ_CST);
        }
    }
    sched_stop_vm(vm);
}

/* ---- pausing ---- */

void vm_pause(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        sched_hold(vm->vcpus[i]);
}

void vm_resume(struct vm *vm)
{
    if (__atomic_load_n(&vm->wish, __ATOMIC_SEQ_CST) != VM_WISH_NONE)
        return;
    for (u32 i = 0; i < vm->spec.cpus; i++)
        sched_release(vm->vcpus[i]);
}

/* A vCPU that another one has just started counts as soon as it is so marked. */
bool vm_is_at_rest(const struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (__atomic_load_n(&vm->vcpus[i]->started, __ATOMIC_SEQ_CST) &&
            !__atomic_load_n(&vm->vcpus[i]->rests, __ATOMIC_SEQ_CST))
            return false;
    return true;
}

/* ---- the end ---- */

/* Counted as halted, but what another vCPU has just done to it, or to the devices, is about to wake it. */
static bool is_about_to_wake(const struct vcpu *vcpu)
{
    u32 sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST);
    if (sipi != VCPU_RUNS)
        return sipi >= VCPU_HAS_SIPI;
    bool by_timer = vcpu->timers.next_ns != VTIMER_NEVER;
    if (vcpu->nmi_waiting || (vcpu->halted_masked && by_timer && vm_may_raise_nmi(vcpu->vm)))
        return true;
    return !vcpu->halted_masked && (by_timer || vm_interrupt_waiting(vcpu));
}

void vm_note_halted_forever(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    u32 count = __atomic_add_fetch(&vm->halted_count, 1, __ATOMIC_SEQ_CST);

    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (count != vm->spec.cpus || is_about_to_wake(vm->vcpus[i]))
            return;
    vm_stop(vm, VM_STOP_HALT, NULL);
}

u32 vm_screen_rows(const struct vm *vm)
{
    u32 cells = VM_SCREEN_ROWS * VM_SCREEN_COLUMNS;
    u8 c = 0;

    while (cells > 0 && (c == 0 || c == ' ') &&
           guest_memory_read(&vm->memory, gpa(GUEST_TEXT_PAGE + 2 * cells - 2), &c, 1) == STATUS_OK)
        cells--;
    return cells / VM_SCREEN_COLUMNS + 1;
}

bool vm_screen_row(const struct vm *vm, u32 row, char text[VM_SCREEN_COLUMNS + 1])
{
    u16 cells[VM_SCREEN_COLUMNS];
    u32 end = 0;

    if (guest_memory_read(&vm->memory, gpa(GUEST_TEXT_PAGE + row * sizeof cells), cells, sizeof cells) != STATUS_OK)
        return false;
    for (u32 column = 0; column < VM_SCREEN_COLUMNS; column++) {
        char c = (char)cells[column];
        text[column] = c >= ' ' && c <= '~' ? c : c == 0 ? ' ' : '#'; /* CP437 line drawing has no ASCII */
        if (text[column] != ' ')
            end = column + 1;
    }
    text[end] = 0;
    return true;
}

/* A line of the guest's 80x25 text page, after "[name] |". False: there is no such line. */
static bool dump_screen_row(struct vm *vm, u32 row)
{
    char text[VM_SCREEN_COLUMNS + 1], line[VM_NAME_BYTES + VM_SCREEN_COLUMNS + 8];

    if (row >= vm_screen_rows(vm) || !vm_screen_row(vm, row, text))
        return false;
    console_write(line, format_text(line, sizeof line, "[%s] |%s\n", vm->spec.name, text));
    return true;
}

/* Either the reader sees that the VM stops, or release() sees the reader. */
bool vm_begin_reading(struct vm *vm)
{
    __atomic_fetch_add(&vm->readers, 1, __ATOMIC_SEQ_CST);
    if (LIKELY(!__atomic_load_n(&vm->stopping, __ATOMIC_SEQ_CST)))
        return true;
    vm_end_reading(vm);
    return false;
}

void vm_end_reading(struct vm *vm)
{
    __atomic_fetch_sub(&vm->readers, 1, __ATOMIC_SEQ_CST);
}

static void release(struct vm *vm)
{
    log_event("vm stop name=%s reason=%s%s%s", vm->spec.name, vm_stop_reason_name(vm->reason), vm->detail,
              restart_text(vm).text);
    __atomic_fetch_sub(&sharing, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&vm->readers, __ATOMIC_SEQ_CST))
        cpu_pause();
    virt_vm_release(vm);
    vm->has_ept = false;
}

/* The VM's end, when all its vCPUs are retired: what it has not printed yet, its screen, what led to it. True: told. */
static bool end_piece(struct vm *vm)
{
    u32 step = vm->end_step++;

    if (!vm->has_ept) /* its memory goes */
        return guest_memory_release_piece(&vm->memory);
    if (step == 0) {
        vm_lock(vm);
        vm_console_flush(vm);
        vm_unlock(vm);
    }
    if (vm->spec.dump == VM_DUMP_SCREEN && dump_screen_row(vm, step))
        return false;
    if (wants_records(vm) && vm->board->explain(vm))
        return false;
    if (vm->watcher)
        vm->watcher->ended(vm);
    release(vm);
    return guest_memory_release_piece(&vm->memory);
}

struct vm_sums vm_sums(const struct vm *vm)
{
    struct vm_sums sums = vm->before;

    sums.wall_tsc += vm->stop_tsc - vm->born_tsc;
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        sums.run_tsc += vm->vcpus[i]->run_tsc;
        sums.slices += vm->vcpus[i]->slices;
        sums.migrations += vm->vcpus[i]->migrations;
    }
    return sums;
}

void vm_begin_retiring(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_STOPPED);
    if (__atomic_sub_fetch(&vm->vcpus_in, 1, __ATOMIC_SEQ_CST))
        return;
    vm->clean = is_clean(vm);
    vm->stop_tsc = cpu_tsc();
    trace_event(TRACE_VM_STOP, vm->vcpus[0], vm->reason);
    if (wants_records(vm))
        vm->board->note_end(vm);
}

/* True: it is retired, and another one is not. */
static bool retire_piece(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    bool has_vmx = !(sched_cpus_off >> cpu_id() & 1); /* else there is no VMREAD */
    if (wants_report(vm) && has_vmx && virt_vcpu_report(vcpu))
        return false;
    virt_vcpu_detach(vcpu);
    __atomic_store_n(&vcpu->retired, true, __ATOMIC_SEQ_CST);
    return __atomic_sub_fetch(&vm->vcpus_live, 1, __ATOMIC_SEQ_CST);
}

bool vm_retire_vcpu(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    u32 number = trace_vm_number(vm);
    bool ends = vcpu->retired;

    trace_event(TRACE_VM_END, NULL, number);
    bool done = ends ? end_piece(vm) : retire_piece(vcpu);
    trace_event(TRACE_VM_DONE, NULL, number);
    if (ends && done)
        vm->board->ended(vm); /* the boot CPU may free the object from now on */
    return done;
}
