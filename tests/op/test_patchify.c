/* test_patchify.c - pictures to patch rows, bit for bit against the host's own division. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

typedef struct patch_case {
    int images, height, width, channels, patch, stride;
} patch_case;

static const patch_case cases[] = {
    {2, 4, 6, 3, 2, 2}, {1, 5, 7, 3, 3, 1},     {1, 3, 3, 1, 3, 3},
    {2, 9, 8, 2, 4, 2}, {1, 56, 84, 3, 14, 14}, {1, 224, 224, 3, 14, 14},
};

static const float means[3] = {0.485f, 0.456f, 0.406f};
static const float stds[3] = {0.229f, 0.224f, 0.225f};

/* torchvision: ToTensor divides by 255, Normalize subtracts and divides, each rounded to fp32. */
static float normalised(unsigned char value, int channel)
{
    volatile float scaled = (float)value / 255.0f;
    volatile float centred = scaled - means[channel];

    return centred / stds[channel];
}

static float pixel(const patch_case *c, const unsigned char *u8, const float *f32, int image,
                   int ch, int y, int x)
{
    if (u8) {
        return normalised(u8[((image * c->height + y) * c->width + x) * c->channels + ch], ch);
    }
    return f32[((image * c->channels + ch) * c->height + y) * c->width + x];
}

static void expect(const patch_case *c, const unsigned char *u8, const float *f32, float *want)
{
    int grid_h = (c->height - c->patch) / c->stride + 1;
    int grid_w = (c->width - c->patch) / c->stride + 1;
    size_t at = 0;

    for (int row = 0; row < c->images * grid_h * grid_w; row++) {
        int px = row % grid_w;
        int py = row / grid_w % grid_h;

        for (int ch = 0; ch < c->channels; ch++) {
            for (int k = 0; k < c->patch * c->patch; k++) {
                want[at++] = pixel(c, u8, f32, row / grid_w / grid_h, ch,
                                   py * c->stride + k / c->patch, px * c->stride + k % c->patch);
            }
        }
    }
}

static void check_case(const patch_case *c, bool is_normalised, ivl_dtype type)
{
    int grid_h = (c->height - c->patch) / c->stride + 1;
    int grid_w = (c->width - c->patch) / c->stride + 1;
    size_t n_in = (size_t)(c->images * c->height * c->width * c->channels);
    size_t n_out = (size_t)(c->images * grid_h * grid_w * c->channels * c->patch * c->patch);
    size_t in_bytes = is_normalised ? n_in * 4 : n_in;
    unsigned char *in = malloc(in_bytes);
    float *want = malloc(n_out * sizeof *want);
    unsigned char *got = malloc(n_out * 4);
    uint64_t seed = n_in;
    test_buffer bin;
    test_buffer bout = test_upload(NULL, n_out * ivl__dtype_bytes(type), type == IVL_F32 ? 4 : 2);
    ivl__patchify_call call = {.images = c->images,
                               .height = c->height,
                               .width = c->width,
                               .channels = c->channels,
                               .patch = c->patch,
                               .stride = c->stride,
                               .normalized = is_normalised,
                               .out = bout.span,
                               .out_type = type};
    ivl_error error = {0};

    for (size_t i = 0; i < n_in; i++) {
        if (is_normalised) {
            float value = test_uniform(&seed);

            memcpy(in + 4 * i, &value, 4);
        } else {
            in[i] = i < 256 ? (unsigned char)i : (unsigned char)test_random(&seed);
        }
    }
    memcpy(call.mean, means, sizeof means);
    memcpy(call.std, stds, sizeof stds);
    bin = test_upload(in, in_bytes, is_normalised ? 4 : 1);
    call.pixels = bin.span;
    expect(c, is_normalised ? NULL : in, (const float *)(void *)in, want);
    assert_ok(ivl__op_patchify(device, &call, &error), error);
    test_download(&bout, got);
    for (size_t i = 0; i < n_out; i++) {
        float value = ivl__dtype_load(type, got, i);
        float exact = want[i];

        if (type != IVL_F32) {
            uint16_t rounded = type == IVL_F16 ? ivl__float_to_f16(exact)
                                               : ivl__float_to_bf16(exact);

            exact = ivl__dtype_load(type, &rounded, 0);
        }
        if (memcmp(&value, &exact, 4) != 0) {
            fail_msg("element %zu is %.9g, should be %.9g", i, (double)value, (double)exact);
        }
    }
    test_release(&bin);
    test_release(&bout);
    free(in);
    free(want);
    free(got);
}

static void rows_are_exact(void **state)
{
    const ivl_dtype types[] = {IVL_F32, IVL_F16, IVL_BF16};
    size_t n = test_tiny() ? 4 : sizeof cases / sizeof cases[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int t = 0; t < 3; t++) {
            check_case(&cases[i], false, types[t]);
            check_case(&cases[i], true, types[t]);
        }
    }
}

/* Every value of every channel, for several published normalisations. */
static void all_values_are_correctly_rounded(void **state)
{
    static const float sets[][2] = {{0.485f, 0.229f},
                                    {0.456f, 0.224f},
                                    {0.406f, 0.225f},
                                    {0.48145466f, 0.26862954f},
                                    {0.4578275f, 0.26130258f},
                                    {0.40821073f, 0.27577711f},
                                    {0.5f, 0.5f},
                                    {0.0f, 1.0f}};
    unsigned char in[256];
    float got[256];
    test_buffer bin, bout;
    ivl_error error = {0};

    (void)state;
    for (int i = 0; i < 256; i++) {
        in[i] = (unsigned char)i;
    }
    bin = test_upload(in, sizeof in, 0);
    bout = test_upload(NULL, sizeof got, 0);
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        ivl__patchify_call call = {.images = 1,
                                   .height = 16,
                                   .width = 16,
                                   .channels = 1,
                                   .patch = 16,
                                   .stride = 16,
                                   .pixels = bin.span,
                                   .mean = {sets[s][0]},
                                   .std = {sets[s][1]},
                                   .out = bout.span};

        assert_ok(ivl__op_patchify(device, &call, &error), error);
        test_download(&bout, got);
        for (int i = 0; i < 256; i++) {
            volatile float scaled = (float)i / 255.0f;
            volatile float centred = scaled - sets[s][0];
            float want = centred / sets[s][1];

            if (memcmp(&got[i], &want, 4) != 0) {
                fail_msg("mean %g, value %d: %.9g, should be %.9g", (double)sets[s][0], i,
                         (double)got[i], (double)want);
            }
        }
    }
    test_release(&bin);
    test_release(&bout);
}

static void bad_calls_are_refused(void **state)
{
    test_buffer b = test_upload(NULL, 64, 0);
    ivl__patchify_call call = {.images = 1,
                               .height = 2,
                               .width = 8,
                               .channels = 3,
                               .patch = 4,
                               .stride = 4,
                               .pixels = b.span,
                               .out = b.span};
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl__op_patchify(device, &call, &error), IVL_INVALID_ARGUMENT, error, "8x2");
    call.height = 8;
    assert_fails(ivl__op_patchify(device, &call, &error), IVL_INVALID_ARGUMENT, error,
                 "deviation 0");
    test_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_exact),
        cmocka_unit_test(all_values_are_correctly_rounded),
        cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
