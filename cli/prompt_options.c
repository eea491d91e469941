/* prompt_options.c - class names and templates; see prompt_options.h. */
#include "cli/prompt_options.h"

#include "loader/prompt_files.h"

#include <string.h>

void cli_prompt_options_add(cli_prompt_options *o, cli_option *table)
{
    const cli_option options[] = {
        {"classes", 0, CLI_TEXT, &o->classes, "FILE", "names of the classes, one a line", NULL},
        {"templates", 0, CLI_TEXT, &o->templates, "FILE",
         "prompts with {} or {c}, one a line (default: " CLI_DEFAULT_TEMPLATE ")", NULL},
        {"prompts", 0, CLI_TEXT, &o->prompts, "DIR", "the published names and templates (JSON)",
         NULL},
        {"dataset", 0, CLI_TEXT, &o->dataset, "NAME", "which of them: imagenet1k, ...", NULL},
        {"language", 0, CLI_TEXT, &o->language, "L", "en (default), zh, jp, it or ar", NULL},
    };

    cli_options_append(table, options, sizeof options / sizeof options[0]);
}

bool cli_prompt_options_check(const cli_prompt_options *o, const char *command, int *code)
{
    *code = CLI_DONE;
    if (!o->classes && !o->prompts) {
        *code = cli_usage_error(command, "no classes: give --classes FILE, or --prompts DIR with "
                                         "--dataset NAME");
    } else if (o->prompts && !o->dataset) {
        *code = cli_usage_error(command, "--prompts needs --dataset NAME");
    } else if (o->prompts && o->templates) {
        *code = cli_usage_error(command, "--prompts and --templates both give templates");
    } else if (!o->prompts && (o->dataset || o->language)) {
        *code = cli_usage_error(command, "--dataset and --language belong to --prompts DIR");
    } else if (o->language && !ivl__prompt_language(o->language)) {
        *code = cli_usage_error(command, "--language '%s' is unknown; en, zh, jp, it or ar",
                                o->language);
    }
    return *code == CLI_DONE;
}

static ivl_status read_templates(const cli_prompt_options *o, ivl__prompt_list *templates,
                                 ivl_error *error)
{
    if (o->templates) {
        return ivl__template_list_read(o->templates, templates, error);
    }
    return ivl__prompt_list_add(templates, CLI_DEFAULT_TEMPLATE, strlen(CLI_DEFAULT_TEMPLATE),
                                error);
}

static ivl_status read_lists(const cli_prompt_options *o, ivl__prompt_list *classes,
                             ivl__prompt_list *templates, ivl_error *error)
{
    const char *language = o->language ? o->language : "en";

    if (o->classes) {
        IVL__TRY(ivl__class_list_read(o->classes, classes, error));
    }
    return o->prompts
               ? ivl__prompt_files_read(o->prompts, o->dataset, ivl__prompt_language(language),
                                        o->classes ? NULL : classes, templates, error)
               : read_templates(o, templates, error);
}

static void tell_twins(const ivl__prompt_list *classes)
{
    for (size_t i = 0; i < classes->n; i++) {
        if (ivl__class_list_find(classes, classes->items[i]) < 0) {
            cli_say(IVL_LOG_VERBOSE,
                    "\"%s\" is the name of several classes; each keeps its index, and the lowest "
                    "one wins",
                    classes->items[i]);
        }
    }
}

int cli_prompt_options_read(const cli_prompt_options *o, const char *command,
                            ivl__prompt_list *classes, ivl__prompt_list *templates)
{
    ivl_error error = {0};
    ivl_status status;

    *classes = *templates = (ivl__prompt_list){0};
    status = read_lists(o, classes, templates, &error);
    if (status != IVL_OK) {
        ivl__prompt_list_free(classes);
        ivl__prompt_list_free(templates);
        /* A list that is not there is as wrong as one that cannot be read. */
        return status == IVL_OUT_OF_MEMORY ? cli_fail(&error)
                                           : cli_usage_error(command, "%s", error.message);
    }
    tell_twins(classes);
    return CLI_DONE;
}
