/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See sim.h. Threads only hold the CPUs' stacks: the baton (a semaphore for each) lets one run, always the one whose
 * next event is the earliest, so every run of a scenario is the same.
 */
#include "test/fake/sim.h"

#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/smp.h"
#include "drivers/host/rtc.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/load/load.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"
#include "test/fake/host_memory.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define ARCH_SET_GS  0x1001
#define KICK_LATENCY 500u
#define ACT_TICKS    200u
#define TIMER_PORT   0x40u

#define RULE(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            broken(__LINE__, #condition);                                                                              \
    } while (0)

struct guest {
    struct vcpu base;
    struct posted_requests posted;
    const struct sim_step *script;
    u32 step;
    u64 left;          /* of the current SIM_RUN, once it has begun */
    bool begun, stays; /* what came meanwhile was no exit */
    u64 again;
    u32 posts;
    u64 signs;    /* of life: its exits */
    bool pending; /* the timer's interrupt */
    u64 timer_due, pending_since, nmi_since;
    u32 on_cpu;      /* whose thread is in virt_vcpu_run */
    u32 loaded_cpu;  /* where its VMCS is active */
    u64 movable_to;  /* CPUs that slept when it was taken off its last one */
    u64 spun_for_on; /* CPUs on which another vCPU of its VM has spun for it */
    bool detached;
    u32 reported; /* pieces of its report */
    struct sim_vcpu_result *result;
};

static struct cpu {
    struct cpu_local local;
    pthread_t thread;
    sem_t go;
    u64 wake_tsc;
    u64 timer_tsc;
    bool kicked, notified, sleeping, done;
    const struct vm *runs; /* whose guest is in virt_vcpu_run */
} cpus[SIM_MAX_CPUS];
static u32 thread_count = 1;

static struct sim_result *result;
static struct vm *vms[SIM_MAX_VMS];
static const struct sim_step *const *scripts_of[SIM_MAX_VMS];
static u32 vm_count, cpu_count = 1;
static u64 now, end_tsc = UINT64_MAX;
static bool end_reached, host_timer, posts;
static u32 report_pieces;
static u64 report_piece_ticks, console_free_tsc;
static void (*handlers[256])(void);
static struct {
    struct vm *vm;
    u64 tsc;
    bool whole;
    enum vcpu_pause change;
} pauses[2 * SIM_MAX_PAUSES];
static u32 pause_count, pause_next;

static NORETURN void broken(int line, const char *rule)
{
    fprintf(stderr, "test/fake/sim.c:%d: broken at tick %lu: %s\n", line, (unsigned long)now, rule);
    _exit(1);
}

void panic(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, " (panic at tick %lu)\n", (unsigned long)now);
    _exit(1);
}

/* ---- the machine ---- */

static struct cpu *here(void)
{
    return &cpus[cpu_id()];
}

u64 cpu_tsc(void)
{
    return now++;
}

static void pass_baton(struct cpu *self)
{
    struct cpu *next = NULL;

    for (u32 i = 0; i < cpu_count; i++)
        if (!cpus[i].done && (!next || cpus[i].wake_tsc < next->wake_tsc))
            next = &cpus[i];
    if (!next)
        return; /* the last one has returned from sched_run */
    if (next->wake_tsc == UINT64_MAX) {
        result->deadlock = true;
        _exit(0);
    }
    if (next == self)
        return;
    sem_post(&next->go);
    if (!self->done)
        sem_wait(&self->go);
}

/* A vCPU that is ready pauses when its turn comes. */
static bool all_rest(const struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        if (vm->vcpus[i]->started && vm->vcpus[i]->state != VCPU_PAUSED)
            return false;
    return true;
}

/* The debugger's moment. False: it lets go only when all have come to rest. */
static bool change_pause(struct vm *vm, enum vcpu_pause change)
{
    if (vm_is_stopping(vm))
        return true;
    if (change != VCPU_PAUSE_NOW && !all_rest(vm))
        return false;
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        if (change == VCPU_PAUSE_NOW)
            sched_pause(vm->vcpus[i]);
        else
            sched_unpause(vm->vcpus[i], change);
    }
    return true;
}

