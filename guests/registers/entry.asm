; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state to long mode, in ring 0, with general registers, control registers and segments alone.
; The first 4 GiB are mapped one to one in 2 MiB pages.

%include "long_mode.inc"

global _start
extern guest_start

MULTIBOOT_HEADER

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    push eax
    push ebx

    MAP_LOW 4, 0

    LONG_MODE 0
    lgdt [gdt_pointer]
    jmp CODE64:.long

bits 64
default rel
.long:
    mov eax, DATA
    mov ss, eax
    mov ds, eax
    mov es, eax
    pop rsi ; two 32-bit pushes: EBX below EAX
    mov rdi, rsi
    shr rdi, 32
    mov esi, esi
    call guest_start

section .data
GDT_BEGIN
GDT_END

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4 * 4096
    resb 16384
stack_top:
