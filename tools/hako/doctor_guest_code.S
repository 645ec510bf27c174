/* The guest of `hako doctor`: 64-bit code that uses what any kernel uses early on. Entered in long mode with paging
 * on and interrupts off, at ring 0; loaded at any page-aligned address, writable. It counts its steps in the report
 * at its beginning (doctor_guest.cpp reads it), writes 1 byte to port 0xf4 when all are done, and to port 0xf5 when
 * one went wrong or an exception was taken. */

#define REPORT_STEP      0    /* u32: the step under way */
#define REPORT_EXCEPTION 4    /* u32: 1 + vector of an exception, or 0 */
#define STEP_CMPXCHG16B  1
#define STEP_XSAVE       2
#define STEP_APIC_TIMER  3
#define STEP_DONE        4
#define PORT_DONE        0xf4
#define PORT_WRONG       0xf5

#define MSR_APIC_BASE    0x1b
#define MSR_X2APIC_EOI   0x80b
#define MSR_X2APIC_SVR   0x80f
#define MSR_X2APIC_LVTT  0x832
#define MSR_X2APIC_TMICT 0x838
#define MSR_X2APIC_TDCR  0x83e
#define TIMER_VECTOR     0x40

    .section .rodata.hako_doctor_guest, "a", @progbits
    .code64
    .balign 4096

    .globl hako_doctor_guest
    .hidden hako_doctor_guest
hako_doctor_guest:
report:
    .long 0, 0

    .globl hako_doctor_guest_entry
    .hidden hako_doctor_guest_entry
hako_doctor_guest_entry:
    /* cmpxchg16b: the first value matches and is replaced. */
    movl $STEP_CMPXCHG16B, report+REPORT_STEP(%rip)
    lea pair(%rip), %rdi
    mov (%rdi), %rax
    mov 8(%rdi), %rdx
    mov $0x1111222233334444, %rbx
    mov $0x5555666677778888, %rcx
    lock cmpxchg16b (%rdi)
    jnz wrong
    cmp %rbx, (%rdi)
    jne wrong
    cmp %rcx, 8(%rdi)
    jne wrong

    /* xsave, xrstor: XMM0 comes back from memory. CR4.OSFXSR | OSXMMEXCPT | OSXSAVE, XCR0 = x87 | SSE. */
    movl $STEP_XSAVE, report+REPORT_STEP(%rip)
    mov %cr4, %rax
    or $((1 << 9) | (1 << 10) | (1 << 18)), %rax
    mov %rax, %cr4
    xor %ecx, %ecx
    xor %edx, %edx
    mov $3, %eax
    xsetbv
    movq %rbx, %xmm0
    lea save_area(%rip), %rdi
    xsave (%rdi)
    pxor %xmm0, %xmm0
    mov $3, %eax
    xor %edx, %edx
    xrstor (%rdi)
    movq %xmm0, %rax
    cmp %rbx, %rax
    jne wrong

    /* A one-shot timer interrupt of the local APIC, in x2APIC mode, while the CPU halts. */
    movl $STEP_APIC_TIMER, report+REPORT_STEP(%rip)
    mov $MSR_APIC_BASE, %ecx
    rdmsr
    or $((1 << 11) | (1 << 10)), %eax
    wrmsr
    xor %edx, %edx
    mov $MSR_X2APIC_SVR, %ecx
    mov $0x1ff, %eax
    wrmsr
    mov $MSR_X2APIC_TDCR, %ecx
    mov $0xb, %eax
    wrmsr
    mov $MSR_X2APIC_LVTT, %ecx
    mov $TIMER_VECTOR, %eax
    wrmsr
    mov $MSR_X2APIC_TMICT, %ecx
    mov $100000, %eax
    wrmsr
wait_for_timer:
    cli
    cmpl $0, timer_fired(%rip)
    jne done
    sti
    hlt
    jmp wait_for_timer

done:
    movl $STEP_DONE, report+REPORT_STEP(%rip)
    mov $1, %al
    out %al, $PORT_DONE
    jmp stop
wrong:
    mov $1, %al
    out %al, $PORT_WRONG
stop:
    cli
    hlt
    jmp stop

    .globl hako_doctor_guest_timer
    .hidden hako_doctor_guest_timer
hako_doctor_guest_timer:
    push %rax
    push %rcx
    push %rdx
    movl $1, timer_fired(%rip)
    mov $MSR_X2APIC_EOI, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rdx
    pop %rcx
    pop %rax
    iretq

    /* One entry of 16 bytes for each of the 32 exceptions. */
    .balign 16
    .globl hako_doctor_guest_exceptions
    .hidden hako_doctor_guest_exceptions
hako_doctor_guest_exceptions:
    .set vector, 0
    .rept 32
    .balign 16
    movl $(1 + vector), report+REPORT_EXCEPTION(%rip)
    jmp wrong
    .set vector, vector + 1
    .endr

    .balign 16
pair:
    .quad 0x0123456789abcdef, 0x0fedcba987654321
timer_fired:
    .long 0
    .balign 64
save_area:
    .fill 1024, 1, 0

    .globl hako_doctor_guest_end
    .hidden hako_doctor_guest_end
hako_doctor_guest_end:

    .section .note.GNU-stack, "", @progbits
