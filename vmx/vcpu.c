/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Life of a vCPU's VMX half: its frames, the first writing of its VMCS, loading it on a CPU and taking it off again.
 * Runs in root operation with interrupts off. SDM 3C 24 "Virtual Machine Control Structures", 31.6 "Preparation and
 * Launching a Virtual Machine".
 */
#include "arch/x86/gdt.h"
#include "arch/x86/idt.h"
#include "arch/x86/irq.h"
#include "arch/x86/paging.h"
#include "arch/x86/quirks.h"
#include "arch/x86/xsave.h"
#include "kernel/frames.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/trace/trace.h"
#include "kernel/vm/hypercall.h"
#include "vmx/ept.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/msr.h"
#include "vmx/load.h"
#include "vmx/nested/nested.h"
#include "vmx/speculation.h"
#include "vmx/tlb.h"

/*
 * SDM 3C 26.2.1.1 "VM-Execution Control Fields" wants the posted-interrupt descriptor aligned to 64 bytes. Bochs 3.0
 * refuses the VM entry, with error 7, unless it is at a page boundary; hence it begins the frame.
 */
struct vcpu_frame {
    struct posted_requests posted;
    struct vmx_vcpu vcpu;
};
_Static_assert(offsetof(struct vcpu_frame, posted.vectors) == 0, "the descriptor is at a page boundary");
#define VCPU_FRAMES ((u32)((sizeof(struct vcpu_frame) + FRAME_BYTES - 1) / FRAME_BYTES))

#define DR6_INIT 0xffff0ff0u

static struct vmx_vcpu *loaded[CPU_MAX]; /* whose registers the CPU holds */
static u32 next_vpid;                    /* atomic; VPID 0 is the host's own */

/* One that comes again belongs to another EPT by then. */
u16 vmx_new_vpid(void)
{
    if (!vmx_features.has_vpid)
        return 0;
    return (u16)(1 + __atomic_fetch_add(&next_vpid, 1, __ATOMIC_RELAXED) % UINT16_MAX);
}

enum status virt_vcpu_create(struct vm *vm, u32 index, struct vcpu **out, struct refusal *why)
{
    hpa_t first, vmcs, area;
    u32 area_frames = (vmx_features.xsave_bytes + (u32)FRAME_BYTES - 1) / (u32)FRAME_BYTES;

    if (frames_allocate(VCPU_FRAMES, 1, &first) != STATUS_OK)
        goto no_memory;
    if (frames_allocate(1, 1, &vmcs) != STATUS_OK)
        goto free_frame;
    if (frames_allocate(area_frames, 1, &area) != STATUS_OK)
        goto free_vmcs;

    struct vcpu_frame *frame = phys_to_virt(first);
    struct vmx_vcpu *v = &frame->vcpu;
    v->active_cpu = v->host_cpu = v->tlb_cpu = VCPU_NO_CPU;
    v->vmcs = vmcs;
    v->xsave_area = phys_to_virt(area);
    v->xsave_frames = (u8)area_frames;
    v->xcr0 = XCR0_X87;
    v->dr6 = DR6_INIT;
    v->end_flags = VMX_END_FLAGS;
    v->vpid = vmx_new_vpid();
    xsave_area_init(v->xsave_area);
    v->base.vm = vm;
    v->base.index = index;
    v->base.trace_tag = trace_tag(vm, index);
    v->base.hypercalls = vm->spec.stealth || vm->spec.has_snapshot_at ? 0 : HYPERCALL_COUNT;
    v->base.home_cpu = VCPU_NO_CPU;
    v->base.timer_tsc = UINT64_MAX;
    v->base.posted = &frame->posted;
    v->base.posted->notification = vmx_features.has_posted && virt_delivers_interrupts(vm);
    u32 nested_frames = 0;
    if (vm->spec.nested && nested_create(v, &nested_frames) != STATUS_OK)
        goto free_area;
    vm->overhead_frames += VCPU_FRAMES + 1 + area_frames + nested_frames;
    *out = &v->base;
    return STATUS_OK;

free_area:
    frames_free(area, area_frames);
free_vmcs:
    frames_free(vmcs, 1);
free_frame:
    frames_free(first, VCPU_FRAMES);
no_memory:
    return refuse(why, STATUS_NO_MEMORY, "no memory for vCPU %u: %lu frames are free", index, frames_free_count());
}

void virt_vcpu_destroy(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    CHECK(v->active_cpu == VCPU_NO_CPU);
    nested_destroy(v);
    frames_free(virt_to_phys(v->xsave_area), v->xsave_frames);
    frames_free(v->vmcs, 1);
    frames_free(virt_to_phys(vcpu->posted), VCPU_FRAMES); /* the frame's first */
}

void virt_vcpu_set_start(struct vcpu *vcpu, const struct start_state *start)
{
    vmx_vcpu_of(vcpu)->start = *start;
}

static COLD u64 exits_of(const struct vm *vm, u32 reason)
{
    u64 sum = 0;

    for (u32 i = 0; i < vm->spec.cpus; i++)
        sum += vmx_vcpu_of(vm->vcpus[i])->exits[reason];
    return sum;
}

void virt_vm_carry_statistics(struct vm *to, const struct vm *from)
{
    for (u32 reason = 0; reason < EXIT_REASONS; reason++)
        vmx_vcpu_of(to->vcpus[0])->exits[reason] += exits_of(from, reason);
}

/* SDM 3D Appendix C "VMX Basic Exit Reasons" */
u64 virt_vm_signs_of_life(const struct vm *vm)
{
    enum { HLT = 12, VMCALL = 18, IO = 30, RDMSR, WRMSR, APIC_ACCESS = 44, EOI, EPT_VIOLATION = 48, APIC_WRITE = 56 };
    static const u8 signs[] = {HLT, VMCALL, IO, RDMSR, WRMSR, APIC_ACCESS, EOI, EPT_VIOLATION, APIC_WRITE};
    u64 sum = 0;

    for (u32 i = 0; i < ARRAY_SIZE(signs); i++)
        sum += exits_of(vm, signs[i]);
    return sum;
}

/* Host state that is the same on every CPU, but for HOST_RIP, which is run.c's. SDM 3C 24.5 "Host-State Area", 26.2.2
 * and 26.2.3 for its checks. */
static void write_host_state(void)
{
    vmcs_write(HOST_CR0, cr0_read());
    vmcs_write(HOST_CR3, cr3_read());
    vmcs_write(HOST_CR4, cr4_read());
    vmcs_write(HOST_PAT, msr_read(MSR_IA32_PAT));
    vmcs_write(HOST_EFER, msr_read(MSR_IA32_EFER));
    vmcs_write(HOST_CS_SELECTOR, SELECTOR_KERNEL_CODE);
    vmcs_write(HOST_SS_SELECTOR, SELECTOR_KERNEL_DATA);
    vmcs_write(HOST_DS_SELECTOR, 0);
    vmcs_write(HOST_ES_SELECTOR, 0);
    vmcs_write(HOST_FS_SELECTOR, 0);
    vmcs_write(HOST_GS_SELECTOR, 0);
    vmcs_write(HOST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(HOST_FS_BASE, 0);
    vmcs_write(HOST_IDTR_BASE, idt_base());
    vmcs_write(HOST_SYSENTER_CS, 0);
    vmcs_write(HOST_SYSENTER_ESP, 0);
    vmcs_write(HOST_SYSENTER_EIP, 0);
}

static void write_host_cpu_state(struct vmx_vcpu *v)
{
    struct cpu_local *local = cpu_local();

    vmcs_write(HOST_GS_BASE, (u64)(uintptr_t)local);
    vmcs_write(HOST_TR_BASE, tss_base(local));
    vmcs_write(HOST_GDTR_BASE, gdt_base(local));
    v->host_cpu = cpu_id();
}

/* A VM with one vCPU waits for nobody of its own. */
static void write_pause_loops(struct vmx_vcpu *v, u32 proc2)
{
    bool exits = proc2 & PROC2_PAUSE_LOOP_EXITING && v->base.vm->spec.cpus > 1;

    vmcs_write(PROC2_CONTROLS, exits ? proc2 : proc2 & ~PROC2_PAUSE_LOOP_EXITING);
    if (!exits)
        return;
    v->ple_window = PLE_WINDOW_LEAST;
    vmcs_write(PLE_GAP, PLE_GAP_TICKS);
    vmcs_write(PLE_WINDOW, v->ple_window);
}

/*
 * #DB and #AC: a guest whose handler faults again could keep the CPU in event delivery for ever, where no interrupt and
 * no preemption timer gets in; #MC is the host's. SDM 3C 25.2 "Other Causes of VM Exits".
 */
u32 vmx_exception_bitmap(void)
{
    u64 faults = quirks_have(QUIRK_EXCEPTION_RIP) ? VMX_FAULTS : 0;
    return (u32)(BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC) | faults);
}

void vmx_write_constant_state(void)
{
    vmcs_write(PIN_CONTROLS, vmx_features.controls.value[VMX_PIN]);
    vmcs_write(EXIT_CONTROLS, vmx_features.controls.value[VMX_EXIT]);
    vmcs_write(CR3_TARGET_COUNT, vmx_features.spoils_entries ? 0x1ff : 0);
    vmcs_write(EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
    vmcs_write(VMCS_LINK_POINTER, ~0ull);
    vmcs_write(GUEST_DEBUGCTL, 0);
    write_host_state();
}

static void write_controls(struct vmx_vcpu *v)
{
    const struct vmx_controls *controls = &vmx_features.controls;

    vmcs_write(PROC_CONTROLS, controls->value[VMX_PROC]);
    write_pause_loops(v, controls->value[VMX_PROC2]);
    vmcs_write(ENTRY_CONTROLS, controls->value[VMX_ENTRY]);
    vmcs_write(EXCEPTION_BITMAP, vmx_exception_bitmap());
    vmcs_write(PF_ERROR_MASK, 0);
    vmcs_write(PF_ERROR_MATCH, 0);
    vmcs_write(EPT_POINTER, ept_pointer(v->base.vm->ept_root));
    if (controls->value[VMX_PROC] & PROC_MSR_BITMAPS)
        vmcs_write(MSR_BITMAPS, vmx_features.msr_bitmap.raw);
    if (controls->value[VMX_PROC] & PROC_IO_BITMAPS) {
        vmcs_write(IO_BITMAP_A, vmx_features.io_bitmaps.raw);
        vmcs_write(IO_BITMAP_B, vmx_features.io_bitmaps.raw + FRAME_BYTES);
    }
    if (vmx_features.has_apicv) {
        vmcs_write(VIRTUAL_APIC_ADDRESS, virt_to_phys(v->base.apic.page).raw);
        vmcs_write(APIC_ACCESS_ADDRESS, vmx_features.apic_access_page.raw);
        vmcs_write(TPR_THRESHOLD, 0);
    }
    if (vmx_features.has_posted) {
        vmcs_write(POSTED_INTERRUPT_VECTOR, IRQ_VECTOR_POSTED);
        vmcs_write(POSTED_INTERRUPT_DESCRIPTOR, virt_to_phys(v->base.posted).raw);
    }
    if (controls->value[VMX_PROC2] & PROC2_XSAVES)
        vmcs_write(XSS_EXITING_BITMAP, 0); /* there is no state in IA32_XSS */
    if (vmx_features.has_vpid)
        vmcs_write(VPID, v->vpid);
    vmcs_write(TSC_OFFSET, v->base.tsc_offset);
}

#define ACCESS_UNUSABLE   0x10000u
#define ACCESS_CODE16     0x009bu
#define ACCESS_DATA16     0x0093u
#define ACCESS_CODE32     0xc09bu
#define ACCESS_DATA32     0xc093u
#define ACCESS_CODE64     0xa09bu
#define ACCESS_LDT        0x0082u
#define ACCESS_TSS32_BUSY 0x008bu

struct segment_values {
    u32 limit;
    u32 code_access;
    u32 data_access;
    u16 code_selector;
    u16 data_selector;
};

static void write_segments(const struct segment_values *s)
{
    const struct {
        struct vmcs_16_rw selector;
        struct vmcs_32_rw limit;
        struct vmcs_32_rw access;
        struct vmcs_nat_rw base;
    } data[] = {
        {GUEST_ES_SELECTOR, GUEST_ES_LIMIT, GUEST_ES_ACCESS, GUEST_ES_BASE},
        {GUEST_SS_SELECTOR, GUEST_SS_LIMIT, GUEST_SS_ACCESS, GUEST_SS_BASE},
        {GUEST_DS_SELECTOR, GUEST_DS_LIMIT, GUEST_DS_ACCESS, GUEST_DS_BASE},
        {GUEST_FS_SELECTOR, GUEST_FS_LIMIT, GUEST_FS_ACCESS, GUEST_FS_BASE},
        {GUEST_GS_SELECTOR, GUEST_GS_LIMIT, GUEST_GS_ACCESS, GUEST_GS_BASE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
        vmcs_write_16(data[i].selector, s->data_selector);
        vmcs_write_32(data[i].limit, s->limit);
        vmcs_write_32(data[i].access, s->data_access);
        vmcs_write_nat(data[i].base, 0);
    }
    vmcs_write(GUEST_CS_SELECTOR, s->code_selector);
    vmcs_write(GUEST_CS_LIMIT, s->limit);
    vmcs_write(GUEST_CS_ACCESS, s->code_access);
    vmcs_write(GUEST_CS_BASE, 0);
    vmcs_write(GUEST_LDTR_SELECTOR, 0);
    vmcs_write(GUEST_LDTR_BASE, 0);
    vmcs_write(GUEST_LDTR_LIMIT, 0xffff);
    vmcs_write(GUEST_LDTR_ACCESS, ACCESS_LDT);
    vmcs_write(GUEST_TR_SELECTOR, 0);
    vmcs_write(GUEST_TR_BASE, 0);
    vmcs_write(GUEST_TR_LIMIT, 0xffff);
    vmcs_write(GUEST_TR_ACCESS, ACCESS_TSS32_BUSY);
    vmcs_write(GUEST_GDTR_BASE, 0);
    vmcs_write(GUEST_GDTR_LIMIT, 0xffff);
    vmcs_write(GUEST_IDTR_BASE, 0);
    vmcs_write(GUEST_IDTR_LIMIT, s->code_access == ACCESS_CODE16 ? 0x3ff : 0xffff);
}

static const struct segment_values real_segments = {0xffff, ACCESS_CODE16, ACCESS_DATA16, 0, 0};

static void write_long_mode(struct vmx_vcpu *v, const struct start_state *start)
{
    vmcs_write(GUEST_CR3, start->cr3);
    vmcs_write(GUEST_CR4, vmx_features.caps.cr4_fixed0 | CR4_PAE);
    vmcs_write(CR4_SHADOW, CR4_PAE);
    v->efer = EFER_LME;
    vmcs_write(GUEST_EFER, EFER_LME | EFER_LMA);
    vmcs_write(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) | ENTRY_IA32E_GUEST);
}

static void write_start_segments(const struct start_state *start)
{
    struct segment_values flat = {0xffffffff, ACCESS_CODE32, ACCESS_DATA32, 8, 16};

    if (start->mode == START_REAL16) {
        write_segments(&real_segments);
        return;
    }
    if (start->gdt_limit) {
        flat.code_selector = start->code_selector;
        flat.data_selector = start->data_selector;
    }
    if (start->mode == START_LONG64)
        flat.code_access = ACCESS_CODE64;
    write_segments(&flat);
    if (start->gdt_limit) {
        vmcs_write(GUEST_GDTR_BASE, start->gdt_base);
        vmcs_write(GUEST_GDTR_LIMIT, start->gdt_limit);
    }
}

/*
 * The state of Multiboot 0.6.96 3.2 "Machine state", of a PC that has just jumped to its boot sector, or of the Linux
 * boot protocol's 64-bit entry.
 */
static void write_guest_state(struct vmx_vcpu *v)
{
    const struct start_state *start = &v->start;
    bool protected = start->mode != START_REAL16;
    bool long_mode = start->mode == START_LONG64;
    u64 shadow = CR0_ET | (protected ? CR0_PE : 0) | (long_mode ? CR0_PG : 0);

    /* What unrestricted guest frees PE and PG of: SDM 3C 26.3.1.1 "Checks on Guest Control Registers, Debug Registers,
     * and MSRs". */
    u64 fixed = vmx_features.caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);
    vmcs_write(GUEST_CR0, shadow | fixed);
    vmcs_write(CR0_SHADOW, shadow);
    vmcs_write(CR0_MASK, VMX_CR0_OURS);
    vmcs_write(GUEST_CR3, 0);
    vmcs_write(GUEST_CR4, vmx_features.caps.cr4_fixed0);
    vmcs_write(CR4_SHADOW, 0);
    vmcs_write(CR4_MASK, vmx_cr4_ours());
    v->efer = 0;
    vmcs_write(GUEST_EFER, 0);
    vmcs_write(ENTRY_CONTROLS, vmx_features.controls.value[VMX_ENTRY]);
    if (long_mode)
        write_long_mode(v, start);
    write_start_segments(start);
    vmcs_write(GUEST_DR7, 0x400);
    vmcs_write(GUEST_DEBUGCTL, 0);
    vmcs_write(GUEST_RIP, start->rip);
    vmcs_write(GUEST_RSP, start->rsp);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE | (protected ? 0 : RFLAGS_IF));
    vmcs_write(GUEST_INTERRUPTIBILITY, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, 0);
    vmcs_write(GUEST_PENDING_DEBUG, 0);
    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
    v->gpr[GPR_RAX] = start->rax;
    v->gpr[GPR_RBX] = start->rbx;
    v->gpr[GPR_RCX] = start->rcx;
    v->gpr[GPR_RDX] = start->rdx;
    v->gpr[GPR_RSI] = start->rsi;
    v->gpr[GPR_RDI] = start->rdi;
    v->gpr[GPR_RBP] = start->rbp;
}

/*
 * SDM 3A 9.1.1 "Processor State After Reset", table 9-1 "IA-32 and Intel 64 Processor States Following Power-up, Reset,
 * or INIT", its column for INIT. CR0.CD and NW stay, and so do the TSC, XCR0, x87, SSE and AVX state and all MSRs but
 * EFER and the segments' bases. What had been translated was by paging that is off now.
 */
static void write_init_state(struct vmx_vcpu *v)
{
    nested_reset(v);
    u64 kept = vmcs_read(CR0_SHADOW) & (CR0_CD | CR0_NW);

    v->reinject.info = v->exception.info = 0;
    v->nmi_in_service = false;
    v->start = (struct start_state){.mode = START_REAL16};
    memset(v->gpr, 0, sizeof v->gpr);
    write_guest_state(v);
    vmcs_write(CR0_SHADOW, CR0_ET | kept);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE);
    vmcs_write(GUEST_IDTR_LIMIT, 0xffff);
    v->gpr[GPR_RDX] = v->cpuid_leaf1.eax;
    cr2_write(0);
    memset(v->dr, 0, sizeof v->dr);
    v->dr6 = DR6_INIT;
    if (v->debug_used)
        vmx_load_debug_registers(v);
    vmx_cpuid_set_osxsave(v, false);
    vmx_vcpu_flush_tlb(v);
}

/*
 * The CPU may have changed the local APIC's registers until the vCPU left its guest: so they are reset here, and not by
 * whoever sent the INIT. What depends on both is settled now, too, and not when the SIPI is there.
 */
static void take_init(struct vmx_vcpu *v)
{
    __atomic_fetch_and(&v->base.requests, ~VCPU_REQUEST_INIT, __ATOMIC_SEQ_CST);
    vmx_load(v);
    write_init_state(v);
    vm_apic_reset(&v->base);
    vmx_event_prepare(v);
    v->base.init_taken = true;
    v->base.fresh = false;
}

/*
 * A vCPU that waited for SIPI: real mode at CS:IP = vector00:0000, the rest as after INIT. SDM 3A 8.4.3 "MP
 * Initialization Protocol Algorithm for MP Systems".
 */
bool vmx_vcpu_take_sipi(struct vmx_vcpu *v)
{
    struct vcpu *vcpu = &v->base;
    u32 sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST);
    bool fresh = vcpu->fresh && sipi < VCPU_HAS_SIPI; /* its VMCS may yet be written from a start state */
    bool is_taken = vcpu->init_taken && !v->debug;    /* a debugger may have changed what it left */

    if (!is_taken && !fresh && sipi != VCPU_HAS_START) {
        take_init(v);
        sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST); /* it may have come meanwhile */
    }
    u64 vector = sipi - VCPU_HAS_SIPI;
    if (sipi < VCPU_HAS_SIPI || /* or INIT comes again: the state is still that of the first one */
        !__atomic_compare_exchange_n(&vcpu->sipi, &sipi, VCPU_RUNS, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        vcpu->halted = vcpu->halted_masked = true;
        return false;
    }
    vcpu->halted = vcpu->halted_masked = false;
    vcpu->sleep_until_tsc = 0;
    vmx_load(v);
    if (sipi == VCPU_HAS_START) /* its VMCS is written now, from its start state */
        return true;
    vcpu->init_taken = false;
    vmcs_write(GUEST_CS_SELECTOR, (u16)(vector << 8));
    vmcs_write(GUEST_CS_BASE, vector << 12);
    return true;
}

