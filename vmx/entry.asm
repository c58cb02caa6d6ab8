; VM entry and VM exit: the one place where guest registers are loaded and saved. No policy.
; SDM 3C 26 "VM Entries", 27 "VM Exits". Root operation, interrupts off, the vCPU's VMCS is current.
bits 64
default rel
%include "vmx/offsets.inc"

%define GPR(n) [rdi + VCPU_GPR + 8 * (n)]

; rdi = v. MOV leaves the flags alone.
%macro LOAD_GUEST_REGISTERS 0
        mov     rax, GPR(0)
        mov     rcx, GPR(1)
        mov     rdx, GPR(2)
        mov     rbx, GPR(3)
        mov     rbp, GPR(5)
        mov     rsi, GPR(6)
        mov     r8, GPR(8)
        mov     r9, GPR(9)
        mov     r10, GPR(10)
        mov     r11, GPR(11)
        mov     r12, GPR(12)
        mov     r13, GPR(13)
        mov     r14, GPR(14)
        mov     r15, GPR(15)
        mov     rdi, GPR(7)
%endmacro

section .text

extern vmx_after_exit

; u32 vmx_enter_guest(struct vmx_vcpu *v)
; Enters the guest, and again after each exit until vmx_after_exit returns 0, which it then returns too. 1 and 2: the entry
; failed with VMfailValid or VMfailInvalid.
global vmx_enter_guest
vmx_enter_guest:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi                     ; [rsp] = v for the exit; the stack is 16-byte aligned here
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        jbe     .failed
        cmp     dword [rdi + VCPU_LAUNCHED], 0
        je      .launch
        call    vmx_resume_guest
        jmp     leave
.launch:
        mov     dword [rdi + VCPU_LAUNCHED], 1
        LOAD_GUEST_REGISTERS
        vmlaunch
        mov     rdi, [rsp]
        mov     dword [rdi + VCPU_LAUNCHED], 0
.failed:
        call    failed
        jmp     leave

; u32 vmx_resume_guest(struct vmx_vcpu *v)
; Returns only if VMRESUME fails: the exit takes its stack from HOST_RSP, and what lies below is forgotten. The registers
; that the caller wants kept are those that vmx_enter_guest saved: whoever called us must return to it at once.
global vmx_resume_guest
vmx_resume_guest:
        LOAD_GUEST_REGISTERS
        vmresume
failed:                                 ; SDM 3C 30.2: CF set is VMfailInvalid, ZF set is VMfailValid
        mov     eax, 2
        jc      .done
        mov     eax, 1
.done:
        ret

; HOST_RIP: every VM exit arrives here with HOST_RSP loaded.
global vmx_exit_entry
vmx_exit_entry:
        push    rdi
        mov     rdi, [rsp + 8]
        mov     GPR(0), rax
        mov     GPR(1), rcx
        mov     GPR(2), rdx
        mov     GPR(3), rbx
        mov     GPR(5), rbp
        mov     GPR(6), rsi
        mov     GPR(8), r8
        mov     GPR(9), r9
        mov     GPR(10), r10
        mov     GPR(11), r11
        mov     GPR(12), r12
        mov     GPR(13), r13
        mov     GPR(14), r14
        mov     GPR(15), r15
        pop     qword GPR(7)
        xor     ebp, ebp                ; ends backtraces: no guest value is taken for a frame
        call    vmx_after_exit
leave:
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
