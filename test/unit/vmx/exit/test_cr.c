/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control and debug registers and XCR0: what the CPU refuses gets #GP and changes nothing, what it takes has the CPU's
 * effects. SDM 2B "MOV - Move to/from Control Registers", 3A 4.4.1 "PDPTE Registers", 9.8.5 "Initializing IA-32e Mode",
 * 1 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
 *
 * links: vmx/exit/cr.c vmx/caps.c vmx/exit/cpuid.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c arch/x86/xsave.c
 * kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/cr.h"
#include "vmx/report/debug.h"

#define QUALIFICATION(cr, type, gpr) ((u64)(cr) | (u64)(type) << 4 | (u64)(gpr) << 8)
#define TABLE                        0x20000u

u64 clock_tsc_hz(void)
{
    return 2000000000;
}

enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
    return OUTCOME_SKIP;
}

static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    xsave_detect();
    vmx_cpuid_build();
    vmx_cpuid_init_vcpu(&bench.v);
    return 0;
}

static enum outcome mov_to(unsigned cr, u64 value)
{
    bench.v.gpr[GPR_RDI] = value;
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(cr, 0, GPR_RDI));
    return vmx_cr_exit(&bench.v, trace_last());
}

static void assert_refused(unsigned cr, u64 value)
{
    struct fake_vmcs_copy before, after;
    u64 cr8 = bench.cr8;

    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(cr, 0, GPR_RDI));
    fake_vmcs_save(&before);
    assert_int_equal(mov_to(cr, value), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    fake_vmcs_save(&after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(bench.cr8, cr8);
}

static void use_64_bit_mode(void)
{
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) | ENTRY_IA32E_GUEST);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
}

static void write_pdptes(u64 a, u64 b, u64 c, u64 d)
{
    u64 entries[4] = {a, b, c, d};
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(TABLE), entries, sizeof entries), STATUS_OK);
}

static void test_cr0_held_bits_are_believed(void **state)
{
    (void)state;
    assert_int_equal(mov_to(0, CR0_PE | CR0_CD | CR0_NW | CR0_WP), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR0), CR0_PE | CR0_WP | CR0_ET | CR0_NE); /* caches stay on */
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_PE | CR0_WP | CR0_CD | CR0_NW | CR0_ET);
    assert_int_equal(mov_to(0, CR0_PE | CR0_NE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_PE | CR0_NE | CR0_ET);
    bench_assert_no_exception();
}

static void test_cr0_invalid_combinations(void **state)
{
    (void)state;
    assert_refused(0, CR0_PG);          /* PG without PE */
    assert_refused(0, CR0_PE | CR0_NW); /* NW without CD */
    assert_refused(0, CR0_PG | CR0_NW);
    use_64_bit_mode();
    for (unsigned bit = 32; bit < 64; bit++)
        assert_refused(0, BIT(bit) | CR0_PE | CR0_PG | CR0_NE);
    assert_refused(0, CR0_PE | CR0_NE); /* PG off in 64-bit mode */
    VMCS_SET(GUEST_CS_ACCESS, 0xc09b);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE | CR4_PCIDE);
    assert_refused(0, CR0_PE | CR0_NE); /* PG off with PCIDE on */
}

/* Outside 64-bit mode the operand has 32 bits. */
static void test_upper_half_of_a_register_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(mov_to(0, 0xffffffff00000000 | CR0_PE | CR0_CD), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_PE | CR0_CD | CR0_ET);
}

static void test_long_mode_comes_and_goes_with_paging(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    bench_set_efer(EFER_LME | EFER_NXE);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG | CR0_CD), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_EFER), EFER_LME | EFER_LMA | EFER_NXE);
    assert_true(vmcs_read(ENTRY_CONTROLS) & ENTRY_IA32E_GUEST);
    assert_true(vmcs_read(GUEST_CR0) & CR0_PG);
    assert_int_equal(bench.flushes, 1);
    assert_int_equal(mov_to(0, CR0_PE | CR0_CD), OUTCOME_SKIP); /* from compatibility mode */
    assert_int_equal(vmcs_read(GUEST_EFER), EFER_LME | EFER_NXE);
    assert_false(vmcs_read(ENTRY_CONTROLS) & ENTRY_IA32E_GUEST);
    assert_int_equal(bench.flushes, 2);
}

static void test_long_mode_has_conditions(void **state)
{
    (void)state;
    bench_set_efer(EFER_LME);
    assert_refused(0, CR0_PE | CR0_PG); /* without PAE */
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    assert_refused(0, CR0_PE | CR0_PG); /* with CS.L */
    VMCS_SET(GUEST_CS_ACCESS, 0xc09b);
    VMCS_SET(GUEST_TR_ACCESS, 0x83);
    assert_refused(0, CR0_PE | CR0_PG); /* with a 16-bit TSS */
    VMCS_SET(GUEST_TR_ACCESS, 0x8b);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG), OUTCOME_SKIP);
}

static void test_pae_paging_loads_pdptes(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_CR3, TABLE | 0x18); /* bits 4:0 are not part of the address */
    write_pdptes(0x1001, 0xfffffffffffffffe, 0x3e19, 0x00003ffffffff001);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_PDPTE0), 0x1001);
    assert_int_equal(vmcs_read(GUEST_PDPTE1), 0xfffffffffffffffe); /* not present: no bit is reserved */
    assert_int_equal(vmcs_read(GUEST_PDPTE2), 0x3e19);
    assert_int_equal(vmcs_read(GUEST_PDPTE3), 0x00003ffffffff001);
    assert_false(vmcs_read(ENTRY_CONTROLS) & ENTRY_IA32E_GUEST);
    /* CR3 loads them anew: on CPUs that insist on the exit. */
    write_pdptes(0, 0, 0, 0x5001);
    assert_int_equal(mov_to(3, TABLE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_PDPTE0), 0);
    assert_int_equal(vmcs_read(GUEST_PDPTE3), 0x5001);
}

/* So do CD and NW, as the guest has them; not in IA-32e mode, and not without a change. */
static void test_cache_bits_load_pdptes(void **state)
{
    static const u64 changes[] = {CR0_CD | CR0_NW, CR0_CD, 0};

    (void)state;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_CR3, TABLE);
    write_pdptes(0, 0, 0, 0);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG), OUTCOME_SKIP);
    for (u64 i = 0; i < ARRAY_SIZE(changes); i++) {
        write_pdptes(1, 1, 1, 0x1e7);
        assert_refused(0, CR0_PE | CR0_PG | changes[i]);
        write_pdptes(1, 1, 1, 0x5001 + i * 0x1000);
        assert_int_equal(mov_to(0, CR0_PE | CR0_PG | changes[i]), OUTCOME_SKIP);
        assert_int_equal(vmcs_read(GUEST_PDPTE3), 0x5001 + i * 0x1000);
    }
    write_pdptes(1, 1, 1, 0x1e7);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG | CR0_NE), OUTCOME_SKIP);
    assert_int_equal(mov_to(0, CR0_PE | CR0_CD), OUTCOME_SKIP); /* no paging, no PDPTEs */
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_PG | CR0_ET);
    assert_int_equal(mov_to(0, CR0_PE | CR0_PG | CR0_CD), OUTCOME_SKIP);
}

/* Each reserved bit of a present entry, in each entry; 46 address bits. */
static void test_reserved_bits_of_pdptes(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_CR3, TABLE);
    fake_cpuid_set(0x80000008, 0, (struct cpuid_result){0x302e, 0, 0, 0});
    for (unsigned bit = 1; bit < 64; bit++) {
        bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 46;
        for (unsigned entry = 0; entry < 4; entry++) {
            u64 bad = 1 | BIT(bit);
            write_pdptes(entry == 0 ? bad : 1, entry == 1 ? bad : 1, entry == 2 ? bad : 1, entry == 3 ? bad : 1);
            VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE);
            if (reserved)
                assert_refused(0, CR0_PE | CR0_PG);
            else
                assert_int_equal(mov_to(0, CR0_PE | CR0_PG), OUTCOME_SKIP);
        }
    }
}

/* Memory that does not exist reads all ones: present entries with reserved bits. */
static void test_pdptes_outside_memory(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(GUEST_CR3, 0xfffff000);
    assert_refused(0, CR0_PE | CR0_PG);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
    assert_refused(3, 0xa0000);
}

static void test_cr3(void **state)
{
    (void)state;
    assert_int_equal(mov_to(3, 0x123456789), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR3), 0x23456789);
    assert_int_equal(bench.flushes, 1);
    use_64_bit_mode();
    assert_int_equal(mov_to(3, BIT(46) - 1), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR3), BIT(46) - 1);
    for (unsigned bit = 46; bit < 64; bit++)
        assert_refused(3, BIT(bit));
    /* With PCIDE bit 63 only asks not to flush. */
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE | CR4_PCIDE);
    assert_int_equal(mov_to(3, BIT(63) | 0x5007), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR3), 0x5007);
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(3, 1, GPR_RBX));
    assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RBX], 0x5007);
}

/* Bits that the CPUID which the guest sees does not offer are reserved. */
static void test_cr4_bits_that_guests_do_not_have(void **state)
{
    u64 allowed = vmx_features.guest_cr4_allowed;

    (void)state;
    use_64_bit_mode();
    assert_false(allowed & (CR4_VMXE | CR4_SMXE | CR4_LA57 | CR4_PKE | CR4_CET | CR4_PKS));
    for (unsigned bit = 0; bit < 64; bit++)
        if (!(allowed & BIT(bit)))
            assert_refused(4, BIT(bit) | CR4_PAE);
}

static void test_cr4_follows_cpuid(void **state)
{
    struct vmx_caps all = {.cr4_fixed1 = ~0ull};
    u64 base = vmx_caps_guest_cr4(&all, 0, 0, 0);

    (void)state;
    assert_int_equal(vmx_caps_guest_cr4(&all, 0, 0, BIT(17)), base | CR4_PCIDE);
    assert_int_equal(vmx_caps_guest_cr4(&all, 0, 0, BIT(26)), base | CR4_OSXSAVE);
    assert_int_equal(vmx_caps_guest_cr4(&all, BIT(0), 0, 0), base | CR4_FSGSBASE);
    assert_int_equal(vmx_caps_guest_cr4(&all, BIT(7), 0, 0), base | CR4_SMEP);
    assert_int_equal(vmx_caps_guest_cr4(&all, BIT(20), 0, 0), base | CR4_SMAP);
    assert_int_equal(vmx_caps_guest_cr4(&all, 0, BIT(2), 0), base | CR4_UMIP);
    assert_int_equal(base & (CR4_PCIDE | CR4_OSXSAVE | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP | CR4_UMIP), 0);
    all.cr4_fixed1 = 0x27ff; /* VMX operation has the last word */
    assert_int_equal(vmx_caps_guest_cr4(&all, ~0u, ~0u, ~0u) & ~0x27ffull, 0);
}

/* The guest sees what it wrote; the CPU's own bit, where the host has it, stays set: a machine check is the host's. */
static void test_cr4_mce_is_only_believed(void **state)
{
    u64 fixed0 = vmx_features.caps.cr4_fixed0;

    (void)state;
    assert_true(vmx_features.guest_cr4_allowed & CR4_MCE);
    use_64_bit_mode();
    vmx_features.caps.cr4_fixed0 = fixed0 | CR4_MCE; /* as virt_init() finds the host's CR4 */
    assert_int_equal(mov_to(4, CR4_PAE | CR4_MCE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR4), CR4_VMXE | CR4_PAE | CR4_MCE);
    assert_int_equal(vmcs_read(CR4_SHADOW), CR4_PAE | CR4_MCE);
    assert_int_equal(mov_to(4, CR4_PAE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR4), CR4_VMXE | CR4_PAE | CR4_MCE);
    assert_int_equal(vmcs_read(CR4_SHADOW), CR4_PAE);
    vmx_features.caps.cr4_fixed0 = fixed0;
}

