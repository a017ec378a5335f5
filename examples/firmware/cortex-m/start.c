/* start.c - all that a Cortex-M needs before main(): stack, vectors, memory, FPU; and output through the debugger
 * (semihosting), which QEMU shows on the terminal. No C library is linked except the compiler's own functions. */
#include "start.h"

extern uint32_t stack_top, data_begin, data_end, data_stored, bss_begin, bss_end;

void reset(void);

__attribute__((noreturn)) static void fault(void)
{
    print("fault\n");
    leave(2);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,          (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};

__attribute__((noreturn)) void reset(void)
{
    uint32_t *from = &data_stored;
    for (uint32_t *to = &data_begin; to < &data_end; ++to, ++from)
        *to = *from;
    for (uint32_t *to = &bss_begin; to < &bss_end; ++to)
        *to = 0;
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* switch the FPU on */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    leave((uint32_t)main());
}

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void print(const char *text)
{
    (void)semihosting(4, text); /* SYS_WRITE0 */
}

void print_number(uint32_t n)
{
    char digits[11], *at = digits + 10;
    *at = 0;
    do {
        *--at = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    print(at);
}

void leave(uint32_t code)
{
    const uint32_t block[2] = {0x20026u, code}; /* application exit */
    (void)semihosting(0x20, block);             /* SYS_EXIT_EXTENDED */
    for (;;)
        ;
}

void ticks_start(void)
{
    SYSTICK[1] = 0xFFFFFFu;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5; /* the processor's clock, no interrupt */
    while (SYSTICK[2] == 0)
        ; /* it is loaded at its first tick */
}

uint32_t ticks(void)
{
    return 0xFFFFFFu - SYSTICK[2];
}

/* What compilers call for copies and fills. */
void *memcpy(void *to, const void *from, size_t n)
{
    for (size_t k = 0; k < n; ++k)
        ((volatile char *)to)[k] = ((const char *)from)[k];
    return to;
}

void *memset(void *to, int value, size_t n)
{
    for (size_t k = 0; k < n; ++k)
        ((volatile char *)to)[k] = (char)value;
    return to;
}
