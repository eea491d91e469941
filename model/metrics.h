/* metrics.h - what the published evaluations count, as pure functions of scores.
 *
 * Source: clip_benchmark (InternVL), metrics/zeroshot_classification.py and zeroshot_retrieval.py.
 * Order of scores, there and here: the higher first; among equal ones the lower index (torch.topk
 * promises nothing); what is not a number comes last. No function allocates.
 */
#ifndef IVL_MODEL_METRICS_H
#define IVL_MODEL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether score a of index i comes before score b of index k. */
bool ivl__score_before(float a, size_t i, float b, size_t k);

/* Indices of the best min(k, n) scores in their order; their number. top has room for k. */
size_t ivl__top_scores(const float *scores, size_t n, size_t k, uint32_t *top);

typedef struct ivl__best {
    float score;
    uint32_t index;
} ivl__best;

/* The same one score after another: puts it into a list of the best k in their order, of which n
 * are there; the new n. */
size_t ivl__best_add(ivl__best *best, size_t n, size_t k, float score, uint32_t index);

/* Sum over i of a[i] * b[i], in double and in one order whatever the machine. */
double ivl__dot(const float *a, const float *b, size_t n);
/* Divides by the Euclidean length, computed in double; a zero vector stays zero. */
void ivl__normalize(float *vector, size_t n);

/* ---- classification ---------------------------------------------------------------------- */

/* Counts of images that were looked at. totals and rights are the caller's and zeroed. */
typedef struct ivl__class_counts {
    size_t n_classes;
    uint64_t *totals; /* [n_classes] images of each class */
    uint64_t *rights; /* [n_classes] of them, those whose best class is the right one */
    uint64_t images, among5;
} ivl__class_counts;

/* One image with its best classes in order: five of them, or all where there are fewer. */
void ivl__class_counts_add(ivl__class_counts *counts, uint32_t label, const uint32_t *top,
                           size_t n_top);

typedef struct ivl__class_metrics {
    double acc1;                  /* share of images whose best class is right */
    double acc5;                  /* whose label is among the best five; NaN below five classes */
    double mean_per_class_recall; /* mean of the classes' own shares; classes without images are
                                     left out (balanced_accuracy_score of scikit-learn) */
    uint64_t images;
} ivl__class_metrics;

/* All NaN without images. */
ivl__class_metrics ivl__class_metrics_of(const ivl__class_counts *counts);

/* ---- retrieval --------------------------------------------------------------------------- */

enum { IVL__RECALLS = 3 };
/* 1, 5, 10 */
extern const uint32_t ivl__recall_at[IVL__RECALLS];

/* Queries so far, and how often something right was among the best 1, 5 and 10. */
typedef struct ivl__recall_counts {
    uint64_t queries, hits[IVL__RECALLS];
} ivl__recall_counts;

/* One query: its best targets in order (10, or all where there are fewer) and its right ones in
 * any order. A query without a right target is a miss, as published. */
void ivl__recall_counts_add(ivl__recall_counts *counts, const uint32_t *top, size_t n_top,
                            const uint32_t *right, size_t n_right);
/* Share of the queries with a hit; NaN without queries. */
double ivl__recall_of(const ivl__recall_counts *counts, int which);

#endif
