/* start.h - output, time and the end of a program on a Cortex-M under QEMU. */
#ifndef START_H
#define START_H

#include <stddef.h>
#include <stdint.h>

#define SYSTICK ((volatile uint32_t *)0xE000E010u)

int main(void);
void print(const char *text);
void print_number(uint32_t n);
__attribute__((noreturn)) void leave(uint32_t code);

/* A counter of 24 bits, for times of up to 16 million ticks. */
void ticks_start(void);
uint32_t ticks(void);

#endif
