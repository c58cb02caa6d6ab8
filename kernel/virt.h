/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What policy asks of the virtualisation mechanism; vmx/ implements it. Every function that names a vCPU runs on its
 * home CPU with interrupts off, unless it says otherwise.
 */
#ifndef ROOTLET_KERNEL_VIRT_H
#define ROOTLET_KERNEL_VIRT_H

#include "kernel/vm/vm.h"

/*
 * Checks this machine's VMX capabilities and resolves the controls; on the boot CPU, once.
 * STATUS_UNSUPPORTED: *why names what is missing. STATUS_INVALID: vmx.disable names an unknown or a required feature.
 */
enum status virt_init(const struct host_options *options, struct refusal *why) MUST_CHECK;
/*
 * Whether this CPU is like the boot CPU in all that is used of it; after virt_init, before virt_cpu_enter.
 * STATUS_UNSUPPORTED: *why names the difference.
 */
enum status virt_cpu_check(struct refusal *why) MUST_CHECK;
/* test=bad-entry, before the first VM: the first entry of each vCPU shall fail. */
void virt_spoil_entries(void);
/* test=cpu-differs, before the other CPUs start: virt_cpu_check() finds that they lack EPT. */
void virt_spoil_cpus(void);
/* Enters VMX root operation on this CPU. *why names the cause if it cannot (FEATURE_CONTROL, VMXON's failure). */
enum status virt_cpu_enter(struct refusal *why) MUST_CHECK;
/* Leaves VMX operation on this CPU. Precondition: every VMCS that was active here has been detached. */
void virt_cpu_leave(void);

/* True if the CPU delivers the interrupts of the VM's local APICs by itself, out of their pages ("APIC
 * virtualisation"). */
bool virt_delivers_interrupts(const struct vm *vm);
/* True if nothing but the local APIC timer can end a guest's run (no VMX-preemption timer). */
bool virt_needs_host_timer(void);

enum status virt_vm_create(struct vm *vm, struct refusal *why) MUST_CHECK;
/* Frees the EPT. Precondition: all vCPUs are detached. */
void virt_vm_release(struct vm *vm);
/*
 * Layered memory (kernel/vm/layer.h): makes room for going over to it, or back; what is mapped does not change. Then,
 * with no vCPU running: nothing is mapped any more, and what the guest needs is mapped when it goes there.
 */
enum status virt_memory_open(struct vm *vm) MUST_CHECK;
void virt_memory_clear(struct vm *vm);
/* Likewise, for single pages: each is at another frame now; at last virt_memory_changed(), which also says that frames
 * that were mapped have been freed. */
void virt_memory_page_is(struct vm *vm, gpa_t page, hpa_t frame);
void virt_memory_changed(const struct vm *vm);
/*
 * A vCPU's whole state but its memory, local APIC and timers, into or out of virt_state_bytes() bytes, aligned to 64.
 * The vCPU is detached, and no other CPU has to do with it. Any CPU. virt_vcpu_set_result: what the hypercall returns
 * in EAX and, unless it is NULL, EBX that such a vCPU has just made.
 */
u64 virt_state_bytes(void);
void virt_state_save(struct vcpu *vcpu, void *state);
void virt_state_load(struct vcpu *vcpu, const void *state);
void virt_vcpu_set_result(struct vcpu *vcpu, u32 eax, const u32 *ebx);
enum status virt_vcpu_create(struct vm *vm, u32 index, struct vcpu **out, struct refusal *why) MUST_CHECK;
void virt_vcpu_destroy(struct vcpu *vcpu);
/* Sets the state in which a vCPU begins; before it is queued for the first time. Any CPU. */
void virt_vcpu_set_start(struct vcpu *vcpu, const struct start_state *start);

/*
 * Runs the guest until a request, its deadline or a stop makes it leave. On return, look at vcpu->halted,
 * sleep_until_tsc and the VM's stopping flag.
 */
void virt_vcpu_run(struct vcpu *vcpu);
/* Saves the vCPU's state from this CPU and clears its VMCS, so that any CPU may take it. No-op if it is not loaded. */
void virt_vcpu_detach(struct vcpu *vcpu);
/*
 * Prints a piece of what there is to say of a vCPU that has stopped: after a failed entry why, at most 26 lines; its
 * registers, the cause of its last exit and the guest's backtrace, at most 21 lines; after a failed entry or with
 * dump=vmcs at most 60 more; after a triple fault which exception began it. On its home CPU. False: all is said.
 */
bool virt_vcpu_report(struct vcpu *vcpu) MUST_CHECK;
/* Prints "rootlet: vm exits ..." : entries and exits by cause, summed over the VM's vCPUs. */
void virt_vm_print_statistics(const struct vm *vm);
/*
 * A count that grows when a guest of the VM halts, makes a hypercall, or uses a device or an MSR; what the CPU
 * virtualises by itself does not show. Any CPU.
 */
COLD u64 virt_vm_signs_of_life(const struct vm *vm);
/* The next run of a VM takes over what these two count. */
COLD void virt_vm_carry_statistics(struct vm *to, const struct vm *from);
/*
 * Why the vCPU's last VMLAUNCH or VMRESUME that was refused was so (nested=on): calls take() with each line of the
 * words, which says whether it could; how many lines it could not take may be the last line.
 */
COLD void virt_vcpu_refusal(struct vcpu *vcpu, bool (*take)(void *context, const char *line), void *context);
/* The name of a basic exit reason; "unknown" if it has none. SDM 3D Appendix C "VMX Basic Exit Reasons" */
const char *virt_exit_name(u32 reason);
/* What the detail of such an exit's record is (docs/trace.md); NULL: nothing. */
const char *virt_exit_detail(u32 reason);
/* Entries so far, of all vCPUs of the VM. */
u64 virt_vm_entries(const struct vm *vm);

#endif
