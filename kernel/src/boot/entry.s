# Entry points of the loaded image. Each ends in boot_long_mode with
#   %edi = protocol (1 Linux boot protocol, 2 PVH, 3 EFI), %esi = the loader's structure, %ebp = physical base.
# Before paging everything is addressed as OFF_symbol(%ebp), because loaders may put the image anywhere.

.section .head.text, "ax"

# --- Linux boot protocol, 32-bit entry: payload + 0. %esi = boot_params, no stack, flat segments. ---
.code32
.globl linux_start32
linux_start32:
    cld
    cli
    leal 0x1e8(%esi), %esp              # boot_params.scratch: room for one return address
    call 1f
1:  popl %ebp
    subl $(1b - linux_start32), %ebp
    movl $1, %edi
    jmp enter_from_32

# --- PVH: the ELF was loaded where it was linked. %ebx = hvm_start_info. ---
.globl pvh_start32
pvh_start32:
    cld
    cli
    movl $0x100000, %ebp
    movl %ebx, %esi
    movl $2, %edi

# The boot page tables: the first 4 GiB one to one with 2 MiB pages, the image (8 MiB) at its linked address
# with 4 KiB pages. The same text is assembled for 32-bit and 64-bit mode. Clobbers %eax, %ecx.
.macro BUILD_BOOT_TABLES
    leal OFF_pdpt_low+3(%ebp), %eax
    movl %eax, OFF_pml4(%ebp)
    leal OFF_pdpt_high+3(%ebp), %eax
    movl %eax, OFF_pml4+511*8(%ebp)
    leal OFF_pd_low+3(%ebp), %eax
    movl %eax, OFF_pdpt_low(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pdpt_low+8(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pdpt_low+16(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pdpt_low+24(%ebp)
    movl $0x83, %eax
    xorl %ecx, %ecx
901:movl %eax, OFF_pd_low(%ebp,%ecx,8)
    addl $0x200000, %eax
    addl $1, %ecx
    cmpl $2048, %ecx
    jne 901b
    leal OFF_pd_high+3(%ebp), %eax
    movl %eax, OFF_pdpt_high+510*8(%ebp)
    leal OFF_pt_high+3(%ebp), %eax
    movl %eax, OFF_pd_high(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pd_high+8(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pd_high+16(%ebp)
    addl $4096, %eax
    movl %eax, OFF_pd_high+24(%ebp)
    leal 3(%ebp), %eax
    xorl %ecx, %ecx
902:movl %eax, OFF_pt_high(%ebp,%ecx,8)
    addl $4096, %eax
    addl $1, %ecx
    cmpl $2048, %ecx
    jne 902b
    leal OFF_gdt(%ebp), %eax
    movl %eax, OFF_gdtr+2(%ebp)
.endm

enter_from_32:
    leal OFF_stack_top(%ebp), %esp
    BUILD_BOOT_TABLES
    lgdtl OFF_gdtr(%ebp)
    movl %cr4, %eax
    orl $0x620, %eax                    # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    leal OFF_pml4(%ebp), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER |= SCE, LME, NXE
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax              # PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    leal OFF_long_mode(%ebp), %eax
    pushl $0x10
    pushl %eax
    lret

# --- Linux boot protocol, 64-bit entry: payload + 0x200. %rsi = boot_params, loader's page tables. ---
.org 0x200
.code64
.globl linux_start64
linux_start64:
    cld
    cli
    leaq linux_start32(%rip), %rbp
    movl $1, %edi
enter_from_64:
    leal OFF_stack_top(%ebp), %esp
    BUILD_BOOT_TABLES
    lgdt OFF_gdtr(%ebp)
    movq %cr4, %rax
    orq $0x620, %rax
    movq %rax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    leal OFF_pml4(%ebp), %eax
    movq %rax, %cr3
    movl $0x80010033, %eax
    movq %rax, %cr0
    leal OFF_long_mode(%ebp), %eax
    pushq $0x10
    pushq %rax
    lretq

# --- EFI application: %rcx = image handle, %rdx = system table (Microsoft calling convention), firmware's page
# tables, stack and interrupts. Adds the image's linked address to a copy of the firmware's root table, lets
# Rust finish the business with the firmware there, and goes on as the 64-bit entry does. Returns the status
# to the firmware when that fails. ---
.globl efi_entry
efi_entry:
    pushq %rbp
    pushq %rbx
    pushq %rsi
    pushq %rdi
    pushq %r12
    movq %rcx, %rdi
    movq %rdx, %rsi
    leaq linux_start32(%rip), %rbp
    movq %rbp, %rax
    shrq $32, %rax
    jnz 9f                              # above 4 GiB: the boot tables could not be built
    movq %rdi, %rbx
    movq %rsi, %r12
    BUILD_BOOT_TABLES
    movq %cr3, %rsi                     # root table: the firmware's, but for the last entry, which is ours
    andq $-4096, %rsi
    leal OFF_pml4(%ebp), %edi
    movl $511, %ecx
    cld
    rep movsq
    movq %cr3, %rsi
    leal OFF_pml4(%ebp), %eax
    movq %rax, %cr3
    movq %rbx, %rdi
    movq %rsi, %rbx                     # the firmware's root, for the way back
    movq %r12, %rsi
    movl %ebp, %edx
    movq %rsp, %r12
    andq $-16, %rsp
    movabsq ${leave_firmware}, %rax
    call *%rax
    movq %r12, %rsp
    testq %rax, %rax
    jnz 8f
    cli
    movl $3, %edi
    xorl %esi, %esi
    jmp enter_from_64
8:  movq %rbx, %cr3
    jmp 7f
9:  movabsq $0x8000000000000003, %rax   # EFI_UNSUPPORTED
7:  popq %r12
    popq %rdi
    popq %rsi
    popq %rbx
    popq %rbp
    ret

# --- 64-bit mode, our tables and GDT, still at the physical address. ---
.globl boot_long_mode
boot_long_mode:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movabsq $boot_high, %rax
    jmp *%rax
boot_high:
    movabsq $boot_stack_top, %rsp
    movl %esi, %esi
    movl %ebp, %edx
    xorl %ebp, %ebp                     # end of the frame-pointer chain
    call {boot_main}
    ud2

.section .data.boot, "aw"
.balign 16
.globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff            # 0x10 code, 64-bit
    .quad 0x00cf93000000ffff            # 0x18 data
.globl boot_gdtr
boot_gdtr:
    .word 31
    .quad 0                             # base, filled in before use

.section .bss.boot, "aw", @nobits
.balign 4096
.globl boot_pml4, boot_pdpt_low, boot_pd_low, boot_pdpt_high, boot_pd_high, boot_pt_high, boot_stack_top
boot_pml4:      .skip 4096
boot_pdpt_low:  .skip 4096
boot_pd_low:    .skip 4*4096
boot_pdpt_high: .skip 4096
boot_pd_high:   .skip 4096
boot_pt_high:   .skip 4*4096
boot_stack:     .skip 64*1024           # until the guarded stack of core 0 exists
boot_stack_top:

# What PVH loaders look for: an ELF note with the physical address of the 32-bit entry.
.section .note.Xen, "a", @note
.balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_entry

# Replaced by mkimage; `symbols.rs` describes the layout. An empty table until then.
.section .symbols, "a", @progbits
.balign 4096
.globl keelson_symbols
keelson_symbols:
    .skip 16

# What the compiler expects to find after us.
.text
.code64
