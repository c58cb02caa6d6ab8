/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX instructions of a guest hypervisor: what makes each #UD and #GP and in which order, every error number that
 * can be reached, both operand forms in 32-bit and 64-bit mode, and how entries fail that the checker refuses.
 * SDM 3C 30.3 "VMX Instructions", 30.4 "VM Instruction Error Numbers", 26.7 "VM-Entry Failures During or After Loading
 * Guest State".
 *
 * links: vmx/nested/insn.c vmx/nested/nested.c vmx/nested/vmcs12.c vmx/nested/mirror.c vmx/nested/operand.c
 * links: vmx/nested/entry.c vmx/nested/shadow.c vmx/nested/host.c vmx/nested/msrs.c vmx/nested/why.c vmx/nested/offer.c
 * vmx/insn/guest.c vmx/insn/gva.c links: vmx/insn/guest_physical.c vmx/event.c vmx/apicv.c vmx/caps.c vmx/controls.c
 * vmx/exit/cr.c vmx/exit/cpuid.c links: vmx/exit/msr.c vmx/exit/mtrr.c vmx/speculation.c vmx/points.c arch/x86/xsave.c
 * arch/x86/speculation.c links: vmx/check/check.c vmx/check/controls.c vmx/check/fields.c vmx/check/guest.c
 * vmx/check/host.c links: vmx/check/msrs.c vmx/check/rule.c vmx/check/segments.c vmx/check/state.c vmx/check/text.c
 * links: kernel/lib/format.c kernel/vm/memory.c kernel/vm/layer.c kernel/vm/bus.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "kernel/virt.h"
#include "kernel/vm/hypercall.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/cpuid.h"
#include "vmx/nested/offer.h"
#include "vmx/nested/operand.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/report/debug.h"

/* Guest-physical and, by identity, linear. */
enum { TABLES = 0x10000, REGION_VMXON = 0x20000, REGION_VMCS = 0x21000, REGION_OTHER = 0x22000, OPERAND = 0x30000 };

/* Exit reasons: SDM 3D Appendix C. */
enum { VMCLEAR = 19, VMLAUNCH, VMPTRLD, VMPTRST, VMREAD, VMRESUME, VMWRITE, VMXOFF, VMXON, INVEPT = 50, INVVPID = 53 };

static char logged[8][512];
static u32 log_count;
static char stopped[256];
static u32 entered; /* inner guests */

bool vm_log_caused(struct vcpu *vcpu, const char *text)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    if (log_count < 8)
        snprintf(logged[log_count], sizeof logged[0], "%s", text);
    log_count++;
    return true;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm, (void)reason;
    snprintf(stopped, sizeof stopped, "%s", detail);
}

enum outcome inner_enter(struct vmx_vcpu *v, bool launch)
{
    (void)launch;
    assert_ptr_equal(v, &bench.v);
    entered++;
    return OUTCOME_RESUME;
}

void level_swap(struct vmx_vcpu *v)
{
    assert_false(v->nested->inside);
}

void level_fetch_guest(struct vmx_vcpu *v)
{
    assert_false(v->nested->guest_is_stale); /* no inner guest has run */
}

u16 vmx_new_vpid(void)
{
    return 77;
}

/* The CPU has no VMCS shadowing. */
bool vmcs_load(hpa_t region)
{
    (void)region;
    fail();
    return false;
}

bool vmcs_clear(hpa_t region)
{
    assert_int_equal(region.raw, bench.v.nested->other.vmcs.raw);
    return true;
}

static bool init_blocked;

void vm_block_init(struct vcpu *vcpu, bool block)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    init_blocked = block;
}

u64 clock_tsc_hz(void)
{
    return 2000000000;
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

void vmx_debug_put_off(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

void vmx_debug_go_on(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

static void write_memory(u64 at, const void *from, u64 bytes)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(at), from, bytes), STATUS_OK);
}

static u64 read_memory64(u64 at)
{
    u64 value = 0;
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(at), &value, 8), STATUS_OK);
    return value;
}

static void set_revision(u64 region, u32 revision)
{
    write_memory(region, &revision, sizeof revision);
}

/* 32-bit paging by identity; 64-bit mode by 1-GiB pages. */
static void set_mode(bool is_64)
{
    u64 entry = 0x83;

    if (is_64) {
        u64 table = (TABLES + 0x1000) | 3;
        write_memory(TABLES, &table, 8);
        write_memory(TABLES + 0x1000, &entry, 8);
    } else {
        write_memory(TABLES, &entry, 4);
    }
    VMCS_SET(ENTRY_CONTROLS, is_64 ? ENTRY_IA32E_GUEST : 0);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    VMCS_SET(CR0_MASK, ~(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM | CR0_PG));
    VMCS_SET(GUEST_CR3, TABLES);
    VMCS_SET(GUEST_CR4, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
    VMCS_SET(CR4_SHADOW, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
    VMCS_SET(CR4_MASK, ~0ull);
    VMCS_SET(GUEST_CS_ACCESS, is_64 ? 0xa09b : 0xc09b);
    for (u32 i = 0; i < 6; i++)
        fake_vmcs_set(ENCODING_GUEST_ES_LIMIT + 2 * i, UINT32_MAX);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    VMCS_SET(GUEST_ES_ACCESS, 0xc093);
    bench_set_efer(is_64 ? EFER_LME | EFER_LMA : 0);
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
    bench.vm.spec.explain = true;
    assert_int_equal(nested_create(&bench.v, &frames), STATUS_OK);
    vmx_cpuid_init_vcpu(&bench.v);
    set_mode(false);
    set_revision(REGION_VMXON, NESTED_REVISION);
    set_revision(REGION_VMCS, NESTED_REVISION);
    set_revision(REGION_OTHER, NESTED_REVISION);
    log_count = 0;
    init_blocked = false;
    stopped[0] = 0;
    entered = 0;
    return 0;
}

/* An operand in memory at DS:OPERAND: no base, no index; SDM 3C table 27-13 and others. */
#define INFO_MEMORY(size) (1u << 22 | 1u << 27 | (u32)DECODE_DS << 15 | (size) << 7)
enum { SIZE_32 = 1, SIZE_64 = 2 };

static enum outcome exit_with(u32 reason)
{
    struct trace_record *record = trace_last();

    record->cause = (u8)reason;
    return reason == VMREAD || reason == VMWRITE ? nested_access_exit(&bench.v, record) : nested_exit(&bench.v, record);
}

/* An instruction with a pointer in memory. */
static enum outcome pointer(u32 reason, u64 value)
{
    write_memory(OPERAND, &value, 8);
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32));
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    return exit_with(reason);
}

/* VMREAD and VMWRITE between RAX and RBX, which has the encoding. */
static enum outcome registers(u32 reason, u64 encoding)
{
    bench.v.gpr[GPR_RBX] = encoding;
    VMCS_SET(EXIT_INSTRUCTION_INFO, 1u << 10 | (u32)GPR_RAX << 3 | (u32)GPR_RBX << 28);
    return exit_with(reason);
}

#define FLAGS (vmcs_read(GUEST_RFLAGS) & 0x8d5)
#define assert_succeeds(call)                                                                                          \
    do {                                                                                                               \
        assert_int_equal((call), OUTCOME_SKIP);                                                                        \
        assert_int_equal(FLAGS, 0);                                                                                    \
    } while (0)
#define assert_invalid(call)                                                                                           \
    do {                                                                                                               \
        assert_int_equal((call), OUTCOME_SKIP);                                                                        \
        assert_int_equal(FLAGS, RFLAGS_CF);                                                                            \
    } while (0)
#define assert_error(call, number)                                                                                     \
    do {                                                                                                               \
        assert_int_equal((call), OUTCOME_SKIP);                                                                        \
        assert_int_equal(FLAGS, RFLAGS_ZF);                                                                            \
        assert_int_equal(vmcs12_get(&bench.v, FIELD_INSTRUCTION_ERROR), (number));                                     \
    } while (0)
#define assert_faults(call, vector)                                                                                    \
    do {                                                                                                               \
        assert_int_equal((call), OUTCOME_RESUME);                                                                      \
        bench_assert_exception((vector), 0);                                                                           \
    } while (0)

static void be_root(void)
{
    assert_succeeds(pointer(VMXON, REGION_VMXON));
}

static void have_vmcs(void)
{
    if (!nested_is_on(&bench.v))
        be_root();
    assert_succeeds(pointer(VMCLEAR, REGION_VMCS));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
}

static const u32 all[] = {VMCLEAR, VMLAUNCH, VMPTRLD, VMPTRST, VMREAD, VMRESUME, VMWRITE, VMXOFF, INVEPT, INVVPID};

static void test_without_the_key_all_are_undefined(void **state)
{
    (void)state;
    bench.v.nested = NULL;
    for (u32 i = 0; i < ARRAY_SIZE(all); i++)
        assert_faults(exit_with(all[i]), VECTOR_UD);
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_UD);
}

static void test_outside_vmx_operation(void **state)
{
    (void)state;
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3); /* #UD comes before the privilege level */
    for (u32 i = 0; i < ARRAY_SIZE(all); i++)
        assert_faults(exit_with(all[i]), VECTOR_UD);
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_GP);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    VMCS_SET(CR4_SHADOW, CR4_PSE);
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_UD);
}

static void test_vmxon(void **state)
{
    (void)state;
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET); /* NE */
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_GP);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET | CR0_NE);
    assert_invalid(pointer(VMXON, REGION_VMXON + 4));
    assert_invalid(pointer(VMXON, BIT(46)));
    assert_invalid(pointer(VMXON, 0xfee00000)); /* a device; where nothing is; ROM without the identifier */
    assert_invalid(pointer(VMXON, BIT(38)));
    assert_invalid(pointer(VMXON, 0xf0000));
    set_revision(REGION_VMXON, NESTED_REVISION | BIT(31));
    assert_invalid(pointer(VMXON, REGION_VMXON));
    set_revision(REGION_VMXON, NESTED_REVISION);
    assert_false(nested_is_on(&bench.v));
    assert_false(init_blocked);
    be_root();
    assert_true(nested_is_on(&bench.v));
    assert_true(init_blocked);
    assert_int_equal(vmcs_read(CR0_MASK) & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
    assert_int_equal(vmcs_read(CR0_SHADOW) & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
    assert_invalid(pointer(VMXON, REGION_VMXON)); /* error 15 has no VMCS to stand in */
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(pointer(VMXON, REGION_VMXON), 15);
    assert_succeeds(exit_with(VMXOFF));
    assert_false(nested_is_on(&bench.v));
    assert_false(init_blocked);
    assert_int_equal(vmcs_read(CR0_MASK) & (CR0_PE | CR0_PG), 0);
}

static void test_privilege_and_modes(void **state)
{
    (void)state;
    have_vmcs();
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3);
    for (u32 i = 0; i < ARRAY_SIZE(all); i++)
        assert_faults(exit_with(all[i]), VECTOR_GP);
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_GP);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    assert_succeeds(exit_with(VMXOFF));
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_VM);
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_UD);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    set_mode(true);
    VMCS_SET(GUEST_CS_ACCESS, 0xc09b); /* compatibility mode */
    assert_faults(pointer(VMXON, REGION_VMXON), VECTOR_UD);
}

static void test_pointers(void **state)
{
    (void)state;
    be_root();
    assert_invalid(pointer(VMCLEAR, REGION_VMCS + 1));
    assert_invalid(exit_with(VMLAUNCH));
    assert_int_equal(log_count, 1);
    assert_non_null(strstr(logged[0], "vmlaunch refused error=none rule=\"a VMCS must be current"));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(pointer(VMCLEAR, REGION_VMCS + 1), 2);
    assert_error(pointer(VMCLEAR, BIT(46)), 2);
    assert_error(pointer(VMCLEAR, REGION_VMXON), 3);
    assert_error(pointer(VMPTRLD, REGION_VMCS + 8), 9);
    assert_error(pointer(VMPTRLD, REGION_VMXON), 10);
    set_revision(REGION_OTHER, 1);
    assert_error(pointer(VMPTRLD, REGION_OTHER), 11);
    assert_error(pointer(VMPTRLD, 0xfee00000), 11); /* nothing is there */
    assert_error(pointer(VMPTRLD, BIT(38)), 11);
    assert_succeeds(pointer(VMCLEAR, 0xfee00000)); /* what it writes there is lost */
    assert_succeeds(pointer(VMCLEAR, BIT(38)));
    assert_succeeds(pointer(VMCLEAR, 0xf0000));
    assert_succeeds(pointer(VMPTRST, 0));
    assert_int_equal(read_memory64(OPERAND), REGION_VMCS);
    assert_succeeds(pointer(VMCLEAR, REGION_VMCS));
    assert_succeeds(pointer(VMPTRST, 0));
    assert_int_equal(read_memory64(OPERAND), ~0ull);
}

static void test_operand_that_faults(void **state)
{
    (void)state;
    be_root();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32));
    VMCS_SET(EXIT_QUALIFICATION, MIB(4)); /* not mapped */
    assert_int_equal(exit_with(VMPTRLD), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 0);
    VMCS_SET(GUEST_DS_LIMIT, 0xfff);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    assert_faults(exit_with(VMPTRLD), VECTOR_GP);
}

/* VMREAD writes its operand when it knows the field; VMWRITE reads it before it looks for one. Without a current VMCS
 * neither comes to it. SDM 3C 30.3 "VMX Instructions" */
static void test_order_of_faults(void **state)
{
    const u64 writable = (TABLES + 0x1000) | 3;
    const u64 read_only = 0x81;

    (void)state;
    set_mode(true);
    write_memory(TABLES + 0x1000, &read_only, 8);
    write_memory(TABLES, &writable, 8);
    be_root();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_64) | (u32)GPR_RBX << 28);
    VMCS_SET(EXIT_QUALIFICATION, GIB(1)); /* not mapped */
    bench.v.gpr[GPR_RBX] = 0x6bfe;        /* no field */
    assert_invalid(exit_with(VMREAD));
    assert_invalid(exit_with(VMWRITE));
    have_vmcs();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_64) | (u32)GPR_RBX << 28);
    VMCS_SET(EXIT_QUALIFICATION, GIB(1));
    assert_error(exit_with(VMREAD), 12);
    assert_int_equal(exit_with(VMWRITE), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 0);
    bench.v.gpr[GPR_RBX] = ENCODING_EXIT_REASON; /* which cannot be written */
    assert_int_equal(exit_with(VMWRITE), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 0);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    assert_int_equal(exit_with(VMREAD), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3); /* a write of a page that is there */
    assert_int_equal(exit_with(VMPTRST), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 3);
}

/* Base, scaled index and displacement, wrapped at the address size. */
static void test_effective_address(void **state)
{
    u64 region = REGION_VMXON;

    (void)state;
    write_memory(OPERAND, &region, 8);
    bench.v.gpr[GPR_RSI] = 0x10000;
    bench.v.gpr[GPR_RDI] = 0x100000000ull | 0x4000;
    VMCS_SET(EXIT_INSTRUCTION_INFO, 2u | SIZE_32 << 7 | (u32)DECODE_DS << 15 | (u32)GPR_RDI << 18 | (u32)GPR_RSI << 23);
    VMCS_SET(EXIT_QUALIFICATION, 0x10000);
    assert_succeeds(exit_with(VMXON));
}

static void test_fields(void **state)
{
    (void)state;
    have_vmcs();
    bench.v.gpr[GPR_RAX] = 0x123456789;
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_RIP));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RIP), 0x23456789); /* 32 bits outside 64-bit mode */
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_CS_SELECTOR));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_CS_SELECTOR), 0x6789);
    assert_succeeds(registers(VMWRITE, ENCODING_TSC_OFFSET + 1));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_TSC_OFFSET), 0x2345678900000000);
    bench.v.gpr[GPR_RAX] = 0;
    assert_succeeds(registers(VMREAD, ENCODING_TSC_OFFSET + 1));
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x23456789);
    assert_error(registers(VMREAD, ENCODING_GUEST_RIP + 1), 12);
    assert_error(registers(VMREAD, 0x6bfe), 12);
    assert_error(registers(VMREAD, 0x8000 | ENCODING_GUEST_RIP), 12);
    assert_error(registers(VMREAD, ENCODING_TSC_MULTIPLIER), 12); /* TSC scaling is not offered */
    assert_error(registers(VMWRITE, ENCODING_EXIT_REASON), 13);
    set_mode(true);
    assert_error(registers(VMREAD, BIT(32) | ENCODING_GUEST_RIP), 12);
    bench.v.gpr[GPR_RAX] = 0x123456789abcdef0;
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_RIP));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RIP), 0x123456789abcdef0);
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_64) | (u32)GPR_RBX << 28);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    bench.v.gpr[GPR_RBX] = ENCODING_GUEST_RIP;
    assert_succeeds(exit_with(VMREAD));
    assert_int_equal(read_memory64(OPERAND), 0x123456789abcdef0);
}

/* ---- VMCS shadowing: SDM 3C 24.10, 30.3 ---- */

/* In root operation a shadow VMCS is read and written as any, but not entered; without the control it is none. */
static void test_shadow_vmcs_in_root_operation(void **state)
{
    (void)state;
    have_vmcs();
    set_revision(REGION_OTHER, NESTED_REVISION | BIT(31));
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    bench.v.gpr[GPR_RAX] = 0x4711;
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_RSP));
    assert_error(registers(VMWRITE, ENCODING_EXIT_REASON), 13);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS); /* is looked at later */
    assert_invalid(exit_with(VMRESUME));
    VMCS_SET(GUEST_INTERRUPTIBILITY, 0);
    assert_invalid(exit_with(VMLAUNCH));
    assert_int_equal(log_count, 2);
    for (u32 i = 0; i < log_count; i++)
        assert_non_null(strstr(logged[i], "refused error=none rule=\"the current VMCS must be an ordinary one"));
    assert_int_equal(entered, 0);
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(exit_with(VMRESUME), 5);
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    bench.v.gpr[GPR_RAX] = 0;
    assert_succeeds(registers(VMREAD, ENCODING_GUEST_RSP));
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x4711);
    assert_succeeds(pointer(VMCLEAR, REGION_OTHER));
    set_revision(REGION_OTHER, (NESTED_REVISION ^ 1) | BIT(31));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(pointer(VMPTRLD, REGION_OTHER), 11);
    set_revision(REGION_OTHER, NESTED_REVISION | BIT(31));
    bench.v.nested->caps.group[VMX_PROC2].may_be_one &= ~PROC2_VMCS_SHADOWING;
    assert_error(pointer(VMPTRLD, REGION_OTHER), 11);
}

/* What is done with a shadow VMCS goes by the revision that was judged. */
static void test_the_revision_is_read_once(void **state)
{
    (void)state;
    have_vmcs();
    set_revision(REGION_OTHER, NESTED_REVISION | BIT(31));
    vmcs12_load(&bench.v, REGION_OTHER, false); /* it was an ordinary one a moment ago */
    assert_false(bench.v.nested->is_shadow);
}

/* SDM 3B 17.3.1.2: traps, of instructions that end. */
static void test_breakpoints_on_operands(void **state)
{
    (void)state;
    have_vmcs();
    bench.v.debug_used = true;
    fake_cpu.dr0 = OPERAND;
    fake_cpu.dr1 = OPERAND + 4;
    VMCS_SET(GUEST_DR7, 0x400 | 1 << 0 | 1 << 2 | 0xdull << 16 | 0xfull << 20); /* writes, and reads or writes */
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_int_equal(bench.v.points_met, 2);
    bench.v.points_met = 0;
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32) | (u32)GPR_RBX << 28);
    bench.v.gpr[GPR_RBX] = ENCODING_GUEST_RSP;
    assert_succeeds(exit_with(VMREAD));
    assert_int_equal(bench.v.points_met, 1);
    bench.v.points_met = 0;
    VMCS_SET(GUEST_DS_LIMIT, OPERAND + 7); /* half of a descriptor */
    fake_cpu.dr1 = OPERAND;
    bench.v.gpr[GPR_RAX] = 2; /* all contexts */
    assert_int_equal(pointer(INVEPT, 0), OUTCOME_RESUME);
    assert_int_equal(bench.v.points_met, 0);
    bench.v.debug_used = false;
}

/* As inner.c does it for VMREADs and VMWRITEs of the inner guest that its hypervisor's bitmaps pass. */
static enum outcome inside(u32 reason, u64 encoding)
{
    bench.v.gpr[GPR_RBX] = encoding;
    trace_last()->cause = (u8)reason;
    return nested_exit(&bench.v, trace_last());
}

static void link_other(void)
{
    have_vmcs();
    assert_succeeds(pointer(VMCLEAR, REGION_OTHER));
    vmcs12_set(&bench.v, FIELD_VMCS_LINK_POINTER, REGION_OTHER);
    vmcs12_set(&bench.v, FIELD_GUEST_RSP, 0x1111);
    vmcs12_set(&bench.v, FIELD_TSC_OFFSET, 0x1111);
    vmcs12_set(&bench.v, FIELD_INSTRUCTION_ERROR, 0);
    bench.v.nested->inside = true;
    VMCS_SET(EXIT_INSTRUCTION_INFO, 1u << 10 | (u32)GPR_RAX << 3 | (u32)GPR_RBX << 28);
}

static void test_fields_of_the_linked_vmcs(void **state)
{
    (void)state;
    link_other();
    bench.v.gpr[GPR_RAX] = 0x123456789;
    assert_succeeds(inside(VMWRITE, ENCODING_GUEST_RSP));
    assert_succeeds(inside(VMWRITE, ENCODING_TSC_OFFSET));
    assert_succeeds(inside(VMWRITE, ENCODING_TSC_OFFSET + 1));
    assert_succeeds(inside(VMWRITE, ENCODING_GUEST_CS_SELECTOR));
    bench.v.gpr[GPR_RAX] = ~0ull;
    assert_succeeds(inside(VMREAD, ENCODING_GUEST_CS_SELECTOR));
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x6789);
    assert_succeeds(inside(VMREAD, ENCODING_TSC_OFFSET + 1));
    assert_int_equal(bench.v.gpr[GPR_RAX], 0x23456789);
    assert_error(inside(VMREAD, ENCODING_GUEST_RIP + 1), 12); /* the number is in the current VMCS */
    assert_error(inside(VMWRITE, ENCODING_TSC_MULTIPLIER), 12);
    assert_error(inside(VMWRITE, ENCODING_EXIT_REASON), 13);
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32) | (u32)GPR_RBX << 28);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    assert_succeeds(inside(VMREAD, ENCODING_GUEST_RSP));
    assert_int_equal(read_memory64(OPERAND) & UINT32_MAX, 0x23456789);
    assert_succeeds(inside(VMWRITE, ENCODING_GUEST_RIP));
    VMCS_SET(EXIT_QUALIFICATION, MIB(4)); /* not mapped */
    assert_int_equal(inside(VMREAD, ENCODING_GUEST_RSP), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 2);
    assert_int_equal(inside(VMWRITE, 0x6bfe), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 0);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RSP), 0x1111); /* the current one is another */
    assert_int_equal(vmcs12_get(&bench.v, FIELD_TSC_OFFSET), 0x1111);
    bench.v.nested->inside = false;
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RSP), 0x23456789);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RIP), 0x23456789);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_TSC_OFFSET), 0x2345678923456789);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_INSTRUCTION_ERROR), 0);
}

static void test_faults_at_the_linked_vmcs(void **state)
{
    (void)state;
    link_other();
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3);
    assert_faults(inside(VMREAD, ENCODING_GUEST_RSP), VECTOR_GP);
    assert_faults(inside(VMWRITE, 0x6bfe), VECTOR_GP);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    vmcs12_set(&bench.v, FIELD_VMCS_LINK_POINTER, ~0ull);
    assert_invalid(inside(VMREAD, 0x6bfe));
    assert_invalid(inside(VMWRITE, ENCODING_EXIT_REASON));
    vmcs12_set(&bench.v, FIELD_VMCS_LINK_POINTER,
               0xfee00000); /* its memory has gone: no field is wider than it may be */
    assert_succeeds(inside(VMWRITE, ENCODING_GUEST_CS_SELECTOR));
    assert_succeeds(inside(VMREAD, ENCODING_GUEST_CS_SELECTOR));
    assert_int_equal(bench.v.gpr[GPR_RAX], 0xffff);
    bench.v.nested->inside = false;
}

static void test_the_region_keeps_what_was_written(void **state)
{
    (void)state;
    have_vmcs();
    bench.v.gpr[GPR_RAX] = 0x1111;
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_RSP));
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RSP), 0);
    bench.v.gpr[GPR_RAX] = 0x2222;
    assert_succeeds(registers(VMWRITE, ENCODING_GUEST_RSP));
    assert_succeeds(exit_with(VMXOFF));
    be_root();
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RSP), 0x1111);
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_GUEST_RSP), 0x2222);
}

