/* pass.c - what one pass over the weights serves; see pass.h. */
#include "model/pass.h"

#include "runtime/memory.h"

#include <string.h>

/* Rows of embeddings that are widened on the host at a time. */
#define EMBED_ROWS 256

static int32_t text_length(const ivl_texts *texts, int i)
{
    return texts->offsets[i + 1] - texts->offsets[i];
}

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* ---- how many ---------------------------------------------------------------------------- */

static int32_t rows_of_kind(const ivl_session *s, const ivl__request *r, ivl__rows_kind kind, int i)
{
    const int32_t queries = s->model->config.query_tokens;

    switch (kind) {
    case IVL__ROWS_QUERIES: return r->query_layers ? queries : 0;
    case IVL__ROWS_PAIRS: return r->itm ? queries + text_length(r->texts, i) : 0;
    case IVL__ROWS_TEXTS: return r->text_layers ? text_length(r->texts, i) : 0;
    }
    return 0;
}

static void choose(const ivl_session *s, const ivl__request *r, ivl__pass *p)
{
    const int32_t room = s->plan.batch * s->sizes.unit_rows;

    while (r->images && p->images < s->plan.batch &&
           p->first_image + p->images < r->images->count) {
        int i = p->first_image + p->images;
        int32_t queries = rows_of_kind(s, r, IVL__ROWS_QUERIES, i);
        int32_t pair = rows_of_kind(s, r, IVL__ROWS_PAIRS, i);

        if (p->rows + queries + pair > room) {
            break;
        }
        p->of[IVL__ROWS_QUERIES].rows += queries;
        p->of[IVL__ROWS_PAIRS].rows += pair;
        p->rows += queries + pair;
        p->images++;
    }
    while (r->text_layers && p->first_text + p->texts < r->texts->count) {
        int32_t rows = rows_of_kind(s, r, IVL__ROWS_TEXTS, p->first_text + p->texts);

        if (p->rows + rows > room) {
            break;
        }
        p->of[IVL__ROWS_TEXTS].rows += rows;
        p->rows += rows;
        p->texts++;
    }
    p->of[IVL__ROWS_PAIRS].first_row = p->of[IVL__ROWS_QUERIES].rows;
    p->of[IVL__ROWS_TEXTS].first_row = p->rows - p->of[IVL__ROWS_TEXTS].rows;
}

/* ---- chunks ------------------------------------------------------------------------------ */

/* The next chunk of a kind: whole sequences, at least one. Chunks with queries also share what
 * their images' keys and values take. */
static void make_chunk(const ivl_session *s, const ivl__request *r, const ivl__pass *p,
                       ivl__rows_kind kind, int first, int count, int32_t first_row,
                       ivl__decoder_chunk *chunk)
{
    const int32_t most_rows = ivl__session_chunk_rows(s, s->plan.sub_batch);
    const int base = kind == IVL__ROWS_TEXTS ? p->first_text : p->first_image;
    int32_t *starts = (int32_t *)chunk->starts;

    chunk->first_row = first_row;
    chunk->mask = kind == IVL__ROWS_TEXTS ? IVL__MASK_CAUSAL : IVL__MASK_NONE;
    if (kind != IVL__ROWS_TEXTS) {
        chunk->queries = s->model->config.query_tokens;
        chunk->first_image = first;
        count = first + s->plan.sub_batch < count ? first + s->plan.sub_batch : count;
    }
    for (int i = first; i < count; i++) {
        int32_t rows = rows_of_kind(s, r, kind, base + i);

        if (chunk->sequences && chunk->rows + rows > most_rows) {
            break;
        }
        chunk->longest = rows > chunk->longest ? rows : chunk->longest;
        chunk->rows += rows;
        starts[++chunk->sequences] = chunk->rows;
    }
}

