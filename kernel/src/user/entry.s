# The way into ring 3 and back. PerCpu fields are named by their offsets, which entry.rs passes in; the offsets in
# Registers are checked by a test there.
#
#   GS base          ring 3: the program's      kernel: PerCpu
#   KERNEL_GS_BASE   ring 3: PerCpu             kernel: the program's
#
# Interrupts are off from each entry to each exit. NMI and machine checks may come anywhere: they have stacks of
# their own and find PerCpu by themselves. Only an NMI returns, and leaves all registers and the GS base as they were.

.set RAX, 0
.set RBX, 8
.set RCX, 16
.set RDX, 24
.set RSI, 32
.set RDI, 40
.set RBP, 48
.set RSP, 56
.set R8, 64
.set R9, 72
.set R10, 80
.set R11, 88
.set R12, 96
.set R13, 104
.set R14, 112
.set R15, 120
.set RIP, 128
.set RFLAGS, 136
.set FS_BASE, 144
.set GS_BASE, 152

# What a program may set: CF PF AF ZF SF TF DF OF AC ID. Always set: bit 1, IF.
.set USER_FLAGS, 0x240dd5
.set FIXED_FLAGS, 0x202
.set TRAP_FLAG, 0x100

# Legacy area of FXSAVE and XSAVE (Intel SDM volume 1, 10.5.1).
.set AREA_MXCSR, 24
.set AREA_XMM, 160
# All exceptions masked, round to nearest; the flags in bits 5:0 do not matter.
.set MXCSR_FLAGS, 0x3f
.set MXCSR_KERNEL, 0x1f80

.section .text.user, "ax"

# u64 keelson_user_enter(Registers *rdi): runs the program until it comes back; 0 system call, 1 trap.
.balign 64
.globl keelson_user_enter
keelson_user_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %gs:{KERNEL_STACK}
    movq %rdi, %gs:{CONTEXT}
    movq %gs:{AREA}, %rsi
    stmxcsr %gs:{MXCSR}
    movl AREA_MXCSR(%rsi), %eax
    cmpl %eax, %gs:{MXCSR}
    jne 2f
1:
    .set xmm, 0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movaps AREA_XMM+16*\n(%rsi), %xmm\n
    .endr
    movq RIP(%rdi), %rcx
    movq RFLAGS(%rdi), %r11
    andl $USER_FLAGS, %r11d
    orl $FIXED_FLAGS, %r11d
    movq RBX(%rdi), %rbx
    movq RDX(%rdi), %rdx
    movq RSI(%rdi), %rsi
    movq RBP(%rdi), %rbp
    movq R8(%rdi), %r8
    movq R9(%rdi), %r9
    movq R10(%rdi), %r10
    movq R12(%rdi), %r12
    movq R13(%rdi), %r13
    movq R14(%rdi), %r14
    movq R15(%rdi), %r15
    movq RAX(%rdi), %rax
    # SYSRET takes RIP from RCX and RFLAGS from R11: only for a program that expects them there.
    cmpq %rcx, RCX(%rdi)
    jne 3f
    cmpq %r11, R11(%rdi)
    jne 3f
    testl $TRAP_FLAG, %r11d
    jnz 3f
    movq RSP(%rdi), %rsp
    movq RDI(%rdi), %rdi
    swapgs
    sysretq

2:  ldmxcsr AREA_MXCSR(%rsi)
    jmp 1b

3:  pushq ${USER_DATA}
    pushq RSP(%rdi)
    pushq %r11
    pushq ${USER_CODE}
    pushq %rcx
    movq RCX(%rdi), %rcx
    movq R11(%rdi), %r11
    movq RDI(%rdi), %rdi
    swapgs
    iretq

# Saves xmm0-15 and MXCSR of the program, and gives the kernel a MXCSR that does not trap. Clobbers rax, rbx.
.macro SAVE_SSE
    movq %gs:{AREA}, %rbx
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movaps %xmm\n, AREA_XMM+16*\n(%rbx)
    .endr
    stmxcsr AREA_MXCSR(%rbx)
    movl AREA_MXCSR(%rbx), %eax
    orl $MXCSR_FLAGS, %eax
    cmpl $(MXCSR_KERNEL|MXCSR_FLAGS), %eax
    je 8f
    movl $MXCSR_KERNEL, %gs:{MXCSR}
    ldmxcsr %gs:{MXCSR}
