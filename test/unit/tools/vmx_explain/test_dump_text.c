/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dumps as people paste them: spellings of names, prefixes of logs, quoted and wrapped mails, several dumps in a text,
 * what the text around tells, what is not understood.
 *
 * links: vmx/check/text.c vmx/controls.c tools/vmx_explain/words.c tools/vmx_explain/names.c tools/vmx_explain/parse.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test/fake/check_images.h"
#include "test/fake/dump_print.h"
#include "tools/vmx_explain/dump.h"

static struct words words;
static struct dump dump;

static void parse(const char *text, u32 which)
{
    words_split(&words, text, strlen(text));
    dump_parse(&dump, &words, which);
}

static u32 row_of(const char *name)
{
    bool high;

    words_split(&words, name, strlen(name));
    return dump_field_by_name(&words, 0, words.count, &high);
}

static void expect_row(const char *name, u32 row)
{
    u32 found = row_of(name);
    if (found != row)
        fail_msg("%s is %s", name, found == CHECK_FIELDS ? "no field" : check_field_name(found));
}

static void test_each_name_is_one_field(void **state)
{
    (void)state;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        expect_row(check_field_name(row), row);
    assert_int_equal(row_of("GUEST_CR5"), CHECK_FIELDS);
    assert_int_equal(row_of("VMCS"), CHECK_FIELDS);
    assert_int_equal(row_of("HOST"), CHECK_FIELDS);
}

