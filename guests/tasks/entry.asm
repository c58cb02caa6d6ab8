; SPDX-License-Identifier: BSD-2-Clause
; Where the tasks begin. Each ends in IRET, and goes on behind it when it is switched to again.

bits 32
global task_entry, catch_entry, task16_entry, task16_iret, task16_stack, task16_runs, task16_eax, task16_error
global task16_takes_error, vm86_code, vm86_end, user_code
extern task_work, task_catch, resume_eip, main_tss

STACK_BYTES equ 0x1000
TSS_EIP     equ 0x20

section .text
task_entry:
    call [task_work]
    iretd
    jmp task_entry

; A task behind a gate of the IDT. Its TSS has the vector in EAX, and in EBX whether that has an error code.
catch_entry:
    xor edx, edx
    test ebx, ebx
    jz .no_error
    pop edx
.no_error:
    push edx
    push eax
    call task_catch
    add esp, 8
    iretd
    ud2

; In a segment of its own, since a 16-bit TSS has an IP of 16 bits.
align 16
task16_entry:
    inc dword [task16_runs]
    mov [task16_eax], eax
    cmp dword [task16_takes_error], 0
    je task16_iret
    movzx eax, sp
    mov [task16_error], eax
    pop ax
    shl eax, 16
    or [task16_error], eax
    mov eax, [resume_eip]
    mov [main_tss + TSS_EIP], eax
task16_iret:
    iretd
    jmp task16_entry

user_code:
    int 0x2d
    hlt

; Virtual-8086 mode, at any paragraph: what it may not do ends it.
bits 16
vm86_code:
    mov ax, cs
    hlt
vm86_end:
bits 32

section .bss align=4096
task16_stack:
    resb STACK_BYTES
task16_runs: resd 1
task16_eax: resd 1
task16_error: resd 1
task16_takes_error: resd 1
