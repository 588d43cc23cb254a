# The first 0x1000 bytes of the boot file: PE header (written by mkimage), Linux setup header, and the
# real-mode code that BIOS loaders start at seg:0x200 with CS = seg + 0x20. Linked at 0 and never loaded with
# the image. Offsets of header fields: Linux boot protocol 2.15.
#
# Memory used in the loader's segment: 0x2000 boot_params, stack below 0x4000; both under the 32 KiB that the
# protocol reserves for us.

.section .setup16, "", @progbits
.code16
setup:
    .ascii "MZ"
    .org 0x3c
    .long 0x40                          # PE header
    .org 0x1f1
    .byte 7                             # setup_sects: payload at (7 + 1) * 512
    .word 1                             # root_flags: read-only
    .long 0                             # syssize, by mkimage
    .word 0
    .word 0xffff                        # vid_mode: normal
    .word 0
    .word 0xaa55
    .org 0x200
    .byte 0xeb, start16 - 1f
1:  .ascii "HdrS"
    .word 0x020f                        # version 2.15
    .long 0                             # realmode_swtch
    .word 0x1000                        # start_sys_seg
    .word version - 0x200               # kernel_version
    .byte 0                             # type_of_loader
    .byte 0x01                          # loadflags: LOADED_HIGH
    .word 0x8000                        # setup_move_size
code32_start:
    .long 0x100000
    .long 0, 0                          # ramdisk_image, ramdisk_size
    .long 0                             # bootsect_kludge
    .word 0x7e00                        # heap_end_ptr
    .byte 0, 0                          # ext_loader_ver, ext_loader_type
    .long 0                             # cmd_line_ptr
    .long 0x7fffffff                    # initrd_addr_max
    .long 0x1000                        # kernel_alignment
    .byte 1                             # relocatable_kernel
    .byte 12                            # min_alignment, log2
    .word 0x0001                        # xloadflags: 64-bit entry at 0x200
    .long 4095                          # cmdline_size
    .long 0                             # hardware_subarch
    .quad 0
    .long 0, 0                          # payload_offset, payload_length
    .quad 0                             # setup_data
    .quad 0x100000                      # pref_address
    .long 0                             # init_size, by mkimage
    .long 0                             # handover_offset: no EFI handover entry
    .long 0                             # kernel_info_offset

start16:
    cli
    cld
    movw %ds, %ax
    movw %ax, %es
    movw %ax, %ss
    movw $0x3ff0, %sp

    # boot_params: zeros, then our header as the loader filled it in.
    movw $0x2000, %di
    xorl %eax, %eax
    movw $1024, %cx
    rep stosl
    movw $0x1f1, %si
    movw $0x21f1, %di
    movw $(0x26c - 0x1f1), %cx
    rep movsb

    # Memory map: INT 15h E820, at most 128 entries of 20 bytes.
    xorl %ebx, %ebx
    movw $0x22d0, %di
1:  movl $0xe820, %eax
    movl $0x534d4150, %edx
    movl $20, %ecx
    int $0x15
    jc 2f
    cmpl $0x534d4150, %eax
    jne 2f
    addw $20, %di
    incb 0x21e8
    cmpb $128, 0x21e8
    je 2f
    testl %ebx, %ebx
    jnz 1b
2:
    # A20: by the BIOS, then by port 92h in case the BIOS does not know.
    movw $0x2401, %ax
    int $0x15
    inb $0x92, %al
    orb $0x02, %al
    andb $0xfe, %al
    outb %al, $0x92
    cli

    # Protected mode: flat segments with the selectors the 32-bit entry expects.
    xorl %ebx, %ebx
    movw %ds, %bx
    shll $4, %ebx
    leal gdt16 - setup(%ebx), %eax
    movl %eax, gdtr16 - setup + 2
    leal pm32 - setup(%ebx), %eax
    movl %eax, far32 - setup
    leal 0x2000(%ebx), %esi
    movl code32_start - setup, %edi
    lgdtl gdtr16 - setup
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    .byte 0x66, 0xea                    # ljmpl $0x10, $pm32
far32:
    .long 0
    .word 0x10
.code32
pm32:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    jmp *%edi

.balign 8
gdt16:
    .quad 0
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x10 code
    .quad 0x00cf93000000ffff            # 0x18 data
gdtr16:
    .word 31
    .long 0
version:
    .asciz "Keelson"
    .org 0x1000

# What the compiler expects to find after us.
.text
.code64
