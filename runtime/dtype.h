/* dtype.h - element types of stored tensors, and their exact widening on the host. */
#ifndef IVL_RUNTIME_DTYPE_H
#define IVL_RUNTIME_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum ivl_dtype {
    IVL_F32 = 0,
    IVL_F16 = 1,
    IVL_BF16 = 2,
    IVL_I64 = 3, /* stray buffers of checkpoints; listed, never computed with */
    IVL_OTHER = 4
} ivl_dtype;

static inline size_t ivl__dtype_bytes(ivl_dtype type)
{
    switch (type) {
    case IVL_F32: return 4;
    case IVL_F16: return 2;
    case IVL_BF16: return 2;
    case IVL_I64: return 8;
    case IVL_OTHER: return 0;
    }
    return 0;
}

static inline const char *ivl__dtype_name(ivl_dtype type)
{
    switch (type) {
    case IVL_F32: return "fp32";
    case IVL_F16: return "fp16";
    case IVL_BF16: return "bf16";
    case IVL_I64: return "int64";
    case IVL_OTHER: return "other";
    }
    return "other";
}

static inline float ivl__bf16_to_float(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t ivl__float_to_bf16(float value)
{
    uint32_t wide;

    memcpy(&wide, &value, sizeof wide);
    if ((wide & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(wide >> 16 | 0x40u);
    }
    return (uint16_t)((wide + 0x7fffu + (wide >> 16 & 1u)) >> 16);
}

static inline float ivl__f16_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = bits >> 10 & 31u;
    uint32_t mantissa = bits & 1023u;
    uint32_t wide;
    float value;

    if (exponent == 31) {
        wide = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent) {
        wide = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        /* Subnormal: an integer multiple of 2^-24, exact in fp32. */
        value = (float)mantissa * 0x1p-24f;
        return sign ? -value : value;
    }
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Round to nearest even, overflow to infinity; NaN stays NaN. */
static inline uint16_t ivl__float_to_f16(float value)
{
    uint32_t wide;
    uint32_t sign;
    uint32_t rest;

    memcpy(&wide, &value, sizeof wide);
    sign = wide >> 16 & 0x8000u;
    rest = wide & 0x7fffffffu;
    if (rest > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (rest >= 0x477ff000u) {
        return (uint16_t)(sign | 0x7c00u);
    }
    if (rest < 0x38800000u) {
        /* Below 2^-14: adding 0.5 lets the FPU round at 2^-24. */
        float magnitude;
        uint32_t shifted;

        memcpy(&magnitude, &rest, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&shifted, &magnitude, sizeof shifted);
        return (uint16_t)(sign | (shifted - 0x3f000000u));
    }
    return (uint16_t)(sign | ((rest + 0xfffu + (rest >> 13 & 1u) - 0x38000000u) >> 13));
}

/* Element `index` of a tensor of type F32, F16 or BF16 at `data`, of any alignment. */
static inline float ivl__dtype_load(ivl_dtype type, const void *data, size_t index)
{
    const unsigned char *at = (const unsigned char *)data + index * ivl__dtype_bytes(type);
    uint16_t half;
    float value;

    if (type == IVL_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&half, at, sizeof half);
    return type == IVL_F16 ? ivl__f16_to_float(half) : ivl__bf16_to_float(half);
}

#endif
