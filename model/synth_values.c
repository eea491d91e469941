/* synth_values.c - random numbers by counter; see synth_values.h.
 *
 * Elements are made in blocks that stay in the first-level cache, each step a loop that compilers
 * turn into vector code.
 */
#include "model/synth_values.h"

#define BLOCK 1024u
#define LANES 4u /* elements from one word */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

ivl__synth_range ivl__synth_range_of(double centre, double half_width)
{
    return (ivl__synth_range){(float)centre, (float)(half_width / 65535)};
}

uint64_t ivl__synth_key(uint64_t seed, const char *role)
{
    uint64_t key = 0xcbf29ce484222325u; /* FNV-1a of the role */

    for (; *role; role++) {
        key = (key ^ (unsigned char)*role) * 0x100000001b3u;
    }
    return mix(key ^ mix(seed + 0x9e3779b97f4a7c15u));
}

/* lanes: [LANES * words] from word number `word` on. */
static void fill_lanes(uint64_t key, uint64_t word, size_t words, uint16_t *lanes)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t z = mix(key + (word + i) * 0x9e3779b97f4a7c15u);

        for (unsigned lane = 0; lane < LANES; lane++) {
            lanes[LANES * i + lane] = (uint16_t)(z >> (16 * lane));
        }
    }
}

static void spread(const ivl__synth_range *range, const uint16_t *lanes, size_t n, float *values)
{
    float centre = range->centre;
    float step = range->step;

    for (size_t i = 0; i < n; i++) {
        values[i] = centre + step * (float)(2 * (int32_t)lanes[i] - 65535);
    }
}

void ivl__synth_fill(uint64_t key, const ivl__synth_range *range, uint64_t first, size_t n,
                     ivl_dtype dtype, void *out)
{
    uint16_t lanes[BLOCK];
    float values[BLOCK];
    unsigned char *to = out;

    while (n) {
        size_t skip = (size_t)(first % LANES);
        size_t take = n < BLOCK - LANES ? n : BLOCK - LANES;
        uint16_t *half = (void *)to;

        fill_lanes(key, first / LANES, (skip + take + LANES - 1) / LANES, lanes);
        spread(range, lanes + skip, take, values);
        if (dtype == IVL_F32) {
            memcpy(to, values, take * sizeof *values);
        } else if (dtype == IVL_BF16) {
            for (size_t i = 0; i < take; i++) {
                half[i] = ivl__float_to_bf16(values[i]);
            }
        } else {
            for (size_t i = 0; i < take; i++) {
                half[i] = ivl__float_to_f16(values[i]);
            }
        }
        to += take * ivl__dtype_bytes(dtype);
        first += take;
        n -= take;
    }
}
