/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Module lines and the hypervisor's own line: what is accepted, and what each refusal says.
 * links: kernel/vm/spec.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/lib/addr.h"
#include "kernel/vm/spec.h"

static struct vm_spec spec;
static struct host_options options;
static struct refusal why;

static void accept(const char *line)
{
    why.text[0] = 0;
    if (vm_spec_parse(line, &spec, &why) != STATUS_OK)
        fail_msg("'%s' refused: %s", line, why.text);
}

static void refuses(const char *line, const char *text)
{
    why.text[0] = 0;
    if (vm_spec_parse(line, &spec, &why) != STATUS_INVALID)
        fail_msg("'%s' accepted", line);
    if (!strstr(why.text, text))
        fail_msg("'%s' refused with '%s', not '%s'", line, why.text, text);
}

static void test_defaults(void **state)
{
    (void)state;
    accept("vm=hello");
    assert_string_equal(spec.name, "hello");
    assert_int_equal(spec.role, VM_ROLE_BOOT);
    assert_int_equal(spec.kind, IMAGE_AUTO);
    assert_int_equal(spec.mem_bytes, MIB(8));
    assert_int_equal(spec.cpus, 1);
    assert_int_equal(spec.weight, 100);
    assert_int_equal(spec.cap_percent, 0);
    assert_true(spec.affinity == ~0ull);
    assert_int_equal(spec.limit_ms, VM_LIMIT_NONE);
    assert_int_equal(spec.dump, VM_DUMP_NONE);
    assert_false(spec.stealth);
    assert_false(spec.nested);
    assert_true(spec.explain);
    assert_int_equal(spec.apicv, VM_APICV_AUTO);
    assert_int_equal(spec.restart, VM_RESTART_NEVER);
    assert_int_equal(spec.restarts, 0);
    assert_int_equal(spec.watchdog_ms, 0);
    assert_string_equal(spec.guest_command_line, "");
}

static void test_restart_and_watchdog(void **state)
{
    (void)state;
    accept("vm=a restart=always restarts=4294967295 watchdog=4294967295");
    assert_int_equal(spec.restart, VM_RESTART_ALWAYS);
    assert_int_equal(spec.restarts, UINT32_MAX);
    assert_int_equal(spec.watchdog_ms, UINT32_MAX);
    accept("vm=a restarts=1 restart=on-failure watchdog=1");
    assert_int_equal(spec.restart, VM_RESTART_ON_FAILURE);
    assert_int_equal(spec.restarts, 1);
    accept("vm=a restart=never");
    refuses("vm=a restart=on", "restart=on is not accepted; restart= takes never, on-failure or always");
    refuses("vm=a restart=always restarts=0", "restarts= takes 1 to 4294967295 (how often at most)");
    refuses("vm=a restarts=3", "restarts= without a restart; give restart=on-failure or restart=always");
    refuses("vm=a restart=never restarts=3", "restarts= without a restart");
    refuses("vm=a watchdog=0", "watchdog= takes 1 to 4294967295 (run time in ms)");
    refuses("vm=a watchdog=1s", "watchdog= takes");
}

static void test_snapshot_at(void **state)
{
    static const char accepted[] =
        "snapshot-at= takes a hypercall, by name or number, that goes on (not exit, snapshot, restore)";
    static const char *const bad[] = {"vm=a snapshot-at=exit",        "vm=a snapshot-at=5", "vm=a snapshot-at=8",
                                      "vm=a snapshot-at=restore",     "vm=a snapshot-at=",  "vm=a snapshot-at=x",
                                      "vm=a snapshot-at=0x100000000", "vm=a snapshot-at=-1"};

    (void)state;
    accept("vm=a");
    assert_false(spec.has_snapshot_at);
    accept("vm=a snapshot-at=version");
    assert_true(spec.has_snapshot_at);
    assert_int_equal(spec.snapshot_at, 0);
    accept("vm=a snapshot-at=start-vcpu");
    assert_int_equal(spec.snapshot_at, 7);
    accept("vm=a snapshot-at=refusal");
    assert_int_equal(spec.snapshot_at, 10);
    accept("vm=a snapshot-at=3");
    assert_int_equal(spec.snapshot_at, 3);
    accept("vm=a snapshot-at=0xffffffff");
    assert_int_equal(spec.snapshot_at, UINT32_MAX);
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
        refuses(bad[i], accepted);
    refuses("vm=a snapshot-at=clock stealth=on", "stealth=on leaves no hypercalls for snapshot-at=");
    refuses("vm=a stealth=on snapshot-at=clock", "stealth=on leaves no hypercalls for snapshot-at=");
}

