/* kernels/lstm/forward_bytes.h - the plain cell with weights of 8 bits, in each way of multiplying them: forward_bytes_tile.h.
 */
#if REAL_IS_FLOAT
#define BYTES_FILE "lstm/forward_bytes_tile.h"
#include "../bytes_ways.h"
#undef BYTES_FILE
#endif
