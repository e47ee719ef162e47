/*
 * How history is kept: a figure as 16 bits (0.4 % fine at the worst, exact for small values; coarser
 * where that does), a block of many points as deltas, deflated. Pure; any thread.
 */
#ifndef DROVER_VM_HISTORY_CODEC_H
#define DROVER_VM_HISTORY_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_ABSENT  INT16_MIN
#define HISTORY_FIGURES 8
#define HISTORY_POINTS  120 /* most in a block */
#define HISTORY_PLANES  (3 * HISTORY_FIGURES)

/* unit: what counts as 1. Values beyond +-2^60 units, and what is not a number, are absent. */
int16_t history_code(double value, double unit);
double history_value(int16_t code, double unit);

/*
 * The nearest code with so many significant bits after the first, at most 8: noise that nobody looks
 * at is what does not compress. Small values stay as they are.
 */
int16_t history_round(int16_t code, unsigned bits);

/* Planes of `points` codes each, one after another. Returns the length; the caller frees *ret. */
size_t history_pack(const int16_t *codes, unsigned planes, unsigned points, void **ret);
/* False when it is not such a block of this size; codes is then all absent. */
bool history_unpack(const void *data, size_t len, int16_t *codes, unsigned planes, unsigned points);

#endif