/* MSRs that INIT leaves as they are. SDM 3A 9.1.1 "Processor State After Reset" */
static void write_reset_msrs(void)
{
    vmcs_write(GUEST_PAT, 0x0007040600070406ull); /* SDM 3A 11.12.4 "Programming the PAT" */
    vmcs_write(GUEST_SYSENTER_CS, 0);
    vmcs_write(GUEST_SYSENTER_ESP, 0);
    vmcs_write(GUEST_SYSENTER_EIP, 0);
}

static void configure(struct vmx_vcpu *v)
{
    v->base.tsc_offset = 0 - v->base.vm->start_tsc;
    vmx_cpuid_init_vcpu(v);
    vmx_msr_init_vcpu(v);
    vmx_write_constant_state();
    write_controls(v);
    write_reset_msrs();
    write_guest_state(v);
    v->configured = true;
}

/* Registers that VM entry and exit leave alone. Debug registers only once the guest has used them (cr.c). */
static void save_registers(struct vmx_vcpu *v)
{
    v->cr2 = cr2_read();
    vmx_msr_save(v);
    if (xsave_is_available()) {
        v->xcr0 = xcr0_read();
        xcr0_write(xsave_supported_mask());
    }
    xsave_save(v->xsave_area, xsave_supported_mask());
    if (v->debug_used) {
        v->dr[0] = dr0_read();
        v->dr[1] = dr1_read();
        v->dr[2] = dr2_read();
        v->dr[3] = dr3_read();
        v->dr6 = dr6_read();
    }
}

static void restore_registers(const struct vmx_vcpu *v)
{
    cr2_write(v->cr2);
    vmx_msr_restore(v);
    xsave_restore(v->xsave_area, xsave_supported_mask());
    if (xsave_is_available())
        xcr0_write(v->xcr0);
    if (v->debug_used)
        vmx_load_debug_registers(v);
}

/*
 * SDM 3C 24.11.3 "Initializing a VMCS": until VMCLEAR, the launch state of a region and whatever else the CPU keeps in
 * it are undefined. Later ones are those of virt_vcpu_detach().
 */
static void initialize_region(const struct vmx_vcpu *v)
{
    *(u32 *)phys_to_virt(v->vmcs) = vmx_caps_revision(&vmx_features.caps);
    CHECK(vmcs_clear(v->vmcs));
}

static void forget_translations(struct vmx_vcpu *v)
{
    if (v->tlb_cpu == cpu_id())
        return;
    vmx_vcpu_flush_tlb(v);
    v->tlb_cpu = cpu_id();
}

void vmx_take_new_cpu(struct vmx_vcpu *v)
{
    if (v->host_cpu != cpu_id())
        write_host_cpu_state(v);
    forget_translations(v);
}

void vmx_load(struct vmx_vcpu *v)
{
    u32 cpu = cpu_id();

    if (loaded[cpu] != v) {
        if (loaded[cpu])
            save_registers(loaded[cpu]);
        loaded[cpu] = v;
        if (!v->configured)
            initialize_region(v);
        if (v->active_cpu == VCPU_NO_CPU)
            v->active_cpu = cpu;
        CHECK(v->active_cpu == cpu);
        CHECK(vmcs_load(v->vmcs));
        if (!v->configured)
            configure(v);
        if (v->host_cpu != cpu)
            write_host_cpu_state(v);
        if (vmx_features.switches_speculation)
            vmx_speculation_switch(v);
        restore_registers(v);
    }
    forget_translations(v);
    vmx_tlb_flush_freed();
}

void virt_vcpu_detach(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    u32 cpu = cpu_id();

    if (v->active_cpu == VCPU_NO_CPU)
        return;
    CHECK(v->active_cpu == cpu);
    if (loaded[cpu] == v) {
        save_registers(v);
        loaded[cpu] = NULL;
    }
    CHECK(vmcs_clear(v->vmcs));
    nested_detach(v);
    v->launched = 0;
    v->active_cpu = VCPU_NO_CPU;
}

hpa_t vmx_open(struct vmx_vcpu *v)
{
    hpa_t previous = vmcs_current();

    CHECK(v->active_cpu == VCPU_NO_CPU);
    if (!v->configured)
        initialize_region(v);
    CHECK(vmcs_load(v->vmcs));
    if (!v->configured)
        configure(v);
    return previous;
}

void vmx_close(struct vmx_vcpu *v, hpa_t previous)
{
    CHECK(vmcs_clear(v->vmcs));
    if (previous.raw != VMCS_NONE)
        CHECK(vmcs_load(previous));
}
