# SPDX-License-Identifier: BSD-2-Clause
# The guests: small payloads, one behaviour each. `make guests` builds build/guests/<name>.elf and <name>.bin.
# A new guest is a folder guests/<name>/ with .c and .asm files and its name in one of the lists below.

# 32-bit multiboot guests that use guests/lib.
GUESTS32 := hello timer hypercalls compute spinner smp echo control ends bench \
	triple badstate outside ports msrs spincli vmxinsn wildcalls ownpt apicwild benchapic selfipi selfdebug traps \
	gap hostile handover loud tasks mpkernel operands rewind vmxroot
GUESTS64 := long64 apic pku registers lab inner
# In real mode, raw.
GUESTS16 := bootsector bios
GUEST_FILES := $(GUESTS32:%=build/guests/%.elf) build/guests/hello2.elf $(GUESTS64:%=build/guests/%.elf) \
	$(GUESTS16:%=build/guests/%.bin)

GUEST_CC      := $(CROSS_COMPILE)gcc
GUEST_LD      := $(CROSS_COMPILE)ld
GUEST_OBJCOPY := $(CROSS_COMPILE)objcopy
# No FPU registers in C code: guests/compute owns them. -nostdinc keeps the host's headers out.
GUEST_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -nostdlib -nostdinc \
	-isystem $(shell $(GUEST_CC) -print-file-name=include) -fno-pic -fno-pie -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-common -mgeneral-regs-only \
	-Wall -Wextra -Wconversion -Wshadow -Werror -I.
GUEST_NASM := nasm -g -F dwarf -I. -Iguests/include/ -Werror

GUEST_LDFLAGS32 := -m elf_i386 -static -nostdlib -z noexecstack --no-warn-rwx-segments -T guests/lib/link.ld

GUEST_LIB32 := $(patsubst %,build/guests/lib32/%.o,console.c guest.c interrupts.c measure.c start.asm vectors.asm)
GUEST_LIB64 := $(patsubst %,build/guests/lib64/%.o,console.c guest.c)

guest_objects = $(patsubst guests/%,build/guests/%.o,$(wildcard guests/$(1)/*.c guests/$(1)/*.asm))

.PHONY: guests
guests: $(GUEST_FILES)

define guest32_rule
build/guests/$(1).elf: $(call guest_objects,$(1)) $(GUEST_LIB32) guests/lib/link.ld
	$(GUEST_LD) $(GUEST_LDFLAGS32) -o $$@ $$(filter %.o,$$^)
$(call guest_objects,$(1)): GUEST_BITS := 32
endef
$(foreach guest,$(GUESTS32),$(eval $(call guest32_rule,$(guest))))

# So that the report of its end has a backtrace.
$(call guest_objects,triple): GUEST_CFLAGS += -fno-omit-frame-pointer

# hello once more, with a multiboot2 header.
build/guests/hello2.elf: $(call guest_objects,hello) $(filter-out %/start.asm.o,$(GUEST_LIB32)) \
		build/guests/lib32/start2.asm.o guests/lib/link.ld
	$(GUEST_LD) $(GUEST_LDFLAGS32) -o $@ $(filter %.o,$^)

build/guests/lib32/start2.asm.o: guests/lib/start.asm
	@mkdir -p $(@D)
	$(GUEST_NASM) -DMULTIBOOT2 -f elf32 -MD $(@:.o=.d) -o $@ $<

# 64-bit code in a 32-bit ELF file, as multiboot loaders want it.
define guest64_rule
build/guests/$(1).elf: $(call guest_objects,$(1)) $(GUEST_LIB64) guests/$(1)/link.ld
	$(GUEST_LD) -m elf_x86_64 -static -nostdlib -z noexecstack --no-warn-rwx-segments -z max-page-size=4096 \
		-T guests/$(1)/link.ld -o $$@.64 $$(filter %.o,$$^)
	$(GUEST_OBJCOPY) -O elf32-i386 $$@.64 $$@
$(call guest_objects,$(1)): GUEST_BITS := 64
endef
$(foreach guest,$(GUESTS64),$(eval $(call guest64_rule,$(guest))))

# Its way into long mode, into the inner guest and out of it is the lab's.
build/guests/inner.elf: build/guests/lab/entry.asm.o

# Two rules: make takes a pattern rule with two targets for one that makes both at once.
build/guests/lib32/%.c.o: guests/lib/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) -m32 $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

build/guests/lib64/%.c.o: guests/lib/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) -m64 $(GUEST_CFLAGS) -mno-red-zone -MMD -MP -c -o $@ $<

build/guests/lib32/%.asm.o: guests/lib/%.asm
	@mkdir -p $(@D)
	$(GUEST_NASM) -f elf32 -MD $(@:.o=.d) -o $@ $<

build/guests/%.c.o: guests/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) -m$(GUEST_BITS) $(GUEST_CFLAGS) $(if $(filter 64,$(GUEST_BITS)),-mno-red-zone) -MMD -MP -c -o $@ $<

build/guests/%.asm.o: guests/%.asm
	@mkdir -p $(@D)
	$(GUEST_NASM) -f elf$(GUEST_BITS) -MD $(@:.o=.d) -o $@ $<

define guest16_rule
build/guests/$(1).bin: guests/$(1)/$(1).asm
	@mkdir -p $$(@D)
	nasm -f bin -Iguests/include/ -Werror -MD $$(@:.bin=.d) -o $$@ $$<
endef
$(foreach guest,$(GUESTS16),$(eval $(call guest16_rule,$(guest))))

# A Linux that checks /dev/kvm (guests/kvm.vms): a program of the C library's, in an initrd with KVM's modules.
KVM_STACK := build/kvm/stack
build/guests/linux/kvm_guest.bin: guests/linux/kvm_guest.asm
	@mkdir -p $(@D)
	nasm -f bin -Werror -MD $(@:.bin=.d) -o $@ $<

build/guests/linux/kvm_check: guests/linux/kvm_check.c build/guests/linux/kvm_guest.bin
	$(GUEST_CC) -m64 -std=gnu11 -O2 -g -Wall -Wextra -Wconversion -Wshadow -Werror -static -pthread \
		-DGUEST_CODE='"build/guests/linux/kvm_guest.bin"' -o $@ $<

build/guests/linux/kvm.gz: build/guests/linux/kvm_check guests/linux/init-kvm tools/mkinitrd tools/kvm_stack.py
	tools/fetch-kvm
	tools/mkinitrd --kvm "$$(ls -d $(KVM_STACK)/bin/busybox $(KVM_STACK)/usr/bin/busybox 2>/dev/null)" \
		guests/linux/init-kvm $@ build/guests/linux/kvm_check

-include $(wildcard build/guests/*.d build/guests/*/*.d)
