/* test_token.c - rows of tokens: gather and sum by index bit for bit, the rotary embedding and the
 * gate against double precision, and bit for bit against themselves in other company. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

#define U 0x1p-24 /* unit roundoff of fp32 */

static test_buffer upload_floats(const float *x, size_t n, size_t shift)
{
    return test_upload(x, n * sizeof *x, shift);
}

/* ---- gather ------------------------------------------------------------------------------ */

typedef struct gather_case {
    int rows, table_rows, width, tiles, out_gap;
    size_t shift; /* elements before every operand */
} gather_case;

static const gather_case gather_cases[] = {
    {1, 1, 1, 1, 0, 0},
    {5, 9, 7, 2, 3, 1},
    {3, 4, 30, 4, 1, 1},
    /* not for tiny runs */
    {70, 501, 257, 7, 0, 3},
    {97, 96, 5000, 1, 5, 1}, /* more columns than an item takes */
    {70001, 3, 1, 1, 0, 0},  /* more rows than some drivers take groups of a second dimension */
};

/* Every tile is a buffer of its own, between rubbish. */
static void check_gather(const gather_case *c, ivl_dtype type)
{
    const size_t bytes = ivl__dtype_bytes(type);
    const size_t width = (size_t)c->width;
    const size_t ld = width + (size_t)c->out_gap;
    const size_t n = (size_t)c->table_rows * width;
    const size_t n_out = ((size_t)c->rows - 1) * ld + width;
    float *values = test_values(n, n, 0.0f, 3.0f);
    unsigned char *table = malloc(n * bytes);
    int32_t *index = malloc((size_t)c->rows * sizeof *index);
    float *out = malloc(n_out * sizeof *out);
    test_buffer tiles[IVL__MAX_TILES], bindex, bout;
    ivl__weight w = {.dtype = type, .rows = c->table_rows, .cols = c->width, .n_tiles = c->tiles};
    uint64_t seed = 3;
    ivl_error error = {0};

    for (size_t i = 0; i < n; i++) {
        test_store(type, table, i, values[i]);
    }
    for (int t = 0; t < c->tiles; t++) {
        int first = c->table_rows * t / c->tiles;
        int rows = c->table_rows * (t + 1) / c->tiles - first;

        tiles[t] = test_upload(table + (size_t)first * width * bytes, (size_t)rows * width * bytes,
                               c->shift * bytes);
        w.tiles[t] = (ivl__weight_tile){tiles[t].span, first, rows};
    }
    /* The first and the last row, then any; some of them none of the table's. */
    for (int r = 0; r < c->rows; r++) {
        index[r] = r == 0   ? c->table_rows - 1
                   : r == 1 ? 0
                   : r == 2 ? -1
                   : r == 3 ? c->table_rows
                            : (int32_t)(test_random(&seed) % (uint64_t)c->table_rows);
    }
    bindex = test_upload(index, (size_t)c->rows * sizeof *index, c->shift * sizeof *index);
    bout = test_upload(NULL, n_out * sizeof *out, c->shift * sizeof *out);
    assert_ok(ivl__op_gather_rows(device, c->rows, bindex.span, &w, bout.span, (int32_t)ld, &error),
              error);
    test_download(&bout, out);
    for (size_t i = 0; i < n_out; i++) {
        int32_t from = index[i / ld];

        if (i % ld >= width || from < 0 || from >= c->table_rows) {
            assert_true(isnan(out[i])); /* between the rows: untouched */
        } else {
            float want = ivl__dtype_load(type, table, (size_t)from * width + i % ld);

            assert_memory_equal(&out[i], &want, sizeof want);
        }
    }
    for (int t = 0; t < c->tiles; t++) {
        test_release(&tiles[t]);
    }
    test_release(&bindex);
    test_release(&bout);
    free(values);
    free(table);
    free(index);
    free(out);
}

static void rows_are_gathered(void **state)
{
    const ivl_dtype types[] = {IVL_F32, IVL_F16, IVL_BF16};
    size_t n = test_tiny() ? 3 : sizeof gather_cases / sizeof gather_cases[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int t = 0; t < 3; t++) {
            check_gather(&gather_cases[i], types[t]);
        }
    }
}

/* An index outside the table leaves NaN even where nothing lay before. */
static void wrong_indices_become_nan(void **state)
{
    const int32_t index[3] = {2, INT32_MAX, INT32_MIN};
    const float zeros[6] = {0};
    test_buffer btable = upload_floats(zeros, 4, 0);
    test_buffer bindex = test_upload(index, sizeof index, 0);
    test_buffer bout = upload_floats(zeros, 6, 0);
    const ivl__weight w = ivl__weight_of(btable.span, IVL_F32, 2, 2);
    float out[6];
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__op_gather_rows(device, 3, bindex.span, &w, bout.span, 2, &error), error);
    test_download(&bout, out);
    for (int i = 0; i < 6; i++) {
        assert_true(isnan(out[i]));
    }
    test_release(&btable);
    test_release(&bindex);
    test_release(&bout);
}

/* ---- sum by index ------------------------------------------------------------------------ */

static void check_add(int rows, int x_rows, int width, bool indexed)
{
    const size_t x_ld = (size_t)width + 2;
    const size_t y_ld = (size_t)width + 1;
    const size_t n_y = (size_t)rows * y_ld;
    float *x = test_values((size_t)x_rows * x_ld, 1, 0.0f, 1.0f);
    float *y = test_values(n_y, 2, 0.0f, 1.0f);
    float *got = malloc(n_y * sizeof *got);
    int32_t *index = malloc((size_t)rows * sizeof *index);
    test_buffer bx = upload_floats(x, (size_t)x_rows * x_ld, 4);
    test_buffer by = upload_floats(y, n_y, 8);
    test_buffer bindex;
    ivl__add_rows_call call = {.rows = rows,
                               .width = width,
                               .x = bx.span,
                               .x_ld = (int32_t)x_ld,
                               .x_rows = x_rows,
                               .y = by.span,
                               .y_ld = (int32_t)y_ld};
    ivl_error error = {0};

    for (int r = 0; r < rows; r++) {
        index[r] = !indexed ? r : r % 3 == 0 ? -1 - r : r == 1 ? x_rows : r * 7 % x_rows;
    }
    bindex = test_upload(index, (size_t)rows * sizeof *index, 4);
    if (indexed) {
        call.index = bindex.span;
    }
    assert_ok(ivl__op_add_rows(device, &call, &error), error);
    test_download(&by, got);
    for (size_t i = 0; i < n_y; i++) {
        size_t column = i % y_ld;
        int32_t from = index[i / y_ld];
        float want = y[i];

        if (column < (size_t)width && from >= x_rows) {
            assert_true(isnan(got[i]));
            continue;
        }
        if (column < (size_t)width && from >= 0) {
            want += x[(size_t)from * x_ld + column];
        }
        assert_memory_equal(&got[i], &want, sizeof want);
    }
    test_release(&bx);
    test_release(&by);
    test_release(&bindex);
    free(x);
    free(y);
    free(got);
    free(index);
}

static void rows_are_added(void **state)
{
    (void)state;
    check_add(1, 1, 1, false);
    check_add(7, 3, 5, true);
    check_add(5, 6, 19, false);
    if (!test_tiny()) {
        check_add(115, 96, 5000, true);
        check_add(64, 64, 768, false);
    }
}

/* ---- rotary embedding -------------------------------------------------------------------- */

/* The table is the correctly rounded cosine and sine, but for double precision's own error: an
 * angle p f is off by 2 * 2^-53 p f + p 2^-53 (of pow), p < 4096: 2^-39, far below 2^-25. */
