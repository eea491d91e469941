/* cmd_search.c - `internvl search`: the rows of an index that are nearest to each query. */
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/query_encoder.h"

#include "loader/search_index.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Results that are held at a time. */
#define MOST_HITS ((size_t)4 << 20)

typedef struct request {
    const char *vectors;
    int k;
    bool json, table, check;
    cli_query_options queries;
    const char *model, *index_path; /* model NULL: --vectors */
    const char *const *inputs;      /* [n_inputs] pictures */
    size_t n_inputs;
} request;

typedef struct searching {
    request *r;
    ivl__search_index index;
    cli_query_list queries;
    ivl_search *search;
    int k; /* at most as many as there are rows */
    bool json;
    ivl_hit *hits; /* [block, k] */
    size_t block;
    ivl__text key, out;
    double seconds; /* of the searches */
} searching;

/* ---- output ------------------------------------------------------------------------------ */

static void add_json(searching *s, const cli_query_name *name, int rank, const ivl_hit *hit)
{
    ivl__text_puts(&s->out, "{\"query\": ");
    cli_query_name_json(name, &s->out);
    ivl__text_printf(&s->out, ", \"rank\": %d, \"key\": ", rank);
    ivl__text_json_bytes(&s->out, s->key.data, s->key.bytes);
    ivl__text_printf(&s->out, ", \"score\": %.9g}\n", (double)hit->score);
}

static void add_line(searching *s, int rank, const ivl_hit *hit)
{
    ivl__text_printf(&s->out, "%5d %8.4f  ", rank, (double)hit->score);
    cli_plain_bytes(&s->out, s->key.data, s->key.bytes);
    ivl__text_puts(&s->out, "\n");
}

static void add_title(searching *s, const cli_query_name *name, bool first)
{
    ivl__text_puts(&s->out, first ? "" : "\n");
    cli_query_name_plain(name, &s->out);
    ivl__text_printf(&s->out, "\n%5s %8s  key\n", "rank", "score");
}

static ivl_status print_query(searching *s, size_t query, const ivl_hit *hits, ivl_error *error)
{
    const cli_query_name *name = &s->queries.names[query];

    ivl__text_clear(&s->out);
    if (!s->json) {
        add_title(s, name, query == 0);
    }
    for (int i = 0; i < s->k; i++) {
        IVL__TRY(ivl__search_index_key(&s->index, hits[i].row, &s->key, error));
        if (s->json) {
            add_json(s, name, i + 1, &hits[i]);
        } else {
            add_line(s, i + 1, &hits[i]);
        }
    }
    if (s->out.failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for results");
    }
    return fwrite(s->out.data, 1, s->out.bytes, stdout) == s->out.bytes
               ? IVL_OK
               : ivl__fail(error, IVL_IO_ERROR, "stdout: %s", strerror(errno));
}

/* ---- search ------------------------------------------------------------------------------ */

static int at_chunk(void *user, const char *stage, int done, int total)
{
    (void)user;
    (void)stage;
    cli_progress_update((uint64_t)done, 0, (uint64_t)total, NULL);
    return cli_stop_requests() > 0;
}

static ivl_status open_search(const cli_globals *globals, searching *s, ivl_error *error)
{
    const ivl__index_head *head = &s->index.head;
    const ivl_vectors vectors = {.size = sizeof vectors,
                                 .data = s->index.vectors,
                                 .rows = head->rows,
                                 .dim = head->dim,
                                 .dtype = head->type == IVL__NPY_F2 ? "fp16" : "fp32"};
    ivl_session_options options;

    cli_session_options(globals, &options);
    /* --precision is about the model that makes the queries: scores are exact. */
    options.precision = IVL_PRECISION_EXACT;
    options.progress = at_chunk;
    return ivl_search_open(&options, &vectors, &s->search, error);
}

