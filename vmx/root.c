/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entering and leaving VMX root operation, on each CPU; and what of VMX this machine has.
 * SDM 3C 23.7 "Enabling and Entering VMX Operation", 31.5 "VMM Setup & Tear Down". Interrupts off.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/errata.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/quirks.h"
#include "arch/x86/xsave.h"
#include "kernel/frames.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "vmx/alike.h"
#include "vmx/apicv.h"
#include "vmx/cow.h"
#include "vmx/ept.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/msr.h"
#include "vmx/nested/mirror.h"
#include "vmx/report/caps.h"
#include "vmx/speculation.h"
#include "vmx/tlb.h"
#include "vmx/vcpu.h"

static hpa_t vmxon_region[CPU_MAX];

/* The APIC-access page stands for the local APIC in EPTs; the CPU virtualises all accesses to it. */
static enum status allocate_apicv(struct refusal *why)
{
    vmx_features.has_apicv = vmx_controls_have_apicv(&vmx_features.caps);
    vmx_features.has_posted = vmx_controls_have_posted(&vmx_features.caps);
    if (!vmx_features.has_apicv)
        return STATUS_OK;
    if (frames_allocate(1, 1, &vmx_features.x2apic_bitmap) != STATUS_OK ||
        frames_allocate(1, 1, &vmx_features.apic_access_page) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "no memory for APIC virtualisation");
    u8 *bitmap = phys_to_virt(vmx_features.x2apic_bitmap);
    memcpy(bitmap, phys_to_virt(vmx_features.msr_bitmap), FRAME_BYTES);
    vmx_apicv_open_bitmap(bitmap);
    return STATUS_OK;
}

static enum status allocate_vmcs_bitmaps(struct refusal *why)
{
    vmx_features.has_shadowing = vmx_controls_have_shadowing(&vmx_features.caps);
    if (!vmx_features.has_shadowing)
        return STATUS_OK;
    if (frames_allocate(2, 1, &vmx_features.vmcs_bitmaps) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "no memory for the VMREAD and VMWRITE bitmaps");
    u8 *reads = phys_to_virt(vmx_features.vmcs_bitmaps);
    mirror_fill_bitmaps(reads, reads + FRAME_BYTES, &vmx_features.caps);
    return STATUS_OK;
}

static enum status allocate_bitmaps(struct refusal *why)
{
    if (frames_allocate(1, 1, &vmx_features.msr_bitmap) != STATUS_OK ||
        frames_allocate(2, 1, &vmx_features.io_bitmaps) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "no memory for the MSR and I/O bitmaps");
    vmx_msr_bitmap_fill(phys_to_virt(vmx_features.msr_bitmap));
    memset(phys_to_virt(vmx_features.io_bitmaps), 0xff, 2 * FRAME_BYTES); /* every port exits */
    return STATUS_OK;
}

/* SDM 3C 23.6 "Discovering Support for VMX" and 23.7 for IA32_FEATURE_CONTROL. */
enum status vmx_cpu_has_vmx(struct refusal *why)
{
    if (!(cpu_cpuid(1, 0).ecx & BIT(5)))
        return refuse(why, STATUS_UNSUPPORTED,
                      "this CPU has no VMX (CPUID.1:ECX.VMX is 0); choose a CPU, or a virtual "
                      "CPU, with VT-x");
    return STATUS_OK;
}

static enum status unlock_vmx(struct refusal *why)
{
    u64 to_write;
    enum status status = vmx_feature_control_check(msr_read(MSR_IA32_FEATURE_CONTROL), &to_write, why);

    if (status == STATUS_OK && to_write)
        msr_write(MSR_IA32_FEATURE_CONTROL, to_write);
    return status;
}

static void print_capability(const char *line)
{
    log_debug("%s", line);
}

static enum status resolve(const struct vmx_caps_raw *raw, const char *disable, const char *withheld,
                           struct refusal *why)
{
    struct vmx_caps *caps = &vmx_features.caps;

