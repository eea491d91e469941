/* Files of the zero-shot commands: class names, templates, the published JSON files, labels,
 * captions of retrieval sets, and the caption cleaner. */
#include "tests/folder.h"

#include "loader/caption_clean.h"
#include "loader/caption_set.h"
#include "loader/csv.h"
#include "loader/label_file.h"
#include "loader/prompt_files.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <jansson.h>

#define PROMPTS "golden/zeroshot/prompts"

static void write_bytes(const char *name, const char *text, size_t bytes)
{
    write_file(in_folder(name), text, bytes);
}

static void check_list(const ivl__prompt_list *list, const char *const *want, size_t n)
{
    assert_int_equal(list->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list->items[i], want[i]);
    }
}

/* ---- class names and templates ----------------------------------------------------------- */

static void class_names_are_lines(void **state)
{
    static const char *const want[] = {"tench", "red panda", "\xe7\x8c\xab", "tench"};
    ivl__prompt_list classes;
    ivl_error error = {0};

    (void)state;
    write_text("names.txt", "\xef\xbb\xbftench\r\n  red panda \n\xe7\x8c\xab\ntench\n\n\n");
    assert_ok(ivl__class_list_read(in_folder("names.txt"), &classes, &error), error);
    check_list(&classes, want, 4);
    assert_int_equal(ivl__class_list_find(&classes, "red panda"), 1);
    assert_int_equal(ivl__class_list_find(&classes, "tench"), -2);
    assert_int_equal(ivl__class_list_find(&classes, "none"), -1);
    ivl__prompt_list_free(&classes);
}

static void broken_lists_are_refused(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *message;
        bool templates;
    } cases[] = {
        {"", 0, "there is none", false},
        {"\n\n", 2, "there is none", false},
        {"a\n\nb\n", 5, "line 2 is empty, and more follow", false},
        {"a\nb\xff\n", 5, "line 2: line is not UTF-8 at byte 1 (0xff)", false},
        {"\x7f"
         "ELF\0\0",
         6, "line 1: is not UTF-8 text at byte 4 (0x00)", false},
        {"a {}\nno place\n", 14, "line 2 (\"no place\") has no {} or {c}", true},
        {"{d} { c} {\n", 11, "line 1", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__prompt_list list;
        ivl_error error = {0};

        write_bytes("list.txt", cases[i].text, cases[i].bytes);
        assert_fails(cases[i].templates
                         ? ivl__template_list_read(in_folder("list.txt"), &list, &error)
                         : ivl__class_list_read(in_folder("list.txt"), &list, &error),
                     IVL_BAD_INPUT, error, cases[i].message);
        assert_non_null(strstr(error.message, "list.txt"));
        assert_int_equal(list.n, 0);
        assert_null(list.items);
    }
}

static void long_names_are_refused(void **state)
{
    ivl__prompt_list list = {0};
    ivl_error error = {0};
    char *text = ivl__malloc(IVL__PROMPT_MAX_BYTES + 1);

    (void)state;
    memset(text, 'a', IVL__PROMPT_MAX_BYTES + 1);
    assert_ok(ivl__prompt_list_add(&list, text, IVL__PROMPT_MAX_BYTES, &error), error);
    assert_fails(ivl__prompt_list_add(&list, text, IVL__PROMPT_MAX_BYTES + 1, &error),
                 IVL_BAD_INPUT, error, "65537 bytes");
    ivl__prompt_list_free(&list);
    ivl__free(text);
}

static void templates_are_filled(void **state)
{
    static const struct {
        const char *prompt, *want;
    } cases[] = {
        {"a photo of a {c}.", "a photo of a cat."},
        {"{}", "cat"},
        {"{c} and {}, {d} {{c}} {", "cat and cat, {d} {cat} {"},
        {"\xe7\x9a\x84{c}", "\xe7\x9a\x84"
                            "cat"},
    };
    ivl__text out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__text_clear(&out);
        assert_true(ivl__template_has_place(cases[i].prompt));
        ivl__template_fill(cases[i].prompt, "cat", &out);
        assert_string_equal(out.data, cases[i].want);
    }
    assert_false(ivl__template_has_place("{ c} {"));
    ivl__text_free(&out);
}

/* ---- published JSON files ---------------------------------------------------------------- */

static void published_form_is_read(void **state)
{
    static const char *const names[] = {"tench", "red panda", "lighthouse", "crane", "crane"};
    static const char *const templates[] = {"a photo of a {c}.", "many {c}, {c} only."};
    static const char *const flowers[] = {"daisy", "tulip"};
    static const char *const digits[] = {"0", "1", "2"};
    ivl__prompt_list c, t;
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__prompt_files_read(PROMPTS, "imagenet1k", "en", &c, &t, &error), error);
    check_list(&c, names, 5);
    check_list(&t, templates, 2);
    ivl__prompt_list_free(&c);
    ivl__prompt_list_free(&t);
    /* Other pictures of the same classes; a prefix; a set without templates of its own. */
    assert_ok(ivl__prompt_files_read(PROMPTS, "imagenetv2", "en", &c, &t, &error), error);
    check_list(&c, names, 5);
    check_list(&t, templates, 2);
    ivl__prompt_list_free(&c);
    ivl__prompt_list_free(&t);
    assert_ok(ivl__prompt_files_read(PROMPTS, "vtab/flowers", "en", &c, &t, &error), error);
    check_list(&c, flowers, 2);
    assert_int_equal(t.n, 1);
    ivl__prompt_list_free(&c);
    ivl__prompt_list_free(&t);
    assert_ok(ivl__prompt_files_read(PROMPTS, "digits", "en", &c, &t, &error), error);
    check_list(&c, digits, 3);
    check_list(&t, templates, 2);
    ivl__prompt_list_free(&c);
    ivl__prompt_list_free(&t);
    /* Templates alone, for class names of another place. */
    assert_ok(ivl__prompt_files_read(PROMPTS, "cifar10", "en", NULL, &t, &error), error);
    check_list(&t, templates, 2);
    ivl__prompt_list_free(&t);
}

static void languages_have_files(void **state)
{
    ivl__prompt_list c, t;
    ivl_error error = {0};

    (void)state;
    assert_string_equal(ivl__prompt_language("zh"), "cn");
    assert_string_equal(ivl__prompt_language("en"), "en");
    assert_null(ivl__prompt_language("de"));
    assert_ok(ivl__prompt_files_read(PROMPTS, "imagenet1k", "cn", &c, &t, &error), error);
    assert_string_equal(c.items[1], "\xe5\xb0\x8f\xe7\x86\x8a\xe7\x8c\xab");
    ivl__prompt_list_free(&c);
    ivl__prompt_list_free(&t);
    assert_fails(ivl__prompt_files_read(PROMPTS, "flowers", "cn", &c, &t, &error), IVL_BAD_INPUT,
                 error, "cn_classnames.json': nothing for \"flowers\"; there is: imagenet1k");
    assert_fails(ivl__prompt_files_read(PROMPTS, "imagenet1k", "jp", &c, &t, &error), IVL_IO_ERROR,
                 error, "jp_classnames.json");
    assert_null(c.items);
    assert_null(t.items);
}

static void broken_json_is_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"a\": [\"x\"", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"{\"a\": []}", "no list of texts"},
        {"{\"a\": {}}", "no list of texts"},
        {"{\"a\": [\"x\", 1]}", "\"a\": element 1 is no text"},
        {"{\"a\": [\"x\", \"\"]}", "\"a\": element 1: is empty"},
        {"{\"a\": [\"x\\u0000y\"]}", "element 0: is not UTF-8 text at byte 1"},
        {"{\"b\": [\"x\"]}", "nothing for \"a\"; there is: b"},
        {"{}", "there is: nothing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__prompt_list list;
        ivl_error error = {0};

        assert_fails(
            ivl__prompt_json_list(cases[i].text, strlen(cases[i].text), "a", NULL, &list, &error),
            IVL_BAD_INPUT, error, cases[i].message);
        assert_null(list.items);
    }
}

/* The published files: 1000 names in every language, templates as the paper counts them. */
static void published_files_have_their_counts(void **state)
{
    static const struct {
        const char *language;
        size_t templates;
    } cases[] = {{"en", 80}, {"cn", 80}, {"jp", 37}, {"it", 49}, {"ar", 55}};
    const char *data = getenv("IVL_TEST_DATA");
    char folder_of[4096];
    ivl__prompt_list c, t;
    ivl_error error = {0};

    (void)state;
    snprintf(folder_of, sizeof folder_of, "%s/zeroshot", data ? data : "");
    if (!data || !ivl__file_exists(folder_of)) {
        print_message("skipped: the published prompts are not here (IVL_TEST_DATA names their "
                      "folder)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(
            ivl__prompt_files_read(folder_of, "imagenet1k", cases[i].language, &c, &t, &error),
            error);
        assert_int_equal(c.n, 1000);
        assert_int_equal(t.n, cases[i].templates);
        ivl__prompt_list_free(&c);
        ivl__prompt_list_free(&t);
    }
    assert_ok(ivl__prompt_files_read(folder_of, "cars", "en", NULL, &t, &error), error);
    assert_int_equal(t.n, 8);
    ivl__prompt_list_free(&t);
}

/* ---- CSV and labels ---------------------------------------------------------------------- */

static void csv_is_rfc_4180(void **state)
{
    static const char text[] = "\xef\xbb\xbf"
                               "a,b\r\n\n\"x, \"\"y\"\"\nz\",\r\n,\"\"\n\"last\"";
    static const struct {
        size_t n;
        const char *first, *second;
        uint64_t line;
    } want[] = {{2, "a", "b", 1}, {2, "x, \"y\"\nz", "", 3}, {2, "", "", 5}, {1, "last", "", 6}};
    ivl__csv csv;
    ivl_error error = {0};
    bool end = false;

    (void)state;
    ivl__csv_begin(&csv, text, sizeof text - 1);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_ok(ivl__csv_next(&csv, &end, &error), error);
        assert_false(end);
        assert_int_equal(csv.n, want[i].n);
        assert_int_equal(csv.line, want[i].line);
        assert_string_equal(csv.fields[0].text, want[i].first);
        if (csv.n > 1) {
            assert_string_equal(csv.fields[1].text, want[i].second);
        }
    }
    assert_ok(ivl__csv_next(&csv, &end, &error), error);
    assert_true(end);
    ivl__csv_free(&csv);
}

static void broken_csv_is_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a\n\"b", "line 2: a quote is not closed"},
        {"a\"b\n", "line 1: a quote inside"},
        {"\"a\"b\n", "line 1: text behind a closing quote"},
        {"\"a\"\rb\n", "line 1: text behind a closing quote"},
        {",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", "more than 64 fields"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__csv csv;
        ivl_error error = {0};
        bool end = false;
        ivl_status status = IVL_OK;

        ivl__csv_begin(&csv, cases[i].text, strlen(cases[i].text));
        while (status == IVL_OK && !end) {
            status = ivl__csv_next(&csv, &end, &error);
        }
        assert_fails(status, IVL_BAD_INPUT, error, cases[i].message);
        ivl__csv_free(&csv);
    }
}

static void read_digits(ivl__prompt_list *classes)
{
    static const char *const names[] = {"cat", "dog", "1", "crane", "crane"};
    ivl_error error = {0};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(ivl__prompt_list_add(classes, names[i], strlen(names[i]), &error), error);
    }
}

static void labels_are_names_or_indices(void **state)
{
    static const char text[] = "label,other,key\ndog,x,b/2.jpg\n0,,a\n1,,\"c,\"\"d\"\"\"\n4,,e\n"
                               "dog,again,b/2.jpg\n";
    ivl__prompt_list classes = {0};
    ivl__labels labels;
    ivl_error error = {0};

    (void)state;
    read_digits(&classes);
    assert_ok(ivl__labels_parse(text, sizeof text - 1, &classes, &labels, &error), error);
    assert_int_equal(labels.n, 4);
    assert_int_equal(ivl__labels_find(&labels, "b/2.jpg"), 1);
    assert_int_equal(ivl__labels_find(&labels, "a"), 0);
    assert_int_equal(ivl__labels_find(&labels, "c,\"d\""), 2); /* a name goes before an index */
    assert_int_equal(ivl__labels_find(&labels, "e"), 4);
    assert_int_equal(ivl__labels_find(&labels, "f"), -1);
    assert_int_equal(ivl__labels_find(&labels, ""), -1);
    ivl__labels_free(&labels);
    ivl__prompt_list_free(&classes);
}

static void broken_labels_are_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no header with the columns key and label"},
        {"a.jpg,cat\n", "no header"},
        {"key,label\na,cow\n", "line 2: label \"cow\" is neither the name of a class nor an index "
                               "from 0 to 4"},
        {"key,label\na,5\n", "label \"5\" is neither"},
        {"key,label\na,-1\n", "label \"-1\" is neither"},
        {"key,label\na,99999999999999999999\n", "is neither"},
        {"key,label\na,crane\n", "name of several classes; give the index"},
        {"key,label\na\n", "line 2: there are 1 fields"},
        {"key,label\na,0\nb,1\nb,1\nc,0\na,3\n",
         "key \"a\" has two labels, in line 2 and in line 6"},
        {"key,label\n\"a", "not closed"},
    };
    ivl__prompt_list classes = {0};

    (void)state;
    read_digits(&classes);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__labels labels;
        ivl_error error = {0};

        write_text("labels.csv", cases[i].text);
        assert_fails(ivl__labels_read(in_folder("labels.csv"), &classes, &labels, &error),
                     IVL_BAD_INPUT, error, cases[i].message);
        assert_non_null(strstr(error.message, "labels.csv"));
        assert_null(labels.items);
    }
    ivl__prompt_list_free(&classes);
}

/* ---- captions ---------------------------------------------------------------------------- */

/* "image|caption / image|caption; images" */
static const char *told(const ivl__caption_set *set)
{
    static char text[2048];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < set->n_captions && used < sizeof text; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s|%s", i ? " / " : "",
                                 set->images[set->captions[i].image], set->captions[i].text);
    }
    if (used < sizeof text) {
        snprintf(text + used, sizeof text - used, "; %zu", set->n_images);
    }
    return text;
}

static void captions_of_every_form_are_read(void **state)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"coco.json",
         "{\"images\": [{\"id\": 7, \"file_name\": \"val2014/a.jpg\"}, {\"id\": \"8\", "
         "\"file_name\": \"b.jpg\"}, {\"id\": 9, \"file_name\": \"alone.jpg\"}], \"annotations\": "
         "[{\"id\": 0, \"image_id\": 8, \"caption\": \" two \"}, {\"image_id\": 7, \"caption\": "
         "\"one\"}, {\"image_id\": 8, \"caption\": \"\\u4e00\"}]}",
         "b.jpg| two  / val2014/a.jpg|one / b.jpg|\xe4\xb8\x80; 3"},
        {"karpathy.json",
         "{\"dataset\": \"coco\", \"images\": [{\"filepath\": \"val2014\", \"filename\": "
         "\"a.jpg\", \"split\": \"test\", \"sentences\": [{\"raw\": \"one\"}, {\"raw\": "
         "\"two\"}]}, {\"filename\": \"b.jpg\", \"split\": \"train\", \"sentences\": []}, "
         "{\"filename\": \"c.jpg\", \"split\": \"test\", \"sentences\": [{\"raw\": \"x\"}]}]}",
         "val2014/a.jpg|one / val2014/a.jpg|two / c.jpg|x; 2"},
        {"xtd.json",
         "{\"image_paths\": [\"a.jpg\", \"b.jpg\"], \"annotations\": [\"uno\", \"due\"], "
         "\"indicies\": [0, 1]}",
         "a.jpg|uno / b.jpg|due; 2"},
        {"list.json",
         " [{\"image\": \"a.jpg\", \"caption\": [\"one\", \"two\"]}, {\"image\": \"b.jpg\", "
         "\"caption\": \"three\"}]",
         "a.jpg|one / a.jpg|two / b.jpg|three; 2"},
        {"flickr.txt",
         "image,caption\n1.jpg,A man, walking.\n\n 1.jpg,\xe4\xb8\x80 \r\n2.jpg,see 3.jpg, too\n",
         "1.jpg|A man, walking. / 1.jpg|\xe4\xb8\x80 / 2.jpg|see 3.jpg, too; 2"},
        {"plain.csv", "key,caption\na.jpg,\"A man, walking\"\nb.png,\nc.jpg,x\na.jpg,again\n",
         "a.jpg|A man, walking / b.png| / c.jpg|x / a.jpg|again; 3"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__caption_options options = {.form = IVL__CAPTIONS_AUTO};
        ivl__caption_set set;
        ivl_error error = {0};

        write_text(cases[i].name, cases[i].text);
        assert_ok(ivl__caption_set_read(in_folder(cases[i].name), &options, &set, &error), error);
        assert_string_equal(told(&set), cases[i].want);
        ivl__caption_set_free(&set);
    }
}

static void captions_of_lines_belong_to_names(void **state)
{
    ivl__caption_options options = {.form = IVL__CAPTIONS_AUTO, .names = NULL};
    ivl__caption_set set;
    ivl_error error = {0};

    (void)state;
    write_text("names.txt", "a.jpg\nb.jpg\na.jpg\n");
    write_text("captions.txt", "uno\r\n\n due, tre \n\n");
    options.names = in_folder("names.txt");
    assert_ok(ivl__caption_set_read(in_folder("captions.txt"), &options, &set, &error), error);
    assert_string_equal(told(&set), "a.jpg|uno / b.jpg| / a.jpg|due, tre; 2");
    ivl__caption_set_free(&set);
    write_text("captions.txt", "uno\n");
    assert_fails(ivl__caption_set_read(in_folder("captions.txt"), &options, &set, &error),
                 IVL_BAD_INPUT, error, "fewer captions than names of pictures (line 2)");
    write_text("captions.txt", "1\n2\n3\n4\n");
    assert_fails(ivl__caption_set_read(in_folder("captions.txt"), &options, &set, &error),
                 IVL_BAD_INPUT, error, "more captions than names of pictures (line 4)");
    options = (ivl__caption_options){.form = IVL__CAPTIONS_LINES};
    assert_fails(ivl__caption_set_read(in_folder("captions.txt"), &options, &set, &error),
                 IVL_INVALID_ARGUMENT, error, "names of the pictures");
}

static void broken_captions_are_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no header"},
        {"{\"images\": []", "not valid JSON"},
        {"{\"pictures\": []}", "none of the known forms"},
        {"[]", "there are no captions"},
        {"[{\"image\": 1}]", "list[0] has no \"image\""},
        {"[{\"image\": \"\", \"caption\": \"x\"}]", "list[0]: the name of a picture is empty"},
        {"[{\"image\": \"a\"}]", "list[0] has no \"caption\""},
        {"{\"images\": [{\"id\": 1}], \"annotations\": []}", "images[0] has no \"file_name\""},
        {"{\"images\": [], \"annotations\": [{\"image_id\": 3, \"caption\": \"\"}]}",
         "annotations[0]: no image has the id 3"},
        {"{\"images\": [{\"filename\": \"a\", \"split\": \"val\"}]}",
         "no image is of the split \"test\""},
        {"{\"images\": [{\"filename\": \"a\", \"split\": \"test\"}]}",
         "images[0] has no \"sentences\""},
        {"{\"image_paths\": [\"a\"], \"annotations\": []}", "1 image_paths, but 0 annotations"},
        {"image,caption\na.jpg,x\nb.png,y\n", "line 3: not of the form NAME.jpg,CAPTION"},
        {"image,caption\na.jpg,x\xff\n", "line 2: the caption is not UTF-8 text at byte 1"},
        {"key,text\na,b\n", "no header with the columns key and caption"},
        {"key,caption\na\n", "line 2: there are 1 fields"},
        {"key,caption\n,x\n", "line 2: the name of a picture is empty"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__caption_options options = {.form = IVL__CAPTIONS_AUTO};
        ivl__caption_set set;
        ivl_error error = {0};

        write_text("set", cases[i].text);
        assert_fails(ivl__caption_set_read(in_folder("set"), &options, &set, &error), IVL_BAD_INPUT,
                     error, cases[i].message);
        assert_null(set.images);
        assert_null(set.captions);
    }
}

