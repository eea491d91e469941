/* selftest_token.c - known-answer tests of what is done to rows of tokens: picking and adding by
 * index, the rotary embedding, the gate. Bounds as the headers of cl/ derive them. */
#include "runtime/ops.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* ---- by index ---------------------------------------------------------------------------- */

#define TABLE_ROWS 7
#define TILE_ROWS  3 /* of the first of two tiles */
#define PICKS      6
#define WIDE       19

static const int32_t picks[PICKS] = {6, 0, 3, 2, 2, 5};

/* Widening is exact: the bound is zero. */
static ivl_status gather_of_type(ivl__trial *t, ivl_dtype type, ivl_error *error)
{
    float table[TABLE_ROWS * WIDE], got[PICKS * WIDE];
    ivl__span at_table, at_picks, at_out;
    ivl__weight w;

    IVL__TRY(ivl__trial_values(t, 40, 2.0f, type, TABLE_ROWS * WIDE, table, &at_table, error));
    IVL__TRY(ivl__trial_upload(t, picks, sizeof picks, &at_picks, error));
    IVL__TRY(ivl__trial_upload(t, NULL, sizeof got, &at_out, error));
    w = ivl__weight_of(at_table, type, TABLE_ROWS, WIDE);
    w.n_tiles = 2;
    w.tiles[0].rows = TILE_ROWS;
    w.tiles[1] = (ivl__weight_tile){
        .data = ivl__span_at(at_table, TILE_ROWS * WIDE * ivl__dtype_bytes(type)),
        .first_row = TILE_ROWS,
        .rows = TABLE_ROWS - TILE_ROWS};
    IVL__TRY(ivl__op_gather_rows(t->device, PICKS, at_picks, &w, at_out, WIDE, error));
    IVL__TRY(ivl__trial_download(t, at_out, IVL_F32, PICKS * WIDE, got, error));
    for (int i = 0; i < PICKS * WIDE; i++) {
        ivl__trial_check(t, (double)got[i], (double)table[picks[i / WIDE] * WIDE + i % WIDE], 0.0);
    }
    return IVL_OK;
}

/* One rounding to nearest, as on the host: the bound is zero. */
static ivl_status add_rows(ivl__trial *t, ivl_error *error)
{
    static const int32_t from[PICKS] = {2, -1, 0, 1, -1, 2};
    float x[3 * WIDE], y[PICKS * WIDE], got[PICKS * WIDE];
    ivl__add_rows_call call = {
        .rows = PICKS, .width = WIDE, .x_ld = WIDE, .x_rows = 3, .y_ld = WIDE};

    IVL__TRY(ivl__trial_values(t, 41, 1.0f, IVL_F32, 3 * WIDE, x, &call.x, error));
    IVL__TRY(ivl__trial_values(t, 42, 1.0f, IVL_F32, PICKS * WIDE, y, &call.y, error));
    IVL__TRY(ivl__trial_upload(t, from, sizeof from, &call.index, error));
    IVL__TRY(ivl__op_add_rows(t->device, &call, error));
    IVL__TRY(ivl__trial_download(t, call.y, IVL_F32, PICKS * WIDE, got, error));
    for (int i = 0; i < PICKS * WIDE; i++) {
        const int32_t row = from[i / WIDE];
        const float want = row < 0 ? y[i] : y[i] + x[row * WIDE + i % WIDE];

        ivl__trial_check(t, (double)got[i], (double)want, 0.0);
    }
    return IVL_OK;
}

static ivl_status gather(ivl__trial *t, ivl_error *error)
{
    IVL__TRY(gather_of_type(t, IVL_BF16, error));
    IVL__TRY(gather_of_type(t, IVL_F16, error));
    IVL__TRY(gather_of_type(t, IVL_F32, error));
    return add_rows(t, error);
}

/* ---- rotary embedding -------------------------------------------------------------------- */

#define ROPE_ROWS 3
#define HEADS     2
#define HALF      19 /* a whole vector and a tail */
#define POSITIONS 80
#define ROPE_LD   (HEADS * 2 * HALF + 3)

static ivl_status rope(ivl__trial *t, ivl_error *error)
{
    static const int32_t positions[ROPE_ROWS] = {0, POSITIONS - 1, 17};
    float table[POSITIONS * 2 * HALF], x[ROPE_ROWS * ROPE_LD], got[ROPE_ROWS * ROPE_LD];
    ivl__rope_call call = {.rows = ROPE_ROWS,
                           .heads = HEADS,
                           .head_dim = 2 * HALF,
                           .x_ld = ROPE_LD,
                           .max_positions = POSITIONS};

    ivl__rope_table(POSITIONS, 2 * HALF, 10000.0, table);
    IVL__TRY(ivl__trial_values(t, 43, 2.0f, IVL_F32, ROPE_ROWS * ROPE_LD, x, &call.x, error));
    IVL__TRY(ivl__trial_upload(t, positions, sizeof positions, &call.positions, error));
    IVL__TRY(ivl__trial_upload(t, table, sizeof table, &call.table, error));
    IVL__TRY(ivl__op_rope(t->device, &call, error));
    IVL__TRY(ivl__trial_download(t, call.x, IVL_F32, ROPE_ROWS * ROPE_LD, got, error));
    for (int i = 0; i < ROPE_ROWS * HEADS * HALF; i++) {
        const int row = i / (HEADS * HALF);
        const int j = i % HALF;
        const int at = row * ROPE_LD + i / HALF % HEADS * 2 * HALF + j;
        const double angle = positions[row] * pow(10000.0, -(double)j / HALF);
        const double c = cos(angle), s = sin(angle);
        const double a = (double)x[at], b = (double)x[at + HALF];
        const double low = a * c - b * s, high = b * c + a * s;

        ivl__trial_check(t, (double)got[at], low, U * (2 * fabs(a * c) + fabs(b * s) + fabs(low)));
        ivl__trial_check(t, (double)got[at + HALF], high,
                         U * (2 * fabs(b * c) + fabs(a * s) + fabs(high)));
    }
    return IVL_OK;
}

/* ---- gate -------------------------------------------------------------------------------- */

#define GATE_ROWS 2
#define GATE_WIDE 83 /* whole vectors and a tail */

static ivl_status swiglu_of_type(ivl__trial *t, ivl_dtype type, ivl_error *error)
{
    float gate[GATE_ROWS * GATE_WIDE], up[GATE_ROWS * GATE_WIDE], got[GATE_ROWS * GATE_WIDE];
    ivl__swiglu_call call = {.rows = GATE_ROWS,
                             .width = GATE_WIDE,
                             .gate_ld = GATE_WIDE,
                             .up_ld = GATE_WIDE,
                             .out_type = type,
                             .out_ld = GATE_WIDE};
    const size_t n = GATE_ROWS * GATE_WIDE;

    IVL__TRY(ivl__trial_values(t, 44, 20.0f, IVL_F32, n, gate, &call.gate, error));
    IVL__TRY(ivl__trial_values(t, 45, 2.0f, IVL_F32, n, up, &call.up, error));
    IVL__TRY(ivl__trial_upload(t, NULL, n * ivl__dtype_bytes(type), &call.out, error));
    IVL__TRY(ivl__op_swiglu(t->device, &call, error));
    IVL__TRY(ivl__trial_download(t, call.out, type, n, got, error));
    for (size_t i = 0; i < n; i++) {
        const double want = (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i];

        ivl__trial_check(t, (double)got[i], want,
                         11 * U * fabs(want) + ivl__trial_rounding(type, want));
    }
    return IVL_OK;
}

static ivl_status swiglu(ivl__trial *t, ivl_error *error)
{
    ivl_dtype types[2];
    const int n = ivl__trial_act_types(t->device, types);

    for (int i = 0; i < n; i++) {
        IVL__TRY(swiglu_of_type(t, types[i], error));
    }
    return IVL_OK;
}

IVL__SELFTEST(gather)
IVL__SELFTEST(rope)
IVL__SELFTEST(swiglu)
