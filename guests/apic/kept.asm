; The registers that the hypervisor leaves in the CPU over an exit: after each operation that exits they must be as they were.
; SysV calling convention; the operations use no register but those that a function may lose.

%include "rootlet_abi.inc"

MSR_APIC_BASE   equ 0x1b
MSR_BIOS_SIGN   equ 0x8b  ; a write of it is ignored
HPET_COUNTER    equ 0xfed000f0
IOAPIC_VERSION  equ 0xfec00010
PATTERN_RBX     equ 0xb0b1b2b3b4b5b6b7
PATTERN_RBP     equ 0xc0c1c2c3c4c5c6c7
PATTERN_R12     equ 0x1213141516171819
PATTERN_R13     equ 0x131415161718191a
PATTERN_R14     equ 0x1415161718191a1b
PATTERN_R15     equ 0x15161718191a1b1c

bits 64
section .text

; Sets bit %3 of EAX if register %1 is not %2.
%macro COMPARE 3
    mov rcx, %2
    cmp %1, rcx
    je %%same
    or eax, 1 << %3
%%same:
%endmacro

; u32 kept_lost(void (*operation)(void), u32 turns): does it so often, with a pattern in each register that functions keep.
; Returns those that were lost: bit 0 RBX, 1 RBP, 2 to 5 R12 to R15.
global kept_lost
kept_lost:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    push rsi
.turn:
    mov rbx, PATTERN_RBX
    mov rbp, PATTERN_RBP
    mov r12, PATTERN_R12
    mov r13, PATTERN_R13
    mov r14, PATTERN_R14
    mov r15, PATTERN_R15
    call [rsp + 8]
    xor eax, eax
    COMPARE rbx, PATTERN_RBX, 0
    COMPARE rbp, PATTERN_RBP, 1
    COMPARE r12, PATTERN_R12, 2
    COMPARE r13, PATTERN_R13, 3
    COMPARE r14, PATTERN_R14, 4
    COMPARE r15, PATTERN_R15, 5
    test eax, eax
    jnz .done
    dec dword [rsp]
    jnz .turn
.done:
    pop rsi
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; CPUID answers in RBX: its upper half must become 0, and the pattern comes back by hand.
global kept_cpuid
kept_cpuid:
    mov r8, rbx
    xor eax, eax
    cpuid
    mov r9, rbx
    shr r9, 32
    jnz .wrong
    cmp ebx, 0x756e6547             ; "Genu"
    jne .wrong
    mov rbx, r8
    ret
.wrong:
    xor ebx, ebx
    ret

global kept_in
kept_in:
    in al, 0x21
    ret

global kept_out
kept_out:
    out 0x80, al
    ret

; String I/O, with its memory operand: the general way.
global kept_outs
kept_outs:
    lea rsi, [rel kept_outs]
    mov dx, 0x80
    outsb
    ret

global kept_rdmsr
kept_rdmsr:
    mov ecx, MSR_APIC_BASE
    rdmsr
    ret

global kept_wrmsr
kept_wrmsr:
    mov ecx, MSR_BIOS_SIGN
    xor eax, eax
    xor edx, edx
    wrmsr
    ret

; To another vCPU, if there is one that waits, and back.
global kept_yield
kept_yield:
    mov eax, ROOTLET_CALL_YIELD
    vmcall
    ret

; Sleeps until an interrupt, for which the caller has armed something periodic.
global kept_halt
kept_halt:
    sti
    hlt
    ret

global kept_load
kept_load:
    mov ecx, HPET_COUNTER
    mov rax, [rcx]
    ret

; By a register that stays in the CPU: its pattern, that is, and what it becomes.
global kept_load_kept
kept_load_kept:
    mov r8, r13
    mov ecx, IOAPIC_VERSION
    mov r13d, [rcx]
    mov r9, r13
    shr r9, 32
    jnz .wrong
    cmp r13d, -1
    je .wrong
    mov r13, r8
    ret
.wrong:
    xor r13d, r13d
    ret

global kept_store
kept_store:
    mov ecx, IOAPIC_VERSION - 0x10
    mov dword [rcx], 1              ; IOREGSEL: the version's register
    ret

; Exits that nobody counts among the frequent ones.
global kept_slow
kept_slow:
    wbinvd
    ret

; Longer than a slice of 10 ms at any clock below 5 GHz, so that the preemption timer comes in between.
global kept_spin
kept_spin:
    rdtsc
    mov r8d, eax
.again:
    rdtsc
    sub eax, r8d
    cmp eax, [rel kept_spin_ticks]
    jb .again
    ret

section .data
global kept_spin_ticks
kept_spin_ticks: dd 0