static void tables_are_rounded_once(void **state)
{
    enum { POSITIONS = 512, HEAD = 10 };
    static float table[POSITIONS * HEAD];
    double worst = 0.0;

    (void)state;
    ivl__rope_table(POSITIONS, HEAD, 10000.0, table);
    for (int p = 0; p < POSITIONS; p++) {
        for (int j = 0; j < HEAD / 2; j++) {
            long double angle = p * powl(10000.0L, -2.0L * j / HEAD);

            worst = fmax(worst, fabs((double)(table[p * HEAD + j] - cosl(angle))));
            worst = fmax(worst, fabs((double)(table[p * HEAD + HEAD / 2 + j] - sinl(angle))));
        }
    }
    printf("rotary table: largest error %.3g, bound %.3g\n", worst, 0x1p-25 + 0x1p-38);
    assert_true(worst <= 0x1p-25 + 0x1p-38);
    assert_true(table[0] == 1.0f && table[HEAD / 2] == 0.0f);
}

typedef struct rope_case {
    int rows, heads, head_dim, ld_gap;
    size_t shift; /* bytes before x */
} rope_case;

static const rope_case rope_cases[] = {
    {1, 1, 2, 0, 0},
    {3, 2, 10, 3, 4},
    {2, 3, 8, 0, 8},
    {2, 1, 34, 1, 4},
    {2, 2, 32, 0, 12},
    /* not for tiny runs */
    {80, 64, 128, 0, 4},
    {19, 5, 200, 7, 0},
    {7, 3, 256, 1, 4},
    {2, 2, 8200, 1, 4},
};

#define MAX_POSITIONS 96

/* x [rows, ld] turned by the device; positions run down from `last`. */
static void turn(const rope_case *c, const float *x, const float *table, int last, float *out)
{
    const size_t ld = (size_t)(c->heads * c->head_dim + c->ld_gap);
    int32_t *positions = malloc((size_t)c->rows * sizeof *positions);
    test_buffer bx = upload_floats(x, (size_t)c->rows * ld, c->shift);
    test_buffer btable = upload_floats(table, MAX_POSITIONS * (size_t)c->head_dim, 4);
    test_buffer bpositions;
    ivl_error error = {0};
    ivl__rope_call call = {.rows = c->rows,
                           .heads = c->heads,
                           .head_dim = c->head_dim,
                           .x = bx.span,
                           .x_ld = (int32_t)ld,
                           .table = btable.span,
                           .max_positions = MAX_POSITIONS};

    for (int r = 0; r < c->rows; r++) {
        positions[r] = last - r;
    }
    bpositions = test_upload(positions, (size_t)c->rows * sizeof *positions, 4);
    call.positions = bpositions.span;
    assert_ok(ivl__op_rope(device, &call, &error), error);
    test_download(&bx, out);
    test_release(&bx);
    test_release(&btable);
    test_release(&bpositions);
    free(positions);
}

static void check_pair(const rope_case *c, int position, int j, const float *x, const float *got)
{
    const int half = c->head_dim / 2;
    const double angle = position * pow(10000.0, -2.0 * j / c->head_dim);
    const double a = (double)x[j], b = (double)x[j + half];
    const double low = a * cos(angle) - b * sin(angle);
    const double high = b * cos(angle) + a * sin(angle);
    /* A product carries the table's rounding and, where it is not inside the fma, its own; the sum
     * rounds once. */
    const double low_bound = U * (2 * fabs(a * cos(angle)) + fabs(b * sin(angle)) + fabs(low));
    const double high_bound = U * (2 * fabs(b * cos(angle)) + fabs(a * sin(angle)) + fabs(high));

    if (!(fabs((double)got[j] - low) <= low_bound) ||
        !(fabs((double)got[j + half] - high) <= high_bound)) {
        fail_msg("head of %d, position %d, pair %d: %.9g %.9g, should be %.9g %.9g", c->head_dim,
                 position, j, (double)got[j], (double)got[j + half], low, high);
    }
}

