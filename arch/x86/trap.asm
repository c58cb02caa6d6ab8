; SPDX-License-Identifier: BSD-2-Clause
; The IDT's stubs. Exceptions build a struct trap_frame and call trap_handle; vectors from 32 on save what C may change
; and call irq_dispatch(vector). Interrupts are off in all of them (interrupt gates); DF may be set in what they
; interrupt.
; The NMI entry moves its own IST pointer down while it runs: should something end the blocking of NMIs early
; (an IRET from a #GP that msr_read_safe repairs), a nested NMI does not overwrite the first one's frame.
; SDM 3A 6.14.2 "64-Bit Mode Stack Frame", 6.7.1 "Handling Multiple NMIs".
bits 64
default rel
%include "arch/x86/offsets.inc"

global trap_stubs, trap_irq_stubs
extern trap_handle, trap_handle_nmi, irq_dispatch

VECTOR_NMI      equ 2
FIRST_IRQ       equ 32
; #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code
ERROR_CODES     equ 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30

%macro save_all 0
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    rbp
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        cld
%endmacro

%macro restore_all 0
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rbp
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        add     rsp, 16                 ; vector and error code
%endmacro

section .text
; 6 bytes each, so that a short jump reaches trap_hub in their middle.
trap_stubs:
%assign vector 0
%rep FIRST_IRQ
        %if vector == FIRST_IRQ / 2
trap_hub:
        jmp     near trap_exception
        jmp     near trap_nmi
        times   trap_stubs + FIRST_IRQ / 2 * 6 + 12 - $ db 0xcc
        %endif
        %if (ERROR_CODES >> vector & 1) == 0
        push    byte 0
        %endif
        push    byte vector
        %if vector == VECTOR_NMI
        jmp     short trap_hub + 5
        %else
        jmp     short trap_hub
        %endif
        %if ERROR_CODES >> vector & 1
        times   2 db 0xcc
        %endif
        %assign vector vector + 1
%endrep

align 16
trap_exception:
        save_all
        mov     rdi, rsp
        call    trap_handle
        restore_all
        iretq

trap_nmi:
        save_all
        sub     qword [gs:CPU_LOCAL_TSS_IST_NMI], NMI_SLICE
        call    trap_handle_nmi
        add     qword [gs:CPU_LOCAL_TSS_IST_NMI], NMI_SLICE
        restore_all
        iretq

; 4 bytes each: the vector less 128 fits a signed byte. Behind each 32 of them are 8 bytes with the jump that they
; share.
trap_irq_stubs:
%assign vector FIRST_IRQ
%rep (256 - FIRST_IRQ) / 32
        %assign after 32 * 4
        %rep 32
        %assign after after - 4
        push    byte vector - 128
        jmp     short $ + 2 + after
        %assign vector vector + 1
        %endrep
        jmp     near trap_irq
        times   3 db 0xcc
%endrep

; On entry 6 words lie on the stack below a 16-byte boundary.
align 16
trap_irq:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        mov     rdi, [rsp + 9 * 8]
        sub     edi, -128
        push    qword [rsp + 10 * 8]    ; the interrupted RIP and RBP: a frame for the backtrace
        push    rbp
        mov     rbp, rsp
        sub     rsp, 8
        cld
        call    irq_dispatch
        add     rsp, 8
        pop     rbp
        add     rsp, 8
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 8
        iretq
