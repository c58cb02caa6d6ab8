; SPDX-License-Identifier: BSD-2-Clause
; From the loader's 32-bit state to long mode with page tables of our own, and the ways between ring 0 and ring 3. The
; first GiB is mapped one to one in 2 MiB pages; only the page at 4 MiB, where the task lies, is open to ring 3.

%include "long_mode.inc"

USER_PAGE equ 2 ; number of the 2 MiB page at 4 MiB

MSR_STAR  equ 0xc0000081
MSR_LSTAR equ 0xc0000082
MSR_FMASK equ 0xc0000084
FLAG_IF   equ 0x200

; Selectors behind CODE64 and DATA. SYSRET wants them in this order: SS is CS - 8.
USER_BASE equ 0x18
USER_DATA equ 0x20 + 3
USER_CODE equ 0x28 + 3
TASK      equ 0x30
TSS_BYTES equ 104

global _start, long64_vectors, long64_enter_user, long64_leave_user
extern guest_start, long64_trap, long64_syscall

MULTIBOOT_HEADER

section .text
bits 32
_start:
    cld
    mov esp, stack_top
    push eax
    push ebx

    MAP_LOW 1, PAGE_USER
    or dword [directories + USER_PAGE * 8], PAGE_USER

    LONG_MODE EFER_SCE
    lgdt [gdt_pointer]
    jmp CODE64:.long

bits 64
default rel
.long:
    mov eax, DATA
    mov ss, eax
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax

    ; The base of the TSS descriptor, which the assembler cannot split.
    mov eax, tss
    mov [gdt + TASK + 2], ax
    shr eax, 16
    mov [gdt + TASK + 4], al
    mov [gdt + TASK + 7], ah
    mov word [tss + 102], TSS_BYTES ; no I/O permission bitmap: ring 3 may use no port
    mov eax, TASK
    ltr ax

    mov ecx, MSR_STAR
    xor eax, eax
    mov edx, USER_BASE << 16 | CODE64
    wrmsr
    mov ecx, MSR_LSTAR
    mov eax, syscall_entry
    xor edx, edx
    wrmsr
    mov ecx, MSR_FMASK
    mov eax, FLAG_IF
    wrmsr

    pop rsi ; two 32-bit pushes: EBX below EAX
    mov rdi, rsi
    shr rdi, 32
    mov esi, esi
    call guest_start

; void long64_enter_user(entry RDI, stack RSI): runs ring 3 code; returns once the task calls long64_leave_user.
long64_enter_user:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [kernel_rsp], rsp
    mov rax, rsp
    mov [tss + 4], rax ; RSP0: interrupts and exceptions from ring 3 push here
    push USER_DATA
    push rsi
    push FLAG_IF | 2
    push USER_CODE
    push rdi
    iretq

; Called in ring 0, from any depth: drops that stack and returns from long64_enter_user.
long64_leave_user:
    cli
    mov rsp, [kernel_rsp]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; SYSCALL: number in RAX, arguments RDI, RSI, RDX; result in RAX. RCX and R11 hold RIP and RFLAGS.
syscall_entry:
    mov [user_rsp], rsp
    mov rsp, [kernel_rsp]
    push rcx
    push r11
    mov rcx, rax
    call long64_syscall ; (RDI, RSI, RDX, number)
    pop r11
    pop rcx
    mov rsp, [user_rsp]
    o64 sysret

; One stub per exception and for INT 80H: they build struct trap_frame of main.c.
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21)
%macro STUB 1
stub_%1:
%if !HAS_ERROR(%1)
    push 0
%endif
    push %1
    jmp trap
%endmacro
%assign vector 0
%rep 32
    STUB vector
    %assign vector vector + 1
%endrep
    STUB 128

trap:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbx, rsp ; the frame's size leaves the stack unaligned at times
    and rsp, -16
    call long64_trap
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

section .rodata
align 8
long64_vectors: ; 32 exceptions, then INT 80H
%assign vector 0
%rep 32
    dq stub_%+vector
    %assign vector vector + 1
%endrep
    dq stub_128

section .data
GDT_BEGIN
    dq 0                  ; USER_BASE: would be 32-bit user code
    dq 0x00cff3000000ffff ; USER_DATA
    dq 0x00affb000000ffff ; USER_CODE
    dq 0x0000890000000067 ; TASK: its base is filled in above
    dq 0
GDT_END

section .bss align=4096
pml4:        resb 4096
pdpt:        resb 4096
directories: resb 4096
tss:         resb TSS_BYTES
alignb 16
kernel_rsp: resq 1
user_rsp:   resq 1
    resb 16384
stack_top:
