; From GRUB's jump to kernel_main: checks for CPUID and long mode while it can still refuse in plain 32-bit code, builds
; the boot page tables and enters 64-bit mode at the kernel's linked address with GS set to the boot CPU's block.
; The boot tables map the first 4 GiB three times (at 0, at DIRECT_MAP_BASE, and 1 GiB of it at KERNEL_BASE), writable
; and executable. They are left in paging_init; application processors pass through them (boot/ap.asm).
; Runs on the boot CPU, interrupts off, EAX = multiboot2 magic, EBX = address of the information block.
; SDM 3A 9.8.5 "Initializing IA-32e Mode".
%include "arch/x86/offsets.inc"

COM1            equ 0x3f8
PAGE_PRESENT    equ 0x01
PAGE_WRITABLE   equ 0x02
PAGE_LARGE      equ 0x80
CPUID_LM        equ 1 << 29
SELECTOR_CODE   equ 8
SELECTOR_DATA   equ 16

%define physical(symbol) (symbol - KERNEL_BASE)

global boot_entry, boot_entry_tsc, boot_pml4
extern kernel_main, percpu_blocks, percpu_boot_stacks

section .boot.text progbits alloc exec nowrite align=16
bits 32
boot_entry:
        cli
        cld
        mov     esp, physical(percpu_boot_stacks) + BOOT_STACK_TOP
        mov     esi, eax                ; magic
        mov     ebp, ebx                ; information block

        pushfd                          ; CPUID exists if EFLAGS.ID can be changed
        pop     eax
        mov     ecx, eax
        xor     eax, 1 << 21
        push    eax
        popfd
        pushfd
        pop     eax
        cmp     eax, ecx
        je      refuse
        rdtsc
        mov     [physical(boot_entry_tsc)], eax
        mov     [physical(boot_entry_tsc) + 4], edx
        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000001
        jb      refuse
        mov     eax, 0x80000001
        cpuid
        test    edx, CPUID_LM
        jz      refuse

        call    build_boot_tables
        mov     eax, CR4_PAE_BIT        ; nothing of the firmware's, LA57 least of all
        mov     cr4, eax
        mov     eax, physical(boot_pml4)
        mov     cr3, eax
        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_LME_BIT
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG_BIT | CR0_PE_BIT
        mov     cr0, eax
        lgdt    [physical(boot_gdt.pointer)]
        jmp     SELECTOR_CODE:physical(long_mode)

; Four page directories of 2 MiB pages cover 4 GiB; the tables above them point there from all three places.
build_boot_tables:
        mov     edi, physical(boot_directories)
        mov     eax, PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE
        mov     ecx, 4 * 512
.large:
        mov     [edi], eax
        add     edi, 8
        add     eax, 1 << 21
        loop    .large

        mov     edi, physical(boot_pdpt)
        mov     eax, physical(boot_directories) + (PAGE_PRESENT | PAGE_WRITABLE)
        mov     [physical(boot_pdpt_kernel) + 8 * 510], eax
        mov     ecx, 4
.directory:
        mov     [edi], eax
        add     edi, 8
        add     eax, 4096
        loop    .directory

        mov     eax, physical(boot_pdpt) + (PAGE_PRESENT | PAGE_WRITABLE)
        mov     [physical(boot_pml4)], eax
        mov     [physical(boot_pml4) + 8 * 256], eax
        mov     eax, physical(boot_pdpt_kernel) + (PAGE_PRESENT | PAGE_WRITABLE)
        mov     [physical(boot_pml4) + 8 * 511], eax
        ret

; No long mode: say so on COM1 by polling, try to power off, stop.
refuse:
        mov     esi, physical(uart_setup)
        mov     ecx, uart_setup.end - uart_setup
.setup:
        movzx   edx, byte [esi]
        add     edx, COM1
        mov     al, [esi + 1]
        out     dx, al
        add     esi, 2
        sub     ecx, 2
        jnz     .setup
        mov     esi, physical(refusal)
        mov     ecx, refusal.end - refusal
.character:
        mov     edx, COM1 + 5
        mov     ebx, 1000000            ; a UART that never gets ready must not hang us
.ready:
        in      al, dx
        test    al, 0x20
        jnz     .send
        dec     ebx
        jnz     .ready
.send:
        mov     edx, COM1
        lodsb
        out     dx, al
        loop    .character
        mov     edx, COM1 + 5
        mov     ebx, 1000000
.drained:
        in      al, dx
        test    al, 0x40
        jnz     .off
        dec     ebx
        jnz     .drained
.off:
        mov     ax, 0x2000              ; soft-off through the PM1a control ports of the usual emulators
        mov     edx, 0x604
        out     dx, ax
        mov     edx, 0xb004
        out     dx, ax
.stop:
        hlt
        jmp     .stop

bits 64
long_mode:
        mov     rax, boot_entry_linked
        jmp     rax
boot_entry_linked:
        mov     ax, SELECTOR_DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        mov     rax, percpu_blocks      ; GS never changes again on this CPU
        mov     [rax + CPU_LOCAL_SELF], rax
        mov     rdx, rax
        shr     rdx, 32
        mov     ecx, MSR_GS_BASE
        wrmsr
        mov     rsp, percpu_boot_stacks + BOOT_STACK_TOP
        mov     edi, esi
        mov     esi, ebp
        xor     ebp, ebp                ; ends the chain of frames
        call    kernel_main
.stop:
        cli
        hlt
        jmp     .stop

section .boot.rodata progbits alloc noexec nowrite align=8
boot_gdt:
        dq      0
        dq      0x00af9b000000ffff      ; 64-bit code
        dq      0x00cf93000000ffff      ; data
.pointer:
        dw      boot_gdt.pointer - boot_gdt - 1
        dd      physical(boot_gdt)

uart_setup:                             ; offset, value: 115200 baud, 8N1, no interrupts
        db      1, 0, 3, 0x80, 0, 1, 1, 0, 3, 3, 2, 7
.end:

refusal:
        db      "rootlet: error: this CPU has no long mode (64-bit); Rootlet needs an x86-64 CPU with VMX", 10
        db      "rootlet: end status=fail", 10
.end:

section .bss
alignb 4096
boot_pml4:              resb 4096
boot_pdpt:              resb 4096
boot_pdpt_kernel:       resb 4096
boot_directories:       resb 4 * 4096

boot_entry_tsc:         resq 1          ; the TSC when GRUB jumped here
