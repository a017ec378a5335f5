/* kernels/workspace.h - how a kernel lays out its arrays in the workspace that the caller owns. */

/* Return the address of `count` elements of `size` bytes, aligned to a cache line, in a block that begins at `base`
 * and of which *used bytes are in use, and add them to *used. *used becomes SIZE_MAX when the sum does not fit. With
 * base NULL only *used matters. */
static void *take(char *base, size_t *used, double count, size_t size)
{
    double bytes = count * (double)size;
    if (*used == SIZE_MAX || bytes >= (double)(SIZE_MAX / 4) || *used >= SIZE_MAX / 4) {
        *used = SIZE_MAX;
        return NULL;
    }
    char *at = base ? base + *used : NULL;
    *used += ((size_t)bytes + 63) / 64 * 64;
    return at;
}