/* The launch state is the VMCS's own: VMCLEAR alone ends it, of one that is current and of one that is not. */
static void test_launch_state(void **state)
{
    (void)state;
    have_vmcs();
    bench.v.nested->launched = true; /* as an entry leaves it */
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(exit_with(VMLAUNCH), 4);
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_error(exit_with(VMRESUME), 5);
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(exit_with(VMLAUNCH), 4);
    assert_succeeds(pointer(VMCLEAR, REGION_VMCS));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(exit_with(VMRESUME), 5);
    bench.v.nested->launched = true;
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_succeeds(pointer(VMCLEAR, REGION_VMCS));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(exit_with(VMRESUME), 5);
}

/* Whatever stands in a region: no field is wider than it may be, and none exists that is not offered. */
static void test_wild_region(void **state)
{
    static u8 wild[4096];
    u32 revision = NESTED_REVISION;

    (void)state;
    memset(wild, 0xff, sizeof wild);
    memcpy(wild, &revision, sizeof revision);
    write_memory(REGION_OTHER, wild, sizeof wild);
    be_root();
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    for (u32 row = 0; row < CHECK_FIELDS; row++) {
        u32 bits = check_field_bits(row);
        u64 most = bits == 64 ? ~0ull : BIT(bits) - 1;
        assert_int_equal(vmcs12_get(&bench.v, row), bench.v.nested->exists[row] ? most : 0);
    }
    assert_error(exit_with(VMRESUME), 5);
}

/* ROM is read, and never written. */
static void test_rom(void **state)
{
    static const u32 revision = NESTED_REVISION;

    (void)state;
    assert_int_equal(guest_memory_find(&bench.vm.memory, gpa(0xf0000))->kind, GUEST_REGION_ROM);
    write_memory(0xf0000, &revision, sizeof revision); /* as firmware may */
    be_root();
    assert_succeeds(pointer(VMPTRLD, 0xf0000));
    bench.v.gpr[GPR_RAX] = 1;
    assert_succeeds(registers(VMWRITE, ENCODING_VPID));
    assert_succeeds(pointer(VMCLEAR, 0xf0000));
    assert_succeeds(pointer(VMPTRLD, 0xf0000));
    assert_int_equal(vmcs12_get(&bench.v, FIELD_VPID), 0);
}

static void test_invalidation(void **state)
{
    u64 eptp = 0x1e | TABLES; /* write-back, four levels */

    (void)state;
    have_vmcs();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32) | (u32)GPR_RCX << 28);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    write_memory(OPERAND, &eptp, 8);
    bench.v.gpr[GPR_RCX] = 0;
    assert_error(exit_with(INVEPT), 28);
    bench.v.gpr[GPR_RCX] = 1;
    assert_succeeds(exit_with(INVEPT));
    eptp |= BIT(7);
    write_memory(OPERAND, &eptp, 8);
    assert_error(exit_with(INVEPT), 28);
    bench.v.gpr[GPR_RCX] = 2;
    assert_succeeds(exit_with(INVEPT));
    assert_error(exit_with(INVVPID), 28); /* bits 63:16 of the descriptor */
    eptp = 0;
    write_memory(OPERAND, &eptp, 8);
    assert_succeeds(exit_with(INVVPID));
    bench.v.gpr[GPR_RCX] = 1;
    assert_error(exit_with(INVVPID), 28); /* VPID 0 */
    bench.v.gpr[GPR_RCX] = 4;
    assert_error(exit_with(INVVPID), 28);
    assert_true(bench.v.nested->stale);
}

/* Each type of INVVPID, and what its descriptor must be. */
static void test_invvpid_types(void **state)
{
    enum { ADDRESS, CONTEXT, ALL, NOT_GLOBAL };
    static const struct {
        u64 type, vpid, linear;
        bool good;
    } rows[] = {
        {ADDRESS,        1,       0x1000,         true },
        {ADDRESS,        0xffff,  ~0ull,          true },
        {ADDRESS,        0,       0x1000,         false},
        {ADDRESS,        1,       0x800000000000, false},
        {ADDRESS,        0x10001, 0x1000,         false},
        {CONTEXT,        1,       0x800000000000, true },
        {CONTEXT,        0,       0,              false},
        {CONTEXT,        0x10000, 0,              false},
        {ALL,            0,       0x800000000000, true },
        {ALL,            BIT(63), 0,              false},
        {NOT_GLOBAL,     1,       0x800000000000, true },
        {NOT_GLOBAL,     0,       0,              false},
        {BIT(32) | ALL,  0,       0,              false},
        {NOT_GLOBAL + 1, 1,       0,              false},
    };

    (void)state;
    set_mode(true);
    have_vmcs();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_64) | (u32)GPR_RCX << 28);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        write_memory(OPERAND, &rows[i].vpid, 8);
        write_memory(OPERAND + 8, &rows[i].linear, 8);
        bench.v.gpr[GPR_RCX] = rows[i].type;
        bench.v.nested->stale = false;
        if (rows[i].good)
            assert_succeeds(exit_with(INVVPID));
        else
            assert_error(exit_with(INVVPID), 28);
        assert_int_equal(bench.v.nested->stale, rows[i].good);
    }
}

/* What IA32_VMX_EPT_VPID_CAP does not have: the instruction, or a type of it. */
static void test_invalidation_that_is_not_offered(void **state)
{
    u64 *caps = &bench.v.nested->caps.ept_vpid;

    (void)state;
    have_vmcs();
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32) | (u32)GPR_RCX << 28);
    VMCS_SET(EXIT_QUALIFICATION, MIB(4)); /* not mapped: a type that is not there does not come to its descriptor */
    bench.v.gpr[GPR_RCX] = 2;
    *caps &= ~BIT(26);
    assert_error(exit_with(INVEPT), 28);
    *caps &= ~BIT(42);
    assert_error(exit_with(INVVPID), 28);
    *caps &= ~(EPT_CAP_INVEPT | EPT_CAP_INVVPID);
    assert_faults(exit_with(INVEPT), VECTOR_UD);
    assert_faults(exit_with(INVVPID), VECTOR_UD);
}

/* An inner page at 0 by tables at `root`, which are in use. */
static u64 use_ept(u64 root)
{
    struct shadow_fault fault;
    u64 eptp = root | 6 | 3 << 3;

    for (u64 table = root; table < root + 0x4000; table += 0x1000) {
        u64 entry = table < root + 0x3000 ? (table + 0x1000) | 7 : 0x5000 | 7 | 6 << 3;
        write_memory(table, &entry, 8);
    }
    (void)shadow_pointer(&bench.v.nested->shadow, eptp);
    assert_int_equal(shadow_violation(&bench.v.nested->shadow, eptp, 0, 1, &fault), SHADOW_FILLED);
    return eptp;
}

