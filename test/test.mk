# SPDX-License-Identifier: BSD-2-Clause
# Host tests: each test/unit/test_X.c and test/fuzz/fuzz_X.c names in its head comment the real sources that it links,
# and libraries if it needs more than cmocka (clang-format may break the lines):
#  * links: path/a.c path/b.c
#  * libs: -lfoo
# and -Itest/fake if those sources shall see test/fake/arch/x86/*.h instead of the real headers:
#  * flags: -Itest/fake
# A source is compiled once for each set of flags, to build/test/SET/path/a.o or, with the fuzzers' compiler, to
# build/fuzz/SET/path/a.o; the programs only link.

UNIT_C     := $(wildcard $(addprefix test/unit/,test_*.c */test_*.c */*/test_*.c))
UNIT_TESTS := $(patsubst %.c,build/test/%,$(notdir $(UNIT_C)))
FUZZERS    := $(patsubst test/fuzz/%.c,build/fuzz/%,$(wildcard test/fuzz/fuzz_*.c))
HOST_CFLAGS := -std=gnu11 -g -O1 -Wall -Wextra -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-DROOTLET_HOST_TEST -I. -MMD -MP
# What NASM makes does not say that its stack need not be executable.
HOST_LDFLAGS := -fsanitize=address,undefined -Wl,-z,noexecstack
HOST_CC    ?= gcc
FUZZ_CC    ?= clang

# The rules are made from those comments by one program, anew when a test's file has changed; before tools/setup there
# may be no Python, and nobody needs them yet.
-include build/test/rules.mk
build/test/rules.mk: test/rules $(UNIT_C) $(wildcard test/fuzz/fuzz_*.c)
	@mkdir -p $(@D)
	@! command -v python3 >/dev/null || { test/rules $(filter %.c,$^) >$@.new && mv $@.new $@; }
# An empty recipe, so that make does not look for a way to make each of them.
$(HOST_DEPENDENCIES): ;
-include $(HOST_DEPENDENCIES)

# It contains the DSDT.
build/test/plain/test/unit/kernel/vm/test_guest_acpi.o: build/kernel/vm/dsdt.aml

# The one test of assembly code that the kernel has.
build/test/test_entry: build/vmx/entry.asm.o

.PHONY: test-programs
test-programs: $(UNIT_TESTS) $(FUZZERS)

# test/run builds what it needs itself, so that a program that does not compile is a failed test and not the end.
do-test:
	@test/run all

do-test-engines:
	@test/run engines

do-unit:
	@test/run unit

do-lint:
	@test/run lint

do-fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) test/run fuzz

do-soak: all payloads build/battery.elf
	@test/soak $(SOAK_MINUTES)

# The battery of VM entries: the hypervisor with another virt_vcpu_run().
BATTERY_OBJS := $(patsubst %,build/%.o,$(wildcard test/battery/*.c test/battery/*.asm))
$(filter %.c.o,$(BATTERY_OBJS)): KERNEL_CFLAGS += $(SMALL_CFLAGS)
-include $(BATTERY_OBJS:.o=.d)

build/battery.elf: $(KERNEL_OBJS) $(BATTERY_OBJS) linker.ld kernel.mk
	$(CC) $(KERNEL_CFLAGS) $(SMALL_CFLAGS) $(KERNEL_LDFLAGS) -Wl,--wrap=virt_vcpu_run -o $@ \
		$(KERNEL_OBJS) $(BATTERY_OBJS)
