// Entry of the bare-metal test guest: a PVH kernel (32-bit protected mode, paging off, ebx = hvm_start_info).
// Sets up long mode over an identity map of the first 4 GiB and calls guest_main(start_info).
// Plain instructions only: some KVMs emulate ring 0 one instruction at a time.

    .section .note.Xen, "a", @note
    .long 4                       // namesz: "Xen\0"
    .long 4                       // descsz
    .long 18                      // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start32

    .section .text.start, "ax"
    .code32
    .globl start32
start32:
    movl $stack_top, %esp
    movl %ebx, %edi               // start_info, first argument of guest_main

    // Four page directories of 2 MiB pages: 4 GiB, identity.
    movl $page_directories, %eax
    movl $0x83, %ecx              // present, writable, 2 MiB
1:  movl %ecx, (%eax)
    movl $0, 4(%eax)
    addl $8, %eax
    addl $0x200000, %ecx
    jnc 1b                        // the 2048th addition carries out of 32 bits

    movl $pdpt, %eax
    movl $page_directories + 0x03, %ecx
    movl $4, %edx
2:  movl %ecx, (%eax)
    addl $8, %eax
    addl $0x1000, %ecx
    decl %edx
    jnz 2b
    movl $pdpt + 0x03, pml4

    movl $pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax               // PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx        // EFER
    rdmsr
    orl $0x100, %eax              // LME
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax         // PG, PE
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $start64

    .code64
start64:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl %edi, %edi               // clear the upper half
    call guest_main
3:  cli
    hlt
    jmp 3b

    // std::uint32_t pae_rounds(): counts in the mailbox until it says stop, in 32-bit mode with PAE paging, in which
    // the page of pae_word has a second address. 0, or the round in which the two addresses had different words.
    .globl pae_rounds
    .code64
pae_rounds:
    pushq %rbx                    // the upper halves of registers are lost
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movl $page_directories + 1, %eax
    movl $pae_pdpt, %ecx
    movl $4, %edx
4:  movl %eax, (%rcx)
    addl $0x1000, %eax
    addl $8, %ecx
    decl %edx
    jnz 4b
    movl $pae_directory + 1, pae_pdpt + 24
    movl $pae_word, %eax
    andl $~0x1fffff, %eax
    orl $0x83, %eax
    movl %eax, pae_directory
    pushq $0x18
    pushq $pae32
    lretq
    .code32
pae32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl $pae_pdpt, %esi
    movl $0, %edi                 // EFER.LME
    call change_paging
    movl $pae_word, %ebp
    andl $0x1fffff, %ebp
    orl $0xc0000000, %ebp
    xorl %ebx, %ebx
5:  incl %ebx
    movl %ebx, (%ebp)
    cmpl %ebx, pae_word
    jne 6f
    movl %ebx, 0x7e00             // mailbox().rounds
    cmpl $0, 0x7e08               // mailbox().stop
    je 5b
    xorl %ebx, %ebx
6:  movl $pml4, %esi
    movl $0x100, %edi
    call change_paging
    ljmp $0x08, $7f
    .code64
7:  movl %ebx, %eax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .code32
    // To the page tables %esi, with EFER.LME as in %edi. Runs at an address that all tables map to itself.
change_paging:
    movl %cr0, %eax
    andl $0x7fffffff, %eax        // PG
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x100, %eax
    orl %edi, %eax
    wrmsr
    movl %esi, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ret

    // Copied to 0x8000 and run by an application processor in real mode: counts itself and halts.
    .globl ap_trampoline, ap_trampoline_end
    .code16
ap_trampoline:
    xorw %ax, %ax
    movw %ax, %ds
    lock incw 0x7ff0
8:  cli
    hlt
    jmp 8b
ap_trampoline_end:

    .section .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff      // 64-bit code
    .quad 0x00cf93000000ffff      // data
    .quad 0x00cf9b000000ffff      // 32-bit code
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .bss
    .balign 4096
    .globl pml4, pdpt
pml4: .skip 4096
pdpt: .skip 4096
page_directories: .skip 4 * 4096
pae_directory: .skip 4096
pae_pdpt: .skip 32
pae_word: .skip 32
    .balign 4096
    .skip 32768
stack_top:

    .section .note.GNU-stack, "", @progbits
