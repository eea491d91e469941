/* input_count.h - how many inputs there are, counted on the side for the progress line.
 *
 * A second walk over the names (and the headers of tars) that reads no picture. Inputs on stdin can
 * be read only once and are not counted.
 */
#ifndef IVL_CLI_INPUT_COUNT_H
#define IVL_CLI_INPUT_COUNT_H

#include "loader/image_source.h"

typedef struct cli_input_count cli_input_count;

/* Starts to count; NULL when the inputs cannot be counted (or threads are short). The arguments
 * must outlive it. */
cli_input_count *cli_input_count_start(const char *const *inputs, size_t n_inputs,
                                       const ivl__image_source_options *options);
/* 0 as long as the number is not known. */
uint64_t cli_input_count_get(cli_input_count *count);
/* Waits for the number; false when it cannot be had. */
bool cli_input_count_wait(cli_input_count *count, uint64_t *inputs);
void cli_input_count_free(cli_input_count *count);

#endif
