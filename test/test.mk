# Host tests: each test/unit/test_X.c and test/fuzz/fuzz_X.c names in its head comment the real sources that it links, and
# libraries if it needs more than cmocka (clang-format may break the lines):
#  * links: path/a.c path/b.c
#  * libs: -lfoo
# and -Itest/fake if those sources shall see test/fake/arch/x86/*.h instead of the real headers:
#  * flags: -Itest/fake

UNIT_TESTS := $(patsubst test/unit/%.c,build/test/%,$(wildcard test/unit/test_*.c))
FUZZERS    := $(patsubst test/fuzz/%.c,build/fuzz/%,$(wildcard test/fuzz/fuzz_*.c))
HOST_LIB   := kernel/lib/string.c kernel/lib/format.c kernel/lib/status.c
HOST_HEADERS := $(wildcard arch/x86/*.h boot/*.h kernel/*.h kernel/*/*.h vmx/*.h drivers/*/*.h guests/include/* test/fake/*.h test/fake/arch/x86/*.h)
HOST_CFLAGS := -std=gnu11 -g -O1 -Wall -Wextra -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-DROOTLET_HOST_TEST -I.
HOST_CC    ?= gcc
FUZZ_CC    ?= clang

head  = sed '/\*\//q' $(1) | tr -s '\n* ' ' '
links = $(sort $(HOST_LIB) $(shell $(head) | grep -o 'links:.*' | grep -o '[a-z0-9_/]*\.c'))
flags = $(shell $(head) | grep -o 'flags:.*' | grep -o -- '-I[a-z0-9_/]*')
libs  = $(shell $(head) | grep -o 'libs:.*' | grep -o -- '-l[a-zA-Z0-9_]*')

define unit_rule
build/test/$(1): test/unit/$(1).c $(call links,test/unit/$(1).c) $(HOST_HEADERS) test/test.mk
	@mkdir -p build/test
	@rm -f $$@
	$(HOST_CC) $(call flags,test/unit/$(1).c) $(HOST_CFLAGS) -o $$@ $$(filter %.c,$$^) -lcmocka $(call libs,test/unit/$(1).c)
endef

define fuzz_rule
build/fuzz/$(1): test/fuzz/$(1).c $(call links,test/fuzz/$(1).c) $(HOST_HEADERS) test/test.mk
	@mkdir -p build/fuzz
	@rm -f $$@
	$(FUZZ_CC) $(HOST_CFLAGS) -fsanitize=fuzzer -o $$@ $$(filter %.c,$$^)
endef

$(foreach test,$(notdir $(UNIT_TESTS)),$(eval $(call unit_rule,$(test))))
$(foreach fuzzer,$(notdir $(FUZZERS)),$(eval $(call fuzz_rule,$(fuzzer))))

build/test/test_guest_acpi: build/kernel/dsdt.aml

.PHONY: test-programs
test-programs: $(UNIT_TESTS) $(FUZZERS)

# test/run builds what it needs itself, so that a program that does not compile is a failed test and not the end.
do-test:
	@test/run all

do-unit:
	@test/run unit

do-lint:
	@test/run lint

do-fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) test/run fuzz

do-soak: all payloads
	@test/soak $(SOAK_MINUTES)
