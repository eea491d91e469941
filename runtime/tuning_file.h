/* tuning_file.h - measured choices of GEMM backends as a text that people read, edit and send in.
 *
 *     internvl-tuning 1
 *     key 5f2c...                      device, driver, program and kernels it was measured with
 *     # AMD Radeon RX 7900 XTX (AMD Accelerated Parallel Processing, driver 3602.0)
 *     # precision  columns  depth  weights  backend  parameters  ms  (rows)
 *     exact 9600 3200 bf16 tile 64x64x16/8x16/4x4x4/p4r0f1u4 1.234 1028
 *     exact 3200 12800 bf16 clblast - 1.502 1028
 *     checksum 81d0...                 of everything above
 *
 * One line a weight matrix. The last two numbers are for people. A checksum that does not fit means
 * that somebody edited the file: its choices are then tried before they are used. Lines that begin
 * with # and empty ones are skipped.
 */
#ifndef IVL_RUNTIME_TUNING_FILE_H
#define IVL_RUNTIME_TUNING_FILE_H

#include "runtime/gemm.h"

typedef struct ivl__tuning_entry {
    ivl_precision precision;
    ivl__gemm_choice choice;
    double ms; /* as measured; 0: not */
    int32_t rows;
} ivl__tuning_entry;

typedef struct ivl__tuning_table {
    char key[33];
    bool edited; /* the checksum is missing or does not fit */
    ivl__tuning_entry entries[IVL__GEMM_MAX_CHOICES];
    int n;
} ivl__tuning_table;

/* IVL_BAD_INPUT names the line (of `name`) and what is wrong with it: an unknown word, backend or
 * type, parameters out of their range, two lines for one matrix, another version. */
ivl_status ivl__tuning_parse(const char *name, const char *text, ivl__tuning_table *table,
                             ivl_error *error);
/* A new text (ivl__free); remark goes behind a #. NULL when memory is short. */
char *ivl__tuning_format(const ivl__tuning_table *table, const char *remark);

/* Sets or replaces the entry for its matrix and precision; false when the table is full. */
bool ivl__tuning_set(ivl__tuning_table *table, const ivl__tuning_entry *entry);
/* NULL when there is none. */
const ivl__tuning_entry *ivl__tuning_find(const ivl__tuning_table *table, ivl_precision precision,
                                          int32_t n, int32_t k, ivl_dtype w_type);

#endif
