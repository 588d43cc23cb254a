# Programs that the self-test runs in ring 3, at 0x400000. Data (read-write) is at 0x600000, a read-only page at
# 0x700000. A system call with RAX = 0 ends a program well; with 1 badly, and RDX says where.

.section .rodata.selftest, "a"
.balign 4096
.globl keelson_selftest_start, keelson_selftest_end
keelson_selftest_start:

# Slots of 512 bytes: a program's number times 512 is its offset.

# 0: all registers survive RDI system calls. RSI: 1 with AVX. RBP: a pattern of its own.
    movq %rdi, 0x600000
    movq %rsi, 0x600008
    movq %rbp, 0x600010
    movq $0x1001, %rbx
    movq $0x1002, %r12
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    leaq \n(%rbp), %rax
    movq %rax, %xmm\n
    pinsrw $7, %eax, %xmm\n
    .endr
    jmp program_0_rest
.balign 512

# 1: read, 2: write, 3: execute the address in RDI.
    movq (%rdi), %rax
    jmp bad
.balign 512
    movq %rax, (%rdi)
    jmp bad
.balign 512
    jmp *%rdi
.balign 512

# 4: divide error
    xorl %edx, %edx
    movl $1, %eax
    xorl %ecx, %ecx
    divl %ecx
    jmp bad
.balign 512
# 5: invalid opcode
    ud2
    jmp bad
.balign 512
# 6: general protection
    hlt
    jmp bad
.balign 512
# 7: breakpoint
    int3
    movl $7, %edx
    jmp good
.balign 512
# 8: spins for ever, counting at (RDI)
1:  incq (%rdi)
    jmp 1b
.balign 512
# 9: RDI system calls, as fast as can be
    movq %rdi, %rbx
1:  movl $39, %eax
    syscall
    decq %rbx
    jnz 1b
    jmp good
.balign 512
# 10: bases: sets them and finds them again after a system call
    movq %rdi, %rbx
    wrfsbase %rdi
    notq %rdi
    shrq $17, %rdi
    movq %rdi, %r12
    wrgsbase %rdi
    movl $39, %eax
    syscall
    rdfsbase %rax
    movl $1, %edx
    cmpq %rbx, %rax
    jne bad
    rdgsbase %rax
    movl $2, %edx
    cmpq %r12, %rax
    jne bad
    jmp good
.balign 512
# 11: single step
    pushfq
    orq $0x100, (%rsp)
    popfq
    nop
    nop
    pushfq
    andq $~0x100, (%rsp)
    popfq
    jmp good
.balign 512
# 12: flags: DF, AC and unmasked SSE exceptions do no harm to the kernel
    movl $0x0000, 0x600000
    ldmxcsr 0x600000
    pushfq
    orq $0x40400, (%rsp)
    popfq
    movl $39, %eax
    syscall
    pushfq
    popq %rax
    movl $1, %edx
    andl $0x40400, %eax
    cmpl $0x40400, %eax
    jne bad
    stmxcsr 0x600000
    movl $2, %edx
    cmpl $0, 0x600000
    jne bad
    cld
    movl $3, %edx
    fldpi
    movl $39, %eax
    syscall
    fldpi
    fcompp
    fnstsw %ax
    testb $0x40, %ah
    jz bad
    jmp good
.balign 512
# 13: reads (RDI) until that is not 1
1:  cmpq $1, (%rdi)
    je 1b
    jmp good
.balign 512
# 14: selectors of its own, left behind
    movl $0x2b, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    jmp good
.balign 512

good:
    xorl %eax, %eax
    syscall
    ud2
bad:
    movl $1, %eax
    syscall
    ud2

program_0_rest:
    cmpq $0, 0x600008
    je 2f
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vinsertf128 $1, %xmm\n, %ymm\n, %ymm\n
    .endr
2:  movq $0x1003, %rdx
    movq $0x1004, %rsi
    movq $0x1005, %rdi
    movq $0x1006, %r8
    movq $0x1007, %r9
    movq $0x1008, %r10
    movq $0x1009, %r13
    movq $0x100a, %r14
    movq $0x100b, %r15
    movq %rsp, 0x600018
3:  movl $39, %eax
    syscall
    movq %rdx, 0x600020
    movl $100, %edx
    cmpq $4711, %rax
    jne bad
    movl $101, %edx
    cmpq $0x1001, %rbx
    jne bad
    cmpq $0x1002, %r12
    jne bad
    cmpq $0x1003, 0x600020
    jne bad
    cmpq $0x1004, %rsi
    jne bad
    cmpq $0x1005, %rdi
    jne bad
    movl $102, %edx
    cmpq $0x1006, %r8
    jne bad
    cmpq $0x1007, %r9
    jne bad
    cmpq $0x1008, %r10
    jne bad
    cmpq $0x1009, %r13
    jne bad
    cmpq $0x100a, %r14
    jne bad
    cmpq $0x100b, %r15
    jne bad
    movl $103, %edx
    cmpq 0x600010, %rbp
    jne bad
    cmpq 0x600018, %rsp
    jne bad
    movl $104, %edx
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    leaq \n(%rbp), %rax
    movq %xmm\n, %rcx
    cmpq %rax, %rcx
    jne bad
    pextrw $7, %xmm\n, %ecx
    cmpw %ax, %cx
    jne bad
    .endr
    cmpq $0, 0x600008
    je 4f
    movl $105, %edx
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    leaq \n(%rbp), %rax
    vextractf128 $1, %ymm\n, 0x600040
    cmpq %rax, 0x600040
    jne bad
    cmpw %ax, 0x60004e
    jne bad
    .endr
4:  movq 0x600020, %rdx
    decq 0x600000
    jnz 3b
    jmp good
.balign 4096
keelson_selftest_end:
.text
