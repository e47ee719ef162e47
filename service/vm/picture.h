/* A picture of a screen, from what QEMU writes to what browsers show. Pure. */
#ifndef DROVER_VM_PICTURE_H
#define DROVER_VM_PICTURE_H

#include <stddef.h>

#include "service/base/error.h"

#define PICTURE_BYTES_MAX (64u << 20) /* a PPM of more than 4000 lines of 5000 pixels */

/* A PPM (P6 with 8 bits) becomes a PNG, a PNG stays; caller frees. HYPERVISOR_FAILED for all else. */
int picture_to_png(const char *data, size_t len, char **ret, size_t *ret_len, struct error *err);

#endif
