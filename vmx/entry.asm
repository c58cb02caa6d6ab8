; SPDX-License-Identifier: BSD-2-Clause
; VM entry and VM exit: the one place where the guest's general registers are loaded and saved. No policy.
; SDM 3C 26 "VM Entries", 27 "VM Exits". Root operation, interrupts off, the vCPU's VMCS is current.
bits 64
default rel
%include "vmx/offsets.inc"

%define GPR(n) [rbx + VCPU_GPR + 8 * (n)]

section .text

; vmx_run_guest() in entry.h calls this. rbx = struct vmx_vcpu *v
; Enters the guest with the registers of v->gpr[] and returns at its next VM exit, with the guest's registers there
; again. CF or ZF is set if the entry failed. Gives back RBX, RBP and RSP.
global vmx_enter_guest
vmx_enter_guest:
        push    rbp
        push    rbx                     ; [rsp] = v for the exit
        cmp     rsp, [rbx + VCPU_HOST_RSP]
        je      .enter                  ; a hypervisor below may trap VMWRITE
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        jbe     vmx_exit_entry.return
        mov     [rbx + VCPU_HOST_RSP], rsp
.enter:
        cmp     dword [rbx + VCPU_LAUNCHED], 0
        mov     rax, GPR(0)             ; MOV leaves the flags alone
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

.return:                                ; POP leaves the flags alone
        pop     rbx
        pop     rbp
        ret