/* The SDM's words, then the names of Linux and Xen, of HAXM and of VirtualBox. */
static void test_spellings(void **state)
{
    static const struct {
        const char *name;
        u32 row;
    } spellings[] = {
        {"Guest CR0",                                       FIELD_GUEST_CR0                   },
        {"guest_cr0",                                       FIELD_GUEST_CR0                   },
        {"VMCS_GUEST_CR0",                                  FIELD_GUEST_CR0                   },
        {"GuestCr0",                                        FIELD_GUEST_CR0                   },
        {"Guest ES access rights",                          FIELD_GUEST_ES_ACCESS             },
        {"Pin-based VM-execution controls",                 FIELD_PIN_CONTROLS                },
        {"Primary processor-based VM-execution controls",   FIELD_PROC_CONTROLS               },
        {"Secondary processor-based VM-execution controls", FIELD_PROC2_CONTROLS              },
        {"VM-exit controls",                                FIELD_EXIT_CONTROLS               },
        {"VM-entry interruption-information field",         FIELD_ENTRY_INTERRUPTION_INFO     },
        {"VM-entry exception error code",                   FIELD_ENTRY_EXCEPTION_ERROR_CODE  },
        {"Address of I/O bitmap A (full)",                  FIELD_IO_BITMAP_A                 },
        {"Address of MSR bitmaps (full)",                   FIELD_MSR_BITMAPS                 },
        {"VMCS link pointer (full)",                        FIELD_VMCS_LINK_POINTER           },
        {"Guest IA32_DEBUGCTL (full)",                      FIELD_GUEST_DEBUGCTL              },
        {"Guest interruptibility state",                    FIELD_GUEST_INTERRUPTIBILITY      },
        {"Guest pending debug exceptions",                  FIELD_GUEST_PENDING_DEBUG         },
        {"CR0 guest/host mask",                             FIELD_CR0_MASK                    },
        {"VMX-preemption timer value",                      FIELD_PREEMPTION_TIMER_VALUE      },
        {"VM-instruction error",                            FIELD_INSTRUCTION_ERROR           },
        {"PIN_BASED_VM_EXEC_CONTROL",                       FIELD_PIN_CONTROLS                },
        {"CPU_BASED_VM_EXEC_CONTROL",                       FIELD_PROC_CONTROLS               },
        {"SECONDARY_VM_EXEC_CONTROL",                       FIELD_PROC2_CONTROLS              },
        {"VM_ENTRY_INTR_INFO_FIELD",                        FIELD_ENTRY_INTERRUPTION_INFO     },
        {"VM_EXIT_MSR_STORE_ADDR",                          FIELD_EXIT_MSR_STORE_ADDRESS      },
        {"GUEST_INTERRUPTIBILITY_INFO",                     FIELD_GUEST_INTERRUPTIBILITY      },
        {"GUEST_LDTR_AR_BYTES",                             FIELD_GUEST_LDTR_ACCESS           },
        {"GUEST_INTR_STATUS",                               FIELD_GUEST_INTERRUPT_STATUS      },
        {"GUEST_PDPTR3",                                    FIELD_GUEST_PDPTE3                },
        {"HOST_IA32_SYSENTER_ESP",                          FIELD_HOST_SYSENTER_ESP           },
        {"VIRTUAL_APIC_PAGE_ADDR",                          FIELD_VIRTUAL_APIC_ADDRESS        },
        {"PAGE_FAULT_ERROR_CODE_MASK",                      FIELD_PF_ERROR_MASK               },
        {"VMX_PIN_CONTROLS",                                FIELD_PIN_CONTROLS                },
        {"VMX_PRIMARY_PROCESSOR_CONTROLS",                  FIELD_PROC_CONTROLS               },
        {"VMX_SECONDARY_PROCESSOR_CONTROLS",                FIELD_PROC2_CONTROLS              },
        {"VMX_ENTRY_INTERRUPT_INFO",                        FIELD_ENTRY_INTERRUPTION_INFO     },
        {"VM_EXIT_INFO_REASON",                             FIELD_EXIT_REASON                 },
        {"VM_EXIT_INFO_EXCEPTION_ERROR_CODE",               FIELD_EXIT_INTERRUPTION_ERROR_CODE},
        {"VMX_EPTP",                                        FIELD_EPT_POINTER                 },
        {"GUEST_PENDING_DBE",                               FIELD_GUEST_PENDING_DEBUG         },
        {"GUEST_VMCS_LINK_PTR",                             FIELD_VMCS_LINK_POINTER           },
        {"GUEST_ES_AR",                                     FIELD_GUEST_ES_ACCESS             },
        {"VMX_VMCS32_CTRL_PIN_EXEC",                        FIELD_PIN_CONTROLS                },
        {"VMX_VMCS32_CTRL_PROC_EXEC",                       FIELD_PROC_CONTROLS               },
        {"VMX_VMCS32_CTRL_PROC_EXEC2",                      FIELD_PROC2_CONTROLS              },
        {"VMX_VMCS32_CTRL_EXIT",                            FIELD_EXIT_CONTROLS               },
        {"VMX_VMCS32_CTRL_ENTRY",                           FIELD_ENTRY_CONTROLS              },
        {"VMX_VMCS32_CTRL_PAGEFAULT_ERROR_MASK",            FIELD_PF_ERROR_MASK               },
        {"VMX_VMCS32_CTRL_ENTRY_EXCEPTION_ERRCODE",         FIELD_ENTRY_EXCEPTION_ERROR_CODE  },
        {"VMX_VMCS16_GUEST_ES_SEL",                         FIELD_GUEST_ES_SELECTOR           },
        {"VMX_VMCS64_GUEST_VMCS_LINK_PTR_FULL",             FIELD_VMCS_LINK_POINTER           },
        {"VMX_VMCS32_GUEST_INT_STATE",                      FIELD_GUEST_INTERRUPTIBILITY      },
        {"VMX_VMCS16_GUEST_INTR_STATUS",                    FIELD_GUEST_INTERRUPT_STATUS      },
        {"VMX_VMCS_GUEST_PENDING_DEBUG_XCPTS",              FIELD_GUEST_PENDING_DEBUG         },
        {"VMX_VMCS_CTRL_CR0_MASK",                          FIELD_CR0_MASK                    },
        {"VMX_VMCS64_CTRL_EPTP_FULL",                       FIELD_EPT_POINTER                 },
        {"VMX_VMCS32_RO_EXIT_REASON",                       FIELD_EXIT_REASON                 },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(spellings); i++)
        if (spellings[i].row != CHECK_FIELDS)
            expect_row(spellings[i].name, spellings[i].row);
}

