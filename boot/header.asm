; SPDX-License-Identifier: BSD-2-Clause
; The multiboot2 header: what GRUB must hand over. One header serves BIOS and UEFI: without the "EFI boot services" tag
; GRUB leaves boot services itself and enters boot_entry in 32-bit protected mode on both.
; There is no framebuffer tag on purpose: it makes GRUB for the BIOS leave the text mode, which Bochs does not survive.
; GRUB for UEFI hands over a framebuffer without it, if grub.cfg has loaded a driver (tools/mkiso).
; Multiboot2 Specification 2.0, section 3.1 "OS image format".
MAGIC           equ 0xe85250d6
ARCHITECTURE    equ 0                   ; i386 protected mode
TAG_END         equ 0
TAG_REQUEST     equ 1
TAG_ALIGN       equ 6
TAG_RELOCATABLE equ 10
PREFER_LOWEST   equ 1
OPTIONAL        equ 1

INFO_CMDLINE    equ 1
INFO_LOADER     equ 2
INFO_MODULE     equ 3
INFO_MMAP       equ 6
INFO_SECTIONS   equ 9
INFO_ACPI_OLD   equ 14
INFO_ACPI_NEW   equ 15
INFO_EFI_MMAP   equ 17

section .multiboot2 progbits alloc noexec nowrite align=8
header:
        dd      MAGIC
        dd      ARCHITECTURE
        dd      header.end - header
        dd      0x100000000 - (MAGIC + ARCHITECTURE + (header.end - header))

        align   8, db 0
.required:
        dw      TAG_REQUEST, 0
        dd      .required_end - .required
        dd      INFO_CMDLINE, INFO_LOADER, INFO_MODULE, INFO_MMAP
.required_end:

        align   8, db 0
.wanted:
        dw      TAG_REQUEST, OPTIONAL
        dd      .wanted_end - .wanted
        dd      INFO_SECTIONS, INFO_ACPI_OLD, INFO_ACPI_NEW, INFO_EFI_MMAP
.wanted_end:

        align   8, db 0
        dw      TAG_ALIGN, 0            ; modules begin on page boundaries
        dd      8

        align   8, db 0
        dw      TAG_RELOCATABLE, OPTIONAL ; firmware may hold the memory that the image is linked to
        dd      24
        dd      0x100000                ; not below
        dd      0xffffffff              ; not above: the boot page tables map 4 GiB
        dd      0x200000                ; by whole pages of theirs
        dd      PREFER_LOWEST

        align   8, db 0
        dw      TAG_END, 0
        dd      8
.end:
