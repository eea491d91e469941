/* help.c - the texts of --help from the tables of commands and options; see help.h. */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS     80
#define HELP_COLUMN 28
#define NAME_COLUMN 12

static bool more(const cli_option *option)
{
    return option->name || option->letter;
}

/* Breaks at blanks; the caller has printed up to `column`. */
static void print_wrapped(const char *text, int column)
{
    int at = column;

    while (*text) {
        int word = (int)strcspn(text, " ");

        if (at > column && at + 1 + word > COLUMNS) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", word, text);
        at += word;
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const cli_option *option)
{
    char left[80];
    char letter[8] = "    ";
    int used;

    if (option->letter) {
        snprintf(letter, sizeof letter, "-%c%s", option->letter, option->name ? ", " : "");
    }
    used = snprintf(left, sizeof left, "  %s%s%s%s%s", letter, option->name ? "--" : "",
                    option->name ? option->name : "", option->argument ? " " : "",
                    option->argument ? option->argument : "");
    if (used < HELP_COLUMN - 1) {
        printf("%-*s", HELP_COLUMN, left);
    } else {
        printf("%s\n%*s", left, HELP_COLUMN, "");
    }
    print_wrapped(option->help, HELP_COLUMN);
}

static void print_options(const cli_option *options)
{
    for (; more(options); options++) {
        print_option(options);
    }
}

static void print_example(const char *line)
{
    printf("  %.*s\n", (int)strcspn(line, "\n"), line);
}

void cli_help_command(const cli_command *command, const cli_option *options)
{
    printf("usage: internvl %s %s\n\n", command->name, command->synopsis);
    print_wrapped(command->summary, 0);
    if (more(options)) {
        printf("\nOptions:\n");
        print_options(options);
    }
    printf("\nThe global options (device, memory, precision, ...) can be given too: internvl "
           "--help\n");
    printf("\nExamples:\n");
    for (const char *line = command->examples; *line;) {
        print_example(line);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

void cli_help_overall(const cli_command *const *commands, const cli_option *globals)
{
    printf("usage: internvl [GLOBAL OPTIONS] COMMAND [OPTIONS] ARGUMENTS\n\n"
           "Runs the InternVL family through OpenCL on GPUs of any vendor and on CPUs.\n\n"
           "Commands (internvl COMMAND --help explains each):\n");
    for (size_t i = 0; commands[i]; i++) {
        printf("  %-*s", NAME_COLUMN, commands[i]->name);
        print_wrapped(commands[i]->summary, NAME_COLUMN + 2);
    }
    printf("\nGlobal options, before or after the command:\n");
    print_options(globals);
    printf("\nExit codes: ");
    print_wrapped("0 done, 1 failed, 2 wrong usage, 3 done but inputs were skipped, 4 model "
                  "unusable, 5 no usable device or not enough of its memory, 6 a verification "
                  "failed, 130 interrupted, 143 terminated.",
                  12);
    printf("\nExamples:\n");
    for (size_t i = 0; commands[i]; i++) {
        print_example(commands[i]->examples);
    }
}
