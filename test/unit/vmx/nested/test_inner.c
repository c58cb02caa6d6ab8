/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exits of an inner guest with EPT that its memory causes: what is filled in, what the guest hypervisor gets, and what
 * Rootlet does itself on its behalf; exits that are none of the CPU's. The two VMCSs are one here. SDM 3C 28.2.3
 * "EPT-Induced VM Exits", 27.2.1 "Basic VM-Exit Information", table 27-7 for the qualification.
 *
 * links: vmx/nested/inner.c vmx/nested/insn.c vmx/nested/operand.c vmx/nested/route.c vmx/nested/nested.c
 * links: vmx/points.c
 * vmx/nested/vmcs12.c vmx/nested/mirror.c vmx/nested/shadow.c vmx/nested/offer.c vmx/insn/guest.c vmx/insn/gva.c
 * vmx/insn/guest_physical.c vmx/event.c vmx/apicv.c vmx/caps.c vmx/controls.c vmx/exit/cpuid.c vmx/check/fields.c
 * vmx/check/text.c vmx/speculation.c arch/x86/xsave.c arch/x86/speculation.c kernel/lib/format.c kernel/vm/memory.c
 * kernel/vm/layer.c kernel/vm/bus.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/exit.h"
#include "vmx/exit/mmio.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/entry.h"
#include "vmx/nested/host.h"
#include "vmx/nested/inner.h"
#include "vmx/nested/level.h"
#include "vmx/nested/msrs.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/report/debug.h"

enum { R = 1, W = 2, X = 4, RWX = 7 };
enum { TRIPLE_FAULT = 2, HLT = 12, IO = 30, TRAP_FLAG = 37, EPT_VIOLATION = 48, EPT_MISCONFIGURATION = 49 };
enum { TABLES = 0x10000, EPTP = TABLES | 6 | 3 << 3, PAGE = 0x40000, APIC = 0xfee00000 };

static u32 swaps, saves, emulated;
static enum outcome (*on_exit_handled)(void);
static enum outcome (*on_emulation)(void);

static struct vmx_debug debug;
static bool is_debuggers;

/* ---- what inner.c needs beside ---- */

void vmx_debug_put_off(struct vmx_vcpu *v)
{
    assert_ptr_equal(v->debug, &debug);
    debug.put_off = true;
}

void vmx_debug_go_on(struct vmx_vcpu *v)
{
    assert_true(v->debug->put_off);
    debug.put_off = false;
}

bool vmx_debug_exception(struct vmx_vcpu *v, u32 info)
{
    assert_ptr_equal(v->debug, &debug);
    assert_int_equal(info, 0x80000603);
    return is_debuggers;
}

void level_swap(struct vmx_vcpu *v)
{
    v->nested->inside = !v->nested->inside;
    v->inner_physical = NULL;
    v->nested->owed_reason = 0;
    swaps++;
}

/* No entry of an inner guest fails in the CPU here. */
bool vmcs_load(hpa_t region)
{
    (void)region;
    abort();
}

void why_basic(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *field, u64 value)
{
    (void)v, (void)how, (void)rule, (void)field, (void)value;
    abort();
}

static u32 said_entry, said_index;

void why_msr(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, u32 entry, u32 index)
{
    (void)rule;
    assert_false(v->nested->inside);
    assert_true(how->is_exit && how->number == 34);
    said_entry = entry;
    said_index = index;
}

void level_write_tsc_offset(struct vmx_vcpu *v)
{
    VMCS_SET(TSC_OFFSET, v->base.tsc_offset + vmcs12_get(v, FIELD_TSC_OFFSET));
}

void level_make(struct vmx_vcpu *v)
{
    (void)v;
}

void level_write_controls(struct vmx_vcpu *v)
{
    (void)v;
}

void level_write_guest(struct vmx_vcpu *v, const struct level_outer *outer)
{
    (void)v, (void)outer;
}

void level_save_guest(struct vmx_vcpu *v)
{
    assert_true(v->nested->inside);
    assert_int_equal(debug.put_off, v->debug != NULL);
    saves++;
}

void level_fetch_guest(struct vmx_vcpu *v)
{
    assert_false(v->nested->inside);
}

u64 level_cr0(const struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

u64 level_cr4(const struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

bool host_load(struct vmx_vcpu *v, u64 cr0_kept, u32 blocking)
{
    (void)cr0_kept;
    assert_false(v->nested->inside);
    VMCS_SET(GUEST_INTERRUPTIBILITY, blocking);
    return true;
}

bool host_abort(struct vmx_vcpu *v, enum host_abort indicator)
{
    (void)v, (void)indicator;
    abort();
}

static u32 bad_entry;
static u64 moved_tsc;

u32 msrs_load_some(struct vmx_vcpu *v, u64 area, u32 count, u32 *index)
{
    (void)area, (void)count;
    VMCS_SET(TSC_OFFSET, v->base.tsc_offset = moved_tsc); /* as WRMSR of the TSC does */
    *index = 0x480;
    return bad_entry;
}

bool msrs_store_some(struct vmx_vcpu *v, u64 area, u32 count)
{
    (void)v, (void)area, (void)count;
    return true;
}

enum outcome entry_fail_late(struct vmx_vcpu *v, u32 reason, u32 qualification)
{
    vmcs12_set(v, FIELD_EXIT_REASON, reason);
    vmcs12_set(v, FIELD_EXIT_QUALIFICATION, qualification);
    return OUTCOME_RESUME;
}

bool vmx_read_pdptes(const struct vmx_vcpu *v, u64 cr3, u64 pdpte[4])
{
    (void)v, (void)cr3, (void)pdpte;
    abort();
}

enum outcome vmx_cr_write(struct vmx_vcpu *v, unsigned number, u64 value)
{
    (void)v, (void)number, (void)value;
    abort();
}

enum outcome vmx_exit_handle(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    (void)v, (void)record, (void)reason;
    return on_exit_handled();
}

enum outcome mmio_run_unknown(struct vmx_vcpu *v, struct mmio_slot *slot, u64 qualification)
{
    (void)v, (void)slot;
    assert_int_equal(qualification, 0); /* its address is none of the VM's */
    emulated++;
    return on_emulation ? on_emulation() : OUTCOME_SKIP_DECODED;
}

enum outcome entry_enter(struct vmx_vcpu *v, bool launch)
{
    (void)v, (void)launch;
    abort();
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm, (void)reason, (void)detail;
    abort();
}

void vm_block_init(struct vcpu *vcpu, bool block)
{
    (void)vcpu, (void)block;
    abort();
}

u64 clock_tsc_hz(void)
{
    return 2000000000;
}

u16 vmx_new_vpid(void)
{
    return 77;
}

bool vmcs_clear(hpa_t region)
{
    (void)region;
    return true;
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    (void)type, (void)ept_pointer;
    return true;
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    (void)vm;
}

/* ---- the guest hypervisor ---- */

static void put(u64 at, u64 value)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(at), &value, 8), STATUS_OK);
}

/* The entry of inner page `number`. */
static void map(u64 number, u64 entry)
{
    put(TABLES + 0x3000 + number * 8, entry);
}

static void set(u32 row, u64 value)
{
    vmcs12_set(&bench.v, row, value);
}

static u64 get(u32 row)
{
    return vmcs12_get(&bench.v, row);
}

static int set_up(void **state)
{
    struct refusal why;
    u32 frames;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    xsave_detect();
    vmx_cpuid_build();
    assert_int_equal(frames_allocate(1, 1, &vmx_features.msr_bitmap), STATUS_OK);
    memset(phys_to_virt(vmx_features.msr_bitmap), 0xff, FRAME_BYTES);
    assert_int_equal(nested_create(&bench.v, &frames), STATUS_OK);
    for (u32 level = 0; level < 3; level++)
        put(TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) | RWX);
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY);
    set(FIELD_PROC2_CONTROLS, PROC2_EPT);
    set(FIELD_EPT_POINTER, EPTP);
    assert_int_equal(inner_enter(&bench.v, true), OUTCOME_RESUME);
    assert_true(nested_is_inside(&bench.v));
    bench.v.base.requests = 0;
    swaps = emulated = 0;
    on_emulation = NULL;
    return 0;
}

static enum outcome violate(u64 address, u64 qualification)
{
    VMCS_SET(EXIT_REASON, EPT_VIOLATION);
    VMCS_SET(EXIT_QUALIFICATION, qualification);
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, address);
    VMCS_SET(GUEST_LINEAR_ADDRESS, 0x1234);
    return inner_exit(&bench.v, trace_last(), EPT_VIOLATION);
}

#define assert_guest_gets(reason, qualification, address)                                                              \
    do {                                                                                                               \
        assert_false(nested_is_inside(&bench.v));                                                                      \
        assert_int_equal(get(FIELD_EXIT_REASON), reason);                                                              \
        assert_int_equal(get(FIELD_EXIT_QUALIFICATION), qualification);                                                \
        assert_int_equal(get(FIELD_GUEST_PHYSICAL_ADDRESS), address);                                                  \
        bench_assert_no_exception();                                                                                   \
    } while (0)

/* ---- violations by the CPU ---- */

static void test_filled(void **state)
{
    (void)state;
    map(5, PAGE | RWX | 6 << 3);
    assert_int_equal(violate(0x5123, R | 0x180), OUTCOME_RESUME);
    assert_true(nested_is_inside(&bench.v));
    assert_int_equal(swaps, 0);
    assert_int_equal(bench.v.exits[EPT_VIOLATION], 1);
}

static void test_reflected(void **state)
{
    (void)state;
    map(5, PAGE | R | 6 << 3);
    assert_int_equal(violate(0x5123, W | 0x180), OUTCOME_RESUME);
    assert_guest_gets(EPT_VIOLATION, W | R << 3 | 0x180, 0x5123);
    assert_int_equal(get(FIELD_GUEST_LINEAR_ADDRESS), 0x1234);
}

static void test_misconfigured(void **state)
{
    (void)state;
    map(5, PAGE | W | 6 << 3);
    assert_int_equal(violate(0x5123, R | 0x180), OUTCOME_RESUME);
    assert_false(nested_is_inside(&bench.v));
    assert_int_equal(get(FIELD_EXIT_REASON), EPT_MISCONFIGURATION);
    assert_int_equal(get(FIELD_GUEST_PHYSICAL_ADDRESS), 0x5123);
}

/* ---- what the VM has no memory for ---- */

static void test_device(void **state)
{
    (void)state;
    map(5, APIC | R | W);
    assert_int_equal(violate(0x5020, R | 0x180), OUTCOME_SKIP_DECODED);
    assert_int_equal(emulated, 1);
    assert_true(nested_is_inside(&bench.v));
    assert_int_equal(violate(0x5020, W | 0x180), OUTCOME_SKIP_DECODED);
    assert_int_equal(emulated, 2);
    map(6, 0xe0000 | RWX | 6 << 3); /* ROM */
    assert_int_equal(violate(0x6000, W | 0x180), OUTCOME_SKIP_DECODED);
    assert_int_equal(emulated, 3);
    assert_int_equal(violate(0x6000, R | 0x180), OUTCOME_RESUME);
    assert_int_equal(emulated, 3);
}

static void test_code_in_a_device(void **state)
{
    (void)state;
    map(5, APIC | RWX);
    assert_int_equal(violate(0x5020, X | 0x180), OUTCOME_RESUME);
    assert_int_equal(emulated, 0);
    bench_assert_exception(VECTOR_UD, 0);
}

static void test_event_delivery_through_a_device(void **state)
{
    (void)state;
    map(5, APIC | RWX);
    VMCS_SET(IDT_VECTORING_INFO, EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | 32);
    assert_int_equal(violate(0x5020, R | 0x180), OUTCOME_RESUME);
    assert_int_equal(emulated, 0);
    assert_false(nested_is_inside(&bench.v));
    assert_int_equal(get(FIELD_EXIT_REASON), TRIPLE_FAULT);
}

/* ---- Rootlet's own accesses ---- */

static enum outcome touch(u64 address, u32 access, bool flags)
{
    u64 physical;
    return bench.v.inner_physical(&bench.v, address, access, flags, &physical) ? OUTCOME_SKIP : OUTCOME_RESUME;
}

static enum outcome write_page_5(void)
{
    return touch(0x5008, W, true);
}

static enum outcome peek_page_5(void)
{
    (void)touch(0x5008, W, false);
    return OUTCOME_SKIP;
}

static enum outcome run_exit(enum outcome (*what)(void))
{
    on_exit_handled = what;
    return inner_exit(&bench.v, trace_last(), IO);
}

static void test_an_access_of_ours(void **state)
{
    u64 physical;

    (void)state;
    map(5, PAGE | R | W | 6 << 3);
    assert_true(bench.v.inner_physical(&bench.v, 0x5008, W, true, &physical));
    assert_int_equal(physical, PAGE + 8);
    assert_int_equal(run_exit(write_page_5), OUTCOME_SKIP);
    assert_true(nested_is_inside(&bench.v));
    map(5, PAGE | R | 6 << 3);
    assert_int_equal(run_exit(peek_page_5), OUTCOME_SKIP); /* nobody hears of that */
    assert_true(nested_is_inside(&bench.v));
    VMCS_SET(GUEST_RFLAGS, 2);
    assert_int_equal(run_exit(write_page_5), OUTCOME_RESUME);
    assert_guest_gets(EPT_VIOLATION, W | R << 3, 0x5008);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_RF | 2); /* SDM 3C 27.3.3: the instruction comes again */
    assert_int_equal(get(FIELD_IDT_VECTORING_INFO), 0);
    assert_null(bench.v.inner_physical);
}

static void test_an_access_of_ours_that_is_misconfigured(void **state)
{
    (void)state;
    map(5, PAGE | RWX | 2 << 3);
    assert_int_equal(run_exit(write_page_5), OUTCOME_RESUME);
    assert_guest_gets(EPT_MISCONFIGURATION, 0, 0x5008);
}

/* An instruction at a device whose other operand is forbidden. */
static void test_emulation_meets_a_violation(void **state)
{
    (void)state;
    map(6, APIC | R | W);
    map(5, 0);
    on_emulation = write_page_5;
    assert_int_equal(violate(0x6020, R | 0x180), OUTCOME_RESUME);
    assert_guest_gets(EPT_VIOLATION, W, 0x5008);
    assert_int_equal(swaps, 1);
}

/* Without EPT the inner guest's addresses are the guest hypervisor's. */
static void test_without_ept(void **state)
{
    (void)state;
    level_swap(&bench.v);
    set(FIELD_PROC2_CONTROLS, 0);
    assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
    assert_null(bench.v.inner_physical);
    set(FIELD_PROC2_CONTROLS, PROC2_EPT);
    set(FIELD_PROC_CONTROLS, 0); /* then the others do not count */
    level_swap(&bench.v);
    assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
    assert_null(bench.v.inner_physical);
}

/* ---- VMCS shadowing: SDM 3C 25.1.3 ---- */

/* What the bitmap passes is done, and counted, and trapped; what it does not is the guest hypervisor's. */
static void test_vmread_of_an_inner_guest(void **state)
{
    enum { VMREAD = 23, VMWRITE = 25, BITMAP = 0x50000 };

    (void)state;
    bench.v.nested->vmxon = bench.v.nested->current = 0x1000;
    VMCS_SET(EXIT_INSTRUCTION_INFO, 1u << 10 | (u32)GPR_RAX << 3 | (u32)GPR_RBX << 28);
    bench.v.gpr[GPR_RBX] = ENCODING_GUEST_RIP;
    set(FIELD_VMCS_LINK_POINTER, PAGE);
    set(FIELD_GUEST_RIP, 0x5000);
    set(FIELD_VMREAD_BITMAP, BITMAP);
    set(FIELD_VMWRITE_BITMAP, 0xfee00000); /* where no memory is: all ones */
    set(FIELD_PROC2_CONTROLS, PROC2_EPT | PROC2_VMCS_SHADOWING);
    trace_last()->cause = VMREAD;
    bench.v.gpr[GPR_RAX] = 1;
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMREAD), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], 0); /* that one's, not the current one's */
    assert_int_equal(bench.v.exits[VMREAD], 1);
    assert_true(nested_is_inside(&bench.v));
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMWRITE), OUTCOME_RESUME);
    assert_guest_gets(VMWRITE, 0, 0);
    level_swap(&bench.v);
    put(BITMAP + (ENCODING_GUEST_RIP / 8 & ~7u), BIT(ENCODING_GUEST_RIP % 64));
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMREAD), OUTCOME_RESUME);
    assert_guest_gets(VMREAD, 0, 0);
    level_swap(&bench.v);
    bench.v.gpr[GPR_RBX] = ENCODING_GUEST_RSP;
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY | PROC_MONITOR_TRAP_FLAG);
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMREAD), OUTCOME_SKIP);
    assert_true(inner_prepare_events(&bench.v));
    assert_guest_gets(TRAP_FLAG, 0, 0);
}

/* ---- EPTP switching: SDM 3C 25.5.5.3 ---- */

static void test_eptp_switching(void **state)
{
    enum { VMFUNC = 59, LIST = 0x50000, OTHER_EPTP = 0x60000 | 6 | 3 << 3 | 1 << 6 };
    static const u64 bad[] = {0, OTHER_EPTP | 1, OTHER_EPTP | BIT(11), OTHER_EPTP | BIT(46), OTHER_EPTP ^ 1 << 3};

    (void)state;
    set(FIELD_PROC2_CONTROLS, PROC2_EPT | PROC2_VMFUNC);
    set(FIELD_VM_FUNCTION_CONTROLS, 1);
    set(FIELD_EPTP_LIST_ADDRESS, LIST);
    put(LIST + 511 * 8, OTHER_EPTP);
    bench.v.gpr[GPR_RAX] = 1ull << 32; /* EAX counts, and ECX */
    bench.v.gpr[GPR_RCX] = 1ull << 32 | 511;
    VMCS_SET(EPT_POINTER, 0);
    bench.flushes = 0;
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMFUNC), OUTCOME_SKIP);
    assert_true(nested_is_inside(&bench.v));
    assert_int_equal(bench.v.exits[VMFUNC], 1);
    assert_int_equal(bench.flushes, 1); /* without a VPID of its own translations are forgotten */
    set(FIELD_PROC2_CONTROLS, PROC2_EPT | PROC2_VMFUNC | PROC2_VPID);
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMFUNC), OUTCOME_SKIP);
    assert_int_equal(bench.flushes, 1);
    assert_int_equal(get(FIELD_EPT_POINTER), OTHER_EPTP);
    assert_int_equal(vmcs_read(EPT_POINTER), shadow_pointer(&bench.v.nested->shadow, OTHER_EPTP));
    assert_int_not_equal(vmcs_read(EPT_POINTER), shadow_pointer(&bench.v.nested->shadow, EPTP));
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        put(LIST, bad[i]);
        bench.v.gpr[GPR_RCX] = 0;
        assert_int_equal(inner_exit(&bench.v, trace_last(), VMFUNC), OUTCOME_RESUME);
        assert_guest_gets(VMFUNC, 0, 0);
        assert_int_equal(get(FIELD_EPT_POINTER), OTHER_EPTP);
        level_swap(&bench.v);
    }
    set(FIELD_EPTP_LIST_ADDRESS, 0xfee00000); /* where no memory is: all ones */
    assert_int_equal(inner_exit(&bench.v, trace_last(), VMFUNC), OUTCOME_RESUME);
    assert_guest_gets(VMFUNC, 0, 0);
}

