/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See snapshot.h. A snapshot is one piece of contiguous frames: this structure, for each vCPU what policy and the
 * mechanism keep of it, then the devices.
 */
#include "kernel/vm/snapshot.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/sched/sched.h"
#include "kernel/virt.h"
#include "kernel/vm/hypercall.h"
#include "kernel/vm/layer.h"

#define APIC_PAGE_BYTES 4096u
#define ALIGNMENT       64u

/* What policy knows of a vCPU. */
struct cpu_state {
    bool started;
    bool halted;
    bool halted_masked;
    bool nmi_waiting;
    u32 sipi;
    u64 sleep_until_tsc;
    u64 deadlines[VTIMER_MAX];
};

static struct snapshot *snapshots;
static u32 count;

/* ---- the piece of memory ---- */

static u64 cpu_bytes(void)
{
    return bits_align_up(sizeof(struct cpu_state), ALIGNMENT) + virt_state_bytes();
}

static u64 head_bytes(void)
{
    return bits_align_up(sizeof(struct snapshot), ALIGNMENT);
}

static u64 devices_bytes(const struct vm *vm)
{
    return bits_align_up(vm->board->device_bytes(vm->spec.cpus), ALIGNMENT) + vm->spec.cpus * APIC_PAGE_BYTES;
}

static struct cpu_state *cpu_of(const struct snapshot *s, u32 index)
{
    return (struct cpu_state *)((uintptr_t)s + head_bytes() + index * cpu_bytes());
}

static void *mechanism_of(const struct snapshot *s, u32 index)
{
    return (u8 *)cpu_of(s, index) + bits_align_up(sizeof(struct cpu_state), ALIGNMENT);
}

static void *devices_of(const struct snapshot *s)
{
    return cpu_of(s, s->spec.cpus);
}

static struct snapshot *allocate(const struct vm *vm)
{
    u64 bytes = head_bytes() + vm->spec.cpus * cpu_bytes() + devices_bytes(vm);
    u64 frames = (bytes + FRAME_BYTES - 1) / FRAME_BYTES;
    hpa_t first;

    if (frames_allocate(frames, 1, &first) != STATUS_OK)
        return NULL;
    struct snapshot *s = phys_to_virt(first);
    s->frames = frames;
    return s;
}

static void free_piece(struct snapshot *s)
{
    frames_free_dirty(virt_to_phys(s), s->frames);
}

/* ---- the list ---- */

const struct snapshot *snapshot_next(const struct snapshot *last)
{
    return last ? last->next : snapshots;
}

const struct snapshot *snapshot_find(const char *of, const char *name)
{
    for (struct snapshot *s = snapshots; s; s = s->next)
        if (string_equal(s->of, of) && string_equal(s->name, name))
            return s;
    return NULL;
}

static struct snapshot *guests_own(const struct vm *vm)
{
    for (struct snapshot *s = snapshots; s; s = s->next)
        if (s->vm_id == vm->id && s->caller != SNAPSHOT_NO_CALLER)
            return s;
    return NULL;
}

static void add(struct snapshot *s)
{
    struct snapshot **end = &snapshots;

    while (*end)
        end = &(*end)->next;
    *end = s;
    count++;
}

void snapshot_forget(const struct snapshot *snapshot)
{
    struct snapshot **at = &snapshots;

    while (*at != snapshot)
        at = &(*at)->next;
    struct snapshot *s = *at;
    *at = s->next;
    count--;
    layer_release(s->memory);
    free_piece(s);
}

void snapshot_forget_all(void)
{
    while (snapshots)
        snapshot_forget(snapshots);
}

u64 snapshot_frames(const struct snapshot *s)
{
    bool alone = __atomic_load_n(&s->memory->users, __ATOMIC_RELAXED) == 1;

    return s->frames + (alone ? layer_frames(s->memory) : 0);
}

/* ---- state ---- */

