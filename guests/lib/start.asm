; SPDX-License-Identifier: BSD-2-Clause
; Guest library: the multiboot header and the first instructions of every 32-bit C guest. The loader enters here in
; flat 32-bit protected mode, paging and interrupts off, with EAX = magic and EBX = address of its information. Its GDT
; may be gone, so the guest brings its own. With MULTIBOOT2 defined the header is that of version 2.

STACK_BYTES equ 16384

global _start, guest_load_gdt
extern guest_start

%ifdef MULTIBOOT2
MULTIBOOT_MAGIC equ 0xe85250d6
HEADER_BYTES    equ 24 ; the head of 16 and the end tag
section .multiboot align=8
    dd MULTIBOOT_MAGIC, 0, HEADER_BYTES, -(MULTIBOOT_MAGIC + HEADER_BYTES)
    dw 0, 0
    dd 8
%else
MULTIBOOT_MAGIC equ 0x1badb002
MULTIBOOT_FLAGS equ 3 ; modules page-aligned; memory sizes wanted
section .multiboot align=4
    dd MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
%endif

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    call guest_load_gdt
    push ebx
    push eax
    call guest_start
.stop:
    cli
    hlt
    jmp .stop

; Loads the flat GDT and all segment registers; keeps every general register. The additional vCPUs of guests/smp use it
; too.
guest_load_gdt:
    push eax
    lgdt [gdt_pointer]
    jmp 0x08:.reload
.reload:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    pop eax
    ret

section .rodata
align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff ; 0x08: code, 4 GiB, already marked accessed
    dq 0x00cf93000000ffff ; 0x10: data, 4 GiB
    dq 0x00009b000000ffff ; 0x18: 16-bit code, for the way back to real mode
    dq 0x000093000000ffff ; 0x20: 16-bit data
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt

section .bss align=16
    resb STACK_BYTES
stack_top:
