/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's last words. A child says them, because the process aborts after them. */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pagelock/message.h>

#include "../src/message_internal.h"
#include "cm.h"

#define NAME "libpagelock: "

/* The text that a child has written to standard error, or its hook to the pipe, before it died by SIGABRT. */
static char heard[2 * PGL_MESSAGE_SIZE];
static int the_pipe[2];

/* qemu-user adds a line of its own when a signal ends its program. abort() ends it after this handler has returned. */
static void hush_the_emulator(int number)
{
    (void)number;
    close(STDERR_FILENO);
}

static void hear(void (*speak)(const char *text), const char *text)
{
    size_t length = 0;
    ssize_t n;
    int status;
    pid_t child;

    assert_int_equal(pipe(the_pipe), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        signal(SIGABRT, hush_the_emulator);
        dup2(the_pipe[1], STDERR_FILENO);
        speak(text);
        _exit(1);
    }
    close(the_pipe[1]);
    while ((n = read(the_pipe[0], heard + length, sizeof(heard) - 1 - length)) > 0) {
        length += (size_t)n;
    }
    heard[length] = '\0';
    close(the_pipe[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void say(const char *text)
{
    pgl_abort(text);
}

static void test_message_by_default_is_a_line_on_standard_error(void **state)
{
    (void)state;
    hear(say, "the end");
    assert_string_equal(heard, NAME "the end\n");
}

static void keep(const char *message, void *opaque)
{
    const char *tag = opaque;

    if (write(the_pipe[1], tag, strlen(tag)) < 0 || write(the_pipe[1], message, strlen(message)) < 0) {
        _exit(2);
    }
}

static void say_to_the_hook(const char *text)
{
    static char tag[] = "heard: ";

    pgl_message_set_hook(keep, tag);
    pgl_abort(text);
}

static void test_message_goes_to_the_hook_alone_before_the_abort(void **state)
{
    (void)state;
    hear(say_to_the_hook, "the end");
    assert_string_equal(heard, "heard: " NAME "the end");
}

static void say_without_the_hook(const char *text)
{
    pgl_message_set_hook(keep, NULL);
    pgl_message_set_hook(NULL, NULL);
    pgl_abort(text);
}

static void test_message_without_a_hook_is_a_line_again(void **state)
{
    (void)state;
    hear(say_without_the_hook, "the end");
    assert_string_equal(heard, NAME "the end\n");
}

static void say_in_parts(const char *text)
{
    struct pgl_message message;

    pgl_message_begin(&message);
    pgl_message_add(&message, "%s", text);
    pgl_message_add(&message, "%c%u", '-', 7u);
    pgl_message_abort(&message);
}

static void test_message_of_several_parts(void **state)
{
    (void)state;
    hear(say_in_parts, "part");
    assert_string_equal(heard, NAME "part-7\n");
}

/* With the name and the parts "-7" it has one byte less than there is room for, as many, and one more. */
static void test_message_that_is_too_long_is_cut(void **state)
{
    const size_t fits = PGL_MESSAGE_SIZE - 1 - strlen(NAME) - strlen("-7");
    char text[PGL_MESSAGE_SIZE];

    (void)state;
    for (size_t length = fits - 1; length <= fits + 1; length++) {
        memset(text, 'x', length);
        text[length] = '\0';
        hear(say_in_parts, text);
        assert_int_equal(strlen(heard), strlen(NAME) + (length <= fits ? length + 2 : fits + 2) + 1);
        assert_string_equal(heard + strlen(heard) - 3, length <= fits ? "-7\n" : "x-\n");
    }
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    hear(say_in_parts, text);
    assert_int_equal(strlen(heard), PGL_MESSAGE_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_by_default_is_a_line_on_standard_error),
        cmocka_unit_test(test_message_goes_to_the_hook_alone_before_the_abort),
        cmocka_unit_test(test_message_without_a_hook_is_a_line_again),
        cmocka_unit_test(test_message_of_several_parts),
        cmocka_unit_test(test_message_that_is_too_long_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