static bool is_kept(u64 eptp)
{
    u64 root = shadow_pointer(&bench.v.nested->shadow, eptp) & ~0xfffull;
    return *(u64 *)phys_to_virt(hpa(root));
}

static enum outcome execute_invept(u64 type, u64 eptp)
{
    write_memory(OPERAND, &eptp, 8);
    VMCS_SET(EXIT_INSTRUCTION_INFO, INFO_MEMORY(SIZE_32) | (u32)GPR_RCX << 28);
    VMCS_SET(EXIT_QUALIFICATION, OPERAND);
    bench.v.gpr[GPR_RCX] = type;
    return exit_with(INVEPT);
}

static void test_invept_scopes(void **state)
{
    (void)state;
    have_vmcs();
    u64 one = use_ept(0x50000), two = use_ept(0x60000);
    assert_succeeds(execute_invept(1, 0x70000 | 6 | 3 << 3));
    assert_true(is_kept(one));
    assert_true(is_kept(two));
    assert_succeeds(execute_invept(1, two));
    assert_true(is_kept(one));
    assert_false(is_kept(two));
    assert_error(execute_invept(1, one | BIT(7)), 28);
    assert_true(is_kept(one));
    two = use_ept(0x60000);
    assert_succeeds(execute_invept(2, ~0ull)); /* its descriptor is read, and means nothing */
    assert_false(is_kept(one));
    assert_false(is_kept(two));
}

/* ---- entries ---- */

static void put(u32 row, u64 value)
{
    vmcs12_set(&bench.v, row, value);
}

/* An inner guest in 32-bit mode with flat segments, which the checker lets through. */
static void fill(void)
{
    static const u8 controls[] = {FIELD_PIN_CONTROLS, FIELD_PROC_CONTROLS, FIELD_PROC2_CONTROLS, FIELD_EXIT_CONTROLS,
                                  FIELD_ENTRY_CONTROLS};

    have_vmcs();
    for (u32 g = 0; g < VMX_GROUPS; g++)
        put(controls[g], bench.v.nested->caps.group[g].must_be_one);
    put(FIELD_VMCS_LINK_POINTER, ~0ull);
    for (u32 i = 0; i < 6; i++) {
        put(FIELD_GUEST_ES_LIMIT + i, UINT32_MAX);
        put(FIELD_GUEST_ES_ACCESS + i, i == 1 ? 0xc09b : 0xc093);
    }
    put(FIELD_GUEST_LDTR_ACCESS, 0x10000);
    put(FIELD_GUEST_TR_ACCESS, 0x8b);
    put(FIELD_GUEST_TR_LIMIT, 0x67);
    put(FIELD_GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    put(FIELD_GUEST_CR4, CR4_VMXE);
    put(FIELD_GUEST_DR7, 0x400);
    put(FIELD_GUEST_RFLAGS, RFLAGS_ONE);
    put(FIELD_HOST_CR0, CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    put(FIELD_HOST_CR3, TABLES);
    put(FIELD_HOST_CR4, CR4_VMXE | CR4_PSE);
    put(FIELD_HOST_CS_SELECTOR, 8);
    put(FIELD_HOST_SS_SELECTOR, 16);
    put(FIELD_HOST_DS_SELECTOR, 16);
    put(FIELD_HOST_TR_SELECTOR, 24);
    put(FIELD_HOST_RIP, 0x5000);
    put(FIELD_HOST_RSP, 0x6000);
}

static void test_entry_errors(void **state)
{
    (void)state;
    fill();
    assert_error(exit_with(VMRESUME), 5);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS);
    assert_error(exit_with(VMLAUNCH), 26);
    VMCS_SET(GUEST_INTERRUPTIBILITY, 0);
    bench.v.nested->launched = true;
    assert_error(exit_with(VMLAUNCH), 4);
    bench.v.nested->launched = false;
    put(FIELD_PIN_CONTROLS, 0);
    assert_error(exit_with(VMLAUNCH), 7);
    fill();
    put(FIELD_HOST_CR0, 0);
    assert_error(exit_with(VMLAUNCH), 8);
    assert_int_equal(log_count, 5);
    for (u32 i = 0; i < log_count; i++)
        assert_ptr_equal(strstr(logged[i], "vm nested name=test vcpu=0 vm"), logged[i]);
    assert_non_null(strstr(logged[4], "error=8 rule=\"bits fixed in VMX operation"));
    assert_non_null(strstr(logged[4], "field=HOST_CR0 value=0x0 sdm=\"3C 26.2.2 Checks on Host Control Registers"));
}

static void test_explain_off(void **state)
{
    (void)state;
    bench.vm.spec.explain = false;
    fill();
    assert_error(exit_with(VMRESUME), 5);
    put(FIELD_PIN_CONTROLS, 0);
    assert_error(exit_with(VMLAUNCH), 7);
    assert_int_equal(log_count, 0);
}

static char asked[32][512];
static u32 asked_count;

static bool take_line(void *context, const char *line)
{
    assert_ptr_equal(context, asked);
    assert_in_range(asked_count, 0, ARRAY_SIZE(asked) - 1);
    snprintf(asked[asked_count++], sizeof asked[0], "%s", line);
    return true;
}

static u32 ask_why(void)
{
    asked_count = 0;
    virt_vcpu_refusal(&bench.v.base, take_line, asked);
    return asked_count;
}

/* The guest hypervisor is told what the console is, of its last refusal, whatever it has done since. */
static void test_asked_why(void **state)
{
    (void)state;
    assert_int_equal(ask_why(), 0);
    fill();
    assert_error(exit_with(VMRESUME), 5);
    assert_int_equal(ask_why(), 1);
    assert_string_equal(asked[0], logged[0]);
    put(FIELD_HOST_CR0, 0);
    put(FIELD_GUEST_RFLAGS, 0);
    assert_error(exit_with(VMLAUNCH), 8);
    assert_in_range(log_count, 3, 8);
    fill();
    assert_succeeds(pointer(VMPTRLD, REGION_OTHER));
    assert_int_equal(ask_why(), log_count - 1);
    for (u32 i = 0; i < asked_count; i++)
        assert_string_equal(asked[i], logged[1 + i]);
    assert_succeeds(exit_with(VMXOFF));
    assert_int_equal(ask_why(), log_count - 1);
    nested_reset(&bench.v);
    assert_int_equal(ask_why(), 0);
    bench.v.nested = NULL;
    assert_int_equal(ask_why(), 0);
}

static void test_asked_why_of_very_much(void **state)
{
    (void)state;
    bench.vm.spec.explain = false;
    have_vmcs();
    memset(bench.v.nested->image.value, 0xff, sizeof bench.v.nested->image.value);
    assert_error(exit_with(VMLAUNCH), 7);
    assert_int_equal(log_count, 0);
    assert_int_equal(ask_why(), NESTED_MOST_RULES + 1);
    assert_non_null(strstr(asked[NESTED_MOST_RULES], "vmlaunch refused error=7 more="));
}

/* The guest goes on at its host state, with the exit in its VMCS. */
static void test_late_failure(void **state)
{
    (void)state;
    fill();
    put(FIELD_GUEST_RFLAGS, 0);
    put(FIELD_HOST_FS_SELECTOR, 16);
    put(FIELD_HOST_FS_BASE, 0x1234);
    put(FIELD_HOST_IDTR_BASE, 0x7000);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    assert_int_equal(exit_with(VMLAUNCH), OUTCOME_RESUME);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_EXIT_REASON), 0x80000021);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_EXIT_QUALIFICATION), 0);
    assert_false(bench.v.nested->launched);
    assert_int_equal(vmcs_read(GUEST_RIP), 0x5000);
    assert_int_equal(vmcs_read(GUEST_RSP), 0x6000);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE);
    assert_int_equal(vmcs_read(GUEST_CS_ACCESS), 0xc09b);
    assert_int_equal(vmcs_read(GUEST_ES_ACCESS), 0x1c093); /* selector 0 */
    assert_int_equal(vmcs_read(GUEST_FS_BASE), 0x1234);
    assert_int_equal(vmcs_read(GUEST_IDTR_BASE), 0x7000);
    assert_int_equal(vmcs_read(GUEST_IDTR_LIMIT), 0xffff);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
    assert_int_equal(vmcs_read(CR4_SHADOW), CR4_VMXE | CR4_PSE);
    assert_non_null(strstr(logged[0], "vmlaunch refused exit=33 rule="));

    fill();
    put(FIELD_VMCS_LINK_POINTER, 8);
    assert_int_equal(exit_with(VMLAUNCH), OUTCOME_RESUME);
    assert_int_equal(vmcs12_get(&bench.v, FIELD_EXIT_QUALIFICATION), 4);
}

