; SPDX-License-Identifier: BSD-2-Clause
; Two interrupt tables' handlers. The inner guest's tells its hypervisor by VMCALL, with 100h + vector in RAX, and goes
; on behind it with IRET. The hypervisor's own counts, ends the interrupt at the local APIC, and goes on.

VECTORS   equ 64
APIC_EOI  equ 0xfee000b0
STUB_SIZE equ 16
IS_ERROR  equ 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17

global inner_stubs, inner_host_stubs, inner_end_nmi
extern inner_trap, inner_host_trap, inner_host_count, inner_host_fixup

bits 64
default rel
section .text

%macro STUBS 1
%assign vector 0
%rep VECTORS
    align STUB_SIZE
    %if vector >= 32 || !((IS_ERROR >> vector) & 1)
    push 0
    %endif
    push vector
    jmp %1
    %assign vector vector + 1
%endrep
%endmacro

; Copies the vector, the error code and what the CPU has pushed, to %1. RAX is saved.
%macro RECORD 1
    push rcx
    push rsi
    push rdi
    push rax
    lea rsi, [rsp + 32]
    lea rdi, [%1]
    mov ecx, 7
    cld
    rep movsq
    pop rax
    pop rdi
    pop rsi
    pop rcx
%endmacro

align STUB_SIZE
inner_stubs:
    STUBS to_hypervisor
to_hypervisor:
    RECORD inner_trap
    push rax
    mov rax, [rsp + 8]
    add rax, 0x100
    vmcall
    pop rax
    add rsp, 16
    iretq

align STUB_SIZE
inner_host_stubs:
    STUBS count
count:
    RECORD inner_host_trap
    inc qword [inner_host_count]
    push rax
    cmp qword [rsp + 8], 32
    jb .exception
    mov eax, APIC_EOI
    mov dword [rax], 0
    jmp .back
.exception:
    mov rax, [inner_host_fixup]
    test rax, rax
    jz .back
    mov [rsp + 24], rax
.back:
    pop rax
    add rsp, 16
    iretq

; void inner_end_nmi(void): IRET ends the blocking of NMIs, which an exit by one leaves.
inner_end_nmi:
    mov rax, rsp
    push 0x10
    push rax
    pushfq
    push 0x08
    lea rax, [.here]
    push rax
    iretq
.here:
    ret
