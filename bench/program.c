/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "clock.h"

#ifndef SHIM_DIR
#define SHIM_DIR "."
#endif
#define SHIM "pagelock-shim.so"

static void say(const char *what)
{
    g_printerr("pagelock-bench: %s: %s\n", what, g_strerror(errno));
}

struct area *area_new(void)
{
    int fd = memfd_create("pagelock-area", MFD_CLOEXEC);
    struct area *area = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(*area)) == 0) {
        area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (area == MAP_FAILED) {
        say("cannot make memory to share with the program");
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    area->version = AREA_VERSION;
    area->start_ns = clock_ns();
    area->advice = PGL_ADVICE_ADAPTIVE;
    area->fd = fd;
    return area;
}

void area_free(struct area *area)
{
    if (area) {
        close(area->fd);
        munmap(area, sizeof(*area));
    }
}

/* Beside this program, as it is built; or else where it is installed. */
static char *find_shim(void)
{
    char *self = g_file_read_link("/proc/self/exe", NULL);
    char *dir = self ? g_path_get_dirname(self) : NULL;
    char *shim = dir ? g_build_filename(dir, SHIM, NULL) : NULL;

    if (!shim || access(shim, R_OK) != 0) {
        g_free(shim);
        shim = g_build_filename(SHIM_DIR, SHIM, NULL);
    }
    g_free(self);
    g_free(dir);
    if (access(shim, R_OK) != 0) {
        say(shim);
        g_clear_pointer(&shim, g_free);
    }
    return shim;
}

/* The environment of the program, or NULL. */
static char **environment_for(const struct area *area)
{
    char *shim, *path, *preload;
    char **environment = g_get_environ();
    const char *others = g_environ_getenv(environment, "LD_PRELOAD");

    if (!area) {
        return environment;
    }
    shim = find_shim();
    if (!shim) {
        g_strfreev(environment);
        return NULL;
    }
    preload = others && *others ? g_strconcat(shim, ":", others, NULL) : g_strdup(shim);
    path = g_strdup_printf("/proc/%d/fd/%d", (int)getpid(), area->fd);
    environment = g_environ_setenv(environment, "LD_PRELOAD", preload, TRUE);
    environment = g_environ_setenv(environment, AREA_VARIABLE, path, TRUE);
    g_free(preload);
    g_free(path);
    g_free(shim);
    return environment;
}

bool program_run(char *const *argv, const struct area *area, bool quiet, int *status, uint64_t *ns)
{
    char **environment = environment_for(area);
    posix_spawn_file_actions_t actions;
    uint64_t start;
    pid_t child;
    int error;

    if (!environment) {
        return false;
    }
    posix_spawn_file_actions_init(&actions);
    for (int fd = STDIN_FILENO; quiet && fd <= STDERR_FILENO; fd++) {
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    }
    start = clock_ns();
    error = posix_spawnp(&child, argv[0], &actions, NULL, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    g_strfreev(environment);
    if (error != 0) {
        errno = error;
        say(argv[0]);
        return false;
    }
    while (waitpid(child, status, 0) < 0 && errno == EINTR) {
    }
    *ns = clock_ns() - start;
    return true;
}

bool program_explain(const struct area *area)
{
    if (area->nprocesses > 0) {
        return false;
    }
    if (area->error != 0) {
        g_printerr("pagelock-bench: %s\n", pgl_uffd_explain((int)area->error));
    } else {
        g_printerr("pagelock-bench: the program mapped no file for reading only, or does so without the C library\n");
    }
    return true;
}
