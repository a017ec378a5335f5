/* power_factor.ino - a forecast at each reading, on an Arduino.
 *
 * Put pf.h and pf.c beside this file: examples/firmware/make_models.py writes them. The model reads six numbers each
 * quarter of an hour: energy, lagging and leading reactive power, CO2, lagging and leading power factor (0 to 1); it
 * answers with the lagging power factor in an hour. A meter sends the numbers as a line of text, divided by spaces.
 *
 * An Uno has 2 kB of RAM and 32 kB of flash: enough for the int8 model with 16 hidden units.
 */
#include "pf.h"

static pf_state state;

void setup()
{
    Serial.begin(9600);
    const int differs = pf_check(&state);
    if (differs != 0) {
        Serial.print(F("self-test differs at step "));
        Serial.println(differs);
        for (;;)
            ;
    }
    pf_init(&state);
    Serial.println(F("ready"));
}

void loop()
{
    float x[PF_INPUTS], y[PF_OUTPUTS];
    if (Serial.available() == 0)
        return;
    for (uint8_t k = 0; k < PF_INPUTS; ++k)
        x[k] = Serial.parseFloat();
    while (Serial.available() > 0 && Serial.read() != '\n')
        ;
    pf_step(&state, x, y);
    Serial.println(y[0], 4);
}