/* The text of an image, made again with something done to each line. */
static char *printed(const struct bench *bench, void (*print)(FILE *, const u64 *), const char *prefix, size_t width)
{
    char *plain = NULL, *text = NULL;
    size_t length;
    FILE *f = open_memstream(&plain, &length);

    print(f, bench->image.value);
    fclose(f);
    f = open_memstream(&text, &length);
    fprintf(f, "From: a person\nit fails so = 5, see below\n");
    for (char *line = strtok(plain, "\n"); line; line = strtok(NULL, "\n")) {
        size_t used = 0;
        fprintf(f, "> > %s", prefix);
        for (char *word = line; *word;) { /* a mailer breaks lines at blanks */
            size_t blanks = strspn(word, " "), letters = strcspn(word + blanks, " ");
            if (used && used + blanks + letters > width) {
                fprintf(f, "\n> > ");
                used = 0;
            }
            fprintf(f, "%.*s", (int)(blanks + letters), word);
            used += blanks + letters;
            word += blanks + letters;
        }
        fprintf(f, "\n");
    }
    fclose(f);
    free(plain);
    return text;
}

static void print_kvm_old(FILE *f, const u64 *v)
{
    print_kvm(f, v, false);
}

static void test_prefixes_and_wraps(void **state)
{
    static const char *const prefixes[] = {"",
                                           "[   33.812345] ",
                                           "[7011807.029737][T78789] kvm_intel: ",
                                           "Jun 24 17:25:51 host kernel: ",
                                           "(XEN) [2019-11-02 14:09:46] ",
                                           "(XEN) ",
                                           "2026-03-01T10:00:00.123456+01:00 host kernel: [  12.5] ",
                                           "<4>[   12.345678] ",
                                           "kernel: kvm_intel: ",
                                           "14:09:46.123456 "};
    static struct bench bench;

    (void)state;
    bench_set_up(&bench, BENCH_LONG);
    for (u32 row = 0; row < CHECK_FIELDS; row++) /* so that a value in a wrong field is seen */
        if (check_field_bits(row) == 64 && (row < FIELD_PIN_CONTROLS || row >= FIELD_CR0_MASK))
            bench.image.value[row] = 0x1000000000000 + row;
    for (u32 i = 0; i < ARRAY_SIZE(prefixes); i++) {
        for (size_t width = 30; width < 120; width += 11) {
            for (u32 kind = 0; kind < 2; kind++) {
                char *text = printed(&bench, kind ? print_xen : print_kvm_old, prefixes[i], width);
                parse(text, 1);
                if (dump.fields < 95 || dump.dumps != 1 || dump.strange_count)
                    fail_msg("prefix '%s', width %zu: %u fields, %u dumps, %u not understood:\n%s", prefixes[i], width,
                             dump.fields, dump.dumps, dump.strange_count, text);
                for (u32 row = 0; row < CHECK_FIELDS; row++)
                    if (dump.has[row] && dump.value[row] != bench.image.value[row])
                        fail_msg("prefix '%s', width %zu: %s", prefixes[i], width, check_field_name(row));
                assert_int_equal(dump.format, kind ? DUMP_XEN : DUMP_KVM);
                free(text);
            }
        }
    }
}

static void test_values(void **state)
{
    (void)state;
    parse("GUEST_CR3 = 0x12345\nHost RIP: ffff8000`00001000h\nGUEST_RSP\t0xffff_8000_0000_2000\n"
          "VMX_VMCS64_GUEST_PAT_FULL 0x60106\nVMX_VMCS64_GUEST_PAT_HIGH 0x70406\nGUEST_RIP=0x1000UL,GUEST_RFLAGS=2;",
          1);
    assert_int_equal(dump.value[FIELD_GUEST_CR3], 0x12345);
    assert_int_equal(dump.value[FIELD_HOST_RIP], 0xffff800000001000);
    assert_int_equal(dump.value[FIELD_GUEST_RSP], 0xffff800000002000);
    assert_int_equal(dump.value[FIELD_GUEST_PAT], 0x0007040600060106);
    assert_int_equal(dump.value[FIELD_GUEST_RIP], 0x1000);
    assert_int_equal(dump.value[FIELD_GUEST_RFLAGS], 2);
    assert_int_equal(dump.fields, 6);
    assert_int_equal(dump.line[FIELD_GUEST_RSP], 3);
}

