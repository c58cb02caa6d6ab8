/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of VMCS fields against the SDM's rules of encoding, and a sample of its rows against Appendix B.
 * SDM 3C 24.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields", 3D Appendix B "Field Encoding in VMCS".
 *
 * links: test/fake/vmcs.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test/fake/vmcs.h"

enum { BITS_16 = 16, BITS_32 = 32, BITS_64 = 64, BITS_nat = 0 };
enum { ACCESS_rw, ACCESS_ro };

#define ROW(name, code, width, access) {#name, code, BITS_##width, ACCESS_##access},
static const struct {
    const char *name;
    u32 encoding;
    u32 bits;
    u32 access;
} fields[] = {VMCS_FIELDS(ROW)};

#define COUNT (sizeof fields / sizeof fields[0])

static void test_encodings(void **state)
{
    static const u32 widths[] = {BITS_16, BITS_64, BITS_32, BITS_nat};

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        u32 e = fields[i].encoding;
        assert_int_equal(e & ~0x6fffu, 0); /* bit 12 and those above 14 are reserved */
        assert_int_equal(e & 1, 0);        /* whole fields only: no "high" accesses */
        assert_int_equal(fields[i].bits, widths[e >> 13 & 3]);
        assert_int_equal(fields[i].access, (e >> 10 & 3) == 1 ? ACCESS_ro : ACCESS_rw);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(fields[k].encoding, e);
    }
}

/* The type of a field (bits 11:10) and its name tell the same: guest state, host state, or neither. */
static void test_names_agree_with_the_area(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        u32 type = fields[i].encoding >> 10 & 3;
        bool host = fields[i].name[0] == 'H' && fields[i].name[1] == 'O';
        bool guest = fields[i].name[0] == 'G' && fields[i].name[1] == 'U' && fields[i].access == ACCESS_rw;
        assert_int_equal(host, type == 3);
        if (guest)
            assert_int_equal(type, 2);
    }
}

static void test_sample_of_appendix_b(void **state)
{
    (void)state;
    assert_int_equal(GUEST_TR_SELECTOR.encoding, 0x080e);
    assert_int_equal(HOST_TR_SELECTOR.encoding, 0x0c0c);
    assert_int_equal(MSR_BITMAPS.encoding, 0x2004);
    assert_int_equal(TSC_OFFSET.encoding, 0x2010);
    assert_int_equal(EPT_POINTER.encoding, 0x201a);
    assert_int_equal(GUEST_PHYSICAL_ADDRESS.encoding, 0x2400);
    assert_int_equal(VMCS_LINK_POINTER.encoding, 0x2800);
    assert_int_equal(GUEST_EFER.encoding, 0x2806);
    assert_int_equal(GUEST_PDPTE3.encoding, 0x2810);
    assert_int_equal(HOST_EFER.encoding, 0x2c02);
    assert_int_equal(PIN_CONTROLS.encoding, 0x4000);
    assert_int_equal(PROC_CONTROLS.encoding, 0x4002);
    assert_int_equal(EXCEPTION_BITMAP.encoding, 0x4004);
    assert_int_equal(EXIT_CONTROLS.encoding, 0x400c);
    assert_int_equal(ENTRY_CONTROLS.encoding, 0x4012);
    assert_int_equal(ENTRY_INTERRUPTION_INFO.encoding, 0x4016);
    assert_int_equal(ENTRY_EXCEPTION_ERROR_CODE.encoding, 0x4018);
    assert_int_equal(ENTRY_INSTRUCTION_LENGTH.encoding, 0x401a);
    assert_int_equal(PROC2_CONTROLS.encoding, 0x401e);
    assert_int_equal(EXIT_REASON.encoding, 0x4402);
    assert_int_equal(EXIT_INTERRUPTION_INFO.encoding, 0x4404);
    assert_int_equal(IDT_VECTORING_INFO.encoding, 0x4408);
    assert_int_equal(EXIT_INSTRUCTION_LENGTH.encoding, 0x440c);
    assert_int_equal(GUEST_INTERRUPTIBILITY.encoding, 0x4824);
    assert_int_equal(PREEMPTION_TIMER_VALUE.encoding, 0x482e);
    assert_int_equal(CR4_SHADOW.encoding, 0x6006);
    assert_int_equal(EXIT_QUALIFICATION.encoding, 0x6400);
    assert_int_equal(GUEST_LINEAR_ADDRESS.encoding, 0x640a);
    assert_int_equal(GUEST_CR4.encoding, 0x6804);
    assert_int_equal(GUEST_RSP.encoding, 0x681c);
    assert_int_equal(GUEST_RFLAGS.encoding, 0x6820);
    assert_int_equal(HOST_RSP.encoding, 0x6c14);
    assert_int_equal(HOST_RIP.encoding, 0x6c16);
}

static void test_reads_and_writes_have_the_width(void **state)
{
    (void)state;
    fake_vmcs_reset();
    assert_int_equal(sizeof vmcs_read(VPID), 2);
    assert_int_equal(sizeof vmcs_read(EXIT_REASON), 4);
    assert_int_equal(sizeof vmcs_read(TSC_OFFSET), 8);
    assert_int_equal(sizeof vmcs_read(GUEST_RIP), 8);
    vmcs_write(VPID, 0xabcd);
    vmcs_write(TSC_OFFSET, 0x123456789abcdef0);
    vmcs_write(GUEST_CS_LIMIT, 0xffffffff);
    vmcs_write(GUEST_RIP, ~0ull);
    assert_int_equal(vmcs_read(VPID), 0xabcd);
    assert_int_equal(vmcs_read(TSC_OFFSET), 0x123456789abcdef0);
    assert_int_equal(vmcs_read(GUEST_CS_LIMIT), 0xffffffff);
    assert_int_equal(vmcs_read(GUEST_RIP), ~0ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_names_agree_with_the_area),
        cmocka_unit_test(test_sample_of_appendix_b),
        cmocka_unit_test(test_reads_and_writes_have_the_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
