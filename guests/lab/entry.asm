; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state to long mode, the way into the inner guest and out of it, and the inner guest itself.
; The first GiB is mapped one to one.

%include "long_mode.inc"

TASK      equ 0x18 ; behind CODE64 and DATA
TSS_BYTES equ 104
HOST_RSP  equ 0x6c14 ; the encoding of a VMCS field

BEHIND_MOV_SS equ 2

global _start, lab_enter, lab_exit, lab_inner, lab_inner_stack, lab_tss, lab_gdt
extern guest_start

MULTIBOOT_HEADER

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    push eax
    push ebx
    MAP_LOW 1, 0
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
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov eax, lab_tss ; the base in the descriptor, which the assembler cannot split
    mov [lab_gdt + TASK + 2], ax
    shr eax, 16
    mov [lab_gdt + TASK + 4], al
    mov [lab_gdt + TASK + 7], ah
    mov eax, TASK
    ltr ax
    pop rsi ; two 32-bit pushes: EBX below EAX
    mov rdi, rsi
    shr rdi, 32
    mov esi, esi
    call guest_start

; u32 lab_enter(struct registers *inner RDI, u32 how ESI): VMLAUNCH (0), VMRESUME (1), or VMLAUNCH right behind MOV SS
; (2). Returns 0 after the VM exit, 1 if the entry failed with CF set, 2 with ZF set.
lab_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov eax, HOST_RSP
    vmwrite rax, rsp ; where lab_exit finds all this
    cmp esi, 1
    mov rax, [rdi]
    mov rbx, [rdi + 8]
    mov rcx, [rdi + 16]
    mov rdx, [rdi + 24]
    mov rsi, [rdi + 32]
    mov rbp, [rdi + 48]
    mov r8, [rdi + 56]
    mov r9, [rdi + 64]
    mov r10, [rdi + 72]
    mov r11, [rdi + 80]
    mov r12, [rdi + 88]
    mov r13, [rdi + 96]
    mov r14, [rdi + 104]
    mov r15, [rdi + 112]
    mov rdi, [rdi + 40]
    je .resume
    ja .behind_mov_ss
    vmlaunch
    jmp .failed
.resume:
    vmresume
    jmp .failed
.behind_mov_ss:
    mov ax, ss
    mov ss, ax
    vmlaunch
.failed: ; no instruction of these changes the flags
    pop rdi
    mov eax, 1
    jc .return
    mov eax, 2
    jmp .return

; HOST_RIP: the CPU comes here after each VM exit, with the stack of lab_enter and the inner guest's registers.
lab_exit:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi], rax
    mov [rdi + 8], rbx
    mov [rdi + 16], rcx
    mov [rdi + 24], rdx
    mov [rdi + 32], rsi
    pop qword [rdi + 40]
    mov [rdi + 48], rbp
    mov [rdi + 56], r8
    mov [rdi + 64], r9
    mov [rdi + 72], r10
    mov [rdi + 80], r11
    mov [rdi + 88], r12
    mov [rdi + 96], r13
    mov [rdi + 104], r14
    mov [rdi + 112], r15
    pop rdi
    xor eax, eax
lab_enter.return:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; The inner guest: asks for a number by CPUID, sleeps, and gives the number back by VMCALL. It never comes behind that.
lab_inner:
    mov eax, 0x1ab
    cpuid
    hlt
    mov eax, ebx
    vmcall
    jmp lab_inner

section .data
align 8
lab_gdt:
GDT_BEGIN
    dq 0x0000890000000067 ; TASK: its base is filled in above
    dq 0
GDT_END

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4096
lab_tss:     resb TSS_BYTES
alignb 16
    resb 4096
lab_inner_stack:
    resb 16384
stack_top:
