/* options.c - the parser of options.h: one pass over argv, the command's table before the globals'.
 */
#include "cli/options.h"

#include "cli/globals.h"
#include "cli/help.h"
#include "cli/message.h"
#include "cli/trace.h"
#include "runtime/memory.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    const char *command; /* NULL before the command */
    const cli_option *tables[2];
    int argc, next; /* argv[next] is looked at next */
    char **argv;
    cli_arguments *arguments; /* NULL: none are allowed */
    size_t capacity;
} parser;

void cli_list_free(cli_list *list)
{
    ivl__free((void *)list->items);
    *list = (cli_list){0};
}

void cli_arguments_free(cli_arguments *arguments)
{
    ivl__free((void *)arguments->items);
    *arguments = (cli_arguments){0};
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool more(const cli_option *option)
{
    return option->name || option->letter;
}

/* Edit distance with neighbours swapped counting once; words past 31 bytes are far from all. */
static int distance(const char *a, const char *b)
{
    int d[32][32];
    size_t n = strlen(a);
    size_t m = strlen(b);

    if (n > 31 || m > 31) {
        return INT_MAX;
    }
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            int best = (int)(i > j ? i : j);

            if (i && j) {
                best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
                best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[n][m];
}

void cli_suggest(const char *word, const char *const *names, size_t n, char *text, size_t size)
{
    size_t used = 0;
    int limit = strlen(word) < 4 ? 1 : 2;

    text[0] = '\0';
    for (size_t i = 0; i < n && used < size; i++) {
        bool begins = strlen(word) > 1 && strncmp(word, names[i], strlen(word)) == 0;

        if (begins || distance(word, names[i]) <= limit) {
            used += (size_t)snprintf(text + used, size - used, "%s%s",
                                     used ? " or " : "; did you mean ", names[i]);
        }
    }
    if (used && used + 1 < size) {
        snprintf(text + used, size - used, "?");
    }
}

static void unknown_option(const parser *p, const char *name)
{
    const char *names[128];
    char text[300];
    size_t n = 0;

    for (int t = 0; t < 2; t++) {
        for (const cli_option *o = p->tables[t]; more(o); o++) {
            if (o->name && n < sizeof names / sizeof names[0]) {
                names[n++] = o->name;
            }
        }
    }
    cli_suggest(name, names, n, text, sizeof text);
    cli_usage_error(p->command, "unknown option --%s%s", name, text);
}

/* The option of that name or unambiguous beginning of a name; NULL with the mistake printed. */
static const cli_option *find_long(const parser *p, const char *name)
{
    const cli_option *found = NULL;
    char candidates[300] = "";
    size_t used = 0;
    int n = 0;

    for (int t = 0; t < 2; t++) {
        for (const cli_option *o = p->tables[t]; more(o); o++) {
            if (!o->name || strncmp(o->name, name, strlen(name)) != 0) {
                continue;
            }
            if (!o->name[strlen(name)]) {
                return o;
            }
            if (used < sizeof candidates) {
                used += (size_t)snprintf(candidates + used, sizeof candidates - used, "%s--%s",
                                         n ? ", " : "", o->name);
            }
            found = o;
            n++;
        }
    }
    if (n > 1) {
        cli_usage_error(p->command, "--%s is ambiguous: %s", name, candidates);
        return NULL;
    }
    if (!n) {
        unknown_option(p, name);
    }
    return found;
}

static const cli_option *find_letter(const parser *p, char letter)
{
    for (int t = 0; t < 2; t++) {
        for (const cli_option *o = p->tables[t]; more(o); o++) {
            if (o->letter == letter) {
                return o;
            }
        }
    }
    if (isprint((unsigned char)letter)) {
        cli_usage_error(p->command, "unknown option -%c", letter);
    } else {
        cli_usage_error(p->command, "unknown option of the byte 0x%02x", (unsigned char)letter);
    }
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void option_text(const cli_option *option, char text[64])
{
    if (option->name) {
        snprintf(text, 64, "--%s", option->name);
    } else {
        snprintf(text, 64, "-%c", option->letter);
    }
}

/* Digits only: strtoull alone would take blanks and signs. */
static bool parse_u64(const char *text, uint64_t *value)
{
    char *end;
    unsigned long long number;

    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || *end) {
        return false;
    }
    *value = number;
    return true;
}

static bool parse_real(const char *text, double *value)
{
    char *end;
    double number;

    if (isspace((unsigned char)text[0])) {
        return false;
    }
    number = strtod(text, &end);
    if (end == text || *end || !isfinite(number)) {
        return false;
    }
    *value = number;
    return true;
}

bool cli_parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char digits[24] = "";
    size_t n = strspn(text, "0123456789");
    const char *unit = text + n;
    unsigned shift = 0;
    uint64_t value;

    if (!n || n >= sizeof digits) {
        return false;
    }
    memcpy(digits, text, n);
    if (*unit) {
        const char *at = strchr(units, toupper((unsigned char)*unit));

        if (!at || (unit[1] && strcmp(unit + 1, "iB") != 0 && strcmp(unit + 1, "ib") != 0)) {
            return false;
        }
        shift = 10 * (unsigned)(at - units + 1);
    }
    if (!parse_u64(digits, &value) || value > UINT64_MAX >> shift) {
        return false;
    }
    *bytes = value << shift;
    return true;
}

static bool no_memory(void)
{
    cli_say(IVL_LOG_ERROR, "out of memory for the command line");
    return false;
}

void cli_options_append(cli_option *table, const cli_option *more, size_t n_more)
{
    size_t n = 0;

    while (table[n].name) {
        n++;
    }
    for (size_t i = 0; i < n_more && n + 1 < CLI_MOST_OPTIONS; i++) {
        table[n++] = more[i];
    }
    table[n] = (cli_option){0};
}

/* Appends the parts of "a,b,c", a word of argv, which is cut into them in place. */
/* separators: "," or "", what parts are cut at. */
static bool add_to_list(cli_list *list, char *text, const char *separators)
{
    size_t parts = 1;
    const char **items;

    for (const char *c = text; *c; c++) {
        parts += *c == separators[0];
    }
    items = ivl__realloc((void *)list->items, (list->n + parts) * sizeof *items);
    if (!items) {
        return no_memory();
    }
    list->items = items;
    for (size_t i = 0; i < parts; i++) {
        size_t length = strcspn(text, separators);

        list->items[list->n++] = text;
        text[length] = '\0';
        text += length + 1;
    }
    return true;
}

static bool store(const parser *p, const cli_option *option, char *text)
{
    char name[64];
    uint64_t number = 0;

    option_text(option, name);
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->value = true; break;
    case CLI_TEXT: *(const char **)option->value = text; break;
    case CLI_INT:
        if (!parse_u64(text, &number) || number > INT_MAX) {
            cli_usage_error(p->command, "%s \"%s\" is no whole number from 0 to %d", name, text,
                            INT_MAX);
            return false;
        }
        *(int *)option->value = (int)number;
        break;
    case CLI_U64:
        if (!parse_u64(text, (uint64_t *)option->value)) {
            cli_usage_error(p->command, "%s \"%s\" is no whole number from 0 to 2^64-1", name,
                            text);
            return false;
        }
        break;
    case CLI_REAL:
        if (!parse_real(text, (double *)option->value)) {
            cli_usage_error(p->command, "%s \"%s\" is no number", name, text);
            return false;
        }
        break;
    case CLI_LIST:
    case CLI_STRINGS:
        if (!add_to_list((cli_list *)option->value, text, option->kind == CLI_LIST ? "," : "")) {
            return false;
        }
        break;
    }
    if (option->given) {
        *option->given = true;
    }
    return true;
}

