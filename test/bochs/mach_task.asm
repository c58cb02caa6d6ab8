; SPDX-License-Identifier: BSD-2-Clause
; The first task of a GNU Mach without servers: it says a word by the kernel's trap mach_print, which is a far CALL
; through a call gate in the LDT, and spins.

TRAP_MACH_PRINT equ -30

bits 32
global _start

section .text
_start:
    push text
    push 0 ; the place of a return address
    mov eax, TRAP_MACH_PRINT
    call 7:0
.spin:
    pause
    jmp .spin

section .data
text: db "hello from a task of Mach", 10, 0
