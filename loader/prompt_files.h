/* prompt_files.h - class names and templates from the published JSON files of the zero-shot
 * protocol, unchanged.
 *
 * clip_benchmark, datasets/{en,cn,jp,it,ar}_classnames.json and
 * {..}_zeroshot_classification_templates.json: objects of data set -> list of texts. Data sets
 * without templates of their own use those of imagenet1k, and prefixes like "vtab/" do not count.
 */
#ifndef IVL_LOADER_PROMPT_FILES_H
#define IVL_LOADER_PROMPT_FILES_H

#include "loader/prompt_list.h"

/* "en", "cn" (also "zh"), "jp", "it" or "ar" as the files are called; NULL for other languages. */
const char *ivl__prompt_language(const char *name);

/* Reads both lists of a data set. classes may be NULL: only the templates. language as
 * ivl__prompt_language gives it. IVL_BAD_INPUT names the file and what is wrong with it, and for a
 * data set without class names those that have some. On failure both lists are empty. */
ivl_status ivl__prompt_files_read(const char *folder, const char *dataset, const char *language,
                                  ivl__prompt_list *classes, ivl__prompt_list *templates,
                                  ivl_error *error);

/* The list of one name of such an object, else that of `fallback` (NULL: none). IVL_BAD_INPUT. */
ivl_status ivl__prompt_json_list(const void *data, size_t bytes, const char *name,
                                 const char *fallback, ivl__prompt_list *list, ivl_error *error);

#endif