static void make_chunks(const ivl_session *s, const ivl__request *r, ivl__pass *p,
                        ivl__rows_kind kind, int32_t **starts)
{
    struct ivl__pass_rows *of = &p->of[kind];
    const int count = !of->rows ? 0 : kind == IVL__ROWS_TEXTS ? p->texts : p->images;
    int32_t row = of->first_row;

    of->first_chunk = p->n_chunks;
    for (int first = 0; first < count;) {
        ivl__decoder_chunk *chunk = &p->chunks[p->n_chunks];

        chunk->starts = *starts;
        make_chunk(s, r, p, kind, first, count, row, chunk);
        p->first_sequence[p->n_chunks++] = first;
        *starts += chunk->sequences + 1;
        row += chunk->rows;
        first += chunk->sequences;
    }
    of->n_chunks = p->n_chunks - of->first_chunk;
}

/* Offsets, and behind them the last row of every sequence. */
static ivl_status upload_chunk(ivl_session *s, ivl__decoder_chunk *chunk, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;
    size_t n = (size_t)chunk->sequences;
    int32_t *values = ivl__calloc(2 * n + 1, sizeof *values);
    ivl_status status;

    if (!values) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for row offsets");
    }
    memcpy(values, chunk->starts, (n + 1) * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        values[n + 1 + i] = chunk->starts[i + 1] - 1;
    }
    status = ivl__cl_buffer(cl, CL_MEM_READ_ONLY, (2 * n + 1) * sizeof *values, "row offsets",
                            &chunk->offsets, error);
    if (status == IVL_OK) {
        status = ivl__cl_write(cl, cl->compute, chunk->offsets, 0, values,
                               (2 * n + 1) * sizeof *values, 0, NULL, NULL, error);
    }
    ivl__free(values);
    return status;
}

static ivl_status upload_positions(ivl_session *s, const ivl__pass *p, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;
    int32_t *positions = ivl__calloc((size_t)p->rows, sizeof *positions);
    ivl_status status;

    if (!positions) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for positions");
    }
    for (int c = 0; c < p->n_chunks; c++) {
        const ivl__decoder_chunk *chunk = &p->chunks[c];

        for (int i = 0; i < chunk->sequences; i++) {
            for (int32_t row = chunk->starts[i]; row < chunk->starts[i + 1]; row++) {
                positions[chunk->first_row + row] = row - chunk->starts[i];
            }
        }
    }
    status = ivl__cl_write(cl, cl->compute, s->decoder.positions, 0, positions,
                           (size_t)p->rows * sizeof *positions, 0, NULL, NULL, error);
    ivl__free(positions);
    return status;
}

static ivl_status open_decoder_rows(ivl_session *s, const ivl__request *r, ivl__pass *p,
                                    ivl_error *error)
{
    size_t sequences = 2 * (size_t)p->images + (size_t)p->texts;
    int32_t *starts;

    p->chunks = ivl__calloc(sequences, sizeof *p->chunks);
    p->first_sequence = ivl__calloc(sequences, sizeof *p->first_sequence);
    p->starts = ivl__calloc(2 * sequences, sizeof *p->starts);
    if (!p->chunks || !p->first_sequence || !p->starts) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the rows of a batch");
    }
    starts = p->starts;
    for (int kind = 0; kind < IVL__ROWS_KINDS; kind++) {
        make_chunks(s, r, p, (ivl__rows_kind)kind, &starts);
    }
    for (int i = 0; i < p->n_chunks; i++) {
        IVL__TRY(upload_chunk(s, &p->chunks[i], error));
    }
    return upload_positions(s, p, error);
}

ivl_status ivl__pass_open(ivl_session *s, const ivl__request *r, int done_images, int done_texts,
                          ivl__pass *p, ivl_error *error)
{
    *p = (ivl__pass){.first_image = done_images, .first_text = done_texts};
    choose(s, r, p);
    if (!p->images && !p->texts) {
        return ivl__fail(error, IVL_INTERNAL, "no room for one image or text in %d rows",
                         s->plan.batch * s->sizes.unit_rows);
    }
    return p->rows ? open_decoder_rows(s, r, p, error) : IVL_OK;
}

void ivl__pass_close(ivl_session *s, ivl__pass *p)
{
    for (int i = 0; i < p->n_chunks; i++) {
        ivl__cl_buffer_free(&s->device->cl, p->chunks[i].offsets);
    }
    ivl__free(p->chunks);
    ivl__free(p->first_sequence);
    ivl__free(p->starts);
    *p = (ivl__pass){0};
}

/* ---- embeddings -------------------------------------------------------------------------- */

/* Embeddings of n tokens, widened from the file, as rows of the decoder. */
static ivl_status embed_tokens(ivl_session *s, const int32_t *ids, int32_t n, int32_t row,
                               float *staging, ivl_error *error)
{
    const ivl__tensor_entry *table = s->model->clip->embed;
    const size_t h = (size_t)s->model->config.qllama.hidden;
    ivl__cl *cl = &s->device->cl;

    for (int32_t done = 0; done < n; done += EMBED_ROWS) {
        const int32_t count = min_rows(EMBED_ROWS, n - done);

        for (int32_t i = 0; i < count; i++) {
            for (size_t c = 0; c < h; c++) {
                staging[(size_t)i * h + c] = ivl__dtype_load(table->dtype, table->data,
                                                             (size_t)ids[done + i] * h + c);
            }
        }
        IVL__TRY(ivl__cl_write(cl, cl->compute, s->decoder.hidden,
                               (size_t)(row + done) * h * sizeof(float), staging,
                               (size_t)count * h * sizeof(float), 0, NULL, NULL, error));
    }
    return IVL_OK;
}

/* The learned queries; a row's position is its index among them. */
static ivl_status embed_queries(ivl_session *s, int32_t row, int32_t rows, ivl_error *error)
{
    const int32_t h = s->model->config.qllama.hidden;
    const ivl__span table = ivl__vector_at(s->clip_vectors, s->model->clip->query_tokens);
    const ivl__weight queries = ivl__weight_of(table, IVL_F32, s->model->config.query_tokens, h);
    const ivl__span index = {s->decoder.positions, (uint64_t)row * sizeof(int32_t)};
    const ivl__span out = {s->decoder.hidden, (uint64_t)row * (uint64_t)h * sizeof(float)};

    return ivl__op_gather_rows(s->device, rows, index, &queries, out, h, error);
}

static ivl_status embed_pairs(ivl_session *s, const ivl__request *r, const ivl__pass *p,
                              float *staging, ivl_error *error)
{
    const int32_t queries = s->model->config.query_tokens;
    int32_t row = p->of[IVL__ROWS_PAIRS].first_row;

    for (int i = p->first_image; r->itm && i < p->first_image + p->images; i++) {
        const int32_t n = text_length(r->texts, i);

        IVL__TRY(embed_queries(s, row, queries, error));
        IVL__TRY(embed_tokens(s, r->texts->ids + r->texts->offsets[i], n, row + queries, staging,
                              error));
        row += queries + n;
    }
    return IVL_OK;
}

ivl_status ivl__pass_embed(ivl_session *s, const ivl__request *r, const ivl__pass *p,
                           ivl_error *error)
{
    const struct ivl__pass_rows *queries = &p->of[IVL__ROWS_QUERIES];
    const struct ivl__pass_rows *texts = &p->of[IVL__ROWS_TEXTS];
    float *staging;
    ivl_status status = IVL_OK;

    ivl__device_stage(s->device, "embed");
    if (queries->rows) {
        IVL__TRY(embed_queries(s, queries->first_row, queries->rows, error));
    }
    if (!r->texts) {
        return IVL_OK;
    }
    staging = ivl__malloc(EMBED_ROWS * (size_t)s->model->config.qllama.hidden * sizeof(float));
    if (!staging) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for embeddings of tokens");
    }
    if (texts->rows) {
        status = embed_tokens(s, r->texts->ids + r->texts->offsets[p->first_text], texts->rows,
                              texts->first_row, staging, error);
    }
    if (status == IVL_OK) {
        status = embed_pairs(s, r, p, staging, error);
    }
    ivl__free(staging);
    return status;
}