    vmx_caps_take(raw, caps);
    /* Machine checks are the host's: with CR4.MCE clear, one in a guest would shut the CPU down. SDM 3B 15.10.4 */
    caps->cr4_fixed0 |= cr4_read() & CR4_MCE;
    enum status status = vmx_caps_disable(caps, disable, why);
    if (status == STATUS_OK)
        status = vmx_caps_disable(caps, withheld, why);
    if (status == STATUS_OK)
        status = vmx_controls_resolve(caps, &vmx_features.controls, why);
    if (status == STATUS_OK)
        status = vmx_caps_check_ept(caps, why);
    if (status == STATUS_OK)
        status = allocate_bitmaps(why);
    if (status == STATUS_OK)
        status = allocate_apicv(why);
    if (status == STATUS_OK)
        status = allocate_vmcs_bitmaps(why);
    return status;
}

/* What follows from the capabilities. */
static void settle(void)
{
    const struct vmx_caps *caps = &vmx_features.caps;
    const u32 *value = vmx_features.controls.value;

    vmx_features.timer_shift = vmx_caps_timer_shift(caps);
    vmx_features.has_timer = value[VMX_PIN] & PIN_PREEMPTION_TIMER;
    vmx_features.has_vpid = (value[VMX_PROC2] & PROC2_VPID) && vmx_caps_has_invvpid(caps);
    if (!vmx_features.has_vpid)
        vmx_features.controls.value[VMX_PROC2] &= ~PROC2_VPID;
    vmx_features.xsave_bytes = xsave_area_bytes(xsave_supported_mask());
    vmx_cpuid_build();
    log_info("vmx revision=0x%x pin=0x%x proc=0x%x proc2=0x%x exit=0x%x entry=0x%x", vmx_caps_revision(caps),
             value[VMX_PIN], value[VMX_PROC], value[VMX_PROC2], value[VMX_EXIT], value[VMX_ENTRY]);
    log_info("vmx vpid=%u preemption-timer=%u timer-shift=%u ept-2m=%u ept-1g=%u apicv=%u posted=%u",
             vmx_features.has_vpid, vmx_features.has_timer, vmx_features.timer_shift, !!(caps->ept_vpid & EPT_CAP_2M),
             !!(caps->ept_vpid & EPT_CAP_1G), vmx_features.has_apicv, vmx_features.has_posted);
    for (unsigned i = 0; i < QUIRKS; i++)
        if (quirks_have(i))
            log_info("quirk name=%s", quirks_name(i));
}

/* What the CPU has but gets wrong, as a list like vmx.disable='s. */
static const char *withhold(void)
{
    struct errata_cpu cpu = errata_this_cpu();

    if (!errata_preemption_timer(&cpu))
        return "";
    log_info("cpu signature=0x%x: the VMX-preemption timer counts wrongly (erratum) and is not used", cpu.signature);
    return "preemption-timer";
}

/* mitigations=: what is done because a CPU gets it wrong, and costs something. */
static void settle_mitigations(bool wanted)
{
    struct errata_cpu cpu = errata_this_cpu();
    bool needed = errata_page_size_change(&cpu);

    vmx_features.mitigates = wanted;
    vmx_features.fetch_small = needed && wanted;
    vmx_speculation_init(wanted);
    log_info("mitigation page-size-change=%s speculation=%s",
             !needed  ? "not-needed"
             : wanted ? "on"
                      : "off",
             speculation_summary(&vmx_features.speculation, wanted));
}

void virt_spoil_entries(void)
{
    vmx_features.spoils_entries = true;
}

void virt_spoil_cpus(void)
{
    vmx_features.spoils_cpus = true;
}

enum status virt_init(const struct host_options *options, struct refusal *why)
{
    struct vmx_caps_raw raw;
    enum status status = vmx_cpu_has_vmx(why);
    bool had_xsaves = false;

    if (status != STATUS_OK)
        return status;
    quirks_detect();
    const char *withheld = withhold();
    settle_mitigations(options->mitigations);
    vmx_caps_read(&raw);
    status = resolve(&raw, options->vmx_disable, withheld, why);
    if (status == STATUS_OK) {
        had_xsaves = vmx_features.controls.value[VMX_PROC2] & PROC2_XSAVES;
        settle();
    }
    bool lost_xsaves = had_xsaves && !(vmx_features.controls.value[VMX_PROC2] & PROC2_XSAVES);
    format_text(vmx_features.withheld, sizeof vmx_features.withheld, "%s%s%s", withheld,
                withheld[0] && lost_xsaves ? "," : "", lost_xsaves ? "xsaves" : "");
    vmx_features.disabled = options->vmx_disable;
    if (options->log >= LOG_DEBUG) {
        struct speculation_cpu said = speculation_this_cpu();
        speculation_report(&said, options->mitigations, print_capability);
        vmx_caps_report(&raw, options->vmx_disable, vmx_features.withheld, print_capability);
    }
    return status;
}

enum status virt_cpu_enter(struct refusal *why)
{
    u32 cpu = cpu_id();
    const struct vmx_caps *caps = &vmx_features.caps;
    enum status status = vmx_cpu_has_vmx(why);

    if (status == STATUS_OK)
        status = unlock_vmx(why);
    if (status != STATUS_OK)
        return status;
    if (!vmxon_region[cpu].raw && frames_allocate(1, 1, &vmxon_region[cpu]) != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY, "no frame for the VMXON region");
    *(u32 *)phys_to_virt(vmxon_region[cpu]) = vmx_caps_revision(caps);
    cr0_write(vmx_caps_fix_cr0(caps, cr0_read()));
    cr4_write(vmx_caps_fix_cr4(caps, cr4_read() | CR4_VMXE));
    if (!vmx_on(vmxon_region[cpu]))
        return refuse(why, STATUS_UNSUPPORTED, "VMXON failed (FEATURE_CONTROL 0x%lx, CR0 0x%lx, CR4 0x%lx)",
                      msr_read(MSR_IA32_FEATURE_CONTROL), cr0_read(), cr4_read());
    vmx_tlb_flush_all();
    vmx_speculation_enter_cpu();
    return STATUS_OK;
}

void virt_cpu_leave(void)
{
    CHECK(vmx_off());
    cr4_write(cr4_read() & ~CR4_VMXE);
    frames_free(vmxon_region[cpu_id()], 1);
    vmxon_region[cpu_id()] = hpa(0);
}

/*
 * With QUIRK_VIRTUAL_DELIVERY a kernel whose locks rest on RFLAGS.IF comes to a stop sooner or later. A watchdog has to
 * see EOIs. While an inner guest runs its CPU delivers nothing to the guest.
 */
bool virt_delivers_interrupts(const struct vm *vm)
{
    enum vm_apicv wanted = vm->spec.apicv;

    return vmx_features.has_apicv && wanted != VM_APICV_OFF && !vm->spec.nested &&
           (wanted == VM_APICV_ON || (!quirks_have(QUIRK_VIRTUAL_DELIVERY) && !vm->spec.watchdog_ms));
}

bool virt_needs_host_timer(void)
{
    return !vmx_features.has_timer;
}

enum status virt_vm_create(struct vm *vm, struct refusal *why)
{
    if (vm->spec.apicv == VM_APICV_ON && !vmx_features.has_apicv)
        return refuse(why, STATUS_UNSUPPORTED, "apicv=on: there is no APIC virtualisation; leave it out");
    if (vm->spec.apicv == VM_APICV_ON && vm->spec.nested)
        return refuse(why, STATUS_UNSUPPORTED, "apicv=on does not go with nested=on; leave one of them out");
    struct ept_options options = {
        .pages_2m = vmx_features.caps.ept_vpid & EPT_CAP_2M,
        .pages_1g = vmx_features.caps.ept_vpid & EPT_CAP_1G,
        .fetch_small = vmx_features.fetch_small,
    };
    enum status status = ept_build(&vm->memory, options, &vm->ept_root);
    if (status == STATUS_OK && vm->memory.top) {
        status = ept_open(vm->ept_root, 0, &vm->memory);
        if (status != STATUS_OK)
            ept_release(vm->ept_root);
    }
    if (status == STATUS_OK && vmx_features.has_apicv) {
        gpa_t apic = gpa(APIC_ADDRESS);
        status = ept_copy_with_page(vm->ept_root, apic, vmx_features.apic_access_page, &vm->ept_apic_root);
        if (status != STATUS_OK)
            ept_release(vm->ept_root);
    }
    if (status != STATUS_OK)
        return refuse(why, STATUS_NO_MEMORY,
                      "no memory for the EPT: %lu frames are free; lower mem=", frames_free_count());
    vmx_cow_attach(vm);
    return STATUS_OK;
}

void virt_vm_release(struct vm *vm)
{
    vmx_invalidate_ept_everywhere(vm);
    if (vm->ept_apic_root)
        ept_release_copy(vm->ept_apic_root, gpa(APIC_ADDRESS));
    ept_release(vm->ept_root);
}
