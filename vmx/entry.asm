; VM entry and VM exit: the one place where guest registers are loaded and saved. No policy.
; SDM 3C 26 "VM Entries", 27 "VM Exits". Root operation, interrupts off, the vCPU's VMCS is current.
;
; C functions keep RBX, RBP and R12 to R15. So the guest's stay where they are while a plain exit is handled, and gpr[] has
; them only while an exit is handled by one of the WITH_REGISTERS below, and when the guest has been left. run.c alone must never use
; these six, for it enters again without returning (kernel.mk: KEPT).
bits 64
default rel
%include "vmx/offsets.inc"

%define GPR(n) [rdi + VCPU_GPR + 8 * (n)]

; rdi = v. MOV leaves the flags alone.
%macro LOAD_KEPT_REGISTERS 0
        mov     rbx, GPR(3)
        mov     rbp, GPR(5)
        mov     r12, GPR(12)
        mov     r13, GPR(13)
        mov     r14, GPR(14)
        mov     r15, GPR(15)
%endmacro

%macro SAVE_KEPT_REGISTERS 0
        mov     GPR(3), rbx
        mov     GPR(5), rbp
        mov     GPR(12), r12
        mov     GPR(13), r13
        mov     GPR(14), r14
        mov     GPR(15), r15
%endmacro

%macro LOAD_OTHER_REGISTERS 0
        mov     rax, GPR(0)
        mov     rcx, GPR(1)
        mov     rdx, GPR(2)
        mov     rsi, GPR(6)
        mov     r8, GPR(8)
        mov     r9, GPR(9)
        mov     r10, GPR(10)
        mov     r11, GPR(11)
        mov     rdi, GPR(7)
%endmacro

section .text

extern vmx_after_exit

; u32 vmx_enter_guest(struct vmx_vcpu *v)
; Enters the guest, and again after each exit until vmx_after_exit returns 0, which it then returns too. 1 and 2: an entry
; failed with VMfailValid or VMfailInvalid. When it returns, gpr[] has all the guest's registers.
global vmx_enter_guest
vmx_enter_guest:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi                     ; [rsp] = v for the exit; the stack is 16-byte aligned here
        mov     [gs:CPU_HOST_STACK], rsp
        LOAD_KEPT_REGISTERS             ; before anything can fail: `leave` saves them
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        jbe     failed
        cmp     dword [rdi + VCPU_LAUNCHED], 0
        jne     vmx_resume_guest
        mov     dword [rdi + VCPU_LAUNCHED], 1
        LOAD_OTHER_REGISTERS
        vmlaunch
        mov     rdi, [rsp]
        mov     dword [rdi + VCPU_LAUNCHED], 0
failed:                                 ; SDM 3C 30.2: CF set is VMfailInvalid, ZF set is VMfailValid
        mov     eax, 2
        jc      leave
        mov     eax, 1

; eax: what vmx_enter_guest returns; the guest's kept registers are in the CPU
leave:
        mov     rsp, [gs:CPU_HOST_STACK]
        pop     rdi
        SAVE_KEPT_REGISTERS
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; noreturn void vmx_resume_guest(struct vmx_vcpu *v)
; The next exit takes its stack from HOST_RSP: what lies on this one is forgotten.
global vmx_resume_guest
vmx_resume_guest:
        LOAD_OTHER_REGISTERS
        vmresume
        jmp     failed

; HOST_RIP: every VM exit arrives here with HOST_RSP loaded. RBP stays the guest's: a backtrace follows it only on our stacks.
global vmx_exit_entry
vmx_exit_entry:
        push    rdi
        mov     rdi, [rsp + 8]
        mov     GPR(0), rax
        mov     GPR(1), rcx
        mov     GPR(2), rdx
        mov     GPR(6), rsi
        mov     GPR(8), r8
        mov     GPR(9), r9
        mov     GPR(10), r10
        mov     GPR(11), r11
        pop     qword GPR(7)
        call    vmx_after_exit
        jmp     leave

; enum outcome NAME(struct vmx_vcpu *v, struct trace_record *record)
; The handler with all the guest's registers in gpr[], from where they return to the CPU.
%macro WITH_REGISTERS 2 ; NAME, handler
extern %2
global %1
%1:
        SAVE_KEPT_REGISTERS
        push    rdi
        call    %2
        pop     rdi
        LOAD_KEPT_REGISTERS
        ret
%endmacro

WITH_REGISTERS vmx_exit_with_registers, vmx_exit_slow
WITH_REGISTERS vmx_ept_violation_with_registers, vmx_ept_violation_exit