/* ---- the monitor trap flag: SDM 3C 25.5.2 ---- */

static enum outcome is_done(void)
{
    return OUTCOME_SKIP;
}

static enum outcome goes_on(void)
{
    return OUTCOME_RESUME;
}

/* What Rootlet has done for the inner guest exits behind it, as on a CPU. */
static void test_trap_behind_what_is_emulated(void **state)
{
    (void)state;
    assert_int_equal(run_exit(is_done), OUTCOME_SKIP);
    assert_true(inner_prepare_events(&bench.v));
    assert_true(nested_is_inside(&bench.v));
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY | PROC_MONITOR_TRAP_FLAG);
    assert_int_equal(run_exit(goes_on), OUTCOME_RESUME); /* not done yet */
    assert_true(inner_prepare_events(&bench.v));
    assert_true(nested_is_inside(&bench.v));
    assert_int_equal(run_exit(is_done), OUTCOME_SKIP);
    assert_int_equal(bench.v.base.requests, VCPU_REQUEST_EVENT);
    assert_true(inner_prepare_events(&bench.v));
    assert_guest_gets(TRAP_FLAG, 0, 0);
    assert_false(bench.v.nested->trap_pending);
}

static enum outcome iterates(void)
{
    assert_int_equal(bench.v.base.requests, VCPU_REQUEST_EVENT); /* else io.c would do more */
    bench.v.gpr[GPR_RCX]--;
    return OUTCOME_RESUME;
}

/* The iteration of a string instruction that has another one to do. */
static void test_trap_behind_an_iteration(void **state)
{
    (void)state;
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY | PROC_MONITOR_TRAP_FLAG);
    assert_int_equal(run_exit(iterates), OUTCOME_RESUME);
    assert_true(inner_prepare_events(&bench.v));
    assert_guest_gets(TRAP_FLAG, 0, 0);
    level_swap(&bench.v);
    map(5, APIC | R | W);
    on_emulation = iterates;
    bench.v.base.requests = VCPU_REQUEST_EVENT;
    assert_int_equal(violate(0x5020, R | 0x180), OUTCOME_RESUME);
    assert_true(inner_prepare_events(&bench.v));
    assert_int_equal(get(FIELD_EXIT_REASON), TRAP_FLAG);
    assert_false(nested_is_inside(&bench.v));
}

/* HLT that ends at once, by a debug trap, too: the exit comes before the trap. */
static void test_trap_behind_hlt(void **state)
{
    (void)state;
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY | PROC_MONITOR_TRAP_FLAG);
    on_exit_handled = is_done;
    assert_int_equal(inner_exit(&bench.v, trace_last(), HLT), OUTCOME_SKIP);
    assert_true(inner_prepare_events(&bench.v));
    assert_guest_gets(TRAP_FLAG, 0, 0);
    assert_int_equal(vmcs_read(GUEST_ACTIVITY_STATE), 1);
}

static void test_trap_behind_a_device(void **state)
{
    (void)state;
    set(FIELD_PROC_CONTROLS, PROC_SECONDARY | PROC_MONITOR_TRAP_FLAG);
    map(5, APIC | R | W);
    assert_int_equal(violate(0x5020, R | 0x180), OUTCOME_SKIP_DECODED);
    assert_true(inner_prepare_events(&bench.v));
    assert_int_equal(get(FIELD_EXIT_REASON), TRAP_FLAG);
}

/* An entry with an event of type 7 needs no control, and no CPU. */
static void test_injected_trap(void **state)
{
    (void)state;
    level_swap(&bench.v);
    set(FIELD_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_TYPE_OTHER << 8);
    assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
    assert_int_equal(bench.v.reinject.info, 0);
    assert_true(inner_prepare_events(&bench.v));
    assert_guest_gets(TRAP_FLAG, 0, 0);
    assert_int_equal(get(FIELD_ENTRY_INTERRUPTION_INFO), EVENT_TYPE_OTHER << 8);
}

/* ---- exits before a debug trap: SDM 3C 27.1, 27.3.4 ---- */

