# Brings a core from real mode to the kernel. Copied to a page below 1 MiB; the first core fills in the
# parameters at its end. CS = page << 8.

.section .rodata.trampoline, "a"
.globl trampoline_start, trampoline_end, trampoline_parameters
.balign 16
.code16
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx                       # linear address of the page
    lgdtl (trampoline_gdtr - trampoline_start)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl *(trampoline_far32 - trampoline_start)
.code32
trampoline_32:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %cr4, %eax
    orl $0x620, %eax                    # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl (trampoline_root - trampoline_start)(%ebx), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER |= SCE, LME, NXE
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax              # PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    ljmpl *(trampoline_far64 - trampoline_start)(%ebx)
.code64
trampoline_64:
    movl %ebx, %ebx
    movq (trampoline_stack - trampoline_start)(%rbx), %rsp
    movq (trampoline_core - trampoline_start)(%rbx), %rdi
    movq (trampoline_entry - trampoline_start)(%rbx), %rax
    xorl %ebp, %ebp
    callq *%rax
    ud2

.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08 code, 32-bit
    .quad 0x00af9b000000ffff            # 0x10 code, 64-bit
    .quad 0x00cf93000000ffff            # 0x18 data

# Offsets within the page of what is called, for the first core to turn into addresses.
.balign 8
trampoline_parameters:
trampoline_root:
    .quad 0
trampoline_stack:
    .quad 0
trampoline_core:
    .quad 0
trampoline_entry:
    .quad 0
trampoline_far32:
    .long trampoline_32 - trampoline_start
    .long 0x08
trampoline_far64:
    .long trampoline_64 - trampoline_start
    .long 0x10
trampoline_gdtr:
    .word 31
    .long trampoline_gdt - trampoline_start
trampoline_end:

.text
.code64