/* ---- whatever host state the checker lets through, the guest itself can be entered with it ---- */

static u32 random_state = 1;

static u32 random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    return random_state ^= random_state << 5;
}

static u64 random_value(u64 old)
{
    switch (random_number() % 6) {
    case 0:
        return old ^ BIT(random_number() % 64);
    case 1:
        return old ^ BIT(random_number() % 24);
    case 2:
        return 0;
    case 3:
        return ~0ull << random_number() % 64;
    case 4:
        return (u64)random_number() << 32 | random_number();
    default:
        return random_number() & 0xfff8;
    }
}

static void count_guest_state(void *context, const struct check_report *report)
{
    if (check_rule_outcome(report->rule) != CHECK_FAILS_GUEST)
        return;
    print_error("%s=0x%lx: %s\n", check_field_name(report->field), report->value, check_rule_text(report->rule));
    ++*(u32 *)context;
}

/* The guest's VMCS as it is now, by the rules for our own entries. */
static u32 broken_rules(void)
{
    static struct check_image image;
    u32 broken = 0;

    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!vmcs_try_read(check_field_encoding(row), &image.value[row]))
            image.value[row] = 0;
    image.cpu = bench.v.nested->image.cpu;
    image.cpu.long_mode = true;
    image.value[FIELD_VMCS_LINK_POINTER] = ~0ull;
    image.value[FIELD_PROC2_CONTROLS] |= PROC2_UNRESTRICTED_GUEST | PROC2_EPT;
    image.value[FIELD_PROC_CONTROLS] |= PROC_SECONDARY;
    vmx_check_entry(&image, &vmx_features.caps, count_guest_state, &broken);
    return broken;
}

/* As fill() has it nothing is wrong. */
static void test_a_vmcs_that_breaks_no_rule(void **state)
{
    (void)state;
    set_mode(false);
    fill();
    assert_int_equal(exit_with(VMLAUNCH), OUTCOME_RESUME);
    assert_int_equal(entered, 1);
    vmcs12_write(&bench.v, FIELD_HOST_CR3, ENCODING_HOST_CR3, ~0ull);
    assert_error(exit_with(VMLAUNCH), 8);
    assert_int_equal(entered, 1);
}