static ivl_status prepare(const cli_globals *globals, searching *s, ivl_error *error)
{
    size_t hits;

    s->k = (uint64_t)s->r->k < s->index.head.rows ? s->r->k : (int)s->index.head.rows;
    s->json = s->r->json || (!s->r->table && !isatty(STDOUT_FILENO));
    s->block = MOST_HITS / (size_t)s->k ? MOST_HITS / (size_t)s->k : 1;
    s->block = s->block < s->queries.n ? s->block : s->queries.n;
    if (!ivl__mul_size(s->block, (size_t)s->k, &hits)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %d results", s->k);
    }
    s->hits = ivl__calloc(hits, sizeof *s->hits);
    if (!s->hits) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu results", hits);
    }
    return open_search(globals, s, error);
}

static ivl_status search_block(searching *s, size_t first, size_t n, ivl_error *error)
{
    const double begun = ivl__now();
    ivl_status status;

    cli_progress_begin("search", "chunks");
    status = ivl_search_run(s->search, s->queries.vectors + first * s->queries.dim, (int)n, s->k,
                            s->hits, error);
    cli_progress_end();
    s->seconds += ivl__now() - begun;
    if (status == IVL_OK && !ivl__map_unchanged(&s->index.map)) {
        status = ivl__fail(error, IVL_IO_ERROR,
                           "index '%s' was changed while it was searched; the results are dropped",
                           s->index.path);
    }
    return status;
}

static ivl_status search_all(const cli_globals *globals, searching *s, ivl_error *error)
{
    IVL__TRY(prepare(globals, s, error));
    for (size_t first = 0; first < s->queries.n; first += s->block) {
        const size_t left = s->queries.n - first;
        const size_t n = left < s->block ? left : s->block;

        IVL__TRY(search_block(s, first, n, error));
        for (size_t i = 0; i < n; i++) {
            IVL__TRY(print_query(s, first + i, s->hits + i * (size_t)s->k, error));
        }
    }
    return IVL_OK;
}

static void tell_end(const searching *s)
{
    ivl_search_info info;

    ivl_search_get_info(s->search, &info);
    cli_say(IVL_LOG_INFO,
            "search: %zu queries, the %d best of %" PRIu64 " rows of %d values in %.2f s (%s: "
            "precision exact, gemm %s, %s)",
            s->queries.n, s->k, s->index.head.rows, s->index.head.dim, s->seconds, info.device,
            info.gemm, info.residency);
}

/* ---- the command ------------------------------------------------------------------------- */

static bool at_checksum(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    cli_progress_update(done >> 20, 0, total >> 20, NULL);
    return cli_stop_requests() > 0;
}

static ivl_status check_index(searching *s, ivl_error *error)
{
    ivl_status status;

    cli_progress_begin("check", "MiB");
    status = ivl__search_index_check(&s->index, at_checksum, NULL, error);
    cli_progress_end();
    return status;
}

static ivl_status open_index(searching *s, ivl_error *error)
{
    IVL__TRY(ivl__search_index_open(s->r->index_path, &s->index, error));
    s->queries.dim = (size_t)s->index.head.dim;
    return s->r->check ? check_index(s, error) : IVL_OK;
}