/* INIT and the monitor trap flag exit before a trap that ends HLT; others come later. */
static void test_activity_before_a_trap(void **state)
{
    enum { INIT = 3, IN_HLT = 1 };

    (void)state;
    for (u32 i = 0; i < 8; i++) {
        bool init = i & 1, halted = i & 2, tried = i & 4;
        level_swap(&bench.v);
        set(FIELD_GUEST_ACTIVITY_STATE, halted ? IN_HLT : 0);
        set(FIELD_ENTRY_INTERRUPTION_INFO, init ? 0 : EVENT_VALID | EVENT_TYPE_OTHER << 8);
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        VMCS_SET(GUEST_ACTIVITY_STATE, 0); /* as level_write_guest() has it, for the trap */
        if (tried)
            assert_int_equal(run_exit(goes_on), OUTCOME_RESUME);
        bench.v.base.init_waiting = init;
        assert_true(inner_prepare_events(&bench.v));
        assert_int_equal(get(FIELD_EXIT_REASON), init ? INIT : TRAP_FLAG);
        assert_int_equal(vmcs_read(GUEST_ACTIVITY_STATE), halted && !tried ? IN_HLT : 0);
        set_up(state);
    }
}

/* ---- pending debug exceptions: SDM 3C 26.6.3 ---- */

/* A trap that is pending comes first, whatever else is there; MOV SS puts it off, and an event that goes in drops it.
 */
static void test_debug_traps_come_first(void **state)
{
    enum { INTERRUPT = 1 };
    static const struct {
        u64 pending;
        u32 blocking, injected;
        bool first;
    } rows[] = {
        {PENDING_DEBUG_SINGLE_STEP, 0,                       0,                                             true },
        {PENDING_DEBUG_ENABLED | 1, INTERRUPTIBILITY_STI,    0,                                             true },
        {PENDING_DEBUG_SINGLE_STEP, INTERRUPTIBILITY_MOV_SS, 0,                                             false},
        {1,                         0,                       0,                                             false},
        {PENDING_DEBUG_SINGLE_STEP, 0,                       EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | 0x20, true },
    };

    (void)state;
    for (u32 i = 0; i < 4 * ARRAY_SIZE(rows); i++) {
        bool nmi = i & 1, exits = i & 2, first = rows[i / 4].first;
        u32 blocking = rows[i / 4].blocking;
        level_swap(&bench.v);
        set(FIELD_PIN_CONTROLS, exits ? PIN_NMI_EXITING | PIN_EXTERNAL_INTERRUPT_EXITING : 0);
        set(FIELD_GUEST_PENDING_DEBUG, rows[i / 4].pending);
        set(FIELD_ENTRY_INTERRUPTION_INFO, rows[i / 4].injected);
        VMCS_SET(GUEST_PENDING_DEBUG, rows[i / 4].pending); /* as level_write_guest() does */
        VMCS_SET(GUEST_INTERRUPTIBILITY, blocking);
        VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        bench.v.base.nmi_waiting = nmi;
        bench.interrupt = !nmi;
        bench.vector = 0x30;
        bench.v.base.requests = 0;
        assert_true(inner_prepare_events(&bench.v));
        assert_int_equal(nested_is_inside(&bench.v), first || !exits);
        if (!nested_is_inside(&bench.v)) {
            assert_int_equal(get(FIELD_EXIT_REASON), nmi ? 0 : INTERRUPT);
        } else {
            bool now = !exits && !first && !blocking;
            u32 info = nmi ? EVENT_TYPE_NMI << 8 | VECTOR_NMI : EVENT_TYPE_EXTERNAL << 8 | 0x30;
            assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), now ? EVENT_VALID | info : rows[i / 4].injected);
            assert_int_equal(bench.v.nested->exits_at_once, exits);
            assert_int_equal(bench.v.base.requests, exits ? VCPU_REQUEST_EVENT : 0);
            assert_int_equal(vmcs_read(PROC_CONTROLS) & (PROC_NMI_WINDOW | PROC_INTERRUPT_WINDOW),
                             now || exits ? 0
                             : nmi        ? PROC_NMI_WINDOW
                                          : PROC_INTERRUPT_WINDOW);
        }
        if (nested_is_inside(&bench.v) && exits) { /* the CPU has delivered the trap, and its timer has run out */
            VMCS_SET(GUEST_PENDING_DEBUG, 0);
            bench.v.nested->exits_at_once = false;
            assert_true(inner_prepare_events(&bench.v));
            assert_false(nested_is_inside(&bench.v));
        }
        set_up(state);
    }
}

/* ---- NMIs: SDM 3C 26.6.1, 27.5.5 ---- */

static void test_nmis(void **state)
{
    static const struct {
        u32 pin;
        bool blocked; /* as the inner guest's VMCS says */
        bool exits, blocked_after_another_exit;
    } rows[] = {
        {PIN_NMI_EXITING,                    false, true,  false},
        {PIN_NMI_EXITING,                    true,  false, true },
        {PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, false, true,  false},
        {PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, true,  true,  false},
    };

    (void)state;
    for (u32 i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
        if (nested_is_inside(&bench.v))
            level_swap(&bench.v);
        set(FIELD_PIN_CONTROLS, rows[i / 2].pin);
        set(FIELD_ENTRY_INTERRUPTION_INFO, 0);
        VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI); /* whatever it was in the guest hypervisor */
        bench.v.nmi_in_service = rows[i / 2].blocked;
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        bench.v.base.nmi_waiting = i % 2 == 0;
        assert_true(inner_prepare_events(&bench.v));
        assert_int_equal(nested_is_inside(&bench.v), i % 2 || !rows[i / 2].exits);
        if (nested_is_inside(&bench.v)) {
            assert_int_equal(nested_shut_down(&bench.v), OUTCOME_RESUME);
            assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI,
                             rows[i / 2].blocked_after_another_exit ? INTERRUPTIBILITY_NMI : 0);
        } else {
            assert_false(bench.v.base.nmi_waiting);
            assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
        }
    }
}

/* What an exit saves after an IRET of the inner guest, which in the CPU has ended the blocking. */
static void test_nmi_blocking_after_iret(void **state)
{
    static const struct {
        u32 pin, injected;
        bool blocked; /* as the inner guest's VMCS says */
        u64 saved;
    } rows[] = {
        {PIN_NMI_EXITING,                    0,                                          true,  INTERRUPTIBILITY_NMI},
        {PIN_NMI_EXITING,                    EVENT_VALID | EVENT_TYPE_NMI << 8 | 2,      false, INTERRUPTIBILITY_NMI},
        {PIN_NMI_EXITING,                    0,                                          false, 0                   },
        {PIN_NMI_EXITING,                    EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | 2, false, 0                   },
        {PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, 0,                                          true,  0                   },
        {0,                                  0,                                          true,  0                   },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        level_swap(&bench.v);
        set(FIELD_PIN_CONTROLS, rows[i].pin);
        set(FIELD_ENTRY_INTERRUPTION_INFO, rows[i].injected);
        bench.v.nmi_in_service = rows[i].blocked;
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        set(FIELD_GUEST_INTERRUPTIBILITY, 0); /* as level_save_guest() finds it */
        assert_int_equal(nested_shut_down(&bench.v), OUTCOME_RESUME);
        assert_int_equal(get(FIELD_GUEST_INTERRUPTIBILITY), rows[i].saved);
        set_up(state);
    }
}

/* QUIRK_NMI_BLOCKING: that such blocking has ended is known by the window exit. */
static void test_nmi_blocking_is_followed_up(void **state)
{
    (void)state;
    for (u32 i = 0; i < 4; i++) {
        bool quirk = i & 1, blocked = i & 2;
        level_swap(&bench.v);
        quirks_found = quirk ? (u32)BIT(QUIRK_NMI_BLOCKING) : 0;
        bench.v.nmi_in_service = blocked;
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        assert_true(inner_prepare_events(&bench.v));
        assert_int_equal(vmcs_read(PROC_CONTROLS) & PROC_NMI_WINDOW, quirk && blocked ? PROC_NMI_WINDOW : 0);
        set_up(state);
    }
}

/* ---- a debugger ---- */

/* What is the debugger's is in no state that is saved; its breakpoint is not the guest hypervisor's, others are. */
static void test_under_a_debugger(void **state)
{
    (void)state;
    level_swap(&bench.v);
    bench.v.debug = &debug;
    set(FIELD_EXCEPTION_BITMAP, BIT(VECTOR_BP));
    assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
    assert_false(debug.put_off);
    VMCS_SET(EXIT_REASON, 0);
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000603);
    is_debuggers = true;
    set(FIELD_EXIT_REASON, 4711);
    saves = 0;
    assert_int_equal(inner_exit(&bench.v, trace_last(), 0), OUTCOME_RESUME);
    assert_true(nested_is_inside(&bench.v));
    assert_false(debug.put_off);
    assert_int_equal(get(FIELD_EXIT_REASON), 4711);
    assert_int_equal(saves, 0);
    is_debuggers = false;
    assert_int_equal(inner_exit(&bench.v, trace_last(), 0), OUTCOME_RESUME);
    assert_guest_gets(0, 0, 0);
    assert_int_equal(get(FIELD_EXIT_INTERRUPTION_INFO), 0x80000603);
    assert_int_equal(saves, 1); /* level_save_guest() has seen that nothing is the debugger's */
    assert_true(debug.put_off); /* host_load() goes on */
    debug.put_off = false;
}

/* MOV DR exits while the registers are not the vCPU's own, whichever level made or lost them. */
static void test_debug_registers_of_both_levels(void **state)
{
    static const struct {
        bool before, after, exits;
    } rows[] = {
        {false, true,  false},
        {true,  false, true },
        {false, false, true },
        {true,  true,  false}
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        level_swap(&bench.v);
        bench.v.debug_used = rows[i].before;
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        bench.v.debug_used = rows[i].after;
        VMCS_SET(PROC_CONTROLS, rows[i].before ? 0 : PROC_MOV_DR_EXITING); /* the outer one's */
        assert_int_equal(nested_shut_down(&bench.v), OUTCOME_RESUME);
        assert_int_equal(vmcs_read(PROC_CONTROLS), rows[i].exits ? PROC_MOV_DR_EXITING : 0);
        set_up(state);
    }
}