/* Rules whose fields have not been written since the last entry are not looked at again: that finds the same. */
static void test_what_is_settled_breaks_no_rule(void **state)
{
    u32 refused = 0;

    (void)state;
    bench.vm.spec.explain = false;
    for (u32 round = 0; round < 40000; round++) {
        bool is_64 = round & 1;
        set_mode(is_64);
        memset(bench.v.nested->image.value, 0, sizeof bench.v.nested->image.value);
        fill();
        put(FIELD_EXIT_CONTROLS, vmcs12_get(&bench.v, FIELD_EXIT_CONTROLS) | (is_64 ? EXIT_HOST_ADDRESS_SPACE : 0));
        put(FIELD_HOST_CR4, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
        bench.v.nested->image.settled = 0;
        entered = 0;
        assert_int_equal(exit_with(VMLAUNCH), OUTCOME_RESUME);
        assert_int_equal(entered, 1);
        for (u32 n = 1 + random_number() % 3; n > 0; n--) {
            u32 row = random_number() % CHECK_FIELDS;
            u64 encoding = check_field_encoding(row);
            if ((encoding >> 10 & 3) != VMCS_ACCESS_CODE_ro && bench.v.nested->exists[row])
                vmcs12_write(&bench.v, row, encoding, random_value(vmcs12_get(&bench.v, row)));
        }
        struct check_image whole = bench.v.nested->image;
        whole.settled = 0;
        bool enters = vmx_check_entry(&whole, &bench.v.nested->caps, NULL, NULL).outcome == CHECK_ENTERS;
        bench.v.nested->launched = false;
        (void)exit_with(VMLAUNCH);
        assert_int_equal(entered, enters ? 2 : 1);
        refused += !enters;
    }
    assert_true(refused > 5000 && refused < 35000);
}

static void test_any_host_state(void **state)
{
    u32 taken = 0;

    (void)state;
    bench.vm.spec.explain = false;
    for (u32 round = 0; round < 20000; round++) {
        bool is_64 = round & 1;
        set_mode(is_64);
        memset(bench.v.nested->image.value, 0, sizeof bench.v.nested->image.value);
        fill();
        put(FIELD_GUEST_RFLAGS, 0);
        put(FIELD_EXIT_CONTROLS, vmcs12_get(&bench.v, FIELD_EXIT_CONTROLS) | (is_64 ? EXIT_HOST_ADDRESS_SPACE : 0) |
                                     (random_number() & 1 ? EXIT_LOAD_EFER | EXIT_LOAD_PAT : 0));
        put(FIELD_HOST_CR4, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
        put(FIELD_HOST_EFER, is_64 ? EFER_LME | EFER_LMA : 0);
        for (u32 n = random_number() % 4; n > 0; n--) {
            u32 row = random_number() % CHECK_FIELDS;
            u32 bits = check_field_bits(row);
            if ((check_field_encoding(row) >> 10 & 3) == 3 && bench.v.nested->exists[row])
                put(row, random_value(vmcs12_get(&bench.v, row)) & (bits == 64 ? ~0ull : BIT(bits) - 1));
        }
        enum outcome outcome = exit_with(VMLAUNCH);
        if (outcome != OUTCOME_RESUME) /* error 7 or 8, or a VMX abort */
            continue;
        taken++;
        if (broken_rules())
            fail_msg("round %u", round);
    }
    assert_true(taken > 5000);
}

static void test_abort(void **state)
{
    u64 entry[2] = {MSR_IA32_FS_BASE, 0};

    (void)state;
    fill();
    put(FIELD_GUEST_RFLAGS, 0);
    put(FIELD_EXIT_MSR_LOAD_COUNT, 1);
    put(FIELD_EXIT_MSR_LOAD_ADDRESS, OPERAND);
    write_memory(OPERAND, entry, sizeof entry);
    assert_int_equal(exit_with(VMLAUNCH), OUTCOME_STOP);
    assert_non_null(strstr(stopped, "VMX abort"));
    assert_int_equal(read_memory64(REGION_VMCS) >> 32, 4);
}

/* ---- what VMX operation changes elsewhere ---- */

static void test_msrs(void **state)
{
    u64 value;

    (void)state;
    assert_true(nested_read_msr(&bench.v, MSR_IA32_FEATURE_CONTROL, &value));
    assert_int_equal(value, FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE);
    assert_true(nested_read_msr(&bench.v, MSR_IA32_VMX_CR4_FIXED0, &value));
    assert_int_equal(value, CR4_VMXE);
    assert_true(nested_read_msr(&bench.v, MSR_IA32_VMX_VMFUNC, &value));
    assert_int_equal(value, bench.v.nested->caps.vmfunc);
    assert_false(nested_read_msr(&bench.v, MSR_IA32_VMX_EXIT_CTLS2, &value));
    bench.v.nested = NULL;
    assert_false(nested_read_msr(&bench.v, MSR_IA32_VMX_BASIC, &value));
}

static void test_vmcall_that_is_no_hypercall(void **state)
{
    (void)state;
    assert_faults(nested_refuse_vmcall(&bench.v), VECTOR_UD);
    be_root();
    assert_invalid(nested_refuse_vmcall(&bench.v));
    assert_succeeds(pointer(VMPTRLD, REGION_VMCS));
    assert_error(nested_refuse_vmcall(&bench.v), 1);
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3);
    assert_faults(nested_refuse_vmcall(&bench.v), VECTOR_GP);
}

static void test_init_ends_vmx_operation(void **state)
{
    (void)state;
    have_vmcs();
    nested_reset(&bench.v);
    assert_false(nested_is_on(&bench.v));
    assert_faults(exit_with(VMXOFF), VECTOR_UD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_without_the_key_all_are_undefined, set_up),
        cmocka_unit_test_setup(test_outside_vmx_operation, set_up),
        cmocka_unit_test_setup(test_vmxon, set_up),
        cmocka_unit_test_setup(test_privilege_and_modes, set_up),
        cmocka_unit_test_setup(test_pointers, set_up),
        cmocka_unit_test_setup(test_operand_that_faults, set_up),
        cmocka_unit_test_setup(test_order_of_faults, set_up),
        cmocka_unit_test_setup(test_effective_address, set_up),
        cmocka_unit_test_setup(test_fields, set_up),
        cmocka_unit_test_setup(test_shadow_vmcs_in_root_operation, set_up),
        cmocka_unit_test_setup(test_the_revision_is_read_once, set_up),
        cmocka_unit_test_setup(test_breakpoints_on_operands, set_up),
        cmocka_unit_test_setup(test_fields_of_the_linked_vmcs, set_up),
        cmocka_unit_test_setup(test_faults_at_the_linked_vmcs, set_up),
        cmocka_unit_test_setup(test_the_region_keeps_what_was_written, set_up),
        cmocka_unit_test_setup(test_launch_state, set_up),
        cmocka_unit_test_setup(test_wild_region, set_up),
        cmocka_unit_test_setup(test_rom, set_up),
        cmocka_unit_test_setup(test_invalidation, set_up),
        cmocka_unit_test_setup(test_invvpid_types, set_up),
        cmocka_unit_test_setup(test_invalidation_that_is_not_offered, set_up),
        cmocka_unit_test_setup(test_invept_scopes, set_up),
        cmocka_unit_test_setup(test_entry_errors, set_up),
        cmocka_unit_test_setup(test_explain_off, set_up),
        cmocka_unit_test_setup(test_asked_why, set_up),
        cmocka_unit_test_setup(test_asked_why_of_very_much, set_up),
        cmocka_unit_test_setup(test_late_failure, set_up),
        cmocka_unit_test_setup(test_any_host_state, set_up),
        cmocka_unit_test_setup(test_a_vmcs_that_breaks_no_rule, set_up),
        cmocka_unit_test_setup(test_what_is_settled_breaks_no_rule, set_up),
        cmocka_unit_test_setup(test_abort, set_up),
        cmocka_unit_test_setup(test_msrs, set_up),
        cmocka_unit_test_setup(test_vmcall_that_is_no_hypercall, set_up),
        cmocka_unit_test_setup(test_init_ends_vmx_operation, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
