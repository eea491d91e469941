/* The model card's sample table: its figures pass, others do not, and the bound is where it should
 * be. */
#include "tests/test.h"

#include "cli/published.h"

#include <math.h>

/* Unit vectors of length 4 whose cosines with the axes are what a table's logarithms ask for at
 * this scale: softmax ignores what is added to a row, so any table can be met. */
enum { DIM = 4 };
#define SCALE 100.0

static const float axes[CLI_PUBLISHED_TEXTS * DIM] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};

static void images_for(const cli_published_table *table, float images[CLI_PUBLISHED_IMAGES * DIM])
{
    for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
        double rest = 1.0;

        for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
            double cosine = log(table->probability[i][t]) / SCALE;

            images[i * DIM + t] = (float)cosine;
            rest -= cosine * cosine;
        }
        images[i * DIM + 3] = (float)sqrt(rest);
    }
}

static void there_are_two_tables(void **state)
{
    (void)state;
    assert_null(cli_published_find("vit"));
    for (int m = 0; m < 2; m++) {
        const cli_published_table *table = cli_published_find(m ? "g" : "c");

        assert_non_null(table);
        for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
            double sum = 0.0;

            for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
                sum += table->probability[i][t];
            }
            /* Rounded to bf16, which has eight bits. */
            assert_true(fabs(sum - 1.0) < 1.0 / 256);
        }
    }
    assert_true(cli_published_find("c")->probability[1][0] == 2.2949e-2);
    assert_true(cli_published_find("g")->probability[2][1] == 3.1233e-5);
}

static void the_published_figures_pass(void **state)
{
    (void)state;
    for (int m = 0; m < 2; m++) {
        const cli_published_table *table = cli_published_find(m ? "g" : "c");
        float images[CLI_PUBLISHED_IMAGES * DIM];
        cli_published_result result;

        images_for(table, images);
        cli_published_compare(table, images, axes, DIM, SCALE, &result);
        assert_int_equal(result.n_failed, 0);
        for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
            for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
                /* The row's sum, which the softmax divides by, and cosines in float. */
                assert_true(fabs(result.difference[i][t]) < 1.0 / 256 + 1e-4);
            }
        }
    }
}

/* One cosine moved so that one small probability is off by `by`; the others of its row stay. */
static int failures_when_off_by(double by)
{
    const cli_published_table *table = cli_published_find("c");
    float images[CLI_PUBLISHED_IMAGES * DIM];
    cli_published_result result;

    images_for(table, images);
    images[2] += (float)(by / SCALE);
    cli_published_compare(table, images, axes, DIM, SCALE, &result);
    return result.n_failed;
}

static void the_bound_is_a_fifth_in_logarithms(void **state)
{
    (void)state;
    assert_int_equal(failures_when_off_by(0.19), 0);
    assert_int_equal(failures_when_off_by(-0.19), 0);
    assert_int_equal(failures_when_off_by(0.21), 1);
    assert_int_equal(failures_when_off_by(-0.21), 1);
}

static void each_mode_has_its_own_figures(void **state)
{
    float images[CLI_PUBLISHED_IMAGES * DIM];
    cli_published_result result;

    (void)state;
    images_for(cli_published_find("c"), images);
    cli_published_compare(cli_published_find("g"), images, axes, DIM, SCALE, &result);
    assert_true(result.n_failed >= 6); /* all but the three that are nearly 1 */
}

static void equal_vectors_and_nonsense_fail(void **state)
{
    const cli_published_table *table = cli_published_find("g");
    float images[CLI_PUBLISHED_IMAGES * DIM] = {0};
    cli_published_result result;

    (void)state;
    cli_published_compare(table, images, axes, DIM, SCALE, &result);
    assert_int_equal(result.n_failed, 9); /* a third everywhere */
    assert_true(fabs(result.log_probability[0][0] + log(3.0)) < 1e-12);
    images[0] = NAN;
    cli_published_compare(table, images, axes, DIM, SCALE, &result);
    assert_int_equal(result.n_failed, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_two_tables),
        cmocka_unit_test(the_published_figures_pass),
        cmocka_unit_test(the_bound_is_a_fifth_in_logarithms),
        cmocka_unit_test(each_mode_has_its_own_figures),
        cmocka_unit_test(equal_vectors_and_nonsense_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
