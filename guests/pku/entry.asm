; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state to long mode, in ring 0. The first 4 GiB are mapped one to one in 2 MiB pages of the
; supervisor; the page at 4 MiB is a user's with protection key 1.

%include "long_mode.inc"

PAGE_KEY_1 equ 1 << 27 ; bits 62:59, in the upper half of the entry
USER_PAGE  equ 2       ; number of the 2 MiB page at 4 MiB

global _start, pku_fault
extern guest_start, pku_resume, pku_error, pku_address

MULTIBOOT_HEADER

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    push eax
    push ebx

    MAP_LOW 4, PAGE_USER
    or dword [directories + USER_PAGE * 8], PAGE_USER
    or dword [directories + USER_PAGE * 8 + 4], PAGE_KEY_1

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

; #PF: notes error code and address, goes on where the code that expected it says.
pku_fault:
    push rax
    mov rax, cr2
    mov [pku_address], rax
    mov eax, [rsp + 8]
    mov [pku_error], eax
    mov rax, [pku_resume]
    mov [rsp + 16], rax
    pop rax
    add rsp, 8
    iretq

section .data
GDT_BEGIN
GDT_END

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4 * 4096
    resb 16384
stack_top:
