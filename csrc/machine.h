/* machine.h - facts of the machine. Each is asked of the system at the first call and then remembered. */
#ifndef FASTLSTM_MACHINE_H
#define FASTLSTM_MACHINE_H

/* Bytes of a core's second-level cache; a common size where the system does not tell. */
double fl_second_level_cache(void);

/* Processors that are online; a number larger than any team where the system does not tell. */
long fl_online_processors(void);

/* Whether the processor has VNNI, which sums products of bytes, for the registers of AVX-512. */
int fl_has_vnni(void);

/* Whether this way of kernels/bf16.h (FL_BF16_DOTS, FL_BF16_TILES) is to be taken, if no later one is. */
int fl_has_bf16(int way);

/* Whether the processor has AMX for integers of 8 bits, and the system lets this process use it. */
int fl_has_byte_tiles(void);

#endif
