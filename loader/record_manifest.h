/* record_manifest.h - the files of an output folder that belong to no unit: manifest and totals.
 *
 * OUT/manifest.json is written once, by whichever process comes first; OUT/totals.json tells how
 * many units and inputs there are, once a run has seen all of them.
 */
#ifndef IVL_LOADER_RECORD_MANIFEST_H
#define IVL_LOADER_RECORD_MANIFEST_H

#include "loader/record_head.h"

/* The manifest, or *json = NULL when there is none. IVL_BAD_INPUT names the file. */
ivl_status ivl__manifest_read(const char *folder, json_t **json, ivl_error *error);
/* Makes the folders of an output. */
ivl_status ivl__manifest_folders(const ivl__record_layout *layout, ivl_error *error);
/* Writes the manifest unless one is there that agrees. Another one is refused, or with force
 * replaced after everything that it describes was removed. Safe among processes. */
ivl_status ivl__manifest_settle(const ivl__record_layout *layout, const ivl__record_head *head,
                                bool force, ivl_error *error);

/* Adds the provenance to a manifest that was written before it was known. */
ivl_status ivl__manifest_note_provenance(const ivl__record_layout *layout,
                                         const ivl__record_head *head, ivl_error *error);

/* Zeros when not known. */
ivl_status ivl__totals_read(const char *folder, uint64_t *units, uint64_t *inputs,
                            ivl_error *error);
ivl_status ivl__totals_write(const char *folder, uint64_t units, uint64_t inputs, ivl_error *error);

/* The unit of a name in done/; *open for a journal. false for any other name. */
bool ivl__record_name_unit(const char *name, uint64_t *unit, bool *open);

#endif