/* ---- the list of MSRs ---- */

/* One of them may be the TSC, which both levels have, the inner guest with its offset. */
static void test_msrs_of_an_entry(void **state)
{
    enum { FAILED_MSRS = 34, OFFSET = 0x1000 };

    (void)state;
    for (bad_entry = 0; bad_entry <= 3; bad_entry += 3) {
        level_swap(&bench.v);
        moved_tsc = 0x471100000000;
        set(FIELD_ENTRY_MSR_LOAD_COUNT, 3);
        set(FIELD_TSC_OFFSET, OFFSET);
        set(FIELD_EXIT_REASON, 0);
        said_entry = 0;
        assert_int_equal(inner_enter(&bench.v, false), OUTCOME_RESUME);
        assert_int_equal(nested_is_inside(&bench.v), !bad_entry);
        assert_int_equal(vmcs_read(TSC_OFFSET), moved_tsc + (bad_entry ? 0 : OFFSET));
        assert_int_equal(get(FIELD_EXIT_REASON), bad_entry ? FAILED_MSRS : 0);
        assert_int_equal(said_entry, bad_entry);
        if (bad_entry) {
            assert_int_equal(get(FIELD_EXIT_QUALIFICATION), 3);
            assert_int_equal(said_index, 0x480);
        }
        bench.v.base.tsc_offset = 0;
    }
    bad_entry = 0;
}

/* ---- the flight recorder ---- */

/* Which level runs is told by the record of what led there, also if an interrupt goes in with the entry. */
static void test_the_level_stays_on_record(void **state)
{
    struct trace_record *record = trace_last();

    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(GUEST_INTERRUPTIBILITY, 0);
    record->action = TRACE_TO_INNER;
    bench.interrupt = true;
    bench.vector = 0x30;
    assert_true(inner_prepare_events(&bench.v));
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | 0x30);
    assert_int_equal(record->action, TRACE_TO_INNER);
}

/* It is looked for once; what is no RAM, or no page of it, has none. */
static void test_pages_of_the_guest(void **state)
{
    struct nested_page page = {.address = NESTED_NONE};
    u8 *first;

    (void)state;
    assert_non_null(first = nested_find_page(&bench.v, &page, PAGE));
    assert_ptr_equal(nested_find_page(&bench.v, &page, PAGE + FRAME_BYTES), first + FRAME_BYTES);
    assert_ptr_equal(nested_find_page(&bench.v, &page, PAGE), first);
    assert_null(nested_find_page(&bench.v, &page, APIC));
    assert_null(nested_find_page(&bench.v, &page, MIB(2)));
    bench.vm.memory.regions[0].kind = GUEST_REGION_ROM;
    assert_null(nested_find_page(&bench.v, &page, PAGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_filled, set_up),
        cmocka_unit_test_setup(test_msrs_of_an_entry, set_up),
        cmocka_unit_test_setup(test_the_level_stays_on_record, set_up),
        cmocka_unit_test_setup(test_reflected, set_up),
        cmocka_unit_test_setup(test_misconfigured, set_up),
        cmocka_unit_test_setup(test_device, set_up),
        cmocka_unit_test_setup(test_code_in_a_device, set_up),
        cmocka_unit_test_setup(test_event_delivery_through_a_device, set_up),
        cmocka_unit_test_setup(test_an_access_of_ours, set_up),
        cmocka_unit_test_setup(test_an_access_of_ours_that_is_misconfigured, set_up),
        cmocka_unit_test_setup(test_emulation_meets_a_violation, set_up),
        cmocka_unit_test_setup(test_without_ept, set_up),
        cmocka_unit_test_setup(test_vmread_of_an_inner_guest, set_up),
        cmocka_unit_test_setup(test_eptp_switching, set_up),
        cmocka_unit_test_setup(test_trap_behind_what_is_emulated, set_up),
        cmocka_unit_test_setup(test_trap_behind_an_iteration, set_up),
        cmocka_unit_test_setup(test_trap_behind_hlt, set_up),
        cmocka_unit_test_setup(test_trap_behind_a_device, set_up),
        cmocka_unit_test_setup(test_injected_trap, set_up),
        cmocka_unit_test_setup(test_activity_before_a_trap, set_up),
        cmocka_unit_test_setup(test_debug_traps_come_first, set_up),
        cmocka_unit_test_setup(test_nmis, set_up),
        cmocka_unit_test_setup(test_nmi_blocking_after_iret, set_up),
        cmocka_unit_test_setup(test_nmi_blocking_is_followed_up, set_up),
        cmocka_unit_test_setup(test_under_a_debugger, set_up),
        cmocka_unit_test_setup(test_debug_registers_of_both_levels, set_up),
        cmocka_unit_test_setup(test_pages_of_the_guest, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