/* Fills the list: CLI_DONE or CLI_SKIPPED, or what ends the command. */
static int find_queries(const cli_globals *globals, searching *s)
{
    request *r = s->r;
    ivl_error error = {0};

    if (open_index(s, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (r->model) {
        return cli_encode_queries(globals, &r->queries, r->model, r->inputs, r->n_inputs, &s->index,
                                  &s->queries);
    }
    if (cli_query_list_add_array(&s->queries, r->vectors, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    return s->queries.skipped ? CLI_SKIPPED : CLI_DONE;
}

static int search_on(const cli_globals *globals, request *r)
{
    searching s = {.r = r};
    ivl_error error = {0};
    int code = find_queries(globals, &s);

    if ((code == CLI_DONE || code == CLI_SKIPPED) && s.queries.n == 0) {
        cli_say(IVL_LOG_ERROR, "search: no query is left (%" PRIu64 " skipped)", s.queries.skipped);
        code = s.queries.skipped ? CLI_SKIPPED : CLI_USAGE;
    } else if (code == CLI_DONE || code == CLI_SKIPPED) {
        if (search_all(globals, &s, &error) == IVL_OK) {
            tell_end(&s);
            code = s.queries.skipped ? CLI_SKIPPED : code;
        } else {
            code = cli_fail(&error);
        }
    }
    ivl_search_free(s.search);
    ivl__free(s.hits);
    ivl__text_free(&s.key);
    ivl__text_free(&s.out);
    cli_query_list_free(&s.queries);
    ivl__search_index_close(&s.index);
    return code;
}

static int check_positionals(request *r, const cli_arguments *arguments)
{
    const bool texts = r->queries.texts || r->queries.text.n;
    const bool listed = r->queries.pictures.stdin_tar || r->queries.pictures.nul_list;

    if (arguments->n == 0) {
        return cli_usage_error("search", "a MODEL and the X.index are missing (with --vectors the "
                                         "X.index alone)");
    }
    if (r->vectors && (arguments->n > 1 || texts || listed)) {
        return cli_usage_error("search", "--vectors takes one X.index alone, no MODEL, texts or "
                                         "pictures beside it");
    }
    if (!r->vectors && arguments->n == 1) {
        return cli_usage_error("search",
                               "needs a MODEL and an X.index, got only \"%s\" (with "
                               "--vectors the X.index alone is enough)",
                               arguments->items[0]);
    }
    if (!r->vectors && !texts && !listed && arguments->n == 2) {
        return cli_usage_error("search", "what for? give --text STR, --texts FILE, pictures, or "
                                         "--vectors Q.npy");
    }
    r->model = r->vectors ? NULL : arguments->items[0];
    r->index_path = arguments->items[r->vectors ? 0 : 1];
    if (arguments->n > 2) {
        r->inputs = arguments->items + 2;
        r->n_inputs = arguments->n - 2;
    }
    return CLI_DONE;
}

static int check(request *r, const cli_arguments *arguments)
{
    if (r->k < 1) {
        return cli_usage_error("search", "-k must be at least 1");
    }
    if (r->json && r->table) {
        return cli_usage_error("search", "--json and --table exclude each other");
    }
    return check_positionals(r, arguments);
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    request r = {.k = 10};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"best", 'k', CLI_INT, &r.k, "N", "results of each query (default: 10)", NULL},
        {"vectors", 0, CLI_TEXT, &r.vectors, "Q.npy", "queries as vectors; needs no MODEL", NULL},
        {"json", 0, CLI_FLAG, &r.json, NULL, "JSON lines (default unless on a terminal)", NULL},
        {"table", 0, CLI_FLAG, &r.table, NULL, "a table (default on a terminal)", NULL},
        {"check", 0, CLI_FLAG, &r.check, NULL, "compare the index with its checksums first", NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_query_options_add(&r.queries, options);
    if (cli_options_parse(&cli_search, options, argc, argv, &arguments, &code)) {
        code = check(&r, &arguments);
        code = code == CLI_DONE ? search_on(globals, &r) : code;
        cli_arguments_free(&arguments);
    }
    cli_query_options_free(&r.queries);
    return code;
}

const cli_command cli_search = {
    .name = "search",
    .summary = "the rows of an index that are nearest to each query",
    .synopsis = "MODEL X.index --text STR|--texts FILE|INPUT... [-k N] [OPTIONS]\n"
                "       internvl search X.index --vectors Q.npy [-k N] [OPTIONS]",
    .examples =
        "internvl search InternVL-14B-224px photos.index --text \"a dog on a beach\" -k 10\n"
        "internvl search InternVL-14B-224px photos.index like_this.jpg --json | jq -r .key\n"
        "internvl search InternVL-14B-224px photos.index --texts queries.txt > hits.jsonl\n"
        "internvl search photos.index --vectors queries.npy",
    .run = run,
};
