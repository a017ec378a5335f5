/* kernels/bytes_ways.h - include BYTES_FILE once for each way of this instruction set to multiply integers of 8 bits. */
#define BYTES_WAY _wide
#define BYTES_GROUP 2
#define BYTES_TARGET
#include BYTES_FILE
#undef BYTES_WAY
#undef BYTES_GROUP
#undef BYTES_TARGET

#if defined(FL_ISA_AVX512)
#define BYTES_WAY _vnni
#define BYTES_GROUP 4
#define BYTES_TARGET __attribute__((target(FL_TARGET ",avx512vnni")))
#include BYTES_FILE
#undef BYTES_WAY
#undef BYTES_GROUP
#undef BYTES_TARGET
#endif