static bool request_work(struct vm *vm, enum vcpu_pause change)
{
    (void)vm;
    (void)change;
    sched_request_work();
    return true;
}

/* The monitor's, which may let go before all rest. */
static bool change_hold(struct vm *vm, enum vcpu_pause change)
{
    if (vm_is_stopping(vm))
        return true;
    if (change == VCPU_PAUSE_NOW) {
        vm_pause(vm);
        return true;
    }
    for (u32 i = 0; i < vm_count; i++)
        result->vms[i].rests += vms[i] == vm && vm_is_at_rest(vm);
    vm_resume(vm);
    return true;
}

static void wait_until(struct cpu *self, u64 tsc)
{
    self->wake_tsc = self->kicked || self->notified ? now : tsc;
    if (!end_reached && self->wake_tsc > end_tsc)
        self->wake_tsc = end_tsc;
    if (pause_next < pause_count && self->wake_tsc > pauses[pause_next].tsc)
        self->wake_tsc = pauses[pause_next].tsc;
    pass_baton(self);
    if (now < self->wake_tsc)
        now = self->wake_tsc;
    self->wake_tsc = now;
    while (pause_next < pause_count && now >= pauses[pause_next].tsc) {
        bool (*change)(struct vm *, enum vcpu_pause) = !pauses[pause_next].vm     ? request_work
                                                       : pauses[pause_next].whole ? change_hold
                                                                                  : change_pause;
        if (change(pauses[pause_next].vm, pauses[pause_next].change))
            pause_next++;
        else
            pauses[pause_next].tsc = now + MS;
    }
    if (now >= end_tsc && !end_reached) {
        end_reached = true;
        for (u32 i = 0; i < vm_count; i++)
            vm_stop(vms[i], VM_STOP_KILLED, NULL);
    }
}

static void deliver_interrupts(struct cpu *self)
{
    if (self->kicked) {
        self->kicked = false;
        handlers[IRQ_VECTOR_KICK]();
    }
    if (self->notified) {
        self->notified = false;
        handlers[IRQ_VECTOR_POSTED]();
    }
    if (self->timer_tsc <= now) {
        self->timer_tsc = UINT64_MAX;
        handlers[IRQ_VECTOR_TIMER]();
    }
}

u32 quirks_found;

void cpu_sleep_until_interrupt(void)
{
    struct cpu *self = here();

    self->sleeping = true;
    result->sleeps[self->local.id]++;
    wait_until(self, self->timer_tsc);
    self->sleeping = false;
    deliver_interrupts(self);
}

void cpu_interrupts_enable(void)
{
    deliver_interrupts(here());
}

u32 smp_cpu_count(void)
{
    return cpu_count;
}

static void interrupt(u32 id, bool *line)
{
    struct cpu *target = &cpus[id];

    RULE(id < cpu_count && target != here());
    *line = true;
    if (target->wake_tsc > now + KICK_LATENCY)
        target->wake_tsc = now + KICK_LATENCY;
}

void smp_kick(u32 id)
{
    result->kicks++;
    interrupt(id, &cpus[id].kicked);
}

void smp_notify_posted(u32 id)
{
    RULE(posts);
    interrupt(id, &cpus[id].notified);
}

void smp_mailbox_run(void) {}

void machine_check_look(u64 tsc)
{
    (void)tsc;
}

void irq_set_handler(u8 vector, void (*handler)(void))
{
    handlers[vector] = handler;
}

void lapic_timer_arm(u64 deadline_tsc)
{
    here()->timer_tsc = deadline_tsc;
}

void lapic_timer_disarm(void)
{
    here()->timer_tsc = UINT64_MAX;
}

u64 rtc_read_seconds(u64 tsc_hz)
{
    (void)tsc_hz;
    return 0;
}

void console_write(const char *text, size_t length)
{
    (void)text;
    (void)length;
}

void console_write_raw(const char *text, size_t length)
{
    console_write(text, length);
}

u32 console_guest_bytes(void)
{
    return CONSOLE_GUEST_BYTES;
}

u32 console_position(void)
{
    return 0;
}

u32 console_waiting(u32 position)
{
    (void)position;
    return 0;
}

u64 console_send_time_ns(u32 bytes)
{
    (void)bytes;
    return 0;
}

u64 console_report_wait_ns(void)
{
    return now < console_free_tsc ? console_free_tsc - now : 0; /* a tick is 1 ns */
}

void log_event(const char *format, ...)
{
    (void)format;
}

void log_text(const char *text)
{
    (void)text;
}

void log_info(const char *format, ...)
{
    (void)format;
}

/* ---- guests ---- */

static struct guest *guest_of(struct vcpu *vcpu)
{
    return container_of(vcpu, struct guest, base);
}

static enum status load(struct vm *vm, const struct load_request *request, gpa_t acpi_root, struct start_state *start,
                        struct refusal *why)
{
    (void)request;
    (void)acpi_root;
    (void)why;
    *start = (struct start_state){.rip = 0x7c00};
    vm->spec.kind = IMAGE_FLAT16;
    return STATUS_OK;
}

enum status virt_vm_create(struct vm *vm, struct refusal *why)
{
    (void)vm;
    (void)why;
    return STATUS_OK;
}

void virt_vm_release(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        RULE(guest_of(vm->vcpus[i])->loaded_cpu == VCPU_NO_CPU);
}

enum status virt_vcpu_create(struct vm *vm, u32 index, struct vcpu **out, struct refusal *why)
{
    struct guest *guest = calloc(1, sizeof *guest);

    (void)why;
    guest->base.vm = vm;
    guest->base.index = index;
    guest->base.home_cpu = VCPU_NO_CPU;
    guest->base.timer_tsc = UINT64_MAX;
    guest->on_cpu = guest->loaded_cpu = VCPU_NO_CPU;
    guest->script = scripts_of[vm_count][index];
    guest->again = UINT64_MAX;
    guest->base.posted = &guest->posted;
    guest->posted.notification = posts;
    guest->result = &result->vms[vm_count].vcpus[index];
    *out = &guest->base;
    return STATUS_OK;
}

void virt_vcpu_destroy(struct vcpu *vcpu)
{
    free(guest_of(vcpu));
}

void virt_vcpu_set_start(struct vcpu *vcpu, const struct start_state *start)
{
    (void)vcpu;
    (void)start;
}

u64 virt_vm_signs_of_life(const struct vm *vm)
{
    u64 sum = 0;

    for (u32 i = 0; i < vm->spec.cpus; i++)
        sum += guest_of(vm->vcpus[i])->signs;
    return sum;
}

bool virt_needs_host_timer(void)
{
    return host_timer;
}

void trace_event(enum trace_cause cause, const struct vcpu *vcpu, u64 detail)
{
    (void)cause;
    (void)vcpu;
    (void)detail;
}

static void note_end(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++)
        RULE(guest_of(vm->vcpus[i])->on_cpu == VCPU_NO_CPU);
    for (u32 i = 0; i < vm_count; i++)
        result->vms[i].noted += vms[i] == vm;
}

static bool explain(struct vm *vm)
{
    for (u32 i = 0; i < vm_count; i++) {
        if (vms[i] != vm)
            continue;
        RULE(result->vms[i].noted == 1);
        if (result->vms[i].explained)
            return false;
        result->vms[i].explained++;
        return true;
    }
    return false;
}

bool virt_vcpu_report(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);

    RULE(guest->loaded_cpu == VCPU_NO_CPU || guest->loaded_cpu == cpu_id());
    RULE(!guest->detached);
    if (guest->reported == report_pieces)
        return false;
    guest->reported++;
    sim_compute(report_piece_ticks);
    return true;
}

void virt_vcpu_detach(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);

    RULE(guest->on_cpu == VCPU_NO_CPU);
    guest->detached = vcpu->state != VCPU_PAUSED; /* in order to move */
    guest->movable_to = 0;
    for (u32 i = 0; i < cpu_count; i++)
        if (cpus[i].sleeping)
            guest->movable_to |= BIT(i);
    guest->movable_to |= guest->spun_for_on;
    RULE(guest->loaded_cpu == VCPU_NO_CPU || guest->loaded_cpu == cpu_id());
    guest->loaded_cpu = VCPU_NO_CPU;
}

/* As the stub: state is copied and the VMCS cleared, on the home CPU and in no exit. */
static void paused(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);

    RULE(vcpu->state == VCPU_PAUSED && (vcpu->pause == VCPU_PAUSE_NOW || vcpu->halted) && vcpu->home_cpu == cpu_id());
    for (u32 i = 0; i < vm_count; i++)
        for (u32 k = 0; k < vms[i]->spec.cpus; k++)
            RULE(guest_of(vms[i]->vcpus[k])->on_cpu != cpu_id());
    guest->loaded_cpu = VCPU_NO_CPU;
    guest->result->pauses++;
    guest->result->paused_tsc = now;
}

static void watched_vm_ended(struct vm *vm)
{
    (void)vm;
}

static void check_entry(struct guest *guest, u32 cpu)
{
    const struct vcpu *vcpu = &guest->base;

    RULE(vcpu->pause != VCPU_PAUSE_NOW && !vcpu->held && !vcpu->rests);
    RULE(guest->on_cpu == VCPU_NO_CPU);
    RULE(vcpu->state == VCPU_RUNNING);
    RULE(vcpu->home_cpu == cpu);
    RULE(vcpu->vm->spec.affinity >> cpu & 1);
    RULE(guest->loaded_cpu == VCPU_NO_CPU || guest->loaded_cpu == cpu);
    if (guest->detached)
        RULE(guest->movable_to >> cpu & 1); /* moved only to a CPU that had nothing to do, or asked */
    guest->detached = false;
    guest->loaded_cpu = cpu;
    guest->result->cpus |= BIT(cpu);
}

static void take_event(struct guest *guest)
{
    u64 waited = now - guest->pending_since;

    guest->pending = false;
    guest->base.halted = false;
    guest->result->events++;
    if (waited > guest->result->worst_event)
        guest->result->worst_event = waited;
}

static void take_nmi(struct guest *guest)
{
    u64 waited = now - guest->nmi_since;

    guest->base.halted = false;
    guest->result->nmis++;
    if (waited > guest->result->worst_nmi)
        guest->result->worst_nmi = waited;
}

static void take_posted(struct guest *guest, u64 vectors)
{
    if (!vectors)
        return;
    guest->result->posted += (u32)__builtin_popcountll(vectors);
    guest->base.halted = false;
}

/* As vmx/apicv.c before an entry. */
static void prepare_posted(struct guest *guest)
{
    u32 news = posted_take_news(&guest->posted);

    for (unsigned i = 0; i < 4; i++)
        if (news >> i & 1)
            take_posted(guest, posted_take(&guest->posted, i));
}

/* The notification vector comes while the guest runs. SDM 3C 29.6 "Posted-Interrupt Processing", steps 3 to 5 */
static void process_notification(struct cpu *self, struct guest *guest)
{
    if (!self->notified)
        return;
    self->notified = false;
    guest->stays = !self->kicked && self->timer_tsc > now && now < guest->base.deadline_tsc;
    __atomic_fetch_and(&guest->posted.control[0], ~POSTED_ON, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 4; i++)
        take_posted(guest, __atomic_exchange_n(&guest->posted.vectors[i], 0, __ATOMIC_SEQ_CST));
}

static bool serve_requests(struct guest *guest, u32 requests)
{
    struct vcpu *vcpu = &guest->base;

    if (requests & VCPU_REQUEST_DEADLINE)
        sched_update_deadline(vcpu);
    if ((requests & VCPU_REQUEST_EVENT) && guest->pending && !vcpu->halted_masked)
        take_event(guest);
    if ((requests & VCPU_REQUEST_EVENT) && __atomic_exchange_n(&vcpu->nmi_waiting, false, __ATOMIC_SEQ_CST))
        take_nmi(guest);
    if ((requests & VCPU_REQUEST_EVENT) || vcpu->halted)
        prepare_posted(guest);
    return !(requests & VCPU_REQUEST_RESCHEDULE);
}

/* As vmx_vcpu_take_sipi(). */
static bool take_sipi(struct guest *guest)
{
    struct vcpu *vcpu = &guest->base;
    u32 sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST);
    bool has = sipi >= VCPU_HAS_SIPI &&
               __atomic_compare_exchange_n(&vcpu->sipi, &sipi, VCPU_RUNS, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

    guest->result->inits += !vcpu->init_taken;
    vcpu->init_taken = !has;
    vcpu->halted = vcpu->halted_masked = !has;
    if (!has)
        return false;
    guest->step = 0;
    guest->begun = false;
    guest->result->restarts++;
    return true;
}

/* As vmx/run.c between two entries; false: leave the guest. */
static bool prepare(struct guest *guest)
{
    struct vcpu *vcpu = &guest->base;
    u32 requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);

    if (!serve_requests(guest, requests))
        return false;
    if (!(requests & (VCPU_REQUEST_HALT | VCPU_REQUEST_INIT)))
        return true;
    for (;;) {
        if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS)
            (void)take_sipi(guest);
        if (!vcpu->halted)
            return true;
        if (!sched_halt(vcpu) || !serve_requests(guest, __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST)))
            return false;
    }
}

static void next_step(struct guest *guest)
{
    guest->step++;
    guest->begun = false;
}

static void compute(struct cpu *self, struct guest *guest)
{
    struct vcpu *vcpu = &guest->base;
    const struct sim_step *step = &guest->script[guest->step];
    if (!guest->begun)
        guest->left = step->value;
    guest->begun = true;
    RULE(host_timer || self->timer_tsc == UINT64_MAX || self->timer_tsc <= now); /* that of the last sleep is off */
    u64 start = now;
    u64 room = host_timer ? UINT64_MAX - now : vcpu->deadline_tsc > now ? vcpu->deadline_tsc - now : 0;
    u64 wanted = step->act == SIM_SPIN ? UINT64_MAX - now : guest->left;
    u64 until = now + (room < wanted ? room : wanted);

    if (room == 0) {
        guest->result->idle_entries++;
        now++;
    }
    if (host_timer && self->timer_tsc < until)
        until = self->timer_tsc;
    wait_until(self, until);
    u64 done = now - start < wanted ? now - start : wanted;
    if (room) {
        guest->result->work += done;
        guest->left -= step->act == SIM_SPIN ? 0 : done;
    }
    if (step->act == SIM_RUN && guest->left == 0)
        next_step(guest);
    process_notification(self, guest);
    deliver_interrupts(self);
    if (now >= vcpu->deadline_tsc)
        sched_deadline_reached(vcpu);
}

static void act(struct cpu *self, struct guest *guest)
{
    const struct sim_step *step = &guest->script[guest->step];
    struct vcpu *vcpu = &guest->base;
    struct start_state start = {0};

    wait_until(self, now + ACT_TICKS);
    next_step(guest);
    guest->signs += step->act != SIM_AGAIN;
    switch (step->act) {
    case SIM_HLT:
    case SIM_CLI_HLT:
        vcpu->halted = true;
        vcpu->halted_masked = step->act == SIM_CLI_HLT;
        vcpu_request(vcpu, VCPU_REQUEST_EVENT | VCPU_REQUEST_HALT);
        break;
    case SIM_SLEEP:
        vcpu->sleep_until_tsc = now + step->value;
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
        break;
    case SIM_YIELD:
        vcpu->yielded = true;
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
        break;
    case SIM_PAUSES:
        for (u32 i = 0; i < vcpu->vm->spec.cpus; i++)
            guest_of(vcpu->vm->vcpus[i])->spun_for_on |= BIT(cpu_id());
        (void)sched_yield_to_sibling(vcpu);
        break;
    case SIM_ARM:
        vm_port_write(vcpu, TIMER_PORT, 4, (u32)step->value);
        break;
    case SIM_START:
        RULE(vm_start_vcpu(vcpu->vm, (u32)step->value, &start));
        RULE(!vm_start_vcpu(vcpu->vm, (u32)step->value, &start));
        break;
    case SIM_NMI:
        guest_of(vcpu->vm->vcpus[step->value])->nmi_since = now;
        vm_nmi(vcpu->vm->vcpus[step->value]);
        break;
    case SIM_POST:
        posted_add(vcpu->vm->vcpus[step->value]->posted, (u8)(0x30 + guest->posts++ % 0xd0), false);
        sched_notify_posted(vcpu->vm->vcpus[step->value]);
        break;
    case SIM_ARM_OWN:
        vtimer_arm(&vcpu->timers, &vcpu->timers.timers[0], vtimer_now(&vcpu->timers) + step->value);
        break;
    case SIM_INIT:
        vm_init_vcpu(vcpu->vm->vcpus[step->value]);
        break;
    case SIM_RESTART:
        vm_init_vcpu(vcpu->vm->vcpus[step->value]);
        vm_sipi(vcpu->vm->vcpus[step->value], 0);
        break;
    case SIM_EXIT:
        vm_exit(vcpu->vm, (u32)step->value);
        break;
    case SIM_STOP:
        vm_stop(vcpu->vm, (enum vm_stop_reason)step->value, "by=%u", vcpu->index);
        break;
    default:
        guest->result->rounds++;
        if (guest->again == UINT64_MAX)
            guest->again = step->value ? step->value : UINT64_MAX - 1;
        if (guest->again--) {
            guest->step = 0;
        } else {
            guest->again = UINT64_MAX;
        }
    }
}

void virt_vcpu_run(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);
    struct cpu *self = here();
    u64 start = now;

    if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS && !take_sipi(guest))
        return;
    check_entry(guest, self->local.id);
    guest->on_cpu = self->local.id;
    self->runs = vcpu->vm;
    for (u32 i = 0; i < cpu_count; i++)
        RULE(i / thread_count != self->local.id / thread_count || !cpus[i].runs || cpus[i].runs == vcpu->vm);
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    while (guest->stays || prepare(guest)) {
        guest->stays = false;
        enum sim_act what = guest->script[guest->step].act;
        guest->result->entries++;
        if (what == SIM_RUN || what == SIM_SPIN)
            compute(self, guest);
        else
            act(self, guest);
    }
    guest->on_cpu = VCPU_NO_CPU;
    self->runs = NULL;
    result->busy_tsc[self->local.id] += now - start;
}

/* ---- the PC's timer ---- */

static void timer_fires(void *device, u64 now_ns)
{
    struct vm *vm = device;
    struct guest *guest = guest_of(vm->vcpus[0]);

    (void)now_ns;
    if (!guest->pending)
        guest->pending_since = guest->timer_due;
    guest->pending = true;
    sched_notify(vm->vcpus[0], VCPU_REQUEST_EVENT);
}

static void own_timer_fires(void *device, u64 now_ns)
{
    (void)device;
    (void)now_ns;
}

static void timer_write(void *device, u64 offset, u8 bytes, u64 value)
{
    struct vm *vm = device;
    struct vtimer_set *timers = &vm->vcpus[0]->timers;

    (void)offset;
    (void)bytes;
    guest_of(vm->vcpus[0])->timer_due = now + value;
    vtimer_arm(timers, &timers->timers[0], vtimer_now(timers) + value);
}

enum status guest_acpi_install(const struct guest_memory *memory, u32 cpus, gpa_t *root)
{
    (void)memory;
    (void)cpus;
    *root = gpa(0);
    return STATUS_OK;
}

const u8 guest_bios_code[] = {0xcf};
asm(".globl guest_bios_code_end\n.set guest_bios_code_end, guest_bios_code + 1");

enum status guest_mptable_install(const struct guest_memory *memory, u32 cpus)
{
    (void)memory;
    (void)cpus;
    return STATUS_OK;
}

enum status guest_smbios_install(const struct guest_memory *memory, const struct vm_spec *spec)
{
    (void)memory;
    (void)spec;
    return STATUS_OK;
}

static size_t device_bytes(u32 cpus)
{
    (void)cpus;
    return 64;
}

static bool is_waiting(const void *device)
{
    const struct guest *guest = device;
    const struct posted_requests *posted = &guest->posted;

    return posted_look(posted, 0) | posted_look(posted, 1) | posted_look(posted, 2) | posted_look(posted, 3);
}

static enum status attach(struct vm *vm, void *room)
{
    static const struct cpu_apic_ops apic_ops = {.is_waiting = is_waiting};
    static const struct bus_ops ops = {.write = timer_write};
    static const s16 no_vector = -1;
    static const bool always = true, never = false;

    (void)room;
    vm->intc = (struct intc){.pending = &guest_of(vm->vcpus[0])->pending, .device = vm};
    for (u32 i = 0; i < vm->spec.cpus; i++)
        vm->vcpus[i]->apic = (struct cpu_apic){.pending = &no_vector,
                                               .extint = &always,
                                               .intr = i ? &never : vm->intc.pending,
                                               .device = guest_of(vm->vcpus[i]),
                                               .ops = &apic_ops,
                                               .virtual_delivery = &posts};
    vtimer_add(&vm->vcpus[0]->timers, timer_fires, vm);
    for (u32 i = 1; i < vm->spec.cpus; i++)
        vtimer_add(&vm->vcpus[i]->timers, own_timer_fires, vm);
    return bus_add_ports(&vm->bus, TIMER_PORT, 4, 4, &ops, vm);
}

/* ---- scenarios ---- */

struct vm_spec sim_spec(void)
{
    return (struct vm_spec){.name = "vm",
                            .kind = IMAGE_FLAT16,
                            .mem_bytes = MIB(1),
                            .cpus = 1,
                            .weight = VM_DEFAULT_WEIGHT,
                            .affinity = ~0ull,
                            .guest_command_line = ""};
}

static void ended(struct vm *vm)
{
    for (u32 i = 0; i < vm_count; i++) {
        if (vms[i] == vm)
            result->vms[i].ended_tsc = now;
        if (vms[i]->vcpus_live == 0 && vms[i]->stop_tsc && result->vms[i].stop_tsc == 0) {
            result->vms[i].stop_tsc = vms[i]->stop_tsc;
            result->vms[i].ends++;
        }
    }
    if (++result->ended_vms == vm_count)
        sched_finish();
}

struct vm *sim_add(const struct vm_spec *spec, const struct sim_step *const *scripts)
{
    static const struct vm_board board = {.device_bytes = device_bytes,
                                          .load = load,
                                          .attach = attach,
                                          .note_end = note_end,
                                          .explain = explain,
                                          .ended = ended};
    static const struct vm_watcher watcher = {.paused = paused, .ended = watched_vm_ended};
    struct load_request request = {.vm_name = spec->name};
    const struct vm_setup setup = {.spec = spec, .request = &request, .board = &board, .id = vm_count};
    struct refusal why;

    scripts_of[vm_count] = scripts;
    RULE(vm_count < SIM_MAX_VMS);
    RULE(vm_create(&setup, &vms[vm_count], &why) == STATUS_OK);
    vms[vm_count]->watcher = &watcher;
    return vms[vm_count++];
}

static void add_change(struct vm *vm, u64 tsc, enum vcpu_pause change, bool whole)
{
    RULE(pause_count < ARRAY_SIZE(pauses));
    pauses[pause_count].vm = vm;
    pauses[pause_count].tsc = tsc;
    pauses[pause_count].whole = whole;
    pauses[pause_count++].change = change;
}

void sim_compute(u64 ticks)
{
    wait_until(here(), now + ticks);
}

void sim_request_work_at(u64 tsc)
{
    add_change(NULL, tsc, VCPU_PAUSE_NOT, false);
}

void sim_with_reports(u32 pieces, u64 ticks)
{
    report_pieces = pieces;
    report_piece_ticks = ticks;
}

void sim_console_full_until(u64 tsc)
{
    console_free_tsc = tsc;
}

u64 *sim_notes(void)
{
    return result->notes;
}

void sim_end_at(u64 tsc)
{
    end_tsc = tsc;
}

void sim_with_posted_interrupts(void)
{
    posts = true;
}

void sim_pause_between(struct vm *vm, u64 from_tsc, u64 to_tsc)
{
    add_change(vm, from_tsc, VCPU_PAUSE_NOW, false);
    add_change(vm, to_tsc, VCPU_PAUSE_NOT, false);
}

void sim_step_between(struct vm *vm, u64 from_tsc, u64 to_tsc)
{
    add_change(vm, from_tsc, VCPU_PAUSE_NOW, false);
    add_change(vm, to_tsc, VCPU_PAUSE_AT_HALT, false);
}

void sim_debug_at(struct vm *vm, u64 tsc, bool pause)
{
    add_change(vm, tsc, pause ? VCPU_PAUSE_NOW : VCPU_PAUSE_NOT, false);
}

void sim_hold_at(struct vm *vm, u64 tsc, bool pause)
{
    add_change(vm, tsc, pause ? VCPU_PAUSE_NOW : VCPU_PAUSE_NOT, true);
}

void sim_hold_between(struct vm *vm, u64 from_tsc, u64 to_tsc)
{
    sim_hold_at(vm, from_tsc, true);
    sim_hold_at(vm, to_tsc, false);
}

void sim_with_threads(u32 threads)
{
    thread_count = threads;
    for (u32 id = 0; id < cpu_count; id++)
        if (id % threads)
            sched_set_sibling(id, id - id % threads);
}

void sim_without_preemption_timer(void)
{
    host_timer = true;
}

static void become(struct cpu *cpu)
{
    cpu->local.self = &cpu->local;
    RULE(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu->local) == 0);
}

static void *cpu_thread(void *argument)
{
    struct cpu *self = argument;

    become(self);
    sem_wait(&self->go);
    sched_run();
    self->done = true;
    pass_baton(self);
    return NULL;
}

static void note_results(void)
{
    for (u32 i = 0; i < vm_count; i++) {
        result->vms[i].reason = vms[i]->reason;
        result->vms[i].exit_status = vms[i]->exit_status;
        result->vms[i].clean = vms[i]->clean;
        memcpy(result->vms[i].detail, vms[i]->detail, VM_DETAIL_BYTES);
        for (u32 k = 0; k < vms[i]->spec.cpus; k++) {
            const struct vcpu *vcpu = vms[i]->vcpus[k];
            struct sim_vcpu_result *out = &result->vms[i].vcpus[k];
            out->run_tsc = vcpu->run_tsc;
            out->slept_tsc = vcpu->slept_tsc;
            out->slices = vcpu->slices;
            out->migrations = vcpu->migrations;
            out->state = vcpu->state;
        }
        vm_destroy(vms[i]);
    }
    result->end_tsc = now;
    result->free_frames_after = frames_free_count();
}

void sim_begin(u32 count)
{
    for (u32 i = 0; i < count; i++) {
        cpus[i].local.id = i;
        cpus[i].timer_tsc = UINT64_MAX;
        sem_init(&cpus[i].go, 0, 0);
    }
    cpu_count = count;
    become(&cpus[0]);
    host_memory_init(MIB(1), MIB(256));
    result->free_frames_before = frames_free_count();
    clock_init(1000000000);
    sched_init();
}

void sim_run(void)
{
    for (u32 i = 0; i < vm_count; i++)
        vm_start(vms[i]);
    for (u32 i = 0; i < cpu_count; i++)
        RULE(pthread_create(&cpus[i].thread, NULL, cpu_thread, &cpus[i]) == 0);
    sem_post(&cpus[0].go);
    for (u32 i = 0; i < cpu_count; i++)
        pthread_join(cpus[i].thread, NULL);
    note_results();
}

const struct sim_result *sim_scenario(void (*scenario)(void))
{
    int status;

    if (!result)
        result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(result, 0, sizeof *result);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        scenario();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return result;
}
