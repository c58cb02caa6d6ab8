; SPDX-License-Identifier: BSD-2-Clause
; One VM entry and what comes of it. All that a VM exit may have loaded from a changed host state, and that C needs, is
; put back before C runs again. SDM 3C 27.5 "Loading Host State". Root operation, interrupts off.
bits 64
default rel

HOST_RSP     equ 0x6c14
MSR_GS_BASE  equ 0xc0000101
MSR_EFER     equ 0xc0000080
EFER_NXE     equ 0x800
KERNEL_CODE  equ 0x08
KERNEL_DATA  equ 0x10
KERNEL_TSS   equ 0x18
TSS_BUSY     equ 2

%macro SAVE_REGISTERS 0
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sgdt    [saved_gdtr]
        sidt    [saved_idtr]
        mov     ecx, MSR_GS_BASE
        rdmsr
        mov     [saved_gs], eax
        mov     [saved_gs + 4], edx
        mov     eax, HOST_RSP
        vmwrite rax, rsp
%endmacro

%macro RESTORE_REGISTERS 0
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
%endmacro

section .text

; u32 battery_enter(u32 launched): 0: there was a VM exit; 1: VMfailValid; 2: VMfailInvalid.
global battery_enter
battery_enter:
        SAVE_REGISTERS
        test    edi, edi
        jnz     .resume
        vmlaunch
        jmp     failed
.resume:
        vmresume
failed:
        mov     eax, 2
        jc      .done
        mov     eax, 1
.done:
        RESTORE_REGISTERS
        ret

; u32 battery_enter_blocked(void): VMRESUME in the instruction after MOV SS.
global battery_enter_blocked
battery_enter_blocked:
        SAVE_REGISTERS
        mov     eax, ss
        mov     ss, eax
        vmresume
        jmp     failed

; HOST_RIP
global battery_exit
battery_exit:
        mov     ecx, MSR_EFER           ; the guest's, or a changed one: without NXE no data can be read
        rdmsr
        or      eax, EFER_NXE
        wrmsr
        lgdt    [saved_gdtr]
        lidt    [saved_idtr]
        mov     rax, [saved_gdtr + 2]
        and     byte [rax + KERNEL_TSS + 5], ~TSS_BUSY
        mov     eax, KERNEL_TSS
        ltr     ax
        mov     eax, KERNEL_DATA
        mov     ss, eax
        xor     eax, eax
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     ecx, MSR_GS_BASE
        mov     eax, [saved_gs]
        mov     edx, [saved_gs + 4]
        wrmsr
        lea     rax, [.code]
        push    KERNEL_CODE
        push    rax
        o64 retf
.code:
        RESTORE_REGISTERS
        xor     eax, eax
        ret

section .bss
align 8
saved_gs:   resq 1
saved_gdtr: resb 16
saved_idtr: resb 16
