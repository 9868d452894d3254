/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words of pagelock-bench: those that were meant, the name of a processor, and lines that fit. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../cm.h"

#include "bench.h"
#include "closest.h"
#include "machine.h"

static const char *meant(const char *word, const char *const *words)
{
    GPtrArray *array = g_ptr_array_new();
    const char *found;

    for (; *words; words++) {
        g_ptr_array_add(array, (gpointer)*words);
    }
    found = closest(word, array);
    g_ptr_array_unref(array);
    return found;
}

static void test_closest_knows_letters_missing_added_changed_and_swapped(void **state)
{
    static const char *const words[] = {"none", "random", "normal", "sequential", NULL};

    (void)state;
    assert_string_equal(meant("nrmal", words), "normal");
    assert_string_equal(meant("normall", words), "normal");
    assert_string_equal(meant("narmal", words), "normal");
    assert_string_equal(meant("nomral", words), "normal");
    assert_string_equal(meant("seqeuntail", words), "sequential"); /* two swaps; four letters changed */
}

static void test_closest_takes_a_beginning_before_another_word(void **state)
{
    static const char *const words[] = {"sec", "sequential", NULL};

    (void)state;
    assert_string_equal(meant("seque", words), "sequential");
    assert_string_equal(meant("sec", words), "sec");
}

static void test_closest_has_no_answer_for_other_words(void **state)
{
    static const char *const words[] = {"lock", "link", "a-name-of-forty-letters-and-one-more-than-it", NULL};
    char longest[64];

    (void)state;
    assert_null(meant("store", words));
    assert_null(meant("", words));
    assert_null(meant("x", words));
    memset(longest, 'l', sizeof(longest));
    for (unsigned length = 39; length <= 41; length++) { /* as long as its table of letters is wide, and longer */
        longest[length] = '\0';
        assert_null(meant(longest, words));
        longest[length] = 'l';
    }
}

static void test_closest_compares_words_of_forty_letters(void **state)
{
    static const char *const words[] = {"abcdefghijklmnopqrstuvwxyzabcdefghijklmn", NULL};

    (void)state;
    assert_int_equal(strlen(words[0]), 40);
    assert_string_equal(meant("abcdefghijklmnopqrstuvwxyzabcdefghijklm-", words), words[0]);
    assert_null(meant("abcdefghijklmnopqrstuvwxyzabcdefghijklmn-", words));
}

static void test_machine_names_the_generation_of_amds_processors(void **state)
{
    static const struct {
        const char *cpuinfo, *name;
    } machines[] = {
        {"processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "AMD EPYC, Zen 4"},
        {"cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n", "AMD EPYC, Zen 3"},
        {"cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n", "AMD EPYC, Zen 5"},
        {"cpu family\t: 23\nmodel\t\t: 49\nmodel name\t: AMD EPYC 7502 32-Core Processor\n", "AMD EPYC 7502, Zen 2"},
        {"cpu family\t: 6\nmodel\t\t: 106\nmodel name\t: Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz\n",
         "Intel Xeon Gold 6338"},
        {"CPU implementer\t: 0x41\n", "unknown processor"},
        {"", "unknown processor"},
    };

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        char *name = machine_processor_of(machines[i].cpuinfo);

        assert_string_equal(name, machines[i].name);
        g_free(name);
    }
}

/* With a column to spare on every terminal, and a bar on all but the narrowest. */
static void test_progress_line_fits_the_terminal(void **state)
{
    static const char *const labels[] = {"", "code-linux-boot", "a trace whose name is long", "\xc3\xa4\xc3\xb6 \xff"};

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(labels); i++) {
        for (unsigned columns = 1; columns <= 300; columns++) {
            char *line = progress_line(labels[i], 3, 4, columns);

            assert_true(g_utf8_strlen(line, -1) < columns);
            assert_true(columns < 40 ? g_utf8_strlen(line, -1) <= 5 : g_utf8_strlen(line, -1) == columns - 1);
            assert_true(columns < 9 || g_str_has_suffix(line, " 75 %"));
            g_free(line);
        }
    }
}

static void test_progress_line_is_as_full_as_the_work_is_done(void **state)
{
    static const char *const bars[] = {"[..........]   0 %", "[##........]  25 %", "[#######...]  75 %",
                                       "[##########] 100 %"};

    (void)state;
    for (unsigned i = 0, done = 0; i < G_N_ELEMENTS(bars); i++, done = i < 2 ? 1 : i + 1) {
        char *line = progress_line("x", done, 4, 44);

        assert_string_equal(line + 25, bars[i]);
        g_free(line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closest_knows_letters_missing_added_changed_and_swapped),
        cmocka_unit_test(test_closest_takes_a_beginning_before_another_word),
        cmocka_unit_test(test_closest_has_no_answer_for_other_words),
        cmocka_unit_test(test_closest_compares_words_of_forty_letters),
        cmocka_unit_test(test_machine_names_the_generation_of_amds_processors),
        cmocka_unit_test(test_progress_line_fits_the_terminal),
        cmocka_unit_test(test_progress_line_is_as_full_as_the_work_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