static void check_rope(const rope_case *c)
{
    const int last = c->rows - 1 + 5;
    const size_t width = (size_t)(c->heads * c->head_dim);
    const size_t ld = width + (size_t)c->ld_gap;
    float *table = malloc(MAX_POSITIONS * (size_t)c->head_dim * sizeof *table);
    float *x = test_values((size_t)c->rows * ld, ld, 0.0f, 4.0f);
    float *got = malloc((size_t)c->rows * ld * sizeof *got);
    float *alone = malloc(ld * sizeof *alone);
    rope_case one = *c;

    ivl__rope_table(MAX_POSITIONS, c->head_dim, 10000.0, table);
    turn(c, x, table, last, got);
    for (int r = 0; r < c->rows; r++) {
        const float *row = got + (size_t)r * ld;

        for (size_t h = 0; h < width; h += (size_t)c->head_dim) {
            for (int j = 0; j < c->head_dim / 2; j++) {
                check_pair(c, last - r, j, x + (size_t)r * ld + h, row + h);
            }
        }
        assert_memory_equal(row + width, x + (size_t)r * ld + width, (ld - width) * sizeof *x);
    }
    /* A row alone has the bits it has among others. */
    one.rows = 1;
    turn(&one, x + (size_t)(c->rows - 1) * ld, table, 5, alone);
    assert_memory_equal(alone, got + (size_t)(c->rows - 1) * ld, ld * sizeof *alone);
    /* Positions that the table has not. */
    turn(&one, x, table, MAX_POSITIONS, alone);
    assert_true(isnan(alone[0]) && isnan(alone[width - 1]));
    turn(&one, x, table, -1, alone);
    assert_true(isnan(alone[0]) && isnan(alone[width - 1]));
    free(table);
    free(x);
    free(got);
    free(alone);
}

static void rotations_are_accurate(void **state)
{
    size_t n = test_tiny() ? 5 : sizeof rope_cases / sizeof rope_cases[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        check_rope(&rope_cases[i]);
    }
}

/* ---- gate -------------------------------------------------------------------------------- */

/* Error in units of the bound that cl/swiglu.cl derives. */
static double gate_error(float gate, float up, float got)
{
    const double g = (double)gate;
    const double want = g / (1.0 + exp(-g)) * (double)up;
    const double bound = 11 * U * fabs(want) + 1.5e-36 * fabs((double)up) + 0x1p-126;

    return fabs((double)got - want) / bound;
}

