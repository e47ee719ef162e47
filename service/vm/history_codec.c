/* See history_codec.h. A block: version, planes, points; then deflated: per plane how many bits its
 * codes have, which points are there (a bit each), and zigzag varints of the differences from one to
 * the next. Version 1 had no bits: codes of all 8. */
#include "service/vm/history_codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "service/base/str.h"

#define VERSION  2
#define BITS     8      /* after the first, that a code has */
#define HEADER   3
#define EXACT    256    /* codes below are the value itself */
#define STEPS    256    /* codes per doubling above */
#define EXP_MIN  8
#define LEVEL    6
#define RAW_MAX  (HISTORY_PLANES * (1 + (HISTORY_POINTS + 7) / 8 + 3 * HISTORY_POINTS))

int16_t history_code(double value, double unit)
{
    double v = fabs(value) / unit, fraction;
    int exponent, code;

    if (!isfinite(v) || v >= 0x1p60)
        return HISTORY_ABSENT;
    if (v < EXACT) {
        code = (int)(v + 0.5);
    } else {
        fraction = frexp(v, &exponent) * 2 - 1; /* v = (1 + fraction) * 2^(exponent - 1) */
        code = EXACT + (exponent - 1 - EXP_MIN) * STEPS + (int)(fraction * STEPS + 0.5);
    }
    return (int16_t)(value < 0 ? -code : code);
}

double history_value(int16_t code, double unit)
{
    int c = abs((int)code);
    double v = c < EXACT ? c
                         : ldexp(1 + (double)((c - EXACT) % STEPS) / STEPS,
                                 (c - EXACT) / STEPS + EXP_MIN);

    return (code < 0 ? -v : v) * unit;
}

int16_t history_round(int16_t code, unsigned bits)
{
    int c = abs((int)code), drop = BITS - (int)bits, step;

    if (code == HISTORY_ABSENT || drop <= 0)
        return code;
    /* Below EXACT a code is its value, and its own first bit counts. */
    while (c < EXACT && drop > 0 && c < 1 << ((int)bits + drop))
        drop--;
    step = 1 << drop;
    c = (c + step / 2) / step * step;
    return (int16_t)(code < 0 ? -c : c);
}