/* Pairs recorded with Python's re and str, as the published cleaner uses them. */
static void captions_are_cleaned_as_published(void **state)
{
    json_error_t detail;
    json_t *pairs = json_load_file("golden/zeroshot/cleaned_captions.json", 0, &detail);
    ivl__text out = {0};

    (void)state;
    assert_int_equal(json_array_size(pairs), 30);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        const char *text = json_string_value(json_array_get(pair, 0));
        const char *want = json_string_value(json_array_get(pair, 1));

        ivl__text_clear(&out);
        ivl__caption_clean(text, strlen(text), &out);
        if (out.bytes != strlen(want) || memcmp(out.data ? out.data : "", want, out.bytes) != 0) {
            fail_msg("\"%s\" became \"%s\", wanted \"%s\"", text, out.data ? out.data : "", want);
        }
    }
    ivl__text_clear(&out);
    ivl__caption_clean("A\xff\xc3.", 4, &out);
    assert_string_equal(out.data, "a\xff\xc3");
    ivl__text_free(&out);
    json_decref(pairs);
}

/* ---- memory ------------------------------------------------------------------------------ */

static ivl_status read_all(ivl_error *error)
{
    ivl__caption_options options = {.form = IVL__CAPTIONS_AUTO};
    ivl__prompt_list classes, templates;
    ivl__caption_set set;
    ivl__labels labels;

    IVL__TRY(ivl__prompt_files_read(PROMPTS, "imagenet1k", "en", &classes, &templates, error));
    ivl__prompt_list_free(&templates);
    ivl_status status = ivl__labels_read(in_folder("labels.csv"), &classes, &labels, error);
    ivl__prompt_list_free(&classes);
    IVL__TRY(status);
    ivl__labels_free(&labels);
    IVL__TRY(ivl__class_list_read(in_folder("names.txt"), &classes, error));
    ivl__prompt_list_free(&classes);
    IVL__TRY(ivl__caption_set_read(in_folder("plain.csv"), &options, &set, error));
    ivl__caption_set_free(&set);
    return IVL_OK;
}

/* The n-th allocation fails, for every n: an error each time, and nothing is left. */
static void memory_may_be_short(void **state)
{
    int64_t live = ivl__memory_live();
    ivl_status status = IVL_OUT_OF_MEMORY;

    (void)state;
    write_text("names.txt", "a\nb\n");
    write_text("labels.csv", "key,label\nx,tench\ny,1\n");
    write_text("plain.csv", "key,caption\na,b\na,c\nd,e\n");
    for (int64_t n = 0; status != IVL_OK; n++) {
        ivl_error error = {0};

        assert_in_range(n, 0, 1000);
        ivl__memory_fail(n, false);
        status = read_all(&error);
        ivl__memory_fail(-1, false);
        if (status != IVL_OK) {
            assert_int_equal(status, IVL_OUT_OF_MEMORY);
            assert_true(error.message[0] != '\0');
        }
        assert_int_equal(ivl__memory_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_names_are_lines),
        cmocka_unit_test(broken_lists_are_refused),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(templates_are_filled),
        cmocka_unit_test(published_form_is_read),
        cmocka_unit_test(languages_have_files),
        cmocka_unit_test(broken_json_is_refused),
        cmocka_unit_test(published_files_have_their_counts),
        cmocka_unit_test(csv_is_rfc_4180),
        cmocka_unit_test(broken_csv_is_refused),
        cmocka_unit_test(labels_are_names_or_indices),
        cmocka_unit_test(broken_labels_are_refused),
        cmocka_unit_test(captions_of_every_form_are_read),
        cmocka_unit_test(captions_of_lines_belong_to_names),
        cmocka_unit_test(broken_captions_are_refused),
        cmocka_unit_test(captions_are_cleaned_as_published),
        cmocka_unit_test(memory_may_be_short),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
