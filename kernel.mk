# SPDX-License-Identifier: BSD-2-Clause
# The kernel image: every .c and .asm of the kernel's folders.

KERNEL_DIRS := boot arch/x86 kernel $(patsubst %/,%,$(wildcard kernel/*/)) vmx $(patsubst %/,%,$(wildcard vmx/*/)) \
	drivers/host drivers/virt
KERNEL_C    := $(filter-out %/offsets.c,$(wildcard $(addsuffix /*.c,$(KERNEL_DIRS))))
KERNEL_ASM  := $(wildcard $(addsuffix /*.asm,$(KERNEL_DIRS)))
KERNEL_OBJS := $(KERNEL_C:%.c=build/%.c.o) $(KERNEL_ASM:%.asm=build/%.asm.o)

CROSS_COMPILE ?=
CC := $(CROSS_COMPILE)gcc
NM := $(CROSS_COMPILE)nm
OBJCOPY := $(CROSS_COMPILE)objcopy

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Werror
KERNEL_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -nostdlib -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-mcmodel=kernel -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -mpreferred-stack-boundary=3 \
	-fno-stack-protector -fcf-protection=none -fno-omit-frame-pointer -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fno-common -ffunction-sections $(WARNINGS) -I. $(EXTRA_CFLAGS)

# RETPOLINES=yes: no indirect branch that a predictor decides, for CPUs without IBRS (docs/security.md).
KERNEL_CFLAGS += $(if $(RETPOLINES),-mindirect-branch=thunk -mindirect-branch-register)

# What only explains, when something has gone wrong or somebody asks, is counted apart from the rest (tools/image-size):
# all sections of these objects get the prefix .explain, which linker.ld collects.
EXPLAIN_C := $(filter-out vmx/report/look.c,$(wildcard vmx/check/*.c vmx/report/*.c kernel/gdb/*.c)) \
	kernel/trace/text.c kernel/vm/symbols.c kernel/load/wrong_header.c
$(EXPLAIN_C:%.c=build/%.c.o): FINISH = && $(OBJCOPY) --prefix-alloc-sections=.explain $@

# What serves whoever sits at the console, snapshots among it, is counted apart, too, likewise: .monitor.
MONITOR_C := $(wildcard kernel/monitor/*.c) vmx/report/look.c kernel/vm/snapshot.c kernel/vm/layer.c \
	vmx/cow.c vmx/state.c kernel/screen.c drivers/host/vga_text.c \
	kernel/keys.c drivers/host/keyboard.c drivers/host/framebuffer.c
$(MONITOR_C:%.c=build/%.c.o): FINISH = && $(OBJCOPY) --prefix-alloc-sections=.monitor $@

# So are hypervisors as guests: .nested.
NESTED_C := $(wildcard vmx/nested/*.c)
$(NESTED_C:%.c=build/%.c.o): FINISH = && $(OBJCOPY) --prefix-alloc-sections=.nested $@

# Structure offsets for assembly: X/offsets.c becomes build/X/offsets.inc, %define NAME value.
build/%/offsets.inc: %/offsets.c kernel.mk
	@mkdir -p $(@D)
	$(CC) $(KERNEL_CFLAGS) -MMD -MP -MF $@.d -MT $@ -S -o $@.s $<
	sed -n 's/^[[:space:]]*->\([A-Z0-9_]*\) \$$\{0,1\}\(-\{0,1\}[0-9]*\).*/%define \1 \2/p' $@.s >$@

build/%.c.o: %.c kernel.mk
	@mkdir -p $(@D)
	$(CC) $(KERNEL_CFLAGS) -MMD -MP -c -o $@ $< $(FINISH)

# The file VERSION is the one source of what the boot line says.
build/kernel/start/main.c.o: KERNEL_CFLAGS += -DROOTLET_VERSION='"$(shell cat VERSION)"'
build/kernel/start/main.c.o: VERSION

build/%.asm.o: %.asm $(patsubst %/offsets.c,build/%/offsets.inc,$(wildcard arch/x86/offsets.c vmx/offsets.c))
	@mkdir -p $(@D)
	nasm -f elf64 -g -F dwarf -I. -Ibuild/ -o $@ $<

# The guests' DSDT.
build/kernel/vm/dsdt.aml: kernel/vm/dsdt.asl
	@mkdir -p $(@D)
	iasl -p $(@:.aml=) $< >$@.log || { cat $@.log; exit 1; }

build/kernel/vm/dsdt.asm.o: build/kernel/vm/dsdt.aml

# The framebuffer's glyphs.
FONT ?= /usr/share/grub/ascii.pf2
build/drivers/host/font.bin: tools/font $(FONT)
	@mkdir -p $(@D)
	tools/font $(FONT) $@

build/drivers/host/font.asm.o: build/drivers/host/font.bin

.SECONDARY: $(patsubst %.c,build/%.inc,$(wildcard arch/x86/offsets.c vmx/offsets.c))

-include $(KERNEL_OBJS:.o=.d) $(wildcard build/*/offsets.inc.d build/*/*/offsets.inc.d)

# The image keeps its ELF symbols: the boot loader hands them over, and backtraces get the functions' names from them.
KERNEL_LDFLAGS := -static -T linker.ld \
	-Wl,-z,max-page-size=4096,-z,noexecstack,--no-warn-rwx-segments,--gc-sections,--build-id=none

build/rootlet.elf: $(KERNEL_OBJS) linker.ld kernel.mk
	$(CC) $(KERNEL_CFLAGS) $(KERNEL_LDFLAGS) -o $@ $(KERNEL_OBJS)

# For Bochs's debugger: ldsym global "build/rootlet.sym"
build/rootlet.sym: build/rootlet.elf
	$(NM) $< | awk '{print $$1, $$3}' >$@