8:
.endm

# The bases as the program may have set them itself, to Registers at \to. Clobbers rax.
.macro SAVE_BASES to
    rdfsbase %rax
    movq %rax, FS_BASE(\to)
    movq %rax, %gs:{FS_LOADED}
    swapgs
    rdgsbase %rax
    swapgs
    movq %rax, GS_BASE(\to)
    movq %rax, %gs:{GS_LOADED}
.endm

# Back to whoever called keelson_user_enter.
.macro RETURN_TO_KERNEL
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.endm

.macro SYSCALL_ENTRY bases
    swapgs
    movq %rsp, %gs:{USER_STACK}
    movq %gs:{CONTEXT}, %rsp
    incq %gs:{SYSCALLS}
    movq %rax, RAX(%rsp)
    .if \bases
    SAVE_BASES %rsp
    .endif
    movq %gs:{USER_STACK}, %rax
    movq %rbx, RBX(%rsp)
    movq %rcx, RCX(%rsp)
    movq %rcx, RIP(%rsp)
    movq %rdx, RDX(%rsp)
    movq %rsi, RSI(%rsp)
    movq %rdi, RDI(%rsp)
    movq %rbp, RBP(%rsp)
    movq %rax, RSP(%rsp)
    movq %r8, R8(%rsp)
    movq %r9, R9(%rsp)
    movq %r10, R10(%rsp)
    movq %r11, R11(%rsp)
    movq %r11, RFLAGS(%rsp)
    movq %r12, R12(%rsp)
    movq %r13, R13(%rsp)
    movq %r14, R14(%rsp)
    movq %r15, R15(%rsp)
    SAVE_SSE
    movq %gs:{KERNEL_STACK}, %rsp
    xorl %eax, %eax
    RETURN_TO_KERNEL
.endm

# For processors on which programs can set their FS and GS bases, and for others.
.balign 64
.globl keelson_syscall_bases
keelson_syscall_bases:
    SYSCALL_ENTRY 1

.balign 64
.globl keelson_syscall_plain
keelson_syscall_plain:
    SYSCALL_ENTRY 0

# An exception or interrupt of ring 3. On the stack: vector, error code, and what the processor pushed.
.balign 64
.globl keelson_user_trap
keelson_user_trap:
    swapgs
    movq %rax, %gs:{USER_STACK}
    movq %gs:{CONTEXT}, %rax
    movq %rbx, RBX(%rax)
    movq %rcx, RCX(%rax)
    movq %rdx, RDX(%rax)
    movq %rsi, RSI(%rax)
    movq %rdi, RDI(%rax)
    movq %rbp, RBP(%rax)
    movq %r8, R8(%rax)
    movq %r9, R9(%rax)
    movq %r10, R10(%rax)
    movq %r11, R11(%rax)
    movq %r12, R12(%rax)
    movq %r13, R13(%rax)
    movq %r14, R14(%rax)
    movq %r15, R15(%rax)
    movq %rax, %rdi
    movq %gs:{USER_STACK}, %rax
    movq %rax, RAX(%rdi)
    popq %gs:{VECTOR}
    popq %gs:{ERROR}
    movq (%rsp), %rax
    movq %rax, RIP(%rdi)
    movq 16(%rsp), %rax
    movq %rax, RFLAGS(%rdi)
    movq 24(%rsp), %rax
    movq %rax, RSP(%rdi)
    movq %cr2, %rax
    movq %rax, %gs:{ADDRESS}
    testb $1, %gs:{HAS_BASES}
    jz 1f
    SAVE_BASES %rdi
1:  SAVE_SSE
    movq %gs:{KERNEL_STACK}, %rsp
    # A gate leaves DF, AC and IOPL as they were.
    pushq $2
    popfq
    movl $1, %eax
    RETURN_TO_KERNEL

.text
