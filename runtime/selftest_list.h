/* selftest_list.h - the known-answer tests, one line each; see selftest.h.
 *
 * BASELINE(name, where)           what the models run on devices of that kind; elsewhere SPARE
 * OPTIONAL(name, where, member)   a unit that a failure switches off: `member` of ivl__caps
 * SPARE(name)                     what no model runs by itself (yet); never tested at open
 *
 * where: ANY, CPU, GPU (everything that is no CPU).
 */
#ifndef IVL_RUNTIME_SELFTEST_LIST_H
#define IVL_RUNTIME_SELFTEST_LIST_H

#define IVL__SELFTEST_LIST(BASELINE, OPTIONAL, SPARE) \
    BASELINE(language, ANY)                           \
    BASELINE(patchify, ANY)                           \
    BASELINE(embed, ANY)                              \
    BASELINE(position, ANY)                           \
    BASELINE(norm_rms, ANY)                           \
    BASELINE(norm_layer, ANY)                         \
    BASELINE(l2_normalize, ANY)                       \
    BASELINE(gather, ANY)                             \
    BASELINE(rope, ANY)                               \
    BASELINE(swiglu, ANY)                             \
    BASELINE(attention_cpu, CPU)                      \
    OPTIONAL(attention_cpu_fast, CPU, x86_bf16_dot)   \
    BASELINE(attention_local, GPU)                    \
    BASELINE(attention_plain, GPU)                    \
    BASELINE(gelu, CPU)                               \
    BASELINE(gemm_cpu, CPU)                           \
    OPTIONAL(gemm_cpu_fast, CPU, x86_bf16_dot)        \
    OPTIONAL(gemm_cpu_amx, CPU, x86_amx_bf16)         \
    BASELINE(gemm_tile, GPU)                          \
    OPTIONAL(gemm_clblast, GPU, clblast)              \
    SPARE(gemm_cpu_variants)                          \
    SPARE(gemm_cpu_fast_variants)                     \
    SPARE(gemm_cpu_amx_variants)                      \
    SPARE(gemm_tile_variants)                         \
    BASELINE(pool, ANY)                               \
    OPTIONAL(topk, ANY, topk)                         \
    BASELINE(check_finite, ANY)                       \
    BASELINE(convert, GPU)

#endif
