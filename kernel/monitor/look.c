/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that only look. What other CPUs change meanwhile is read as it is: each word is whole.
 */
#include "kernel/monitor/commands.h"
#include "arch/x86/regs.h"
#include "kernel/clock.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "kernel/monitor/vcpu_look.h"
#include "kernel/virt.h"

static void list_one(const struct life *life)
{
    const struct vm *vm = life->vm;
    bool ended = vm_is_stopping(vm);
    u64 run_us = clock_ns_from_tsc(vm_sums(vm).run_tsc) / 1000;

    log_event("vm name=%s state=%s kind=%s cpus=%u mem=%lu run_us=%lu exits=%lu reason=%s", life->spec.name,
              life_state_name(life->state), image_kind_name(vm->spec.kind), vm->spec.cpus, vm->spec.mem_bytes, run_us,
              virt_vm_entries(vm), ended ? vm_stop_reason_name(vm->reason) : "none");
}

enum command_progress commands_list(struct monitor_call *call)
{
    const struct life *life = monitor_nth_vm(call->n++);

    if (!life)
        return COMMAND_DONE;
    if (life->vm)
        list_one(life);
    return COMMAND_GOES_ON;
}

/* ---- info ---- */

static void say_configuration(const struct life *life)
{
    const struct vm_spec *spec = &life->spec;

    list_one(life);
    log_event("vm keys name=%s weight=%u cap=%u affinity=0x%lx limit=%lu stealth=%s restarts=%u words=\"%.200s\"",
              spec->name, spec->weight, spec->cap_percent, spec->affinity, spec->limit_ms, spec->stealth ? "on" : "off",
              life->restarts, spec->guest_command_line);
}

static void say_region(const struct vm *vm, const struct guest_region *region)
{
    static const char *const kinds[] = {
        [GUEST_REGION_RAM] = "ram", [GUEST_REGION_TEXT] = "text", [GUEST_REGION_ROM] = "rom"};

    log_event("vm memory name=%s at=0x%lx bytes=%lu kind=%s", vm->spec.name, region->base.raw, region->size_bytes,
              kinds[region->kind]);
}