static size_t put_varint(uint8_t *out, uint32_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        out[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

/* ---- rounded codes are numbered, so that neighbours differ by one ---- */

static unsigned exponent_of(unsigned c)
{
    unsigned e = 0;

    if (c >= EXACT)
        return (c - EXACT) / STEPS + EXP_MIN;
    while (c >> (e + 1))
        e++;
    return e;
}

/* c is what history_round(c, bits) leaves as it is. */
static unsigned rank_of(unsigned c, unsigned bits)
{
    unsigned e = exponent_of(c), fraction;

    if (e <= bits)
        return c;
    fraction = c >= EXACT ? (c - EXACT) % STEPS >> (BITS - bits) : (c - (1u << e)) >> (e - bits);
    return (2u << bits) + ((e - bits - 1) << bits) + fraction;
}

static unsigned code_of_rank(unsigned rank, unsigned bits)
{
    unsigned e, fraction;

    if (rank < 2u << bits)
        return rank;
    e = ((rank - (2u << bits)) >> bits) + bits + 1;
    fraction = (rank - (2u << bits)) & ((1u << bits) - 1);
    return e >= EXP_MIN ? EXACT + (e - EXP_MIN) * STEPS + (fraction << (BITS - bits))
                        : (1u << e) + (fraction << (e - bits));
}

static unsigned bits_of(const int16_t *codes, unsigned points)
{
    unsigned bits = 1;

    for (unsigned i = 0; i < points && bits < BITS; i++) {
        while (bits < BITS && codes[i] != HISTORY_ABSENT && history_round(codes[i], bits) != codes[i])
            bits++;
    }
    return bits;
}

static size_t put_plane(uint8_t *out, const int16_t *codes, unsigned points)
{
    unsigned bits = bits_of(codes, points);
    size_t n = 1 + (points + 7) / 8;
    int before = 0;

    memset(out, 0, n);
    out[0] = (uint8_t)bits;
    for (unsigned i = 0; i < points; i++) {
        int rank, delta;

        if (codes[i] == HISTORY_ABSENT)
            continue;
        rank = (int)rank_of((unsigned)abs((int)codes[i]), bits);
        delta = (codes[i] < 0 ? -rank : rank) - before;
        out[1 + i / 8] |= (uint8_t)(1u << i % 8);
        n += put_varint(out + n, delta < 0 ? (uint32_t)(-2 * delta - 1) : (uint32_t)(2 * delta));
        before += delta;
    }
    return n;
}

size_t history_pack(const int16_t *codes, unsigned planes, unsigned points, void **ret)
{
    auto_free uint8_t *raw = xcalloc(1, RAW_MAX);
    uLongf packed;
    size_t len = 0;
    uint8_t *out;

    if (planes > HISTORY_PLANES || points > HISTORY_POINTS)
        abort();
    for (unsigned p = 0; p < planes; p++)
        len += put_plane(raw + len, codes + (size_t)p * points, points);
    packed = compressBound(len);
    out = xcalloc(1, HEADER + packed);
    out[0] = VERSION;
    out[1] = (uint8_t)planes;
    out[2] = (uint8_t)points;
    if (compress2(out + HEADER, &packed, raw, len, LEVEL) != Z_OK)
        out_of_memory(); /* nothing else can fail with room for the bound */
    *ret = out;
    return HEADER + packed;
}

static bool take_varint(const uint8_t **p, const uint8_t *end, uint32_t *ret)
{
    uint32_t v = 0;

    for (int shift = 0; shift < 21 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;

        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool take_plane(const uint8_t **p, const uint8_t *end, int16_t *codes, unsigned points,
                       unsigned version)
{
    unsigned bits = BITS;
    const uint8_t *there;
    int before = 0;

    if (version > 1) {
        if (*p == end || !**p || **p > BITS)
            return false;
        bits = *(*p)++;
    }
    there = *p;
    if ((size_t)(end - *p) < (points + 7) / 8)
        return false;
    *p += (points + 7) / 8;
    for (unsigned i = 0; i < points; i++) {
        unsigned code;
        uint32_t v;

        if (!(there[i / 8] & 1u << i % 8))
            continue;
        if (!take_varint(p, end, &v))
            return false;
        before += v & 1 ? -(int)(v / 2) - 1 : (int)(v / 2);
        if (before <= INT16_MIN || before > INT16_MAX)
            return false;
        code = code_of_rank((unsigned)abs(before), bits);
        if (code > INT16_MAX)
            return false;
        codes[i] = (int16_t)(before < 0 ? -(int)code : (int)code);
    }
    return true;
}

static bool unpack(const uint8_t *in, size_t len, int16_t *codes, unsigned planes, unsigned points)
{
    auto_free uint8_t *raw = NULL;
    uLongf size = RAW_MAX;
    const uint8_t *p, *end;
    int rc;

    if (len <= HEADER || !in[0] || in[0] > VERSION || in[1] != planes || in[2] != points)
        return false;
    raw = xcalloc(1, RAW_MAX);
    rc = uncompress(raw, &size, in + HEADER, len - HEADER);
    if (rc == Z_MEM_ERROR)
        out_of_memory(); /* what is whole is not to be taken for damaged */
    if (rc != Z_OK)
        return false;
    p = raw;
    end = raw + size;
    for (unsigned i = 0; i < planes; i++) {
        if (!take_plane(&p, end, codes + (size_t)i * points, points, in[0]))
            return false;
    }
    return p == end;
}

static void clear(int16_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        codes[i] = HISTORY_ABSENT;
}

bool history_unpack(const void *data, size_t len, int16_t *codes, unsigned planes, unsigned points)
{
    clear(codes, (size_t)planes * points);
    if (planes <= HISTORY_PLANES && points <= HISTORY_POINTS &&
        unpack(data, len, codes, planes, points))
        return true;
    clear(codes, (size_t)planes * points);
    return false;
}
