/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a target on each file named, and on those of each folder named: the corpus as a test, without a fuzzer. */
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned nfiles;

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, room = 0;

    CHECK(file);
    do {
        if (size == room) {
            data = realloc(data, room = 2 * room + 4096);
        }
        CHECK(data);
        size += fread(data + size, 1, room - size, file);
    } while (!feof(file) && !ferror(file));
    CHECK(!ferror(file));
    fclose(file);
    data = realloc(data, size + 1); /* so that a sanitizer sees what reads beyond */
    CHECK(data);
    if (LLVMFuzzerTestOneInput(data, size)) {
        fprintf(stderr, "%s: not wanted in a corpus\n", path);
    }
    free(data);
    nfiles++;
}

static void run_path(const char *path)
{
    struct stat status;
    struct dirent *entry;
    DIR *folder;

    CHECK(stat(path, &status) == 0);
    if (!S_ISDIR(status.st_mode)) {
        run_file(path);
        return;
    }
    folder = opendir(path);
    CHECK(folder);
    while ((entry = readdir(folder))) {
        char inside[PATH_MAX];

        if (entry->d_name[0] == '.') {
            continue;
        }
        CHECK(snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name) < (int)sizeof(inside));
        run_path(inside);
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        run_path(argv[i]);
    }
    printf("inputs=%u\n", nfiles);
    return nfiles ? 0 : 1;
}