static void check_swiglu(int rows, int width, float size, size_t shift)
{
    const size_t ld = (size_t)width + 3;
    const size_t out_ld = (size_t)width + 1;
    const size_t n = (size_t)rows * ld;
    const size_t n_out = (size_t)rows * out_ld;
    const ivl_dtype types[] = {IVL_F16, IVL_BF16};
    float *gate = test_values(n, 1, 0.0f, size);
    float *up = test_values(n, 2, 0.0f, 2.0f);
    float *out = malloc(n_out * sizeof *out);
    float *again = malloc(n * sizeof *again);
    uint16_t *narrow = malloc(n_out * sizeof *narrow);
    test_buffer bgate = upload_floats(gate, n, shift);
    test_buffer bup = upload_floats(up, n, shift);
    test_buffer bout = test_upload(NULL, n_out * sizeof *out, shift);
    test_buffer bnarrow = test_upload(NULL, n_out * sizeof *narrow, 2);
    ivl__swiglu_call call = {.rows = rows,
                             .width = width,
                             .gate = bgate.span,
                             .up = bup.span,
                             .gate_ld = (int32_t)ld,
                             .up_ld = (int32_t)ld,
                             .out = bout.span,
                             .out_type = IVL_F32,
                             .out_ld = (int32_t)out_ld};
    double worst = 0.0;
    ivl_error error = {0};

    assert_ok(ivl__op_swiglu(device, &call, &error), error);
    test_download(&bout, out);
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < width; i++) {
            size_t at = (size_t)r * ld + (size_t)i;
            double e = gate_error(gate[at], up[at], out[(size_t)r * out_ld + (size_t)i]);

            worst = e <= worst ? worst : e;
            if (!(e <= 1.0)) {
                fail_msg("silu(%.9g) %.9g is %.9g: %.3g of the bound", (double)gate[at],
                         (double)up[at], (double)out[(size_t)r * out_ld + (size_t)i], e);
            }
        }
        assert_true(isnan(out[(size_t)r * out_ld + (size_t)width])); /* between the rows */
    }
    printf("gate, %d x %d, up to %g: largest error %.3f of the bound\n", rows, width, (double)size,
           worst);
    /* 16-bit results are the fp32 results rounded to nearest even. */
    call.out = bnarrow.span;
    for (int t = 0; t < 2; t++) {
        call.out_type = types[t];
        assert_ok(ivl__op_swiglu(device, &call, &error), error);
        test_download(&bnarrow, narrow);
        for (size_t i = 0; i < n_out; i++) {
            if (i % out_ld < (size_t)width) {
                assert_int_equal(narrow[i],
                                 t ? ivl__float_to_bf16(out[i]) : ivl__float_to_f16(out[i]));
            }
        }
    }
    /* In place, the last row alone: the same bits. */
    call.out_type = IVL_F32;
    call.rows = 1;
    call.gate = call.out = ivl__span_at(bgate.span, (uint64_t)(rows - 1) * ld * sizeof *gate);
    call.up = ivl__span_at(bup.span, (uint64_t)(rows - 1) * ld * sizeof *gate);
    call.out_ld = (int32_t)ld;
    assert_ok(ivl__op_swiglu(device, &call, &error), error);
    test_download(&bgate, again);
    assert_memory_equal(again + (size_t)(rows - 1) * ld, out + (size_t)(rows - 1) * out_ld,
                        (size_t)width * sizeof *out);
    assert_memory_equal(again, gate, (size_t)(rows - 1) * ld * sizeof *gate);
    test_release(&bgate);
    test_release(&bup);
    test_release(&bout);
    test_release(&bnarrow);
    free(gate);
    free(up);
    free(out);
    free(again);
    free(narrow);
}

static void gates_are_accurate(void **state)
{
    (void)state;
    check_swiglu(1, 1, 3.0f, 0);
    check_swiglu(3, 37, 10.0f, 4);
    check_swiglu(2, 300, 100.0f, 8);
    if (!test_tiny()) {
        check_swiglu(5, 11008, 30.0f, 4);
        check_swiglu(64, 257, 1.0f, 12);
    }
}

/* Gates at the ends of the numbers, in a vector's lane and alone. */
static void extreme_gates(void **state)
{
    enum { N = 17 };
    const float gates[N] = {0.0f,   -0.0f,  1e-30f,   -1e-30f, 3e38f, INFINITY,
                            -86.9f, -87.1f, -1000.0f, -3e38f,  NAN,   1.0f,
                            -1.0f,  88.0f,  89.0f,    -20.0f,  -3e38f};
    float ones[N], out[N];
    test_buffer bgate, bup, bout;
    ivl__swiglu_call call = {.rows = 1, .width = N, .gate_ld = N, .up_ld = N, .out_ld = N};
    ivl_error error = {0};

    (void)state;
    for (int i = 0; i < N; i++) {
        ones[i] = 1.0f;
    }
    bgate = upload_floats(gates, N, 0);
    bup = upload_floats(ones, N, 0);
    bout = test_upload(NULL, sizeof out, 0);
    call.gate = bgate.span;
    call.up = bup.span;
    call.out = bout.span;
    call.out_type = IVL_F32;
    assert_ok(ivl__op_swiglu(device, &call, &error), error);
    test_download(&bout, out);
    for (int i = 0; i < N; i++) {
        if (isnan(gates[i])) {
            assert_true(isnan(out[i]));
        } else if (isinf(gates[i])) {
            assert_true(isinf(out[i]) && out[i] > 0.0f);
        } else if (!(gate_error(gates[i], 1.0f, out[i]) <= 1.0)) {
            fail_msg("silu(%.9g) is %.9g", (double)gates[i], (double)out[i]);
        }
    }
    test_release(&bgate);
    test_release(&bup);
    test_release(&bout);
}

/* ---- arguments --------------------------------------------------------------------------- */

static void bad_indices_are_refused(const test_buffer *b)
{
    ivl__weight w = ivl__weight_of(b->span, IVL_F32, 3, 4);
    ivl__add_rows_call add = {
        .rows = 3, .width = 4, .x = b->span, .x_ld = 4, .x_rows = 2, .y = b->span, .y_ld = 4};
    ivl_error error = {0};

    assert_fails(ivl__op_gather_rows(device, 2, b->span, &w, b->span, 3, &error),
                 IVL_INVALID_ARGUMENT, error, "rows 3 apart");
    assert_fails(ivl__op_gather_rows(device, 2, (ivl__span){0}, &w, b->span, 4, &error),
                 IVL_INVALID_ARGUMENT, error, "'index'");
    w.tiles[0].rows = 2;
    assert_fails(ivl__op_gather_rows(device, 2, b->span, &w, b->span, 4, &error),
                 IVL_INVALID_ARGUMENT, error, "gather: tiles hold 2 of 3 rows");
    assert_fails(ivl__op_gather_rows(device, 2, b->span, NULL, b->span, 4, &error),
                 IVL_INVALID_ARGUMENT, error, "gather: weight of 0");
    assert_fails(ivl__op_add_rows(device, &add, &error), IVL_INVALID_ARGUMENT, error,
                 "take from 2 rows");
    add.x_rows = 3;
    add.y.offset += 2;
    assert_fails(ivl__op_add_rows(device, &add, &error), IVL_INVALID_ARGUMENT, error, "'y'");
}

static void bad_calls_are_refused(void **state)
{
    test_buffer b = test_upload(NULL, 256, 0);
    ivl__rope_call rope = {.rows = 1,
                           .heads = 2,
                           .head_dim = 5,
                           .x = b.span,
                           .x_ld = 10,
                           .positions = b.span,
                           .table = b.span,
                           .max_positions = 1};
    ivl__swiglu_call swiglu = {.rows = 1,
                               .width = 4,
                               .gate = b.span,
                               .up = b.span,
                               .gate_ld = 4,
                               .up_ld = 3,
                               .out = b.span,
                               .out_ld = 4};
    ivl_error error = {0};

    (void)state;
    bad_indices_are_refused(&b);
    assert_fails(ivl__op_rope(device, &rope, &error), IVL_INVALID_ARGUMENT, error, "heads of 5");
    rope.head_dim = 6;
    assert_fails(ivl__op_rope(device, &rope, &error), IVL_INVALID_ARGUMENT, error, "10 apart");
    rope.head_dim = 4;
    rope.max_positions = 0;
    assert_fails(ivl__op_rope(device, &rope, &error), IVL_INVALID_ARGUMENT, error, "0 positions");
    rope.max_positions = 1;
    rope.table.mem = NULL;
    assert_fails(ivl__op_rope(device, &rope, &error), IVL_INVALID_ARGUMENT, error, "'table'");
    assert_fails(ivl__op_swiglu(device, &swiglu, &error), IVL_INVALID_ARGUMENT, error,
                 "4, 3 and 4 apart");
    swiglu.up_ld = 4;
    swiglu.out_type = IVL_I64;
    assert_fails(ivl__op_swiglu(device, &swiglu, &error), IVL_INVALID_ARGUMENT, error, "int64");
    test_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_gathered),      cmocka_unit_test(wrong_indices_become_nan),
        cmocka_unit_test(rows_are_added),         cmocka_unit_test(tables_are_rounded_once),
        cmocka_unit_test(rotations_are_accurate), cmocka_unit_test(gates_are_accurate),
        cmocka_unit_test(extreme_gates),          cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
