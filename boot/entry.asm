; SPDX-License-Identifier: BSD-2-Clause
; From GRUB's jump to kernel_main: finds out where the image lies (the relocatable tag of boot/header.asm lets GRUB move
; it by a multiple of 2 MiB), checks for CPUID and long mode while it can still refuse in plain 32-bit code, builds the
; boot page tables and enters 64-bit mode at the kernel's linked address with GS set to the boot CPU's block.
; The boot tables map the first 4 GiB twice, at 0 and at DIRECT_MAP_BASE, and the image at its linked address, writable
; and executable. They are left in paging_init; application processors pass through them (boot/ap.asm).
; Runs on the boot CPU, interrupts off, EAX = multiboot2 magic, EBX = address of the information block.
; SDM 3A 9.8.5 "Initializing IA-32e Mode".
%include "arch/x86/offsets.inc"

MAGIC           equ 0x36d76289          ; MULTIBOOT2_BOOTLOADER_MAGIC
COM1            equ 0x3f8
PCI_ADDRESS     equ 0xcf8
PCI_DATA        equ 0xcfc
PAGE_PRESENT    equ 0x01
PAGE_WRITABLE   equ 0x02
PAGE_LARGE      equ 0x80
CPUID_LM        equ 1 << 29
SELECTOR_CODE   equ 8
SELECTOR_DATA   equ 16

; Where a symbol would lie had the image not been moved; EDI, until paging is on, is by how much it was.
%define physical(symbol) (symbol - KERNEL_BASE)

global boot_entry
extern kernel_main, percpu_blocks, percpu_boot_stacks, image_end
extern boot_pml4, boot_pdpt, boot_pdpt_kernel, boot_directories, boot_directory_kernel, boot_entry_tsc
extern paging_image_offset

section .boot.text progbits alloc exec nowrite align=16
bits 32
boot_entry:
        cli
        cld
        mov     esi, eax                ; magic
        mov     ebp, ebx                ; information block
        xor     edi, edi
        cmp     eax, MAGIC
        jne     .placed
        lea     esp, [ebx + 8]          ; the block's reserved word is stack enough for one return address
        call    .here
.here:  pop     edi
        sub     edi, physical(.here)
.placed:
        lea     esp, [edi + physical(percpu_boot_stacks) + BOOT_STACK_TOP]
        mov     [edi + physical(paging_image_offset)], edi

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
        mov     [edi + physical(boot_entry_tsc)], eax
        mov     [edi + physical(boot_entry_tsc) + 4], edx
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
        lea     eax, [edi + physical(boot_pml4)]
        mov     cr3, eax
        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_LME_BIT
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG_BIT | CR0_PE_BIT
        mov     cr0, eax
        add     [edi + physical(boot_gdt.base)], edi
        lgdt    [edi + physical(boot_gdt.pointer)]
        push    SELECTOR_CODE
        lea     eax, [edi + physical(long_mode)]
        push    eax
        retf

; ECX entries from EBX on, for the addresses from EAX on, EDX apart; EAX has the entries' flags, too.
fill:
        mov     [ebx], eax
        add     ebx, 8
        add     eax, edx
        loop    fill
        ret

; Four page directories of 2 MiB pages cover 4 GiB, and a fifth the image at its linked address.
build_boot_tables:
        mov     edx, 1 << 21
        lea     ebx, [edi + physical(boot_directories)]
        mov     eax, PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE
        mov     ecx, 4 * 512
        call    fill
        lea     ebx, [edi + physical(boot_directory_kernel)]
        lea     eax, [edi + (PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE)]
        mov     ecx, physical(image_end) + (1 << 21) - 1
        shr     ecx, 21
        call    fill

        mov     edx, 4096
        lea     ebx, [edi + physical(boot_pdpt)]
        lea     eax, [edi + physical(boot_directories) + (PAGE_PRESENT | PAGE_WRITABLE)]
        mov     ecx, 4
        call    fill
        lea     eax, [edi + physical(boot_directory_kernel) + (PAGE_PRESENT | PAGE_WRITABLE)]
        mov     [edi + physical(boot_pdpt_kernel) + 8 * 510], eax

        lea     eax, [edi + physical(boot_pdpt) + (PAGE_PRESENT | PAGE_WRITABLE)]
        mov     [edi + physical(boot_pml4)], eax
        mov     [edi + physical(boot_pml4) + 8 * 256], eax
        lea     eax, [edi + physical(boot_pdpt_kernel) + (PAGE_PRESENT | PAGE_WRITABLE)]
        mov     [edi + physical(boot_pml4) + 8 * 511], eax
        ret

; No long mode: say so on COM1 by polling, try to power off, stop.
refuse:
        lea     esi, [edi + physical(uart_setup)]
        mov     ecx, uart_setup.end - uart_setup
.setup:
        movzx   edx, byte [esi]
        add     edx, COM1
        mov     al, [esi + 1]
        out     dx, al
        add     esi, 2
        sub     ecx, 2
        jnz     .setup
        lea     esi, [edi + physical(refusal)]
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
        mov     ebx, 0x604              ; soft-off through PM1a control, on emulators only (drivers/host/power.c)
        mov     eax, 0x8000002c         ; the host bridge's subsystem
        call    read_pci
        cmp     eax, 0x11001af4
        je      .emulator
        mov     ebx, 0xb004
        mov     eax, 0x80000000         ; its vendor and device
        call    read_pci
        cmp     eax, 0x12378086
        jne     .stop
.emulator:
        mov     edx, ebx
        mov     eax, 0x2000
        out     dx, ax
.stop:
        hlt
        jmp     .stop

; PCI's configuration mechanism 1: what is at the address in EAX.
read_pci:
        mov     edx, PCI_ADDRESS
        out     dx, eax
        mov     edx, PCI_DATA
        in      eax, dx
        ret

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
.base:  dd      physical(boot_gdt)      ; boot_entry adds by how much the image was moved

uart_setup:                             ; offset, value: 115200 baud, 8N1, no interrupts
        db      1, 0, 3, 0x80, 0, 1, 1, 0, 3, 3, 2, 7
.end:

refusal:
        db      "rootlet: error: this CPU has no long mode (64-bit); Rootlet needs an x86-64 CPU with VMX", 10
        db      "rootlet: end status=fail", 10
.end:
