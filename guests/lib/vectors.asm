; SPDX-License-Identifier: BSD-2-Clause
; Guest library: one stub per vector for 32-bit guests. Each makes the same frame (struct interrupt_frame in
; interrupts.h) and calls interrupt_dispatch(frame).

bits 32
global interrupt_stubs
extern interrupt_dispatch

%define VECTORS 48
; Exceptions that push an error code: 8, 10 to 14, 17, 21.
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21)

section .text
%assign vector 0
%rep VECTORS
stub_%+vector:
%if !HAS_ERROR(vector)
    push dword 0
%endif
    push dword vector
    jmp dispatch
%assign vector vector + 1
%endrep

dispatch:
    pushad
    cld
    push esp
    call interrupt_dispatch
    add esp, 4
    popad
    add esp, 8 ; vector, error code
    iretd

section .rodata
align 4
interrupt_stubs:
%assign vector 0
%rep VECTORS
    dd stub_%+vector
%assign vector vector + 1
%endrep