static const char *vcpu_state_name(const struct vcpu *vcpu)
{
    static const char *const names[] = {"waiting", "ready", "running", "blocked", "paused", "stopped"};
    enum vcpu_state state = __atomic_load_n(&vcpu->state, __ATOMIC_RELAXED);

    return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* Its RIP, if the look has found one. */
static void say_vcpu(const struct vcpu *vcpu, bool has_rip)
{
    char rip[32] = "";

    if (has_rip)
        format_text(rip, sizeof rip, " rip=0x%lx", vcpu_look_registers()->rip);
    log_event("vm vcpu name=%s vcpu=%u state=%s cpu=%d%s run_us=%lu slices=%u migrations=%u", vcpu->vm->spec.name,
              vcpu->index, vcpu_state_name(vcpu), (int)vcpu->home_cpu, rip, clock_ns_from_tsc(vcpu->run_tsc) / 1000,
              vcpu->slices, vcpu->migrations);
}

/* call->at: the vCPU whose look has begun. */
static enum command_progress info_of_vcpus(struct monitor_call *call, const struct vm *vm)
{
    enum vcpu_look look = vcpu_look_go_on();

    if (look == VCPU_LOOK_WAITS)
        return COMMAND_WAITS;
    say_vcpu(vm->vcpus[call->at], look == VCPU_LOOK_DONE);
    if (++call->at < vm->spec.cpus)
        vcpu_look_begin(vm->vcpus[call->at], false);
    else
        call->step++;
    return COMMAND_GOES_ON;
}

enum command_progress commands_info(struct monitor_call *call)
{
    const struct life *life = monitor_vm(call, call->words.word[0]);
    char text[160];

    if (!life)
        return COMMAND_FAILED;
    struct vm *vm = life->vm;
    if (call->step == 0) {
        say_configuration(life);
        vcpu_look_begin(vm->vcpus[0], false);
        call->step++;
        return COMMAND_GOES_ON;
    }
    if (call->step == 1)
        return info_of_vcpus(call, vm);
    u32 part = call->step++ - 2, regions;
    if (vm_is_stopping(vm)) /* its memory and devices go, or are gone */
        return COMMAND_DONE;
    const struct guest_region *region = guest_memory_regions(&vm->memory, &regions);
    if (part < regions) {
        say_region(vm, &region[part]);
        return COMMAND_GOES_ON;
    }
    if (!vm->board->describe(vm, part - regions, text, sizeof text))
        return COMMAND_DONE;
    log_event("vm device name=%s %s", vm->spec.name, text);
    return COMMAND_GOES_ON;
}

/* ---- registers and VMCS ---- */

/* Takes "VM [VCPU]"; NULL: *call has the refusal. */
static struct vcpu *vcpu_of_words(struct monitor_call *call)
{
    const struct life *life = monitor_live_vm(call, call->words.word[0]);
    u64 index = 0;

    if (!life)
        return NULL;
    if (call->words.count > 1 &&
        command_number(call->words.word[1], "vCPU", 0, life->vm->spec.cpus - 1, &index, &call->why) != STATUS_OK)
        return NULL;
    return life->vm->vcpus[index];
}

/* COMMAND_DONE: the look is complete. */
static enum command_progress look_at_vcpu(struct monitor_call *call, bool vmcs)
{
    if (call->step == 0) {
        struct vcpu *vcpu = vcpu_of_words(call);
        if (!vcpu)
            return COMMAND_FAILED;
        call->at = vcpu->index;
        vcpu_look_begin(vcpu, vmcs);
        call->step++;
    }
    switch (vcpu_look_go_on()) {
    case VCPU_LOOK_WAITS:
        return COMMAND_WAITS;
    case VCPU_LOOK_NOTHING:
        return monitor_fail(call,
                            "vm=%s: vCPU %lu has not run yet, has just ended or rests on a CPU without VMX; "
                            "info shows its state",
                            call->words.word[0], call->at);
    default:
        call->step++;
        return COMMAND_DONE;
    }
}

static const char *mode_name(const struct debug_registers *r)
{
    if (!(r->cr0 & CR0_PE))
        return "real";
    if (r->rflags & RFLAGS_VM)
        return "virtual-8086";
    if (!(r->efer & EFER_LMA))
        return "protected";
    return r->code64 ? "64-bit" : "compatibility";
}

enum command_progress commands_regs(struct monitor_call *call)
{
    enum command_progress progress = look_at_vcpu(call, false);
    const struct debug_registers *r = vcpu_look_registers();
    const u64 *g = r->gpr;

    if (progress != COMMAND_DONE)
        return progress;
    const char *name = call->words.word[0];
    u32 vcpu = (u32)call->at;
    log_event("vm regs name=%s vcpu=%u mode=%s rip=0x%lx rsp=0x%lx rflags=0x%lx", name, vcpu, mode_name(r), r->rip,
              g[4], r->rflags);
    log_event("vm regs name=%s vcpu=%u rax=0x%lx rbx=0x%lx rcx=0x%lx rdx=0x%lx rsi=0x%lx rdi=0x%lx rbp=0x%lx", name,
              vcpu, g[0], g[3], g[1], g[2], g[6], g[7], g[5]);
    log_event("vm regs name=%s vcpu=%u r8=0x%lx r9=0x%lx r10=0x%lx r11=0x%lx r12=0x%lx r13=0x%lx r14=0x%lx r15=0x%lx",
              name, vcpu, g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
    log_event("vm regs name=%s vcpu=%u cr0=0x%lx cr3=0x%lx cr4=0x%lx efer=0x%lx", name, vcpu, r->cr0, r->cr3, r->cr4,
              r->efer);
    log_event("vm regs name=%s vcpu=%u cs=0x%lx ss=0x%lx ds=0x%lx es=0x%lx fs=0x%lx gs=0x%lx fs_base=0x%lx "
              "gs_base=0x%lx",
              name, vcpu, r->selectors[DEBUG_CS], r->selectors[DEBUG_SS], r->selectors[DEBUG_DS],
              r->selectors[DEBUG_ES], r->selectors[DEBUG_FS], r->selectors[DEBUG_GS], r->fs_base, r->gs_base);
    return COMMAND_DONE;
}

enum command_progress commands_vmcs(struct monitor_call *call)
{
    char text[VIRT_LOOK_BYTES];

    if (call->step < 2) {
        enum command_progress progress = look_at_vcpu(call, true);
        return progress == COMMAND_DONE ? COMMAND_GOES_ON : progress;
    }
    if (!virt_look_field(call->step++ - 2, vcpu_look_vmcs(), text))
        return COMMAND_DONE;
    if (text[0])
        log_event("vm vmcs name=%s vcpu=%lu %s", call->words.word[0], call->at, text);
    return COMMAND_GOES_ON;
}

/* ---- memory ---- */

#define MEM_DEFAULT 64u
#define MEM_MOST    4096u
#define MEM_LINE    16u

/* call->at: the guest-physical address of the next line; call->until: the end. */
static bool take_range(struct monitor_call *call)
{
    const struct command_words *words = &call->words;
    u64 bytes = MEM_DEFAULT;

    if (command_number(words->word[1], "address", 0, (1ull << 52) - 1, &call->at, &call->why) != STATUS_OK ||
        (words->count > 2 && command_number(words->word[2], "length", 1, MEM_MOST, &bytes, &call->why) != STATUS_OK))
        return false;
    call->until = call->at + bytes;
    return true;
}

enum command_progress commands_mem(struct monitor_call *call)
{
    char hex[2 * MEM_LINE + 1] = "", text[MEM_LINE + 1];
    const struct life *life = monitor_live_vm(call, call->words.word[0]);
    u8 bytes[MEM_LINE];

    if (!life || (call->step++ == 0 && !take_range(call)))
        return COMMAND_FAILED;
    u32 count = call->until - call->at < MEM_LINE ? (u32)(call->until - call->at) : MEM_LINE;
    if (!vm_begin_reading(life->vm))
        return monitor_ended(call, life);
    enum status status = guest_memory_read(&life->vm->memory, gpa(call->at), bytes, count);
    vm_end_reading(life->vm);
    if (status != STATUS_OK)
        return monitor_fail(call, "vm=%s has no memory at 0x%lx; info shows where it has some", life->spec.name,
                            call->at);
    for (u32 i = 0; i < count; i++) {
        format_text(hex + 2 * i, 3, "%02x", bytes[i]);
        text[i] = bytes[i] > ' ' && bytes[i] <= '~' && bytes[i] != '"' ? (char)bytes[i] : '.';
    }
    text[count] = 0;
    log_event("vm mem name=%s at=0x%lx bytes=%s text=\"%s\"", life->spec.name, call->at, hex, text);
    call->at += count;
    return call->at < call->until ? COMMAND_GOES_ON : COMMAND_DONE;
}