static void test_amended(void **state)
{
    (void)state;
    accept("vm=a mem=16M weight=7 restart=always -- one");
    assert_int_equal(vm_spec_amend("mem=32M restarts=2", &spec, &why), STATUS_OK);
    assert_int_equal(spec.mem_bytes, MIB(32));
    assert_int_equal(spec.weight, 7);
    assert_int_equal(spec.restarts, 2);
    assert_string_equal(spec.guest_command_line, "one");
    assert_int_equal(vm_spec_amend(" weight=8 -- two words", &spec, &why), STATUS_OK);
    assert_int_equal(spec.weight, 8);
    assert_string_equal(spec.guest_command_line, "two words");
    assert_int_equal(vm_spec_amend("", &spec, &why), STATUS_OK);
    assert_int_equal(vm_spec_amend("vm=b", &spec, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "vm= and role= belong on module lines"));
    assert_int_equal(vm_spec_amend("role=module", &spec, &why), STATUS_INVALID);
    assert_int_equal(vm_spec_amend("mem=1", &spec, &why), STATUS_INVALID);
    assert_int_equal(vm_spec_amend("quiet", &spec, &why), STATUS_INVALID);
}

static void test_set(void **state)
{
    (void)state;
    accept("vm=a cap=10 limit=5");
    assert_int_equal(vm_spec_set("weight", "200", &spec, &why), STATUS_OK);
    assert_int_equal(vm_spec_set("affinity", "1-2", &spec, &why), STATUS_OK);
    assert_int_equal(vm_spec_set("cap", "50", &spec, &why), STATUS_OK);
    assert_int_equal(vm_spec_set("limit", "1000", &spec, &why), STATUS_OK);
    assert_int_equal(spec.weight, 200);
    assert_int_equal(spec.affinity, 6);
    assert_int_equal(spec.cap_percent, 50);
    assert_int_equal(spec.limit_ms, 1000);
    assert_int_equal(vm_spec_set("cap", "none", &spec, &why), STATUS_OK);
    assert_int_equal(vm_spec_set("limit", "none", &spec, &why), STATUS_OK);
    assert_int_equal(spec.cap_percent, 0);
    assert_int_equal(spec.limit_ms, VM_LIMIT_NONE);
    assert_int_equal(vm_spec_set("weight", "none", &spec, &why), STATUS_INVALID);
    assert_string_equal(why.text, "weight=none is not accepted; weight takes 1 to 10000");
    assert_int_equal(vm_spec_set("cap", "1601", &spec, &why), STATUS_INVALID);
    assert_int_equal(vm_spec_set("mem", "8M", &spec, &why), STATUS_INVALID);
    assert_string_equal(why.text, "'mem' cannot be changed; weight, cap, affinity and limit can");
    assert_int_equal(spec.weight, 200);
    assert_true(vm_spec_is_name("a.B_9-"));
    assert_false(vm_spec_is_name("") || vm_spec_is_name("a b") || vm_spec_is_name("abcdefghijklmnopqrstuvwxyz012345"));
}

static void test_every_key(void **state)
{
    (void)state;
    accept("\t kind=multiboot2  mem=256M\tvm=A.b_c-9 cpus=16 weight=10000 cap=1600 affinity=0-1,3,63 limit=2500 "
           "dump=screen stealth=on apicv=on -- console=ttyS0 vm=x  y ");
    assert_string_equal(spec.name, "A.b_c-9");
    assert_int_equal(spec.kind, IMAGE_MULTIBOOT2);
    assert_int_equal(spec.mem_bytes, MIB(256));
    assert_int_equal(spec.cpus, 16);
    assert_int_equal(spec.weight, 10000);
    assert_int_equal(spec.cap_percent, 1600);
    assert_true(spec.affinity == 0x800000000000000bull);
    assert_int_equal(spec.limit_ms, 2500);
    assert_int_equal(spec.dump, VM_DUMP_SCREEN);
    assert_true(spec.stealth);
    assert_int_equal(spec.apicv, VM_APICV_ON);
    assert_string_equal(spec.guest_command_line, "console=ttyS0 vm=x  y ");
    accept("vm=a nested=on explain=off");
    assert_true(spec.nested);
    assert_false(spec.explain);
    accept("vm=a kind=flat16 dump=regs stealth=off apicv=off");
    assert_int_equal(spec.kind, IMAGE_FLAT16);
    assert_int_equal(spec.dump, VM_DUMP_REGS);
    assert_int_equal(spec.apicv, VM_APICV_OFF);
    assert_false(spec.stealth);
    accept("vm=a dump=vmcs apicv=auto");
    assert_int_equal(spec.apicv, VM_APICV_AUTO);
    assert_int_equal(spec.dump, VM_DUMP_VMCS);
    accept("vm=a kind=multiboot dump=none weight=1 cap=1 limit=1 cpus=1 affinity=5");
    assert_int_equal(spec.kind, IMAGE_MULTIBOOT);
    assert_true(spec.affinity == 1u << 5);
}

static void test_guest_command_line(void **state)
{
    (void)state;
    accept("vm=a --");
    assert_string_equal(spec.guest_command_line, "");
    accept("vm=a -- ");
    assert_string_equal(spec.guest_command_line, "");
    accept("vm=a\t--\t-- b");
    assert_string_equal(spec.guest_command_line, "-- b");
    refuses("vm=a --x", "'--x' is not of the form key=value");
    refuses("-- vm=a", "has no vm=<name>");
}

static void test_sizes(void **state)
{
    (void)state;
    accept("vm=a mem=1M");
    assert_int_equal(spec.mem_bytes, MIB(1));
    accept("vm=a mem=64G");
    assert_true(spec.mem_bytes == GIB(64));
    accept("vm=a mem=1028k");
    assert_int_equal(spec.mem_bytes, KIB(1028));
    accept("vm=a mem=0x200000");
    assert_int_equal(spec.mem_bytes, MIB(2));
    static const char *const bad[] = {
        "",
        "K",
        "M",
        "0",
        "0M",
        "640K", /* a PC of 640 KiB is mem=1M: the hole counts */
        "1023K",
        "65G",
        "64.5G",
        "-8M",
        "+8M",
        "8MB",
        "8MM",
        "8 M",
        "8T",
        "1025K",
        "1048577",
        "1e9",
        "0x",
        "M8",
        "18446744073709551616",
        "18014398509481985K",
        "17179869185G",
        "68719476737",
    };
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        char line[64];
        snprintf(line, sizeof line, "vm=a mem=%s", bad[i]);
        refuses(line, "mem= takes 1M (with 640K of RAM) to 64G, a multiple of 4K");
        assert_string_equal(spec.name, "a");
    }
}

static void test_ranges(void **state)
{
    static const struct {
        const char *line, *text;
    } bad[] = {
        {"vm=a cpus=0",                         "cpus=0 is not accepted; cpus= takes 1 to 16"                  },
        {"vm=a cpus=17",                        "cpus= takes 1 to 16"                                          },
        {"vm=a cpus=4294967297",                "cpus= takes 1 to 16"                                          },
        {"vm=a cpus=-1",                        "cpus= takes"                                                  },
        {"vm=a cpus=2x",                        "cpus= takes"                                                  },
        {"vm=a cpus=",                          "cpus= takes"                                                  },
        {"vm=a weight=0",                       "weight= takes 1 to 10000"                                     },
        {"vm=a weight=10001",                   "weight= takes"                                                },
        {"vm=a cap=0",                          "cap= takes 1 to 1600"                                         },
        {"vm=a cap=1601",                       "cap= takes"                                                   },
        {"vm=a limit=0",                        "limit= takes 1 to 4294967295"                                 },
        {"vm=a limit=4294967296",               "limit= takes"                                                 },
        {"vm=a affinity=64",                    "affinity= takes a list of CPUs from 0 to 63"                  },
        {"vm=a affinity=",                      "affinity= takes"                                              },
        {"vm=a affinity=1,",                    "affinity= takes"                                              },
        {"vm=a affinity=,1",                    "affinity= takes"                                              },
        {"vm=a affinity=3-1",                   "affinity= takes"                                              },
        {"vm=a affinity=1-",                    "affinity= takes"                                              },
        {"vm=a affinity=-1",                    "affinity= takes"                                              },
        {"vm=a affinity=1-2-3",                 "affinity= takes"                                              },
        {"vm=a affinity=0-64",                  "affinity= takes"                                              },
        {"vm=a dump=all",                       "dump= takes none, regs, screen or vmcs"                       },
        {"vm=a stealth=yes",                    "stealth= takes on or off"                                     },
        {"vm=a nested=yes",                     "nested= takes on or off"                                      },
        {"vm=a explain=",                       "explain= takes on or off"                                     },
        {"vm=a stealth=",                       "stealth= takes on or off"                                     },
        {"vm=a apicv=yes",                      "apicv= takes auto, on or off"                                 },
        {"vm=a kind=multiboot3",                "kind= takes auto, flat16, multiboot, multiboot2, linux or pvh"},
        {"vm=a role=disk",                      "role=disk is not accepted; role= takes boot, module or initrd"},
        {"vm=a tty=ttyS0",                      "unknown key 'tty='"                                           },
        {"vm=a VM=b",                           "unknown key 'VM='"                                            },
        {"vm=a =b",                             "unknown key '='"                                              },
        {"vm=a mem",                            "'mem' is not of the form key=value"                           },
        {"vm=a mem=8M mem=8M",                  "mem= is given twice"                                          },
        {"vm=a vm=b",                           "vm= is given twice"                                           },
        {"vm=",                                 "vm= takes a name of 1 to 31 characters"                       },
        {"vm=a/b",                              "vm=a/b is not accepted"                                       },
        {"vm=abcdefghijklmnopqrstuvwxyz012345", "vm= takes a name"                                             },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
        refuses(bad[i].line, bad[i].text);
    refuses("vm=a reboot=always", "unknown key 'reboot='; known keys: vm= role= kind= mem= cpus= weight= cap= "
                                  "affinity= limit= dump= stealth= apicv= console= restart= restarts= watchdog= "
                                  "snapshot-at=");
    accept("vm=abcdefghijklmnopqrstuvwxyz01234");
    assert_int_equal(strlen(spec.name), 31);
}

/* The refusal has to name the VM, wherever vm= stands, and tells the first fault. */
static void test_name_survives_faults(void **state)
{
    (void)state;
    refuses("foo=1 mem=9 vm=late", "unknown key 'foo='");
    assert_string_equal(spec.name, "late");
    refuses("vm=a vm=b", "twice");
    assert_string_equal(spec.name, "a");
    refuses("vm=a!", "vm= takes");
    assert_string_equal(spec.name, "");
}

static void test_lines_of_other_people(void **state)
{
    (void)state;
    refuses("", "module line '' has no vm=<name>; write for example vm=hello mem=8M");
    refuses("/boot/initrd.gz quiet \"x\"\x01\xff", "module line '/boot/initrd.gz quiet ?x?\?\?' has no vm=<name>");
    assert_string_equal(spec.name, "");
    refuses("mem=77 cpus=no", "has no vm=<name>");

    char line[5000];
    memset(line, 'q', sizeof line);
    memcpy(line, "vm=a ", 5);
    line[sizeof line - 1] = 0;
    refuses(line, "is not of the form key=value; known keys: vm= role= kind= mem= cpus= weight= cap= affinity= limit= "
                  "dump= stealth= apicv=");
    line[1000] = '=';
    refuses(line, "unknown key 'qqq");
    memcpy(line, "vm=a mem=", 9);
    refuses(line, "such as mem=8M");
}

static void test_roles(void **state)
{
    (void)state;
    accept("vm=a role=boot mem=16M");
    assert_int_equal(spec.role, VM_ROLE_BOOT);
    accept("vm=a role=initrd");
    assert_int_equal(spec.role, VM_ROLE_INITRD);
    accept("vm=a kind=linux -- quiet");
    assert_int_equal(spec.kind, IMAGE_LINUX);
    accept("vm=a kind=pvh");
    assert_int_equal(spec.kind, IMAGE_PVH);
    accept("role=module vm=a -- file one");
    assert_int_equal(spec.role, VM_ROLE_MODULE);
    assert_string_equal(spec.guest_command_line, "file one");
    refuses("vm=a role=module mem=8M", "a line with role= takes only vm= and role=");
    refuses("mem=8M vm=a role=module", "a line with role= takes only vm= and role=");
}

static void refuses_options(const char *line, const char *text)
{
    if (host_options_parse(line, &options, &why) != STATUS_INVALID)
        fail_msg("'%s' accepted", line);
    if (!strstr(why.text, text))
        fail_msg("'%s' refused with '%s', not '%s'", line, why.text, text);
}

static void test_host_options(void **state)
{
    (void)state;
    assert_int_equal(host_options_parse("", &options, &why), STATUS_OK);
    assert_int_equal(options.log, LOG_INFO);
    assert_string_equal(options.vmx_disable, "");
    assert_string_equal(options.test, "");
    assert_int_equal(host_options_parse(" log=debug idle=poweroff\tconsole=com1 vmx.disable=vpid,ept-1g test=panic ",
                                        &options, &why),
                     STATUS_OK);
    assert_int_equal(options.log, LOG_DEBUG);
    assert_string_equal(options.vmx_disable, "vpid,ept-1g");
    assert_string_equal(options.test, "panic");
    assert_string_equal(options.console_input, "");
    assert_int_equal(host_options_parse("console.input=debian-12", &options, &why), STATUS_OK);
    assert_string_equal(options.console_input, "debian-12");
    assert_int_equal(options.trace, TRACE_TO_NOBODY);
    assert_int_equal(host_options_parse("trace=serial", &options, &why), STATUS_OK);
    assert_int_equal(options.trace, TRACE_TO_SERIAL);
    assert_int_equal(host_options_parse("trace=com2", &options, &why), STATUS_OK);
    assert_int_equal(options.trace, TRACE_TO_COM2);
    refuses_options("trace=com3", "trace= takes serial or com2");
    refuses_options("console.input=", "console.input= takes the name of a VM");
    refuses_options("console.input=a,b", "console.input=a,b is not accepted");

    assert_string_equal(options.gdb, "");
    assert_int_equal(host_options_parse("gdb=debian-12", &options, &why), STATUS_OK);
    assert_string_equal(options.gdb, "debian-12");
    assert_false(options.gdb_nowait);
    assert_int_equal(options.gdb_bits, 0);
    assert_int_equal(host_options_parse("gdb=a,64,nowait", &options, &why), STATUS_OK);
    assert_string_equal(options.gdb, "a");
    assert_true(options.gdb_nowait);
    assert_int_equal(options.gdb_bits, 64);
    refuses_options("gdb=", "gdb= takes the name of a VM, then ,nowait and ,32 or ,64 if wanted");
    refuses_options("gdb=a,", "gdb=a, is not accepted");
    refuses_options("gdb=a,16", "gdb=a,16 is not accepted");
    assert_string_equal(options.gdb, "");
    refuses_options("gdb=,32", "gdb=,32 is not accepted");
    refuses_options("trace=com2 gdb=a", "gdb= and trace=com2 both want COM2");
    assert_string_equal(options.gdb, "a");
    assert_int_equal(options.trace, TRACE_TO_NOBODY);
    assert_int_equal(host_options_parse("trace=serial gdb=a", &options, &why), STATUS_OK);

    assert_int_equal(options.monitor, MONITOR_ON);
    assert_int_equal(options.monitor_key, 0x1d);
    assert_false(options.idle_monitor);
    assert_int_equal(host_options_parse("monitor=start idle=monitor monitor.key=^t", &options, &why), STATUS_OK);
    assert_int_equal(options.monitor, MONITOR_START);
    assert_int_equal(options.monitor_key, 0x14);
    assert_true(options.idle_monitor);
    assert_int_equal(host_options_parse("monitor.key=_", &options, &why), STATUS_OK);
    assert_int_equal(options.monitor_key, 0x1f);

    assert_true(options.mitigations);
    assert_int_equal(host_options_parse("mitigations=off", &options, &why), STATUS_OK);
    assert_false(options.mitigations);
    assert_int_equal(host_options_parse("mitigations=auto", &options, &why), STATUS_OK);
    assert_true(options.mitigations);
    refuses_options("mitigations=on", "mitigations= takes auto or off");
    assert_int_equal(host_options_parse("", &options, &why), STATUS_OK);
    assert_int_equal(options.smt, SMT_AUTO);
    assert_int_equal(host_options_parse("smt=share", &options, &why), STATUS_OK);
    assert_int_equal(options.smt, SMT_SHARE);
    assert_int_equal(host_options_parse("smt=core", &options, &why), STATUS_OK);
    assert_int_equal(options.smt, SMT_CORE);
    assert_int_equal(host_options_parse("smt=off", &options, &why), STATUS_OK);
    assert_int_equal(options.smt, SMT_OFF);
    refuses_options("smt=on", "smt= takes share, core or off");
    assert_int_equal(options.smt, SMT_AUTO);
    assert_true(options.mitigations);

    refuses_options("log=loud test=x", "log=loud is not accepted; log= takes error, warn, info or debug");
    assert_int_equal(options.log, LOG_INFO);
    assert_string_equal(options.test, "x");
    refuses_options("idle=forever", "idle= takes poweroff or monitor");
    refuses_options("monitor=yes", "monitor= takes on, off or start");
    refuses_options("monitor.key=^M", "monitor.key= takes a control key");
    refuses_options("monitor.key=^[", "monitor.key= takes a control key");
    refuses_options("monitor.key=", "monitor.key= takes a control key");
    refuses_options("monitor.key=abc", "monitor.key= takes a control key");
    refuses_options("idle=monitor monitor=off", "idle=monitor and monitor=off exclude each other");
    refuses_options("console=com2", "console= takes com1, spcr or pci");
    assert_int_equal(options.console, CONSOLE_ANY);
    assert_int_equal(host_options_parse("console=pci dma=keep", &options, &why), STATUS_OK);
    assert_int_equal(options.console, CONSOLE_PCI);
    assert_true(options.dma_keep);
    assert_int_equal(host_options_parse("console=spcr dma=stop", &options, &why), STATUS_OK);
    assert_int_equal(options.console, CONSOLE_SPCR);
    assert_false(options.dma_keep);
    refuses_options("dma=on", "dma=on is not accepted; dma= takes stop or keep");
    assert_false(options.dma_keep);
    refuses_options("quiet log=warn", "'quiet' is not of the form key=value; known keys: log= idle= vmx.disable=");
    assert_int_equal(options.log, LOG_WARN);
    refuses_options("vm=a", "unknown key 'vm='");
    refuses_options("log=warn log=error", "log= is given twice");
    assert_int_equal(options.log, LOG_WARN);
    refuses_options("vmx.disable=", "vmx.disable= takes");

    char line[200] = "vmx.disable=";
    memset(line + 12, 'x', 159);
    assert_int_equal(host_options_parse(line, &options, &why), STATUS_OK);
    assert_int_equal(strlen(options.vmx_disable), 159);
    line[12 + 159] = 'x';
    refuses_options(line, "at most 159 characters");
    assert_string_equal(options.vmx_disable, "");
    refuses_options("test=0123456789012345678901234567890x", "at most 31 characters");
}

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(image_kind_name(IMAGE_AUTO), "auto");
    assert_string_equal(image_kind_name(IMAGE_FLAT16), "flat16");
    assert_string_equal(image_kind_name(IMAGE_MULTIBOOT), "multiboot");
    assert_string_equal(image_kind_name(IMAGE_MULTIBOOT2), "multiboot2");
    assert_string_equal(image_kind_name(IMAGE_LINUX), "linux");
    assert_string_equal(image_kind_name(IMAGE_PVH), "pvh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_restart_and_watchdog),
        cmocka_unit_test(test_snapshot_at),
        cmocka_unit_test(test_amended),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_guest_command_line),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_name_survives_faults),
        cmocka_unit_test(test_lines_of_other_people),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_host_options),
        cmocka_unit_test(test_kind_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
