# The kernel image: every .c and .asm of the kernel's folders.

KERNEL_DIRS := boot arch/x86 kernel kernel/lib kernel/load kernel/gdb vmx drivers/host drivers/virt
KERNEL_C    := $(filter-out %/offsets.c,$(wildcard $(addsuffix /*.c,$(KERNEL_DIRS))))
KERNEL_ASM  := $(wildcard $(addsuffix /*.asm,$(KERNEL_DIRS)))
KERNEL_OBJS := $(KERNEL_C:%.c=build/%.c.o) $(KERNEL_ASM:%.asm=build/%.asm.o)

CROSS_COMPILE ?=
CC := $(CROSS_COMPILE)gcc
NM := $(CROSS_COMPILE)nm
OBJCOPY := $(CROSS_COMPILE)objcopy

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Werror
KERNEL_CFLAGS := -std=gnu11 -Os -g -ffreestanding -nostdlib -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-mcmodel=kernel -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -mpreferred-stack-boundary=3 -fno-stack-protector -fcf-protection=none \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-common -ffunction-sections \
	$(WARNINGS) -I. $(EXTRA_CFLAGS)

# What lies on the way from a VM exit to the next VM entry is compiled for speed, all else for size. It goes without frame
# pointers but leaves RBP alone: a backtrace passes over these functions and goes on. GCC keeps no -ffixed-rbp through
# -flto, so these files are ordinary objects; the others are compiled as one program when the image is linked. string.c
# has what GCC itself calls, memcpy and the like.
FAST_C := $(addprefix vmx/,run.c mmio.c guest_physical.c exit.c event.c apicv.c io.c msr.c cpuid.c) $(addprefix drivers/virt/,pc.c pic.c vlapic_requests.c vlapic_timer.c) \
	$(addprefix kernel/,bus.c clock.c hypercall.c sched.c sched_queue.c sched_wait.c trace.c vm_io.c vtimer.c) $(addprefix arch/x86/,irq.c)
# What is to be inlined there says so itself: GCC's own guesses make the code larger and no faster.
FAST_CFLAGS  := -O2 -fno-inline-functions -fno-inline-small-functions -fno-tree-pre -fomit-frame-pointer -ffixed-rbp \
	-fno-peephole2 -falign-functions=1 -falign-jumps=1 -falign-loops=1
SMALL_CFLAGS := -Oz -fno-jump-tables -fno-move-loop-invariants -fipa-pta
# What only explains, when something has gone wrong or somebody asks, is counted apart from the rest (tools/image-size): all
# sections of these objects get the prefix .explain, which linker.ld collects. Ordinary objects, for -flto forgets the files.
EXPLAIN_C    := $(addprefix vmx/,check.c check_controls.c check_fields.c check_guest.c check_host.c check_msrs.c check_rule.c check_segments.c check_state.c check_text.c explain.c) kernel/trace_text.c
EXPLAIN_C    += vmx/caps_report.c vmx/guest_backtrace.c kernel/guest_symbols.c
EXPLAIN_C    += vmx/debug.c $(addprefix kernel/gdb/,command.c packet.c points.c registers.c stub.c)
SMALL_C      := $(filter-out $(FAST_C),$(KERNEL_C))
$(FAST_C:%.c=build/%.c.o): KERNEL_CFLAGS += $(FAST_CFLAGS)
# The guest's registers that stay in the CPU while a plain exit is handled: vmx/entry.asm, vmx/kept.h.
build/vmx/run.c.o: KERNEL_CFLAGS += -ffixed-rbx -ffixed-r12 -ffixed-r13 -ffixed-r14 -ffixed-r15
build/vmx/exit.c.o build/vmx/cpuid.c.o: KERNEL_CFLAGS += -ffixed-rbx
# Where it does not split what is better in one instruction.
build/vmx/exit.c.o build/drivers/virt/pic.c.o: KERNEL_CFLAGS += -fpeephole2
$(SMALL_C:%.c=build/%.c.o): KERNEL_CFLAGS += $(SMALL_CFLAGS)
$(filter-out build/kernel/lib/string.c.o $(EXPLAIN_C:%.c=build/%.c.o),$(SMALL_C:%.c=build/%.c.o)): KERNEL_CFLAGS += -flto
$(EXPLAIN_C:%.c=build/%.c.o): FINISH = && $(OBJCOPY) --prefix-alloc-sections=.explain $@

# Structure offsets for assembly: X/offsets.c becomes build/X/offsets.inc, %define NAME value.
build/%/offsets.inc: %/offsets.c kernel.mk
	@mkdir -p $(@D)
	$(CC) $(KERNEL_CFLAGS) -MMD -MP -MF $@.d -MT $@ -S -o $@.s $<
	sed -n 's/^[[:space:]]*->\([A-Z0-9_]*\) \$$\{0,1\}\(-\{0,1\}[0-9]*\).*/%define \1 \2/p' $@.s >$@

build/%.c.o: %.c kernel.mk
	@mkdir -p $(@D)
	$(CC) $(KERNEL_CFLAGS) -MMD -MP -c -o $@ $< $(FINISH)

# The file VERSION is the one source of what the boot line says.
build/kernel/main.c.o: KERNEL_CFLAGS += -DROOTLET_VERSION='"$(shell cat VERSION)"'
build/kernel/main.c.o: VERSION

build/%.asm.o: %.asm $(patsubst %/offsets.c,build/%/offsets.inc,$(wildcard arch/x86/offsets.c vmx/offsets.c))
	@mkdir -p $(@D)
	nasm -f elf64 -g -F dwarf -I. -Ibuild/ -o $@ $<

# The guests' DSDT.
build/kernel/dsdt.aml: kernel/dsdt.asl
	@mkdir -p $(@D)
	iasl -p $(@:.aml=) $< >$@.log || { cat $@.log; exit 1; }

build/kernel/dsdt.asm.o: build/kernel/dsdt.aml

.SECONDARY: $(patsubst %.c,build/%.inc,$(wildcard arch/x86/offsets.c vmx/offsets.c))

-include $(KERNEL_OBJS:.o=.d) $(wildcard build/*/offsets.inc.d build/*/*/offsets.inc.d)

# The image keeps its ELF symbols: the boot loader hands them over, and backtraces get the functions' names from them.
# One partition: the order of the functions depends on nothing else. Across files GCC guesses wrong which variables may be
# uninitialised; within each file it has looked already.
KERNEL_LDFLAGS := -flto -flto-partition=one -Wno-maybe-uninitialized -static -T linker.ld \
	-Wl,-z,max-page-size=4096,-z,noexecstack,--no-warn-rwx-segments,--gc-sections,--build-id=none

build/rootlet.elf: $(KERNEL_OBJS) linker.ld kernel.mk
	$(CC) $(KERNEL_CFLAGS) $(SMALL_CFLAGS) $(KERNEL_LDFLAGS) -o $@ $(KERNEL_OBJS)

# For Bochs's debugger: ldsym global "build/rootlet.sym"
build/rootlet.sym: build/rootlet.elf
	$(NM) $< | awk '{print $$1, $$3}' >$@