static void test_cr4_osxsave_shows_in_cpuid(void **state)
{
    (void)state;
    use_64_bit_mode();
    assert_int_equal(mov_to(4, CR4_PAE | CR4_OSXSAVE | CR4_OSFXSR), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR4), CR4_VMXE | CR4_PAE | CR4_OSXSAVE | CR4_OSFXSR);
    assert_int_equal(vmcs_read(CR4_SHADOW), CR4_PAE | CR4_OSXSAVE | CR4_OSFXSR);
    bench.v.gpr[GPR_RAX] = 1;
    assert_int_equal(vmx_cpuid_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_true(bench.v.gpr[GPR_RCX] & BIT(27));
    assert_int_equal(mov_to(4, CR4_PAE), OUTCOME_SKIP);
    bench.v.gpr[GPR_RAX] = 1;
    assert_int_equal(vmx_cpuid_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_false(bench.v.gpr[GPR_RCX] & BIT(27));
}

static void test_cr4_invalid_combinations(void **state)
{
    (void)state;
    assert_refused(4, CR4_OSXSAVE | CR4_PCIDE); /* PCIDE outside IA-32e mode */
    use_64_bit_mode();
    assert_refused(4, CR4_OSXSAVE); /* PAE off in IA-32e mode */
    VMCS_SET(GUEST_CR3, 0x1007);
    assert_refused(4, CR4_OSXSAVE | CR4_PAE | CR4_PCIDE); /* CR3 has a PCID already */
    VMCS_SET(GUEST_CR3, 0x1000);
    assert_int_equal(mov_to(4, CR4_OSXSAVE | CR4_PAE | CR4_PCIDE), OUTCOME_SKIP);
    assert_int_equal(bench.flushes, 1);
    /* PAE comes on while paging is on: PDPTEs are loaded, and must be good. */
    set_up(NULL);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
    VMCS_SET(GUEST_CR3, TABLE);
    write_pdptes(1, 1, 1, 0x1e7);
    assert_refused(4, CR4_OSXSAVE | CR4_PAE);
    write_pdptes(1, 1, 1, 0x7001);
    assert_int_equal(mov_to(4, CR4_OSXSAVE | CR4_PAE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_PDPTE3), 0x7001);
}

static void test_cr8(void **state)
{
    (void)state;
    use_64_bit_mode();
    for (u64 value = 0; value < 16; value++) {
        assert_int_equal(mov_to(8, value), OUTCOME_SKIP);
        VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(8, 1, GPR_RBX));
        assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
        assert_int_equal(bench.v.gpr[GPR_RBX], value);
    }
    for (unsigned bit = 4; bit < 64; bit++)
        assert_refused(8, BIT(bit));
}

static void test_rsp_as_operand(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RSP, CR0_PE | CR0_CD);
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(0, 0, GPR_RSP));
    assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_PE | CR0_CD | CR0_ET);
}

static void test_clts_and_lmsw(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE | CR0_TS | CR0_WP);
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(0, 2, 0));
    assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR0), CR0_PE | CR0_NE | CR0_WP);
    /* LMSW sets PE, MP, EM, TS from the source; it clears all of them but PE; the rest stays as the guest sees it. */
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET | CR0_CD);
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(0, 3, 0) | 0xfff6ull << 16);
    assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR0), CR0_PE | CR0_NE | CR0_WP | CR0_MP | CR0_EM);
    assert_int_equal(vmcs_read(CR0_SHADOW) & (CR0_CD | CR0_NE), CR0_CD);
    VMCS_SET(EXIT_QUALIFICATION, QUALIFICATION(0, 3, 0));
    assert_int_equal(vmx_cr_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_CR0), CR0_PE | CR0_NE | CR0_WP);
}

static enum outcome xsetbv(u32 index, u64 value)
{
    bench.v.gpr[GPR_RCX] = 0xdead00000000 | index;
    bench.v.gpr[GPR_RAX] = 0xdead00000000 | (u32)value;
    bench.v.gpr[GPR_RDX] = 0xdead00000000 | value >> 32;
    return vmx_xsetbv_exit(&bench.v, trace_last());
}

