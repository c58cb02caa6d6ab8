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
; Enters the guest again and again until vmx_after_exit returns false. Returns 0 then; 1 for VMfailValid, 2 for VMfailInvalid.
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
        jbe     failed
        cmp     dword [rdi + VCPU_LAUNCHED], 0
        jne     resume
        mov     dword [rdi + VCPU_LAUNCHED], 1
        LOAD_GUEST_REGISTERS
        vmlaunch
        jmp     failed_launch

resume:
        LOAD_GUEST_REGISTERS
        vmresume
        jmp     failed

; SDM 3C 30.2: CF set is VMfailInvalid, ZF set is VMfailValid.
failed_launch:
        mov     rdi, [rsp]
        mov     dword [rdi + VCPU_LAUNCHED], 0
failed:
        mov     eax, 2
        jc      leave
        mov     eax, 1
        jmp     leave

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
        mov     rdi, [rsp]
        test    al, al
        jnz     resume
        xor     eax, eax
leave:
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
