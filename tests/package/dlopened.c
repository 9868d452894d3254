/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Usage: dlopened LIBRARY: a program that knows nothing of the library loads it, as a plugin's host does, and counts. */
#include <dlfcn.h>
#include <stdio.h>

#include <pagelock/table.h>

/* A function of the library; NULL with a message. */
static void *symbol(void *library, const char *name)
{
    void *address = dlsym(library, name);

    if (!address) {
        fprintf(stderr, "%s\n", dlerror());
    }
    return address;
}

int main(int argc, char **argv)
{
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};
    struct pgl_table *(*table_new)(const struct pgl_table_config *);
    void (*table_free)(struct pgl_table *);
    void (*reset)(struct pgl_table *);
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    struct pgl_table *table;

    if (!library) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "Usage: dlopened LIBRARY");
        return 1;
    }
    *(void **)&table_new = symbol(library, "pgl_table_new");
    *(void **)&table_free = symbol(library, "pgl_table_free");
    *(void **)&reset = symbol(library, "pgl_table_reset");
    table = table_new && table_free && reset ? table_new(&config) : NULL;
    if (!table) {
        return 1;
    }
    reset(table); /* touches the thread's number, which is thread-local */
    table_free(table);
    return 0;
}