static void save_cpu(struct vcpu *vcpu, struct snapshot *s)
{
    struct cpu_state *c = cpu_of(s, vcpu->index);

    c->started = __atomic_load_n(&vcpu->started, __ATOMIC_SEQ_CST) && !vcpu->fresh;
    c->halted = vcpu->halted;
    c->halted_masked = vcpu->halted_masked;
    c->nmi_waiting = vcpu->nmi_waiting;
    c->sipi = vcpu->sipi;
    c->sleep_until_tsc = vcpu->sleep_until_tsc;
    vtimer_save(&vcpu->timers, c->deadlines);
    virt_state_save(vcpu, mechanism_of(s, vcpu->index));
    memory_pause_between();
}

static void load_cpu(struct vcpu *vcpu, const struct snapshot *s)
{
    const struct cpu_state *c = cpu_of(s, vcpu->index);

    vcpu->fresh = !c->started && __atomic_load_n(&vcpu->started, __ATOMIC_SEQ_CST);
    vcpu->halted = c->halted || vcpu->fresh;
    vcpu->halted_masked = c->halted_masked || vcpu->fresh;
    vcpu->halted_counted = false;
    vcpu->nmi_waiting = c->nmi_waiting;
    vcpu->sipi = c->sipi;
    vcpu->sleep_until_tsc = c->sleep_until_tsc;
    vcpu->requests = VCPU_REQUEST_EVENT;
    vtimer_load(&vcpu->timers, c->deadlines);
    vcpu->timer_ns = VTIMER_NEVER; /* the time that it stands for is looked up anew */
    vcpu->timer_tsc = UINT64_MAX;
    virt_state_load(vcpu, mechanism_of(s, vcpu->index));
    memory_pause_between(); /* all of its VM rests, or has not started */
}

static void load_state(struct vm *vm, const struct snapshot *s)
{
    u32 halted = 0;

    vm->start_tsc = s->start_tsc;
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        load_cpu(vm->vcpus[i], s);
        halted += !__atomic_load_n(&vm->vcpus[i]->started, __ATOMIC_SEQ_CST);
    }
    vm->halted_count = halted;
    vm->board->copy(vm, devices_of(s));
    memcpy(vm->line, s->line, sizeof vm->line);
    vm->line_length = s->line_length;
    vm->write_effect = vm->line_printed = false;
    vm->requested = VM_RUNNING;
}

/* The hypercall that took it returns once more. */
static void note_use(struct vm *vm, struct snapshot *s)
{
    u32 times = (u32)++s->restores;

    if (s->caller != SNAPSHOT_NO_CALLER)
        virt_vcpu_set_result(vm->vcpus[s->caller], ROOTLET_OK, &times);
}

bool snapshot_settle(struct vm *vm)
{
    if (vm->watcher && !vm->watcher->stand(vm))
        return false;
    vm_pause(vm);
    return vm_is_at_rest(vm);
}

void snapshot_settled(struct vm *vm, bool moved)
{
    if (vm->watcher)
        vm->watcher->stood(vm, moved);
}

/* The boot CPU reads and writes VMCSs for it, so it needs VMX operation. */
static enum status check_possible(const struct vm *vm, struct refusal *why)
{
    if (sched_cpus_off & 1)
        return refuse(why, STATUS_WRONG_STATE, "CPU 0 has left VMX operation, and snapshots need it; vmx on 0 first");
    if (vm && vm_is_stopping(vm))
        return refuse(why, STATUS_INVALID, "vm=%s is stopping", vm->spec.name);
    if (vm && vm->spec.nested)
        return refuse(why, STATUS_INVALID, "vm=%s has nested=on, and a snapshot keeps nothing of its vCPUs' VMX",
                      vm->spec.name);
    return STATUS_OK;
}

/* ---- taking ---- */

static enum status refuse_memory(struct refusal *why, const char *what)
{
    return refuse(why, STATUS_NO_MEMORY, "no memory for %s: %lu frames are free; forget a snapshot or stop a VM", what,
                  frames_free_count());
}

static enum status take(struct vm *vm, const char *name, u32 caller, struct refusal *why)
{
    struct snapshot *s = allocate(vm);

    if (!s)
        return refuse_memory(why, "the snapshot");
    if (virt_memory_open(vm) != STATUS_OK || guest_memory_freeze(&vm->memory, &s->memory) != STATUS_OK) {
        free_piece(s);
        return refuse_memory(why, "the snapshot's tables");
    }
    virt_memory_clear(vm);
    memcpy(s->of, vm->spec.name, sizeof s->of);
    (void)string_copy(s->name, sizeof s->name, name);
    s->spec = vm->spec;
    s->spec.guest_command_line = ""; /* it may stand in what goes with the VM's name */
    s->taken_ns = vm_clock_ns(vm);
    s->start_tsc = vm->start_tsc;
    s->boot_image = vm->boot_image;
    s->board = vm->board;
    s->caller = caller;
    s->vm_id = vm->id;
    vm->board->save(vm, devices_of(s));
    for (u32 i = 0; i < vm->spec.cpus; i++)
        save_cpu(vm->vcpus[i], s);
    memcpy(s->line, vm->line, sizeof s->line);
    s->line_length = vm->line_length;
    add(s);
    return STATUS_OK;
}

enum status snapshot_take(struct vm *vm, const char *name, struct refusal *why)
{
    enum status status = check_possible(vm, why);

    if (status != STATUS_OK)
        return status;
    if (snapshot_find(vm->spec.name, name))
        return refuse(why, STATUS_INVALID, "vm=%s has a snapshot %s; forget it, or take another name", vm->spec.name,
                      name);
    if (count >= SNAPSHOT_MAX)
        return refuse(why, STATUS_NO_MEMORY, "there are %u snapshots; forget one", count);
    return take(vm, name, SNAPSHOT_NO_CALLER, why);
}

/* ---- going back ---- */

static void page_goes_back(void *context, u64 address, u64 frame)
{
    virt_memory_page_is(context, gpa(address), hpa(frame));
}

enum status snapshot_restore(struct vm *vm, const struct snapshot *snapshot, struct refusal *why)
{
    struct snapshot *s = (struct snapshot *)snapshot;
    enum status status = check_possible(vm, why);
    bool all;

    if (status != STATUS_OK)
        return status;
    if (vm->watcher && !vm->watcher->may_move(vm))
        return refuse(why, STATUS_WRONG_STATE, "its debugger has stopped %s; continue there first", vm->spec.name);
    if (vm->spec.cpus != s->spec.cpus || vm->memory.mem_bytes != s->spec.mem_bytes)
        return refuse(why, STATUS_INVALID, "the snapshot is of a VM with cpus=%u mem=%s", s->spec.cpus,
                      guest_memory_text(s->spec.mem_bytes).text);
    if (virt_memory_open(vm) != STATUS_OK ||
        guest_memory_go_back(&vm->memory, s->memory, page_goes_back, vm, &all) != STATUS_OK)
        return refuse_memory(why, "a layer of memory");
    if (all)
        virt_memory_clear(vm);
    else
        virt_memory_changed(vm);
    load_state(vm, s);
    note_use(vm, s);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (cpu_of(s, i)->started)
            vm_start_restored(vm->vcpus[i]);
    return STATUS_OK;
}

/* ---- clones ---- */

enum status snapshot_clone(const struct snapshot *snapshot, const struct vm_spec *spec, u32 id, struct vm **out,
                           struct refusal *why)
{
    struct snapshot *s = (struct snapshot *)snapshot;
    const struct vm_setup setup = {.spec = spec, .memory = s->memory, .board = s->board, .id = id};
    enum status status = check_possible(NULL, why);

    if (status == STATUS_OK)
        status = vm_create(&setup, out, why);
    if (status != STATUS_OK)
        return status;
    struct vm *vm = *out;
    vm->boot_image = s->boot_image;
    load_state(vm, s);
    for (u32 i = 0; i < spec->cpus; i++)
        vm->vcpus[i]->started = cpu_of(s, i)->started;
    note_use(vm, s);
    return STATUS_OK;
}

/* ---- requests of guests ---- */

bool snapshot_request(struct vcpu *vcpu, enum vm_wish wish)
{
    struct vm *vm = vcpu->vm;
    u32 none = VM_WISH_NONE;

    if (!__atomic_compare_exchange_n(&vm->wish, &none, wish, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return false;
    vm->wisher = vcpu->index;
    sched_hold(vcpu);
    sched_request_work();
    return true;
}

static u32 take_own(struct vm *vm)
{
    const struct snapshot *last = guests_own(vm);
    const u32 none = 0;
    struct refusal why;

    if (count >= SNAPSHOT_MAX)
        return ROOTLET_ERROR_MEMORY;
    if (take(vm, SNAPSHOT_GUEST, vm->wisher, &why) != STATUS_OK)
        return ROOTLET_ERROR_MEMORY;
    virt_vcpu_set_result(vm->vcpus[vm->wisher], ROOTLET_OK, &none);
    if (last) {
        snapshot_forget(last);
        layer_absorb(vm->memory.top);
    }
    return ROOTLET_OK;
}

static u32 restore_own(struct vm *vm)
{
    const struct snapshot *own = guests_own(vm);
    struct refusal why;

    if (!own)
        own = snapshot_find(vm->spec.name, SNAPSHOT_AT);
    if (!own)
        return ROOTLET_ERROR_STATE;
    enum status status = snapshot_restore(vm, own, &why);
    return status == STATUS_OK ? ROOTLET_OK : status == STATUS_NO_MEMORY ? ROOTLET_ERROR_MEMORY : ROOTLET_ERROR_STATE;
}

/* snapshot-at=: tried once in a run, and the guest hears nothing of it. From now on its hypercalls are as others'. */
static void take_at(struct vm *vm)
{
    struct refusal why;

    vm->spec.has_snapshot_at = false;
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vm->vcpus[i]->hypercalls = HYPERCALL_COUNT;
    if (snapshot_take(vm, SNAPSHOT_AT, &why) == STATUS_OK)
        log_event("snapshot vm=%s name=%s frames=%lu", vm->spec.name, SNAPSHOT_AT,
                  snapshot_frames(snapshot_find(vm->spec.name, SNAPSHOT_AT)));
    else
        log_warn("snapshot vm=%s name=%s refused: %s", vm->spec.name, SNAPSHOT_AT, why.text);
}

/* The two hypercalls: what they return. True: it has gone back. */
static bool serve_call(struct vm *vm, u32 wish)
{
    struct refusal why;
    u32 error = check_possible(vm, &why) != STATUS_OK ? ROOTLET_ERROR_STATE
                : wish == VM_WISH_SNAPSHOT            ? take_own(vm)
                                                      : restore_own(vm);

    if (error != ROOTLET_OK)
        virt_vcpu_set_result(vm->vcpus[vm->wisher], error, NULL);
    return error == ROOTLET_OK && wish == VM_WISH_RESTORE;
}

u64 snapshot_due(const struct vm *vm, u64 now_tsc)
{
    bool waits = __atomic_load_n(&vm->wish, __ATOMIC_SEQ_CST) != VM_WISH_NONE && now_tsc < vm->wish_due_tsc;

    return waits && !vm_is_stopping(vm) ? vm->wish_due_tsc : UINT64_MAX;
}

bool snapshot_serve(struct vm *vm, u64 now_tsc)
{
    u32 wish = __atomic_load_n(&vm->wish, __ATOMIC_SEQ_CST);

    if (LIKELY(wish == VM_WISH_NONE) || vm_is_stopping(vm) || now_tsc < vm->wish_due_tsc)
        return false;
    u64 since = sched_work_clock();
    if (!snapshot_settle(vm))
        return false;
    bool moved = false;
    if (wish == VM_WISH_SNAPSHOT_AT)
        take_at(vm);
    else
        moved = serve_call(vm, wish);
    snapshot_settled(vm, moved);
    vm->wish_due_tsc = sched_charge_work(vm->vcpus[vm->wisher], since); /* while it still rests */
    __atomic_store_n(&vm->wish, VM_WISH_NONE, __ATOMIC_SEQ_CST);
    return true;
}

void snapshot_forget_own(const struct vm *vm)
{
    const struct snapshot *own = guests_own(vm);

    if (own)
        snapshot_forget(own);
}
