; SPDX-License-Identifier: BSD-2-Clause
; VM entry and VM exit: the one place where the guest's general registers are loaded and saved. No policy. Each comes
; twice: as it is, and guarded, with what arch/x86/speculation.c has decided to do against transient execution.
; SDM 3C 26 "VM Entries", 27 "VM Exits". Root operation, interrupts off, the vCPU's VMCS is current.
bits 64
default rel
%include "vmx/offsets.inc"

%define GPR(n) [rbx + VCPU_GPR + 8 * (n)]

extern vmx_features

section .text

; All but RSP, and RBX last, which points to them. MOV leaves the flags alone.
%macro LOAD_REGISTERS 0
        mov     rax, GPR(0)
        mov     rcx, GPR(1)
        mov     rdx, GPR(2)
        mov     rbp, GPR(5)
        mov     rsi, GPR(6)
        mov     rdi, GPR(7)
        mov     r8, GPR(8)
        mov     r9, GPR(9)
        mov     r10, GPR(10)
        mov     r11, GPR(11)
        mov     r12, GPR(12)
        mov     r13, GPR(13)
        mov     r14, GPR(14)
        mov     r15, GPR(15)
        mov     rbx, GPR(3)
%endmacro

; [rsp] is v. Leaves the flags alone.
%macro SAVE_REGISTERS 0
        push    rbx
        mov     rbx, [rsp + 8]
        mov     GPR(0), rax
        mov     GPR(1), rcx
        mov     GPR(2), rdx
        mov     GPR(5), rbp
        mov     GPR(6), rsi
        mov     GPR(7), rdi
        mov     GPR(8), r8
        mov     GPR(9), r9
        mov     GPR(10), r10
        mov     GPR(11), r11
        mov     GPR(12), r12
        mov     GPR(13), r13
        mov     GPR(14), r14
        mov     GPR(15), r15
        pop     qword GPR(3)
%endmacro

; Pushes what the exit pops, and makes HOST_RSP what RSP is then.
%macro PREPARE_STACK 0
        push    rbp
        push    rbx                     ; [rsp] = v for the exit
        cmp     rsp, [rbx + VCPU_HOST_RSP]
        je      %%known                 ; a hypervisor below may trap VMWRITE
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        jbe     vmx_exit_entry.return
        mov     [rbx + VCPU_HOST_RSP], rsp
%%known:
%endmacro

; vmx_run_guest() in entry.h calls this. rbx = struct vmx_vcpu *v
; Enters the guest with the registers of v->gpr[] and returns at its next VM exit, with the guest's registers there
; again. CF or ZF is set if the entry failed. Gives back RBX, RBP and RSP.
global vmx_enter_guest
vmx_enter_guest:
        PREPARE_STACK
        cmp     dword [rbx + VCPU_LAUNCHED], 0
        LOAD_REGISTERS
        je      .launch
        vmresume
        jmp     vmx_exit_entry
.launch:
        vmlaunch

; HOST_RIP: each VM exit arrives here with HOST_RSP loaded, and so does an entry that failed. The flags tell them apart.
; SDM 3C 30.2 "Conventions": VMfailInvalid sets CF, VMfailValid sets ZF. 27.5.3 "Loading Host RIP, RSP, and RFLAGS": a
; VM exit clears both.
global vmx_exit_entry
vmx_exit_entry:
        SAVE_REGISTERS
.return:                                ; POP leaves the flags alone
        pop     rbx
        pop     rbp
        ret

%define GUARDED(act) test dword [vmx_features + FEATURES_ACTS], act

section .rodata
data_selector:
        dw      SELECTOR_DATA

section .text

; The same, guarded. What a wrongly predicted branch skips here is made good: VMLAUNCH and VMRESUME come after all that
; precedes them, and on the way back LFENCE does.
global vmx_enter_guest_guarded
vmx_enter_guest_guarded:
        PREPARE_STACK
        GUARDED(SPECULATION_FLUSH_L1D)
        jz      .flushed
        mov     ecx, MSR_FLUSH_CMD
        mov     eax, 1
        xor     edx, edx
        wrmsr
.flushed:
        GUARDED(SPECULATION_IBRS)
        jz      .restricted
        mov     ecx, MSR_SPEC_CTRL
        movzx   eax, word [rbx + VCPU_SPEC_CTRL]
        xor     edx, edx
        wrmsr
.restricted:
        GUARDED(SPECULATION_VERW)
        jz      .enter
        cmp     dword [rbx + VCPU_LAUNCHED], 1 ; CF, since VERW changes ZF only
        LOAD_REGISTERS
        verw    [data_selector]
        jc      .launch
        vmresume
        jmp     vmx_exit_guarded
.enter:
        cmp     dword [rbx + VCPU_LAUNCHED], 1
        LOAD_REGISTERS
        jc      .launch
        vmresume
        jmp     vmx_exit_guarded
.launch:
        vmlaunch

; HOST_RIP of a guarded vCPU. No RET and no indirect branch may come before the guards are up; then LFENCE.
global vmx_exit_guarded
vmx_exit_guarded:
        SAVE_REGISTERS
        mov     eax, 0                  ; MOV: the flags are still those of the exit
        seta    al                      ; 1: it is an exit, 0: the entry failed
        push    rax
        xor     eax, eax
        xor     ecx, ecx
        xor     edx, edx
        xor     ebp, ebp
        xor     esi, esi
        xor     edi, edi
        xor     r8d, r8d
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
        xor     r12d, r12d
        xor     r13d, r13d
        xor     r14d, r14d
        xor     r15d, r15d
        GUARDED(SPECULATION_IBRS)
        jz      .restricted
        mov     ecx, MSR_SPEC_CTRL      ; the guest has written it without an exit
        rdmsr
        mov     [rbx + VCPU_SPEC_CTRL], ax
        mov     eax, 1                  ; IBRS, also if it is set: each write counts from its time on
        xor     edx, edx
        wrmsr
.restricted:
        GUARDED(SPECULATION_FILL_RETURNS)
        jz      .filled
        mov     ecx, 16                 ; 32 returns: as many as the deepest return stack buffer holds
.fill:
        call    .first
.trap_first:
        pause
        lfence
        jmp     .trap_first
.first:
        call    .second
.trap_second:
        pause
        lfence
        jmp     .trap_second
.second:
        dec     ecx
        jnz     .fill
        add     rsp, 32 * 8
.filled:
        GUARDED(SPECULATION_CLEAR_HISTORY)
        jz      .cleared
        call    clear_history
.cleared:
        lfence
        pop     rax
        test    eax, eax                ; ZF: the entry failed; CF is clear
        pop     rbx
        pop     rbp
        ret

; The branch history is pushed out by taken branches of ours, calls, jumps and returns: 12 rounds of 7, which suffices
; for the longest history that Intel has told of. Intel, "Branch History Injection and Intra-mode Branch Target
; Injection", on software sequences that clear it. ecx, eax
align 64
clear_history:
        mov     ecx, 12
        call    .rounds
        lfence
        ret
align 64
.rounds:
        call    .round
        ret
align 64
.round:
        mov     eax, 7
.next:
        jmp     .taken
        nop
.taken:
        dec     eax
        jnz     .next
        dec     ecx
        jnz     .rounds
        ret
