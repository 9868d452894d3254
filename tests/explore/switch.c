/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "switch.h"

#include <stdint.h>

#if defined(__x86_64__)

/* A new context looks like one that was switched away from: six zero registers below the address to return to. */
void context_make(struct context *to, void *stack, size_t size, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    uintptr_t *sp = (uintptr_t *)top - 8;
    for (int i = 0; i < 8; i++) {
        sp[i] = 0;
    }
    sp[6] = (uintptr_t)entry;
    to->sp = sp;
}

__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, @function\n"
        "context_switch:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov (%rsi), %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size context_switch, . - context_switch\n");

#elif defined(__aarch64__)

/* x19 to x30 and d8 to d15; x30 is where the switch returns to. */
void context_make(struct context *to, void *stack, size_t size, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    uintptr_t *sp = (uintptr_t *)top - 20;
    for (int i = 0; i < 20; i++) {
        sp[i] = 0;
    }
    sp[11] = (uintptr_t)entry;
    to->sp = sp;
}

__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, %function\n"
        "context_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    ldr x9, [x1]\n"
        "    mov sp, x9\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size context_switch, . - context_switch\n");

#else

void context_make(struct context *to, void *stack, size_t size, void (*entry)(void))
{
    getcontext(&to->uc);
    to->uc.uc_stack.ss_sp = stack;
    to->uc.uc_stack.ss_size = size;
    to->uc.uc_link = NULL;
    makecontext(&to->uc, entry, 0);
}

void context_switch(struct context *from, struct context *to)
{
    swapcontext(&from->uc, &to->uc);
}

#endif
