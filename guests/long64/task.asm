; SPDX-License-Identifier: BSD-2-Clause
; The ring 3 task: talks to its kernel by SYSCALL and by INT 80H, and tries what ring 3 must not do. Before each such
; try R15 holds where the kernel shall continue it.

CALL_EXIT  equ 0 ; RDI: result
CALL_PRINT equ 1 ; RDI: text
CALL_ADD   equ 2 ; RDI + RSI
TURNS      equ 20000
SECRET     equ 0x100000 ; the kernel's memory

global long64_task, long64_task_stack

bits 64
default rel
section .user progbits alloc exec write align=4096
long64_task:
    mov eax, CALL_PRINT
    lea rdi, [text]
    syscall

    mov eax, CALL_ADD
    mov edi, 40
    mov esi, 2
    int 0x80
    cmp rax, 42
    jne .failed

    xor ebx, ebx
.turn:
    mov eax, CALL_ADD
    mov rdi, rbx
    mov esi, 1
    syscall
    mov rbx, rax
    cmp ebx, TURNS
    jb .turn

%macro FORBIDDEN 1
    lea r15, [%%next]
    %1
    jmp .failed
%%next:
%endmacro
    FORBIDDEN {cli}
    FORBIDDEN {mov rax, [abs SECRET]}
    FORBIDDEN {vmcall}
    FORBIDDEN {wrmsr}
    FORBIDDEN {out 0x80, al}
    FORBIDDEN {mov cr3, rax}
    FORBIDDEN {hlt}

    xor edi, edi
    jmp .exit
.failed:
    mov edi, 1
.exit:
    mov eax, CALL_EXIT
    syscall

text: db "long64: hello from ring 3", 10, 0

align 16
    times 4096 db 0
long64_task_stack:
