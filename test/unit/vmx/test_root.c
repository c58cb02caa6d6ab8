/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entering VMX operation and the first steps of a VMCS, by the VMX instructions that a CPU gets and their order.
 * And what of VMX is used at all. SDM 3C 23.7 "Enabling and Entering VMX Operation", 24.11.3 "Initializing a
 * VMCS", 28.3.3 "Invalidating Cached Translation Information".
 *
 * links: arch/x86/errata.c arch/x86/speculation.c arch/x86/quirks.c kernel/lib/format.c vmx/root.c vmx/features.c
 * links: vmx/vcpu.c vmx/state.c vmx/speculation.c vmx/tlb.c vmx/ept.c vmx/caps.c vmx/report/caps.c vmx/controls.c
 * links: kernel/vm/memory.c kernel/vm/layer.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/percpu.h"
#include "arch/x86/xsave.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "test/fake/cpu.h"
#include "test/fake/host_memory.h"
#include "test/fake/msr.h"
#include "test/fake/vmcs.h"
#include "vmx/apicv.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/msr.h"
#include "vmx/load.h"
#include "vmx/nested/nested.h"
#include "vmx/report/debug.h"
#include "vmx/tlb.h"

/* ---- the CPUs ---- */

enum status nested_create(struct vmx_vcpu *v, u32 *frames)
{
    (void)v, (void)frames;
    abort();
}

void nested_destroy(struct vmx_vcpu *v)
{
    assert_null(v->nested);
}

void nested_detach(struct vmx_vcpu *v)
{
    (void)v;
}

void nested_reset(struct vmx_vcpu *v)
{
    assert_null(v->nested);
}

void vmx_cow_attach(struct vm *vm)
{
    (void)vm;
}

static struct cpu_local cpus[2];
static char instructions[256]; /* a word each, in their order */
static bool clear_of_other_revision;
static u32 mirrors; /* pairs of bitmaps for VMCS shadowing */

static void run_on(u32 cpu)
{
    assert_int_equal(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &cpus[cpu]), 0);
}

static void note(const char *format, ...)
{
    size_t used = strlen(instructions);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(instructions + used, sizeof instructions - used, format, arguments);
    va_end(arguments);
}

static u32 revision_in(hpa_t region)
{
    return *(u32 *)phys_to_virt(region);
}

bool vmx_on(hpa_t region)
{
    assert_int_equal(revision_in(region), 0x2b);
    assert_true(cr4_read() & CR4_VMXE);
    note("vmxon ");
    return true;
}

bool vmx_off(void)
{
    note("vmxoff ");
    return true;
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    if (type == VMX_SINGLE_CONTEXT) {
        note("invept-1-%lx ", (unsigned long)ept_pointer >> 12);
        return true;
    }
    assert_int_equal(ept_pointer, 0); /* a reserved value for all contexts would fail */
    note("invept-%u ", type);
    return true;
}

bool vmx_invvpid(enum vmx_invalidate type, u16 vpid)
{
    if (type == VMX_SINGLE_CONTEXT)
        note("invvpid-1-%u ", vpid);
    else
        note("invvpid-%u ", type);
    return true;
}

bool vmcs_clear(hpa_t region)
{
    clear_of_other_revision |= revision_in(region) != 0x2b;
    note("vmclear ");
    return true;
}

bool vmcs_load(hpa_t region)
{
    assert_int_equal(revision_in(region), 0x2b);
    note("vmptrld ");
    return true;
}

/* ---- what lies around ---- */

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

void log_info(const char *format, ...)
{
    (void)format;
}

void log_debug(const char *format, ...)
{
    (void)format;
}

u64 idt_base(void)
{
    return 0;
}

bool xsave_is_available(void)
{
    return false;
}

u64 xsave_supported_mask(void)
{
    return 3;
}

bool xsave_check_compaction(void *area)
{
    (void)area;
    return true;
}

u32 xsave_area_bytes(u64 mask)
{
    (void)mask;
    return 576;
}

void xsave_area_init(void *area)
{
    (void)area;
}

void xsave_save(void *area, u64 mask)
{
    (void)area;
    (void)mask;
}

void xsave_restore(const void *area, u64 mask)
{
    (void)area;
    (void)mask;
}

void vmx_cpuid_build(void) {}

void vmx_cpuid_init_vcpu(struct vmx_vcpu *v)
{
    (void)v;
}

void vmx_cpuid_set_osxsave(struct vmx_vcpu *v, bool on)
{
    (void)v;
    (void)on;
}

void vmx_msr_init_vcpu(struct vmx_vcpu *v)
{
    (void)v;
}

static struct vmx_features at_bitmap; /* what was known when the MSR bitmap was filled */

void vmx_msr_bitmap_fill(u8 *bitmap)
{
    (void)bitmap;
    at_bitmap = vmx_features;
}

void vmx_msr_save(struct vmx_vcpu *v)
{
    (void)v;
}

void vmx_msr_restore(const struct vmx_vcpu *v)
{
    (void)v;
}

void mirror_fill_bitmaps(u8 *reads, u8 *writes, const struct vmx_caps *caps)
{
    assert_ptr_equal(caps, &vmx_features.caps);
    assert_ptr_equal(writes, reads + FRAME_BYTES);
    mirrors++;
}

void vmx_apicv_open_bitmap(u8 *bitmap)
{
    (void)bitmap;
}

static u32 apic_resets, events_prepared;

void vm_apic_reset(struct vcpu *vcpu)
{
    (void)vcpu;
    apic_resets++;
}

/* What the reset has left is looked at then: before the SIPI. */
void vmx_event_prepare(struct vmx_vcpu *v)
{
    assert_int_equal(apic_resets, ++events_prepared);
    assert_int_equal(v->reinject.info | v->exception.info, 0);
}

void vmx_event_take_back(struct vmx_vcpu *v)
{
    (void)v;
}

/* ---- tests ---- */

static struct refusal why;
static struct vm vm;
static u32 apic_page[1024];

static void make_machine(const char *disable)
{
    struct host_options options = {.log = LOG_INFO, .mitigations = true};

    snprintf(options.vmx_disable, sizeof options.vmx_disable, "%s", disable);
    assert_int_equal(virt_init(&options, &why), STATUS_OK);
}

static int set_up(void **state)
{
    (void)state;
    memset(&vmx_features, 0, sizeof vmx_features);
    memset(&vm, 0, sizeof vm);
    host_memory_init(MIB(1), MIB(16));
    for (u32 cpu = 0; cpu < 2; cpu++)
        cpus[cpu] = (struct cpu_local){.self = &cpus[cpu], .id = cpu};
    run_on(0);
    fake_cpu_reset();
    fake_cpuid_skylake();
    fake_cpuid_set(1, 0, (struct cpuid_result){0x00050654, 0, BIT(5), 0});
    fake_msr_reset();
    fake_msr_skylake();
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, BIT(6));
    fake_msr_set(MSR_IA32_SPEC_CTRL, 0);
    fake_msr_set(MSR_IA32_PRED_CMD, 0);
    fake_msr_set(MSR_IA32_PAT, 0x0007040600070406);
    fake_msr_set(MSR_IA32_EFER, EFER_LME | EFER_LMA);
    fake_vmcs_reset();
    vm.spec = (struct vm_spec){.name = "test", .cpus = 1};
    instructions[0] = 0;
    clear_of_other_revision = false;
    return 0;
}

#define assert_instructions(expected)                                                                                  \
    do {                                                                                                               \
        assert_string_equal(instructions, expected);                                                                   \
        instructions[0] = 0;                                                                                           \
    } while (0)

/* SDM 3C 28.3.3.3 and 28.3.3.4: neither VMXON nor VMXOFF forgets what an earlier user's VPIDs and EPTPs left. */
static void test_entering_vmx_operation_flushes(void **state)
{
    (void)state;
    make_machine("");
    for (u32 cpu = 0; cpu < 2; cpu++) {
        run_on(cpu);
        assert_int_equal(virt_cpu_enter(&why), STATUS_OK);
        assert_instructions("vmxon invept-2 invvpid-2 ");
        virt_cpu_leave();
        assert_instructions("vmxoff ");
    }
}

/* An INVVPID that the CPU does not have is #UD; one that it has is used whether we use VPIDs or not. */
static void test_only_types_that_exist(void **state)
{
    (void)state;
    fake_msr_set(MSR_IA32_VMX_EPT_VPID_CAP, 0x0000000006334141);
    make_machine("");
    assert_int_equal(virt_cpu_enter(&why), STATUS_OK);
    assert_instructions("vmxon invept-2 ");
    virt_cpu_leave();
    set_up(state);
    fake_msr_set(MSR_IA32_VMX_EPT_VPID_CAP, 0x0000030106334141); /* INVVPID, but not of all contexts */
    make_machine("");
    assert_int_equal(virt_cpu_enter(&why), STATUS_OK);
    assert_instructions("vmxon invept-2 ");
    virt_cpu_leave();
    set_up(state);
    make_machine("vpid");
    assert_false(vmx_features.has_vpid);
    assert_int_equal(virt_cpu_enter(&why), STATUS_OK);
    assert_instructions("vmxon invept-2 invvpid-2 ");
    virt_cpu_leave();
}

/* The MSR bitmap depends on the controls and on what is done against speculation: both are decided before it. */
static void test_the_bitmap_is_filled_when_all_is_known(void **state)
{
    static const char *const disabled[] = {"", "rdtscp"};

    for (u32 i = 0; i < ARRAY_SIZE(disabled); i++) {
        set_up(state);
        make_machine(disabled[i]);
        assert_int_equal(!(at_bitmap.controls.value[VMX_PROC2] & PROC2_RDTSCP), i);
        assert_memory_equal(&at_bitmap.controls, &vmx_features.controls, sizeof at_bitmap.controls);
        assert_int_not_equal(at_bitmap.speculation.acts, 0);
        assert_memory_equal(&at_bitmap.speculation, &vmx_features.speculation, sizeof at_bitmap.speculation);
    }
}

/* The models are those of Linux's vmx_preemption_cpu_tfms, whatever the reserved bits of CPUID.1:EAX are. */
static void test_timers_that_count_wrongly(void **state)
{
    static const struct {
        u32 signature;
        bool good;
    } rows[] = {
        {0x206e6,    false},
        {0x20652,    false},
        {0x20655,    false},
        {0x106e5,    false},
        {0x106a0,    false},
        {0x106a1,    false},
        {0x106a4,    false},
        {0x106a5,    false},
        {0x306a8,    false},
        {0x106a2,    true },
        {0x206e7,    true },
        {0x306a9,    true },
        {0x306c3,    true },
        {0x50654,    true },
        {0x906ea,    true },
        {0x706e5,    true },
        {0xf00106a5, false}
    };

    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set_up(state);
        fake_cpuid_set(1, 0, (struct cpuid_result){rows[i].signature, 0, BIT(5), 0});
        make_machine("");
        assert_int_equal(vmx_features.has_timer, rows[i].good);
        assert_int_equal(!(vmx_features.controls.value[VMX_PIN] & PIN_PREEMPTION_TIMER), !rows[i].good);
    }
    set_up(state);
    fake_cpuid_set(0, 0, (struct cpuid_result){0x16, 0x746e6543, 0x736c7561, 0x48727561}); /* "CentaurHauls" */
    fake_cpuid_set(1, 0, (struct cpuid_result){0x106a5, 0, BIT(5), 0});
    make_machine("");
    assert_true(vmx_features.has_timer);
}

/* INTEL-SA-00210: Intel's, but for the Atoms and Xeon Phis of the list, unless PSCHANGE_MC_NO (bit 6) says otherwise.
 */
static void test_who_must_not_run_code_in_large_pages(void **state)
{
    static const struct {
        u32 signature;
        u64 capabilities;
        bool affected;
    } rows[] = {
        {0x206a7, 0,            true },
        {0x306c3, 0,            true },
        {0x50654, 0,            true },
        {0x906ea, 0x2b & ~0x40, true },
        {0x50657, 0x2b,         true },
        {0x50657, 0x6b,         false},
        {0x706e5, 0x40,         false},
        {0x30678, 0,            false}, /* Silvermont */
        {0x406d8, 0,            false},
        {0x506c9, 0,            false},
        {0x706a1, 0,            false},
        {0x50671, 0,            false}, /* Phi */
        {0x80650, 0,            false},
        {0x10660, 0,            true },
        {0x00f62, 0,            true },
    };

    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set_up(state);
        fake_cpuid_set(1, 0, (struct cpuid_result){rows[i].signature, 0, BIT(5), 0});
        fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, rows[i].capabilities);
        make_machine("");
        assert_int_equal(vmx_features.fetch_small, rows[i].affected);
        struct host_options off = {.log = LOG_INFO, .mitigations = false};
        assert_int_equal(virt_init(&off, &why), STATUS_OK);
        assert_false(vmx_features.fetch_small);
    }
    set_up(state); /* without the MSR: an old CPU; and AMD's */
    fake_cpuid_set(7, 0, (struct cpuid_result){0});
    fake_msr_reset();
    fake_msr_skylake();
    make_machine("");
    assert_true(vmx_features.fetch_small);
    fake_cpuid_set(0, 0, (struct cpuid_result){0x16, 0x68747541, 0x444d4163, 0x69746e65});
    make_machine("");
    assert_false(vmx_features.fetch_small);
}

static struct vmx_vcpu *make_vcpu(void)
{
    struct vcpu *vcpu;

    assert_int_equal(virt_vcpu_create(&vm, 0, &vcpu, &why), STATUS_OK);
    vcpu->apic.page = apic_page;
    return vmx_vcpu_of(vcpu);
}

/* SDM 3C 24.11.3: the region's revision, then VMCLEAR, then VMPTRLD; once only, since each later detach clears. */
static void test_a_region_is_cleared_before_it_is_loaded(void **state)
{
    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();
    u32 vpid = v->vpid;
    char expected[64];

    vmx_load(v);
    snprintf(expected, sizeof expected, "vmclear vmptrld invvpid-1-%u ", vpid);
    assert_instructions(expected);
    assert_false(clear_of_other_revision);
    vmx_load(v); /* it is there */
    assert_instructions("");
    virt_vcpu_detach(&v->base);
    assert_instructions("vmclear ");
    run_on(1);
    vmx_load(v);
    snprintf(expected, sizeof expected, "vmptrld invvpid-1-%u ", vpid);
    assert_instructions(expected);
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

/* SDM 3A 9.1.1, table 9-1, the column for INIT: what is reset, and what stays. */
static void test_init_and_sipi(void **state)
{
    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();
    char flush[32];

    vmx_load(v);
    v->cpuid_leaf1.eax = 0x50654;
    memset(v->gpr, 0x55, sizeof v->gpr);
    memset(v->dr, 0x66, sizeof v->dr);
    v->dr6 = fake_cpu.dr6 = 0xffff4ff1;
    v->debug_used = true;
    v->efer = EFER_LME;
    v->xcr0 = fake_cpu.xcr0 = 7;
    fake_cpu.cr2 = fake_cpu.dr0 = fake_cpu.dr3 = 0x1000;
    fake_msr_set(MSR_IA32_LSTAR, 0x1234);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_PG | CR0_ET | CR0_CD | CR0_WP);
    VMCS_SET(GUEST_CR3, 0x1000);
    VMCS_SET(GUEST_DR7, 0x4ff);
    VMCS_SET(GUEST_RSP, 0x1000);
    VMCS_SET(GUEST_SYSENTER_EIP, 0x1234);
    VMCS_SET(GUEST_PAT, 0x0606060606060606);
    VMCS_SET(GUEST_IDTR_LIMIT, 0x3ff);
    instructions[0] = 0;
    apic_resets = events_prepared = 0;
    v->base.sipi = VCPU_HAS_SIPI + 0x9a;
    assert_true(vmx_vcpu_take_sipi(v));
    assert_int_equal(v->base.sipi, VCPU_RUNS);
    for (u32 i = 0; i < 16; i++)
        assert_int_equal(v->gpr[i], i == GPR_RDX ? 0x50654 : 0);
    assert_int_equal(vmcs_read(GUEST_RSP), 0);
    assert_int_equal(vmcs_read(GUEST_RIP), 0);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), 2);
    assert_int_equal(vmcs_read(GUEST_CS_SELECTOR), 0x9a00);
    assert_int_equal(vmcs_read(GUEST_CS_BASE), 0x9a000);
    assert_int_equal(vmcs_read(GUEST_IDTR_LIMIT), 0xffff);
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_ET | CR0_CD);
    assert_false(vmcs_read(GUEST_CR0) & (CR0_PE | CR0_PG | CR0_WP | CR0_CD | CR0_NW));
    assert_int_equal(vmcs_read(GUEST_CR3), 0);
    assert_int_equal(vmcs_read(CR4_SHADOW), 0);
    assert_int_equal(vmcs_read(GUEST_EFER), 0);
    assert_int_equal(v->efer, 0);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
    assert_int_equal(fake_cpu.cr2 | fake_cpu.dr0 | fake_cpu.dr1 | fake_cpu.dr2 | fake_cpu.dr3, 0);
    assert_int_equal(fake_cpu.dr6, 0xffff0ff0);
    /* What stays. */
    assert_int_equal(fake_cpu.xcr0, 7);
    assert_int_equal(fake_msr_get(MSR_IA32_LSTAR), 0x1234);
    assert_int_equal(vmcs_read(GUEST_SYSENTER_EIP), 0x1234);
    assert_int_equal(vmcs_read(GUEST_PAT), 0x0606060606060606);
    /* Translations that the old CR3 has left. */
    snprintf(flush, sizeof flush, "invvpid-1-%u ", v->vpid);
    assert_instructions(flush);
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

static void start_signals(struct vmx_vcpu *v)
{
    vmx_load(v);
    apic_resets = events_prepared = 0;
    VMCS_SET(GUEST_CR3, 0x1000);
}

/* SDM 3A 8.4.2 "MP Initialization Protocol Requirements and Restrictions": INIT resets, and of a SIPI only CS is. */
static void test_init_resets_before_the_sipi(void **state)
{
    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();

    start_signals(v);
    v->exception.info = v->reinject.info = EVENT_VALID;
    v->base.sipi = VCPU_WAITS_FOR_SIPI;
    v->base.requests = VCPU_REQUEST_INIT | VCPU_REQUEST_EVENT;
    assert_false(vmx_vcpu_take_sipi(v));
    assert_int_equal(v->base.requests, VCPU_REQUEST_EVENT);
    assert_true(v->base.halted && v->base.halted_masked);
    assert_int_equal(vmcs_read(GUEST_CR3), 0);
    assert_int_equal(apic_resets, 1);
    instructions[0] = 0;
    for (u32 i = 0; i < 2; i++) { /* whatever wakes it */
        VMCS_SET(GUEST_CR3, 0x2000);
        assert_false(vmx_vcpu_take_sipi(v));
    }
    v->base.sipi = VCPU_HAS_SIPI + 0x9a;
    assert_true(vmx_vcpu_take_sipi(v));
    assert_false(v->base.halted || v->base.halted_masked);
    assert_int_equal(v->base.sipi, VCPU_RUNS);
    assert_int_equal(vmcs_read(GUEST_CS_SELECTOR), 0x9a00);
    assert_int_equal(vmcs_read(GUEST_CS_BASE), 0x9a000);
    assert_int_equal(vmcs_read(GUEST_CR3), 0x2000);
    assert_int_equal(apic_resets, 1);
    assert_instructions("");
    /* The next INIT resets again. */
    v->base.sipi = VCPU_WAITS_FOR_SIPI;
    assert_false(vmx_vcpu_take_sipi(v));
    assert_int_equal(vmcs_read(GUEST_CR3), 0);
    assert_int_equal(apic_resets, 2);
    assert_int_equal(events_prepared, 2);
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

/* What somebody writes by GDB while it waits for SIPI is gone then: docs/gdb-stub.md. */
static void test_a_debugger_is_forgotten_by_the_sipi(void **state)
{
    static struct vmx_debug debug;

    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();
    start_signals(v);
    v->debug = &debug;
    v->base.sipi = VCPU_WAITS_FOR_SIPI;
    assert_false(vmx_vcpu_take_sipi(v));
    VMCS_SET(GUEST_RIP, 0x1234);
    VMCS_SET(GUEST_DR7, 0x4ff);
    v->dr[0] = v->gpr[GPR_RAX] = 0x5678;
    v->base.sipi = VCPU_HAS_SIPI + 0x9a;
    assert_true(vmx_vcpu_take_sipi(v));
    assert_int_equal(vmcs_read(GUEST_RIP), 0);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
    assert_int_equal(v->dr[0] | v->gpr[GPR_RAX], 0);
    v->debug = NULL;
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

/* A VM goes back to when the vCPU ran, out of its wait for SIPI: the next INIT finds a vCPU to reset. */
static void test_init_after_going_back(void **state)
{
    static u8 before[8192] ALIGNED(64);

    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();
    assert_true(virt_state_bytes() <= sizeof before);
    start_signals(v);
    virt_vcpu_detach(&v->base);
    virt_state_save(&v->base, before);
    v->base.sipi = VCPU_WAITS_FOR_SIPI;
    assert_false(vmx_vcpu_take_sipi(v));
    assert_int_equal(vmcs_read(GUEST_CR3), 0);
    virt_vcpu_detach(&v->base);
    virt_state_load(&v->base, before);
    vmx_load(v);
    assert_int_equal(vmcs_read(GUEST_CR3), 0x1000);
    assert_false(vmx_vcpu_take_sipi(v));
    assert_int_equal(vmcs_read(GUEST_CR3), 0);
    assert_int_equal(apic_resets, 2);
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

/* It may yet be started by a hypercall, with a start state of its own. */
static void test_a_fresh_vcpu_is_not_written_before_its_start(void **state)
{
    const struct start_state start = {.mode = START_PROTECTED32, .rip = 0x1234};

    (void)state;
    make_machine("posted-interrupts,apicv");
    struct vmx_vcpu *v = make_vcpu();
    apic_resets = events_prepared = 0;
    v->base.fresh = true;
    v->base.sipi = VCPU_WAITS_FOR_SIPI;
    assert_false(vmx_vcpu_take_sipi(v));
    assert_false(v->configured);
    v->base.fresh = false;
    virt_vcpu_set_start(&v->base, &start);
    v->base.sipi = VCPU_HAS_START;
    assert_true(vmx_vcpu_take_sipi(v));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1234);
    assert_int_equal(apic_resets, 0);
    virt_vcpu_detach(&v->base);
    virt_vcpu_destroy(&v->base);
}

/* Each CPU flushes once for what has been freed, before its next entry. */
static void test_freed_memory_is_flushed_on_each_cpu(void **state)
{
    const struct vm one = {.ept_root = 0x5000}, two = {.ept_root = 0x6000, .ept_apic_root = 0x7000};

    (void)state;
    make_machine("");
    for (u32 cpu = 0; cpu < 2; cpu++) {
        run_on(cpu);
        vmx_tlb_flush_freed();
    }
    instructions[0] = 0;
    vmx_features.caps.ept_vpid |= EPT_CAP_INVEPT_ONE;
    vmx_invalidate_ept_everywhere(&one);
    vmx_invalidate_ept_everywhere(&two);
    assert_instructions("");
    for (u32 cpu = 0; cpu < 2; cpu++) {
        run_on(cpu);
        vmx_tlb_flush_freed();
        assert_instructions("invept-1-5 invept-1-6 invept-1-7 ");
        vmx_tlb_flush_freed();
        assert_instructions("");
    }
    /* Whatever it is that others have changed meanwhile. */
    for (u32 changes = 1; changes < 40; changes++) {
        for (u32 i = 0; i < changes; i++)
            vmx_invalidate_ept_everywhere(&one);
        run_on(1);
        vmx_tlb_flush_freed();
        if (changes < 16)
            assert_int_equal(strlen(instructions), changes * strlen("invept-1-5 "));
        else
            assert_non_null(strstr(instructions, "invept-2 "));
        instructions[0] = 0;
    }
    vmx_invalidate_ept_everywhere(NULL); /* of any VM */
    vmx_tlb_flush_freed();
    assert_instructions("invept-2 ");
    vmx_features.caps.ept_vpid &= ~EPT_CAP_INVEPT_ONE;
    vmx_invalidate_ept_everywhere(&two);
    vmx_tlb_flush_freed();
    assert_instructions("invept-2 ");
}

/* Exit information gets into a shadow VMCS only where VMWRITE can write it: IA32_VMX_MISC[29]. */
static void test_vmcs_shadowing(void **state)
{
    (void)state;
    mirrors = 0;
    make_machine("");
    assert_true(vmx_features.has_shadowing);
    assert_int_equal(mirrors, 1);
    set_up(state);
    make_machine("vmcs-shadowing");
    assert_false(vmx_features.has_shadowing);
    set_up(state);
    fake_msr_set(MSR_IA32_VMX_MISC, 0x400401e0);
    make_machine("");
    assert_false(vmx_features.has_shadowing);
    set_up(state); /* a CPU without the VMX-preemption timer lacks the field that is in the shadow VMCS */
    fake_msr_set(MSR_IA32_VMX_TRUE_PINBASED_CTLS, 0x000000bf00000016);
    make_machine("");
    assert_false(vmx_features.has_shadowing);
    assert_int_equal(mirrors, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_entering_vmx_operation_flushes, set_up),
        cmocka_unit_test_setup(test_only_types_that_exist, set_up),
        cmocka_unit_test_setup(test_the_bitmap_is_filled_when_all_is_known, set_up),
        cmocka_unit_test_setup(test_vmcs_shadowing, set_up),
        cmocka_unit_test_setup(test_timers_that_count_wrongly, set_up),
        cmocka_unit_test_setup(test_who_must_not_run_code_in_large_pages, set_up),
        cmocka_unit_test_setup(test_a_region_is_cleared_before_it_is_loaded, set_up),
        cmocka_unit_test_setup(test_init_and_sipi, set_up),
        cmocka_unit_test_setup(test_init_resets_before_the_sipi, set_up),
        cmocka_unit_test_setup(test_a_debugger_is_forgotten_by_the_sipi, set_up),
        cmocka_unit_test_setup(test_init_after_going_back, set_up),
        cmocka_unit_test_setup(test_a_fresh_vcpu_is_not_written_before_its_start, set_up),
        cmocka_unit_test_setup(test_freed_memory_is_flushed_on_each_cpu, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