/* ---- the pass over argv ---------------------------------------------------------------------- */

static bool needs_value(const parser *p, const cli_option *option)
{
    char name[64];

    option_text(option, name);
    if (p->next < p->argc) {
        return true;
    }
    cli_usage_error(p->command, "%s needs a value: %s", name, option->argument);
    return false;
}

/* "--name", "--name=value", "--name value". */
static bool take_long(parser *p, char *word)
{
    char name[64];
    size_t length = strcspn(word, "=");
    char *value = word[length] ? word + length + 1 : NULL;
    const cli_option *option;

    if (length >= sizeof name) {
        cli_usage_error(p->command, "unknown option --%s", word);
        return false;
    }
    memcpy(name, word, length);
    name[length] = '\0';
    option = find_long(p, name);
    if (!option) {
        return false;
    }
    if (option->kind == CLI_FLAG && value) {
        cli_usage_error(p->command, "--%s takes no value", option->name);
        return false;
    }
    if (option->kind != CLI_FLAG && !value) {
        if (!needs_value(p, option)) {
            return false;
        }
        value = p->argv[p->next++];
    }
    return store(p, option, value);
}

/* "-q", "-qv", "-d cpu", "-dcpu". */
static bool take_letters(parser *p, char *word)
{
    for (; *word; word++) {
        const cli_option *option = find_letter(p, *word);

        if (!option) {
            return false;
        }
        if (option->kind != CLI_FLAG) {
            if (word[1]) {
                return store(p, option, word + 1);
            }
            return needs_value(p, option) && store(p, option, p->argv[p->next++]);
        }
        if (!store(p, option, NULL)) {
            return false;
        }
    }
    return true;
}

static bool take_argument(parser *p, const char *word)
{
    if (!p->arguments) {
        cli_usage_error(p->command, "unexpected argument \"%s\"", word);
        return false;
    }
    if (!ivl__grow((void **)&p->arguments->items, &p->capacity, p->arguments->n + 1,
                   sizeof *p->arguments->items)) {
        return no_memory();
    }
    p->arguments->items[p->arguments->n++] = word;
    return true;
}

static bool print_version(void)
{
    printf("internvl %s\n", ivl_version());
    return false;
}

/* Everything up to the end, or (before the command) up to the first word that is no option. */
static bool take_all(parser *p)
{
    bool options_end = false;

    while (p->next < p->argc && !cli_help_asked && !cli_version_asked) {
        char *word = p->argv[p->next];
        bool taken;

        if (!p->command && (word[0] != '-' || !word[1] || strcmp(word, "--") == 0)) {
            return true;
        }
        p->next++;
        if (options_end || word[0] != '-' || !word[1]) {
            taken = take_argument(p, word);
        } else if (strcmp(word, "--") == 0) {
            options_end = taken = true;
        } else {
            taken = word[1] == '-' ? take_long(p, word + 2) : take_letters(p, word + 1);
        }
        if (!taken) {
            return false;
        }
    }
    return true;
}

/* What the global options ask of every command. */
static bool begin_trace(const char *path, int *code)
{
    ivl_error error = {0};

    if (path && cli_trace_begin(path, &error) != IVL_OK) {
        *code = cli_fail(&error);
        return false;
    }
    return true;
}

bool cli_options_parse(const cli_command *command, const cli_option *options, int argc, char **argv,
                       cli_arguments *arguments, int *code)
{
    parser p = {.command = command->name,
                .tables = {options, cli_globals_options()},
                .argc = argc,
                .next = 1,
                .argv = argv,
                .arguments = arguments};
    bool parsed = take_all(&p);

    *code = parsed ? CLI_DONE : CLI_USAGE;
    if (parsed && cli_version_asked) {
        parsed = print_version();
    } else if (parsed && cli_help_asked) {
        cli_help_command(command, options);
        parsed = false;
    } else if (parsed) {
        parsed = cli_globals_finish(command->name, code) &&
                 begin_trace(cli_messages_globals()->trace, code);
    }
    if (!parsed && arguments) {
        cli_arguments_free(arguments);
    }
    return parsed;
}

bool cli_options_parse_leading(const cli_command *const *commands, int argc, char **argv, int *used,
                               int *code)
{
    static const cli_option none[] = {{0}};
    parser p = {.tables = {none, cli_globals_options()}, .argc = argc, .next = 1, .argv = argv};
    bool parsed = take_all(&p);

    *code = parsed ? CLI_DONE : CLI_USAGE;
    *used = p.next;
    if (parsed && cli_version_asked) {
        return print_version();
    }
    if (parsed && cli_help_asked) {
        /* "internvl --help embed" means the command's. */
        if (p.next < argc && argv[p.next][0] != '-') {
            return true;
        }
        cli_help_overall(commands, cli_globals_options());
        return false;
    }
    return parsed && cli_globals_finish(NULL, code);
}
