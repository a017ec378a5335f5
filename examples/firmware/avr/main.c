/* main.c - the self-test of a model on an 8-bit AVR, with its answer on the serial line.
 *
 *   avr-gcc -mmcu=atmega1284p -std=c99 -Os -DMODEL=pf -DMODEL_H='"pf.h"' -Imodel main.c model/pf.c -o pf.elf
 *   simavr -m atmega1284p -f 16000000 pf.elf
 */
#include MODEL_H

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#define JOIN(a, b) a##b
#define EXPAND(a, b) JOIN(a, b)
#define OF(name) EXPAND(MODEL, name)

static OF(_state) state;

static void print(const char *text)
{
    for (; *text; ++text) {
        while ((UCSR0A & (1 << UDRE0)) == 0)
            ;
        UDR0 = (uint8_t)*text;
    }
}

int main(void)
{
    UCSR0B = 1 << TXEN0;
    print(OF(_check)(&state) == 0 ? "self-test passed\n" : "self-test failed\n");
    cli();
    sleep_enable();
    for (;;)
        sleep_cpu(); /* simavr ends where a processor sleeps for ever */
}
