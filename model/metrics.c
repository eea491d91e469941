/* metrics.c - accuracies and recalls of the published evaluations; see metrics.h. */
#include "model/metrics.h"

#include <math.h>

const uint32_t ivl__recall_at[IVL__RECALLS] = {1, 5, 10};

/* ---- scores ------------------------------------------------------------------------------ */

bool ivl__score_before(float a, size_t i, float b, size_t k)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) == isnan(b) ? i < k : !isnan(a);
    }
    return a > b || (a == b && i < k);
}

/* Insertion into a short sorted list: k is small, and most scores fail at its last place. */
size_t ivl__top_scores(const float *scores, size_t n, size_t k, uint32_t *top)
{
    size_t held = 0;

    for (size_t i = 0; i < n && k > 0; i++) {
        size_t at = held < k ? held : k - 1;

        if (held == k && !ivl__score_before(scores[i], i, scores[top[at]], top[at])) {
            continue;
        }
        while (at > 0 && ivl__score_before(scores[i], i, scores[top[at - 1]], top[at - 1])) {
            top[at] = top[at - 1];
            at--;
        }
        top[at] = (uint32_t)i;
        held += held < k;
    }
    return held;
}

size_t ivl__best_add(ivl__best *best, size_t n, size_t k, float score, uint32_t index)
{
    size_t at = n < k ? n : k - 1;

    if (k == 0 || (n == k && !ivl__score_before(score, index, best[at].score, best[at].index))) {
        return n;
    }
    for (; at > 0 && ivl__score_before(score, index, best[at - 1].score, best[at - 1].index);
         at--) {
        best[at] = best[at - 1];
    }
    best[at] = (ivl__best){score, index};
    return n + (n < k);
}

/* Eight partial sums, which compilers put into vector registers. */
double ivl__dot(const float *a, const float *b, size_t n)
{
    double sums[8] = {0};
    size_t whole = n - n % 8;
    double tail = 0.0;

    for (size_t i = 0; i < whole; i += 8) {
        for (size_t k = 0; k < 8; k++) {
            sums[k] += (double)a[i + k] * (double)b[i + k];
        }
    }
    for (size_t i = whole; i < n; i++) {
        tail += (double)a[i] * (double)b[i];
    }
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

void ivl__normalize(float *vector, size_t n)
{
    double norm = sqrt(ivl__dot(vector, vector, n));

    for (size_t i = 0; norm > 0.0 && i < n; i++) {
        vector[i] = (float)((double)vector[i] / norm);
    }
}

/* ---- classification ---------------------------------------------------------------------- */

void ivl__class_counts_add(ivl__class_counts *counts, uint32_t label, const uint32_t *top,
                           size_t n_top)
{
    counts->images++;
    counts->totals[label]++;
    counts->rights[label] += n_top > 0 && top[0] == label;
    for (size_t i = 0; i < n_top && i < 5; i++) {
        counts->among5 += top[i] == label;
    }
}

ivl__class_metrics ivl__class_metrics_of(const ivl__class_counts *counts)
{
    ivl__class_metrics m = {NAN, NAN, NAN, counts->images};
    double recalls = 0.0;
    uint64_t right = 0;
    uint64_t seen = 0;

    if (counts->images == 0) {
        return m;
    }
    for (size_t i = 0; i < counts->n_classes; i++) {
        if (counts->totals[i]) {
            recalls += (double)counts->rights[i] / (double)counts->totals[i];
            right += counts->rights[i];
            seen++;
        }
    }
    m.acc1 = (double)right / (double)counts->images;
    m.acc5 = counts->n_classes < 5 ? NAN : (double)counts->among5 / (double)counts->images;
    m.mean_per_class_recall = recalls / (double)seen;
    return m;
}

/* ---- retrieval --------------------------------------------------------------------------- */

void ivl__recall_counts_add(ivl__recall_counts *counts, const uint32_t *top, size_t n_top,
                            const uint32_t *right, size_t n_right)
{
    size_t place = n_top; /* of the first right target */

    for (size_t i = 0; i < n_top && place == n_top; i++) {
        for (size_t k = 0; k < n_right; k++) {
            place = top[i] == right[k] ? i : place;
        }
    }
    counts->queries++;
    for (int i = 0; i < IVL__RECALLS; i++) {
        counts->hits[i] += place < n_top && place < ivl__recall_at[i];
    }
}

double ivl__recall_of(const ivl__recall_counts *counts, int which)
{
    return counts->queries ? (double)counts->hits[which] / (double)counts->queries : (double)NAN;
}
