; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state, or from SIPI, to long mode with the first 4 GiB mapped one to one; 256 interrupt
; entries; MSR and CR8 accesses that may fault. Each vCPU finds its stack by its APIC ID.

%include "long_mode.inc"

GIBS        equ 4 ; mapped
STACK_SHIFT equ 14
TRAMPOLINE  equ 0x8000
INIT_STATE  equ 0x9000 ; struct init_state
INIT_WIDE   equ INIT_STATE + 0x60

CR0_CD      equ 0x40000000
CR4_OSXSAVE equ 0x40000
DR7_GLOBAL  equ 0x4aa ; all breakpoints, on instructions
NOWHERE     equ 0x12345678

global _start, apic_vectors, apic_trampoline, apic_trampoline_end, apic_load_idt
global apic_try_read, apic_try_write, apic_try_cr8, apic_tries, apic_try_failed
global apic_spoil, apic_spoilt
extern guest_start, apic_trap, apic_cpu_main, apic_stacks, apic_idt_pointer

MULTIBOOT_HEADER

section .text
bits 32
_start:
    cld
    mov esi, eax
    mov ebp, ebx
    MAP_LOW GIBS, 0
    LONG_MODE 0
    lgdt [gdt_pointer]
    jmp CODE64:.long

bits 64
default rel
.long:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    lea rsp, [apic_stacks + (1 << STACK_SHIFT)]
    mov edi, esi
    mov esi, ebp
    call guest_start

; Copied to TRAMPOLINE: where SIPI starts a processor, in real mode.
bits 16
apic_trampoline:
    mov [INIT_STATE + 0], eax
    mov [INIT_STATE + 4], ebx
    mov [INIT_STATE + 8], ecx
    mov [INIT_STATE + 12], edx
    mov [INIT_STATE + 16], esi
    mov [INIT_STATE + 20], edi
    mov [INIT_STATE + 24], ebp
    mov [INIT_STATE + 28], esp
%macro KEEP 2
    mov eax, %2
    mov [INIT_STATE + %1], eax
%endmacro
    KEEP 32, cr0
    KEEP 36, cr2
    KEEP 40, cr3
    KEEP 44, cr4
    KEEP 48, dr0
    KEEP 52, dr1
    KEEP 56, dr2
    KEEP 60, dr3
    KEEP 64, dr6
    KEEP 68, dr7
    sgdt [INIT_STATE + 72]
    sidt [INIT_STATE + 78]
    cli
    cld
    xor ax, ax
    mov ds, ax
    o32 lgdt [TRAMPOLINE + .pointer - apic_trampoline]
    LONG_MODE 0
    jmp dword CODE64:processor
align 4
.pointer:
    dw gdt_end - gdt - 1
    dd gdt
apic_trampoline_end:

bits 64
processor:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
%assign i 8
%rep 8
    mov [abs INIT_WIDE + 8 * (i - 8)], r%+i
    %assign i i + 1
%endrep
    mov eax, 1
    cpuid
    shr ebx, 24 ; the initial APIC ID
    lea eax, [rbx + 1]
    shl eax, STACK_SHIFT
    lea rsp, [apic_stacks]
    add rsp, rax
    call apic_load_idt
    mov edi, ebx
    call apic_cpu_main

apic_load_idt:
    lidt [apic_idt_pointer]
    ret

; All that INIT resets becomes something else, and so does XCR0, which it leaves, where there is one (EDI); then waits.
apic_spoil:
    test edi, edi
    jz .registers
    mov rax, cr4
    or eax, CR4_OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
.registers:
    mov rax, cr0
    or eax, CR0_CD
    mov cr0, rax
    mov eax, NOWHERE
    mov cr2, rax
    mov dr0, rax
    mov dr1, rax
    mov dr2, rax
    mov dr3, rax
    mov ecx, DR7_GLOBAL
    mov dr7, rcx
    mov ecx, 0xffff4ff0
    mov dr6, rcx
%assign i 8
%rep 8
    mov r%+i, rax
    %assign i i + 1
%endrep
    mov rbx, rax
    mov rcx, rax
    mov rdx, rax
    mov rsi, rax
    mov rdi, rax
    mov rbp, rax
    fninit
    fldpi
    lock inc dword [apic_spoilt]
.wait:
    pause
    jmp .wait

; bool apic_try_read(u32 msr, u64 *value), bool apic_try_write(u32 msr, u64 value), bool apic_try_cr8(u64 value): false
; if the instruction raises #GP.
apic_try_read:
    mov ecx, edi
.try:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    mov eax, 1
    ret

apic_try_write:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
.try:
    wrmsr
    mov eax, 1
    ret

apic_try_cr8:
.try:
    mov cr8, rdi
    mov eax, 1
    ret

apic_try_failed:
    xor eax, eax
    ret

; What the stubs push is struct trap_frame.
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21)
%macro STUB 1
stub_%1:
%if !HAS_ERROR(%1)
    push 0
%endif
    push %1
    jmp trap
%endmacro
%assign vector 0
%rep 256
    STUB vector
    %assign vector vector + 1
%endrep

trap:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    cld
    mov rdi, rsp
    call apic_trap
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

section .rodata
align 8
apic_tries: ; where apic_try_failed continues after #GP
    dq apic_try_read.try, apic_try_write.try, apic_try_cr8.try
apic_vectors:
%assign vector 0
%rep 256
    dq stub_%+vector
    %assign vector vector + 1
%endrep

section .data
GDT_BEGIN
GDT_END

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4096 * GIBS
apic_spoilt: resd 1
