# A loader for the 64-bit entry of the Linux boot protocol, as Firecracker, Cloud Hypervisor and kexec use it. QEMU has none.
#
# QEMU starts it through PVH. Its module is a boot file with an initial RAM disk behind it; how long the boot file is stands
# in its setup header. The image goes to 16 MiB, where no other loader puts it, so that this shows too.
# Offsets: Linux boot protocol 2.15, "zero page"; Xen's hvm_start_info.

.set IMAGE, 0x1000000

.section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18                      # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

.text
.code32
.globl start
start:
    cld
    cli
    movl $stack, %esp
    movl %ebx, %ebp                     # hvm_start_info
    movl 0x10(%ebp), %eax               # its list of modules
    movl (%eax), %ebx                   # the first: where it lies
    movl 8(%eax), %edx                  # and its length

    # boot_params: the setup header as it is in the file, which ends where its jump leads to.
    movzbl 0x201(%ebx), %ecx
    addl $(0x202 - 0x1f1), %ecx
    leal 0x1f1(%ebx), %esi
    movl $params + 0x1f1, %edi
    rep movsb
    movb $0xff, params + 0x210          # type_of_loader: one without a number
    movl 0x18(%ebp), %eax
    movl %eax, params + 0x228           # cmd_line_ptr
    movl 0x20(%ebp), %eax
    movl %eax, params + 0x70            # acpi_rsdp_addr

    # The payload begins behind the setup sectors and has syssize paragraphs; what is behind it is the RAM disk.
    movzbl 0x1f1(%ebx), %eax
    incl %eax
    shll $9, %eax
    leal (%ebx,%eax), %esi
    movl 0x1f4(%ebx), %ecx
    shll $4, %ecx
    addl %ecx, %eax
    subl %eax, %edx
    addl %ebx, %eax
    movl %eax, params + 0x218           # ramdisk_image
    movl %edx, params + 0x21c           # ramdisk_size
    movl $IMAGE, %edi
    rep movsb

    # Memory map: entries of 24 bytes become such of 20.
    movl 0x28(%ebp), %esi
    movl 0x30(%ebp), %edx
    movb %dl, params + 0x1e8            # e820_entries
    movl $params + 0x2d0, %edi
1:  movl $5, %ecx
    rep movsl
    addl $4, %esi
    decl %edx
    jnz 1b

    # The first 4 GiB one to one, in pages of 2 MiB.
    movl $pdpt + 3, pml4
    movl $pd + 3, pdpt
    movl $pd + 0x1003, pdpt + 8
    movl $pd + 0x2003, pdpt + 16
    movl $pd + 0x3003, pdpt + 24
    movl $0x83, %eax
    xorl %ecx, %ecx
2:  movl %eax, pd(,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 2b
    movl $0x20, %eax                    # CR4: PAE
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER: LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80000011, %eax              # CR0: PG, ET, PE
    movl %eax, %cr0
    lgdt gdtr
    ljmp $0x10, $long                   # __BOOT_CS, as the protocol wants it
.code64
long:
    movl $0x18, %eax                    # __BOOT_DS
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $params, %esi
    movl $IMAGE + 0x200, %eax
    jmp *%rax

.data
.balign 8
gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
gdtr:
    .word 31
    .long gdt

.bss
.balign 4096
params: .skip 4096
pml4:   .skip 4096
pdpt:   .skip 4096
pd:     .skip 4 * 4096
        .skip 4096
stack:
