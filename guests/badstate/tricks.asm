; SPDX-License-Identifier: BSD-2-Clause
; The tricks of guests/badstate that need assembly.

TRAMPOLINE equ 0x8000
CODE32     equ 0x08 ; selectors of guests/lib/start.asm
DATA32     equ 0x10
CODE16     equ 0x18
DATA16     equ 0x20
CR0_PE     equ 1
FLAG_TF    equ 0x100
UNUSED     equ 0x2f0 ; a port that nothing answers: an exit, whatever the bitmaps allow

bits 32
section .text

; Jumps to linear address FFFFFFFE, where CPUID stands. What follows, at linear address 0, is `jmp ebp` for the time
; being. All registers that CPUID writes are saved around it.
global badstate_wrap
badstate_wrap:
    push ebx
    push ebp
    push dword [0]
    mov word [0], 0xe5ff ; jmp ebp
    mov ebp, .back
    xor eax, eax
    xor ecx, ecx
    mov edx, 0xfffffffe
    jmp edx
.back:
    pop dword [0]
    pop ebp
    pop ebx
    ret

; Single-steps into a MOV SS, which holds the debug trap back for one instruction; that one is ICEBP, a #DB of its own.
global badstate_debug, badstate_debug_handler, badstate_debug_count
badstate_debug:
    mov eax, ss
    pushfd
    or dword [esp], FLAG_TF
    popfd
    mov ss, eax
    db 0xf1 ; ICEBP
    ret

; Counts, and ends the single-stepping.
badstate_debug_handler:
    inc dword [badstate_debug_count]
    and dword [esp + 8], ~FLAG_TF
    iretd

; Runs at TRAMPOLINE. To real mode and back: there ES, which was null, is loaded, and the VM is left and entered.
global badstate_trampoline, badstate_trampoline_end
badstate_trampoline:
    pushad
    mov [TRAMPOLINE + saved_esp - badstate_trampoline], esp
    jmp CODE16:TRAMPOLINE + segment16 - badstate_trampoline
bits 16
segment16:
    mov ax, DATA16
    mov ds, ax
    mov ss, ax
    xor ax, ax
    mov es, ax ; the null selector
    mov eax, cr0
    and al, ~CR0_PE
    mov cr0, eax
    jmp 0:TRAMPOLINE + real16 - badstate_trampoline
real16:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov es, ax
    mov dx, UNUSED
    out dx, al
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp dword CODE32:TRAMPOLINE + segment32 - badstate_trampoline
bits 32
segment32:
    mov eax, DATA32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, [TRAMPOLINE + saved_esp - badstate_trampoline]
    popad
    ret
saved_esp: dd 0
badstate_trampoline_end:

section .data
align 4
badstate_debug_count: dd 0
