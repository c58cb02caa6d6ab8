# SPDX-License-Identifier: BSD-2-Clause
# Rootlet. make help lists the targets.
#
# The targets of the first group install what is missing and then call make again: on a fresh Debian there is no
# compiler yet when this file is read. All others expect the packages to be there (tools/setup).

VMS     ?= guests/demo.vms
OPTIONS ?=
CPUS    ?= 2
MODEL   ?= corei7_skylake_x
MEMORY  ?= 512
# Another Bochs than the system's, for everything that boots one: bochs2, bochs3 or a path (tools/fetch-engine).
ENGINE  ?=
ISO     ?= build/rootlet.iso
LIMIT   ?= 180
LINUX_LIMIT ?= 900
SOAK_MINUTES ?= 10
FUZZ_SECONDS ?= 60
# Guests whose symbols make debug loads: build/guests/hello.elf makes "hello:guest_main".
GUEST   ?=
# The VM entry: where make debug stops first.
ENTRY_SYMBOL ?= vmx_enter_guest

ifneq ($(ENGINE),)
export ROOTLET_ENGINE := $(ENGINE)
endif

.DEFAULT_GOAL := all
AGAIN = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
FRONT := run linux shell explain lab nested kvm-check trace-demo operate-demo test test-engines battery iso debug qemu \
	kvm bench site lint unit fuzz soak setup help clean

.PHONY: all kernel guests payloads $(FRONT) $(FRONT:%=do-%)

help:
	@echo "make run       the demo in Bochs, serial console live, ends by itself (VMS= OPTIONS= CPUS= MODEL=" \
		"MEMORY= LIMIT=)"
	@echo "make linux     Debian's kernel with 2 vCPUs in Bochs, to its own power-off; make shell: a shell in" \
		"it, in this terminal"
	@echo "make explain   what is printed about VM entries that fail: a tour of typical mistakes in Bochs"
	@echo "make lab       a small hypervisor in a VM makes typical mistakes, and is told which rule each of them" \
		"breaks"
	@echo "make nested    Rootlet in a VM of Rootlet, with the VMs of VMS=guests/demo.vms: both levels in one Bochs"
	@echo "make kvm-check  Debian's KVM in a VM, with a guest of its own (minutes)"
	@echo "make trace-demo  every exit of a short run as a timeline for the browser, a picture and a table," \
		"under build/trace/"
	@echo "make operate-demo  a session at the monitor, typed by a program: VMs looked at, paused, restarted;" \
		"minutes"
	@echo "make test      every test, and a part of them on the second engine; the last line is the count"
	@echo "make test-engines  all tests that boot machines, on both engines: the Bochs of Debian 12 and of" \
		"Debian 13"
	@echo "make           the hypervisor (build/rootlet.elf) and the guests (build/guests/)"
	@echo "make iso       ISO=$(ISO) from VMS=$(VMS)"
	@echo "make debug     Bochs's debugger, symbols loaded, stopped at the first VM entry" \
		"(GUEST=build/guests/hello.elf: its symbols too)"
	@echo "make qemu      the demo in QEMU with KVM and nested VMX, where the machine has them"
	@echo "make kvm       the same on any machine: QEMU and KVM run in a Linux that runs in Bochs (minutes)"
	@echo "make bench     speed and size, each figure beside its bound"
	@echo "make site      for a browser, without a server: a page that explains VMCS dumps, a viewer of traces," \
		"the docs with a search"
	@echo "make battery   some 150000 VM entries: does the checker say what Bochs does, and do they end alike" \
		"in a VM? (a quarter of an hour)"
	@echo "make unit      the host tests only; make lint: the lint only; make fuzz: each fuzzer for" \
		"FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make soak      10,000 runs of a VM and 10,000 restores, 1,000,000 entries of random VMCSs by a guest" \
		"hypervisor, then the containment demo for SOAK_MINUTES=$(SOAK_MINUTES)"
	@echo "ENGINE=bochs2, bochs3 or a path, to any of them: the Bochs of Debian 12 or 13, fetched if need be," \
		"instead of the system's"
	@echo "make compile_commands.json  each source's flags, for clangd"
	@echo "make setup     installs all packages that are missing; make clean removes build/"

setup:
	@tools/setup all

run:
	@tools/setup run
	@echo "make: building" >&2
	@$(AGAIN) do-run

linux shell explain lab nested battery trace-demo kvm kvm-check:
	@tools/setup run
	@echo "make: building" >&2
	@$(AGAIN) do-$@

test test-engines:
	@tools/setup test
	@$(AGAIN) do-$@

iso:
	@tools/setup build
	@$(AGAIN) do-iso

site:
	@tools/setup site
	@$(AGAIN) do-site

debug:
	@tools/setup run
	@$(AGAIN) do-debug

qemu bench lint unit fuzz soak operate-demo:
	@tools/setup test
	@$(AGAIN) do-$@

clean:
	rm -rf build

# make V=1 shows the commands.
ifndef V
.SILENT:
endif

# Everything below needs the compiler.
ifneq ($(filter-out $(FRONT),$(or $(MAKECMDGOALS),all)),)

include kernel.mk
-include guests/guests.mk
include test/test.mk

all: kernel guests build/tools/vmx-explain

kernel: build/rootlet.elf build/tools/vm-lines-check

# The capability report as a host program, for tools/vmx-caps: the same sources as in the kernel.
HOST_CC ?= gcc
build/tools/vmx-caps-report: tools/vmx_caps_report.c vmx/report/caps.c vmx/caps.c vmx/controls.c \
		arch/x86/speculation.c $(wildcard kernel/lib/*.[ch] arch/x86/*.h vmx/*.h vmx/report/*.h)
	@mkdir -p $(@D)
	$(HOST_CC) -std=gnu11 -O1 -g -Wall -Wextra -I. -o $@ $(filter-out kernel/lib/%,$(filter %.c,$^)) \
		kernel/lib/format.c kernel/lib/status.c kernel/lib/string.c

# The explainer of failed VM entries as a host program, for tools/vmx-explain: the kernel's own checker.
EXPLAIN_TOOL_C := $(wildcard tools/vmx_explain*.c tools/vmx_explain/*.c) \
	$(filter-out %/explain.c %/fields.c,$(wildcard vmx/check/*.c)) \
	vmx/controls.c kernel/lib/format.c kernel/lib/status.c kernel/lib/string.c
build/tools/vmx-explain: $(EXPLAIN_TOOL_C) $(wildcard kernel/lib/*.h arch/x86/*.h vmx/*.h vmx/check/*.h \
		tools/vmx_explain/*.h)
	@mkdir -p $(@D)
	$(HOST_CC) -std=gnu11 -O2 -g -Wall -Wextra -I. -o $@ $(EXPLAIN_TOOL_C)

# The parser of lines and options as a host program, for tools/mkiso.
build/tools/vm-lines-check: tools/vm_lines_check.c kernel/vm/spec.c vmx/caps.c vmx/controls.c \
		$(wildcard kernel/*.h kernel/*/*.h kernel/lib/*.c vmx/*.h)
	@mkdir -p $(@D)
	$(HOST_CC) -std=gnu11 -O1 -g -Wall -Wextra -I. -o $@.$$$$ $(filter-out kernel/lib/%,$(filter %.c,$^)) \
		kernel/lib/format.c kernel/lib/status.c kernel/lib/string.c && mv $@.$$$$ $@

payloads:
	@tools/fetch-payloads

.PHONY: compile_commands.json
compile_commands.json:
	tools/compile-commands

do-iso: all payloads
	tools/mkiso $(VMS) -o $(ISO) --options '$(OPTIONS)'

do-run: do-iso
	@echo "make: $(ISO) boots in Bochs, $(CPUS) CPUs; the serial console follows" >&2
	tools/run-bochs $(ISO) --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) --time-limit $(LIMIT)
	@echo "make: docs/tour.md explains what you saw" >&2

# A Linux boot takes Bochs a minute or more on two CPUs.
do-linux: all
	tools/fetch-payloads linux
	tools/mkiso guests/linux.vms -o build/linux.iso --options '$(OPTIONS)'
	@echo "make: Debian's kernel boots in Bochs, $(CPUS) CPUs; this takes some minutes; the serial console" \
		"follows" >&2
	tools/run-bochs build/linux.iso --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) --time-limit $(LINUX_LIMIT)

do-shell: all
	tools/fetch-payloads linux
	tools/mkiso guests/shell.vms -o build/shell.iso --options 'console.input=debian $(OPTIONS)'
	@echo "make: Debian's kernel boots in Bochs; its prompt comes in a minute. poweroff ends it; Ctrl-]" \
		"opens Rootlet's monitor, Ctrl-\\ cuts the run short." >&2
	tools/run-bochs build/shell.iso --cpus 1 --model $(MODEL) --memory $(MEMORY) --time-limit 0 --interactive

TRACE := build/trace
do-trace-demo: all
	@mkdir -p $(TRACE)
	@echo "make: guests/trace.vms runs in Bochs, $(CPUS) CPUs, and prints what the flight recorder kept; about" \
		"a minute" >&2
	tools/run-bochs guests/trace.vms --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) --time-limit $(LIMIT) \
		--quiet --options 'trace=serial log=warn $(OPTIONS)' --serial $(TRACE)/serial.log
	tools/trace $(TRACE)/serial.log --json $(TRACE)/demo.json --svg $(TRACE)/demo.svg \
		--title 'Rootlet: make trace-demo'
	tools/trace $(TRACE)/serial.log >$(TRACE)/summary.txt
	@cat $(TRACE)/summary.txt
	@echo
	@echo "$(TRACE)/demo.json    timeline: open it at https://ui.perfetto.dev or in chrome://tracing; it stays" \
		"in your browser"
	@echo "$(TRACE)/demo.svg     picture: open it in a browser"
	@echo "$(TRACE)/summary.txt  this table; tools/trace $(TRACE)/serial.log --list has each record in words"

do-operate-demo: all
	tools/fetch-payloads linux
	tools/operate-demo

do-explain: build/battery.elf build/tools/vm-lines-check guests
	tools/explain -o build/explain.txt

do-lab: all
	@echo "make: guests/lab.vms boots in Bochs; docs/nested.md walks through it" >&2
	tools/run-bochs guests/lab.vms --cpus 1 --model $(MODEL) --memory $(MEMORY) --time-limit $(LIMIT) \
		--options '$(OPTIONS)'

do-nested: all payloads
	tools/nest-vms $(VMS) >build/nested.vms
	@echo "make: build/nested.vms boots in Bochs: Rootlet runs Rootlet, which runs the VMs of $(VMS); a" \
		"minute or two" >&2
	tools/run-bochs build/nested.vms --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) \
		--time-limit $(LINUX_LIMIT) --options '$(OPTIONS)'

do-kvm-check: all build/guests/linux/kvm.gz
	@echo "make: Debian's kernel boots in Bochs, $(CPUS) CPUs, and runs a guest of its own; this takes some" \
		"minutes" >&2
	tools/run-bochs guests/kvm.vms --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) --time-limit $(LINUX_LIMIT) \
		--options '$(OPTIONS)'

do-battery: kernel build/battery.elf build/tools/vm-lines-check guests
	tools/battery
	tools/battery --model corei7_haswell_4770 --step 7
	tools/battery --model corei7_sandy_bridge_2600k --step 7
	tools/battery --engine bochs3 --model corei7_icelake_u --step 7
	tools/battery --engine bochs3 --model tigerlake --step 7
	tools/battery --engine bochs3 --model arrow_lake --step 7
	tools/battery --nested
	tools/battery --nested --model corei7_haswell_4770 --step 37
	tools/battery --nested --model corei7_sandy_bridge_2600k --step 37
	tools/battery --nested --engine bochs3 --model corei7_skylake_x --step 37
	tools/battery --nested --engine bochs3 --model corei7_icelake_u --step 37
	tools/battery --nested --engine bochs3 --model arrow_lake --step 37

do-debug: do-iso
	tools/run-bochs $(ISO) --cpus $(CPUS) --model $(MODEL) --memory $(MEMORY) --debug \
		--symbols build/rootlet.elf $(GUEST:%=--guest-symbols %) --break $(ENTRY_SYMBOL) --command c

do-qemu: do-iso
	tools/run-qemu $(ISO) --cpus $(CPUS) --memory $(MEMORY)

do-kvm: do-iso
	@echo "make: $(ISO) boots in QEMU with KVM, $(CPUS) CPUs, in Debian's Linux, in Bochs; this takes some" \
		"minutes" >&2
	tools/run-kvm $(ISO) --cpus $(CPUS) --memory $(MEMORY)

# The explainer of failed VM entries as WebAssembly: the same sources, with what stands for a C library. Its long is 32
# bits wide, which the formats of the kernel do not care about: their l means 64 bits (kernel/lib/format.c).
WASM := build/site-pages/explain.wasm
WASM_C := site/explain/wasm.c $(filter-out %_main.c,$(EXPLAIN_TOOL_C))
$(WASM): $(WASM_C) $(wildcard kernel/lib/*.h arch/x86/*.h vmx/*.h vmx/check/*.h tools/vmx_explain/*.h)
	@mkdir -p $(@D)
	clang --target=wasm32 -std=gnu11 -O2 -ffreestanding -nostdlib -Wall -Wextra -Wno-format -I. -Wl,--no-entry \
		-Wl,--strip-all -Wl,--export=page_answer -Wl,--export=explain_model_name -Wl,--export=__heap_base \
		-o $@ $(WASM_C)

SITE := build/site
do-site: $(WASM)
	rm -rf $(SITE)
	site/build $(SITE) $(WASM)
	mkdocs build --quiet --strict --config-file site/mkdocs.yml
	@echo "make: open $(SITE)/index.html in a browser" >&2

do-bench: all
	tools/bench

endif