static void test_encodings(void **state)
{
    (void)state;
    parse("0x6800: 0x80000031\n6802 1000\n[0x2806] = 0xd01\n2807 1\n681a 400\n1234 5\n", 1);
    assert_int_equal(dump.format, DUMP_ENCODINGS);
    assert_int_equal(dump.value[FIELD_GUEST_CR0], 0x80000031);
    assert_int_equal(dump.value[FIELD_GUEST_CR3], 0x1000);
    assert_int_equal(dump.value[FIELD_GUEST_EFER], 0x100000d01);
    assert_int_equal(dump.value[FIELD_GUEST_DR7], 0x400);
    assert_int_equal(dump.strange_count, 1);
    assert_int_equal(dump.strange[0].line, 6);
}

static void test_what_is_told_around(void **state)
{
    (void)state;
    parse("KVM: entry failed, hardware error 0x80000021\n*** Guest State ***\nCR3 = 0x1000\n", 1);
    assert_int_equal(dump.told_reason, 0x80000021);
    assert_int_equal(dump.dumps, 1);
    parse("KVM: entry failed, hardware error 0x7\nGUEST_CR3=1000\n", 1);
    assert_int_equal(dump.told_error, 7);
    parse("rootlet: vm entry name=a vcpu=0 failed=\"exit reason 33, qualification 4\" checked=\"\"\n"
          "rootlet: vm vmcs name=a vcpu=0 guest: GUEST_CR3=0x1000(PE=1) GUEST_CR0=0x21(PE NE)\n",
          1);
    assert_int_equal(dump.told_reason, 0x80000021);
    assert_int_equal(dump.told_qualification, 4);
    assert_int_equal(dump.format, DUMP_ROOTLET);
    assert_int_equal(dump.fields, 2);
    parse("VMLAUNCH failed, VM-instruction error: 8\nGUEST_CR0: 0x20\nexit reason 0x80000021\n", 1);
    assert_int_equal(dump.told_error, 8);
}

/* Its pairs look like fields, and a capability MSR's name like that of the controls. */
static void test_what_else_rootlet_prints(void **state)
{
    (void)state;
    parse("rootlet: info: vmx revision=0x2b pin=0x7f proc2=0x10ea exit=0x3fefff entry=0xd1ff\n"
          "rootlet: info: vmx vpid=1 preemption-timer=1 timer-shift=0\n"
          "rootlet: debug: vmx cap msr=0x481 name=IA32_VMX_PINBASED_CTLS value=0x0000007f00000016\n"
          "rootlet: debug: vmx cap msr=0x48b name=IA32_VMX_PROCBASED_CTLS2 value=0x0000000000000020\n"
          "Jun 24 17:25:51 host rootlet: vm vmcs name=a vcpu=0 guest: GUEST_CR3=0x1000 GUEST_CR4=0x2000\n"
          "rootlet: vm regs name=a vcpu=0 exit=33(invalid-guest-state) qualification=0x0\n",
          1);
    assert_int_equal(dump.dumps, 1);
    assert_int_equal(dump.fields, 2);
    assert_int_equal(dump.strange_count, 0);
    parse("rootlet: vm vmcs name=a vcpu=0 guest: GUEST_CR3=0x1000\nGUEST_CR4=0x2000\n", 1);
    assert_int_equal(dump.fields, 2); /* a mailer broke the line */
}

static void test_what_mailers_and_pages_do(void **state)
{
    static char clean[400];
    const char *text = "&gt; (XEN)=C2=A0 CR3 =3D 0x00000=\n00001000\nGUEST_CR0=3D0x20 &lt;b>\xc2\xa0GUEST_CR4: 2020\n";

    (void)state;
    words_split(&words, clean, words_clean(text, strlen(text), clean, sizeof clean));
    dump_parse(&dump, &words, 1);
    assert_int_equal(dump.value[FIELD_GUEST_CR0], 0x20);
    assert_int_equal(dump.value[FIELD_GUEST_CR4], 0x2020);
    assert_true(word_is(&words, 0, "CR3") && word_is(&words, 2, "0x0000000001000"));
    text = "GUEST_CR0=3D0\nGUEST_CR3 = 1\n"; /* 3D0 in hexadecimal: nothing is encoded here */
    words_split(&words, clean, words_clean(text, strlen(text), clean, sizeof clean));
    dump_parse(&dump, &words, 1);
    assert_int_equal(dump.value[FIELD_GUEST_CR0], 0x3d0);
    assert_int_equal(words_clean("abc", 3, clean, 2), 2);
}

static void test_several_dumps(void **state)
{
    const char *kvm = "*** Guest State ***\nCR3 = 0x1000\n*** Host State ***\nCR3=2000\n"
                      "*** Guest State ***\nCR3 = 0x3000\n*** Host State ***\nCR3=4000\n";
    const char *names = "GUEST_CR3=0x1000\nGUEST_CR0=0x20\nGUEST_CR3=0x2000\nGUEST_CR0=0x30\n";

    (void)state;
    parse(kvm, 1);
    assert_int_equal(dump.value[FIELD_HOST_CR3], 0x2000);
    assert_int_equal(dump.dumps, 2);
    parse(kvm, 2);
    assert_int_equal(dump.value[FIELD_GUEST_CR3], 0x3000);
    assert_int_equal(dump.value[FIELD_HOST_CR3], 0x4000);
    parse(names, 1);
    assert_int_equal(dump.value[FIELD_GUEST_CR0], 0x20);
    assert_int_equal(dump.dumps, 2);
    parse(names, 2);
    assert_int_equal(dump.value[FIELD_GUEST_CR0], 0x30);
}

static void test_what_is_not_understood(void **state)
{
    (void)state;
    parse("GUEST_CR3=0x1000\nGUEST_FOO=0x12\nGUEST_ES_SELECTOR=0x12345\n*** Guest State ***\n", 1);
    assert_int_equal(dump.strange_count, 2);
    assert_int_equal(dump.strange[0].line, 2);
    assert_int_equal(dump.strange[1].line, 3);
    assert_non_null(dump.strange[1].why);
    assert_false(dump.has[FIELD_GUEST_ES_SELECTOR]);
    parse("the quick brown fox = jumps\nover 12 dogs: 7\n", 1);
    assert_int_equal(dump.fields, 0);
    assert_int_equal(dump.format, DUMP_NONE);
}

static void test_values_that_no_field_has(void **state)
{
    (void)state;
    parse("*** Guest State ***\nEFER= 0x0000000000000d01 (effective)\nPAT = 0x7040600070406\n"
          "MSR guest autoload:\n   0: msr=0x00000600 value=0x0000000000000001\n"
          "   1: msr=0x000000c1 value=0x0000000000000002\n*** Host State ***\nEFER= 0x0000000000000d01 (autoload)\n",
          1);
    assert_false(dump.has[FIELD_GUEST_EFER]);
    assert_false(dump.has[FIELD_HOST_EFER]);
    assert_int_equal(dump.value[FIELD_ENTRY_MSR_LOAD_COUNT], 2);
    assert_int_equal(dump.msrs, 2);
    assert_int_equal(dump.msr[1].index, 0xc1);
    assert_int_equal(dump.msr[1].value, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_name_is_one_field),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_prefixes_and_wraps),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_what_is_told_around),
        cmocka_unit_test(test_what_else_rootlet_prints),
        cmocka_unit_test(test_what_mailers_and_pages_do),
        cmocka_unit_test(test_several_dumps),
        cmocka_unit_test(test_what_is_not_understood),
        cmocka_unit_test(test_values_that_no_field_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