/* SDM 1 13.3, over every combination of the bits that exist: x87 always, AVX needs SSE, AVX-512 comes whole and needs
 * AVX. */
static void test_xcr0_over_all_combinations(void **state)
{
    u64 supported = xsave_supported_mask();

    (void)state;
    assert_int_equal(supported, 0x2e7); /* no MPX */
    for (u64 value = 0; value < 0x1000; value++) {
        bool valid = !(value & ~supported) && (value & 1);
        valid = valid && (!(value & 4) || (value & 2));
        valid = valid && ((value & 0xe0) == 0 || ((value & 0xe0) == 0xe0 && (value & 4)));
        fake_cpu.xcr0 = 1;
        assert_int_equal(xsetbv(0, value), valid ? OUTCOME_SKIP : OUTCOME_RESUME);
        assert_int_equal(fake_cpu.xcr0, valid ? value : 1);
        if (!valid)
            bench_assert_exception(VECTOR_GP, 0);
        bench_assert_no_exception();
    }
    for (unsigned bit = 12; bit < 64; bit++) {
        assert_int_equal(xsetbv(0, 7 | BIT(bit)), OUTCOME_RESUME);
        bench_assert_exception(VECTOR_GP, 0);
    }
    assert_int_equal(xsetbv(1, 7), OUTCOME_RESUME); /* no such register */
    bench_assert_exception(VECTOR_GP, 0);
}

#define TO_DR(dr, gpr)   ((u64)(dr) | (u64)(gpr) << 8)
#define FROM_DR(dr, gpr) (TO_DR(dr, gpr) | 1u << 4)

static enum outcome mov_dr(u64 qualification)
{
    VMCS_SET(EXIT_QUALIFICATION, qualification);
    return vmx_dr_exit(&bench.v, trace_last());
}

/* They are memory until a breakpoint is enabled; then all have what the guest wrote, and accesses exit no longer. */
static void test_debug_registers(void **state)
{
    (void)state;
    bench.v.mmio[3].cs_access = 0xc09b;
    for (u32 dr = 0; dr < 4; dr++) {
        bench.v.gpr[GPR_RCX] = 0xffffffff00000010 + dr;
        assert_int_equal(mov_dr(TO_DR(dr, GPR_RCX)), OUTCOME_SKIP);
        assert_int_equal(mov_dr(FROM_DR(dr, GPR_RDX)), OUTCOME_SKIP);
        assert_int_equal(bench.v.gpr[GPR_RDX], 0x10 + dr);
    }
    bench.v.gpr[GPR_RCX] = 0xffffffff;
    assert_int_equal(mov_dr(TO_DR(6, GPR_RCX)), OUTCOME_SKIP);
    assert_int_equal(bench.v.dr6, 0xffffeff0 | 0xf);
    bench.v.gpr[GPR_RCX] = 0xffff0300;
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_DR7), 0xffff0700);
    assert_int_equal(mov_dr(FROM_DR(5, GPR_RSP)), OUTCOME_SKIP); /* DR5 is DR7 */
    assert_int_equal(vmcs_read(GUEST_RSP), 0xffff0700);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    assert_int_equal(fake_cpu.dr0, 0);
    assert_false(bench.v.debug_used);
    assert_int_equal(bench.v.end_flags, VMX_END_FLAGS);

    bench.v.gpr[GPR_RCX] = 1;
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_RESUME);
    assert_int_equal(fake_cpu.dr0, 0x10);
    assert_int_equal(fake_cpu.dr1, 0x11);
    assert_int_equal(fake_cpu.dr2, 0x12);
    assert_int_equal(fake_cpu.dr3, 0x13);
    assert_int_equal(fake_cpu.dr6, 0xffffefff);
    assert_false(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    assert_true(bench.v.debug_used);
    assert_int_equal(bench.v.end_flags, VMX_END_FLAGS | RFLAGS_ONE);
    assert_int_equal(bench.v.mmio[3].cs_access, 0); /* its shortcut would not look for breakpoints */
}

/* The guest has the CPU's registers, but in this VMCS MOV DR exits still: what is in memory is old. */
static void test_debug_registers_that_exit_still(void **state)
{
    static const u64 accesses[] = {FROM_DR(0, GPR_RDX), TO_DR(1, GPR_RDX), TO_DR(7, GPR_RDX)};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(accesses); i++) {
        bench.v.debug_used = true;
        bench.v.dr[0] = 0x1000;
        fake_cpu.dr0 = 0x2000;
        bench.v.gpr[GPR_RDX] = 1;
        VMCS_SET(PROC_CONTROLS, PROC_MOV_DR_EXITING);
        assert_int_equal(mov_dr(accesses[i]), OUTCOME_RESUME);
        assert_int_equal(vmcs_read(PROC_CONTROLS), 0);
        assert_int_equal(bench.v.gpr[GPR_RDX], 1);
        assert_int_equal(fake_cpu.dr0, 0x2000);
    }
}

/* The exit comes before these checks: SDM 3C 25.1.3. */
static void test_debug_registers_refuse(void **state)
{
    (void)state;
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3);
    assert_int_equal(mov_dr(FROM_DR(0, GPR_RDX)), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    VMCS_SET(GUEST_CR4, CR4_DE);
    assert_int_equal(mov_dr(FROM_DR(4, GPR_RDX)), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_UD, 0);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    bench_set_efer(EFER_LME | EFER_LMA);
    bench.v.gpr[GPR_RCX] = BIT(32);
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_false(bench.v.debug_used);
    bench.v.gpr[GPR_RCX] = BIT(13); /* GD: the next MOV DR is the CPU's to refuse */
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_RESUME);
    bench_assert_no_exception();
    assert_true(bench.v.debug_used);
}

/* Unless a debugger uses them. */
static void test_debug_registers_of_a_debugger(void **state)
{
    static struct vmx_debug debug = {.owns_registers = true};

    (void)state;
    bench.v.debug = &debug;
    bench.v.gpr[GPR_RCX] = 1;
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_SKIP);
    assert_false(bench.v.debug_used);
    debug.owns_registers = false;
    assert_int_equal(mov_dr(TO_DR(7, GPR_RCX)), OUTCOME_RESUME);
    assert_true(bench.v.debug_used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_cr0_held_bits_are_believed, set_up),
        cmocka_unit_test_setup(test_cr0_invalid_combinations, set_up),
        cmocka_unit_test_setup(test_upper_half_of_a_register_does_not_count, set_up),
        cmocka_unit_test_setup(test_long_mode_comes_and_goes_with_paging, set_up),
        cmocka_unit_test_setup(test_long_mode_has_conditions, set_up),
        cmocka_unit_test_setup(test_pae_paging_loads_pdptes, set_up),
        cmocka_unit_test_setup(test_cache_bits_load_pdptes, set_up),
        cmocka_unit_test_setup(test_reserved_bits_of_pdptes, set_up),
        cmocka_unit_test_setup(test_pdptes_outside_memory, set_up),
        cmocka_unit_test_setup(test_cr3, set_up),
        cmocka_unit_test_setup(test_cr4_bits_that_guests_do_not_have, set_up),
        cmocka_unit_test_setup(test_cr4_follows_cpuid, set_up),
        cmocka_unit_test_setup(test_cr4_mce_is_only_believed, set_up),
        cmocka_unit_test_setup(test_cr4_osxsave_shows_in_cpuid, set_up),
        cmocka_unit_test_setup(test_cr4_invalid_combinations, set_up),
        cmocka_unit_test_setup(test_cr8, set_up),
        cmocka_unit_test_setup(test_rsp_as_operand, set_up),
        cmocka_unit_test_setup(test_clts_and_lmsw, set_up),
        cmocka_unit_test_setup(test_xcr0_over_all_combinations, set_up),
        cmocka_unit_test_setup(test_debug_registers, set_up),
        cmocka_unit_test_setup(test_debug_registers_that_exit_still, set_up),
        cmocka_unit_test_setup(test_debug_registers_refuse, set_up),
        cmocka_unit_test_setup(test_debug_registers_of_a_debugger, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
