/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory objects, the maps that show them, and the fault driver: a fault finds its page, or marks a cluster, asks a
 * pager for it in one request, and takes back everything it marked when that fails. docs/fault.md tells the whole
 * protocol.
 *
 * Three coordinate systems, never mixed: a map's pages, an object's pages (both plain uint64_t, named map_index or
 * index) and a pager's pages, which only ever appear inside struct pgl_pager_range or with pager_ before their name.
 */
#ifndef PGL_PAGELOCK_FAULT_H
#define PGL_PAGELOCK_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/advice.h>
#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pgl_object; /* something that a pager fills, or plain zero-filled memory; may shadow another */
struct pgl_map;    /* an address space: entries, each showing a part of an object */
struct pgl_fault;  /* what one thread needs to fault: made once, used again for each fault */

/* What may be done with a page. Writing includes reading. */
enum pgl_access {
    PGL_ACCESS_NONE = 0,
    PGL_ACCESS_READ = 1,
    PGL_ACCESS_WRITE = 3,
};

enum pgl_fault_result {
    PGL_FAULT_SUCCESS,     /* the page is resident, with the access asked for */
    PGL_FAULT_RETRY,       /* not now: no credit or no pager yet and PGL_FAULT_FLAG_NO_WAIT, or the pager said EAGAIN */
    PGL_FAULT_INTERRUPTED, /* pgl_fault_interrupt(), or the pager said EINTR */
    PGL_FAULT_MEMORY_SHORTAGE, /* no memory for the demand page */
    PGL_FAULT_MEMORY_ERROR,    /* the pager failed, or the object was terminated */
    PGL_FAULT_NO_DATA,         /* the pager has nothing there; or not resident and PGL_FAULT_FLAG_RESIDENT */
    PGL_FAULT_NO_ENTRY,        /* nothing is mapped there, or the page lies outside the object */
    PGL_FAULT_PENDING,         /* of a continued fault only: it waits, and will call back */
    PGL_FAULT_INVALID,         /* errno EINVAL: an access or a flag that does not exist, neither map nor object */
};

/* A range of a pager's own pages. */
struct pgl_pager_range {
    uint64_t first;
    uint64_t last;
};

/* What a pager is asked. Borrowed for the call; @id is what the replies name. */
struct pgl_request {
    uint64_t id;                  /* never 0, never used twice by an object */
    struct pgl_object *object;    /* alive during the call: a pager that replies later takes a reference */
    struct pgl_pager_range range; /* contains pager_demand */
    uint64_t pager_demand;        /* the page somebody waits for; answer it first where that can be done */
    enum pgl_access access;       /* for the demand page; every other page is asked for reading only */
    void *cookie;                 /* the fault's, from struct pgl_fault_args */
};

/*
 * A pager. The functions are called with no lock of the library held, and may reply before they return. They return 0
 * when the request is taken: then each of its pages is to be answered sooner or later, by whatever thread, in whatever
 * order and portions. Another value is the errno for what is not answered yet: everything of the request that is still
 * marked is taken back, as if by pgl_pager_error(), except that EAGAIN, EINTR and ENOMEM give the fault
 * PGL_FAULT_RETRY, PGL_FAULT_INTERRUPTED and PGL_FAULT_MEMORY_SHORTAGE, and let whoever else waits try for himself.
 */
struct pgl_pager_ops {
    int (*data_request)(void *pager, const struct pgl_request *request) PGL_NOEXCEPT;
    /* The pages are resident; more access is wanted. NULL for a pager that never withholds any. */
    int (*access_request)(void *pager, const struct pgl_request *request) PGL_NOEXCEPT;
    /* A hint, may be NULL: a fault went forward, its request was taken, and these pages lie right before it. */
    void (*behind)(void *pager, struct pgl_object *object, struct pgl_pager_range range) PGL_NOEXCEPT;
    /* The object is gone, nothing is asked any more. May be NULL. Perhaps with a map locked: calls nothing here. */
    void (*release)(void *pager) PGL_NOEXCEPT;
};

/*
 * Where pages live. All five functions are needed. They are called with an object's lock held, and call nothing of this
 * library. alloc() returns NULL when there is no frame.
 */
struct pgl_memory_ops {
    void *(*alloc)(void *memory)PGL_NOEXCEPT;
    void (*free)(void *memory, void *frame) PGL_NOEXCEPT;
    uint64_t (*spare)(void *memory) PGL_NOEXCEPT; /* frames that speculation may take: the free ones less a reserve */
    void (*zero)(void *memory, void *frame) PGL_NOEXCEPT;
    void (*copy)(void *memory, void *frame, const void *from) PGL_NOEXCEPT;
};

/* Where the library's own records come from. alloc() returns zeroed memory or NULL. May be called under any lock. */
struct pgl_heap_ops {
    void *(*alloc)(void *heap, size_t size)PGL_NOEXCEPT;
    void (*free)(void *heap, void *block) PGL_NOEXCEPT;
};

/*
 * What an object is made of. All zero but last: a zero-filled object of frameless pages, which takes the shipped table
 * and PGL_ADVICE_DEFAULT, under which a fault brings its own page alone.
 */
struct pgl_object_config {
    uint64_t last; /* its pages are [0, last] */

    /* The pager, or none. Object page i is the pager's page pager_range.first + i; it has nothing past its last, which
     * may lie beyond the object: UINT64_MAX leaves it to the object where to end. */
    const struct pgl_pager_ops *pager_ops;
    void *pager;
    struct pgl_pager_range pager_range;
    bool pager_unready; /* faults wait until pgl_object_set_ready() */
    bool internal;      /* memory is reserved before the pager is asked, and where it has no data there are zeros */
    uint64_t credits;   /* pages that may be outstanding at the pager at a time; 0: no limit */

    /* Memory, or none: then a page is a state only, and the pager or the caller keeps its bytes. */
    const struct pgl_memory_ops *memory_ops;
    void *memory;
    size_t page_size; /* the distance of pages in what pgl_pager_supply() is given */

    /* What is not in this object is looked for there, from its page backing_first on: a shadow. Same kind of memory. */
    struct pgl_object *backing;
    uint64_t backing_first;

    enum pgl_advice advice;
    const struct pgl_advice_table *table; /* copied; NULL: pgl_advice_shipped() */

    const struct pgl_heap_ops *heap_ops; /* NULL: calloc() and free() */
    void *heap;
};

/*
 * Counts, by the advice that the faults followed. The first two are kept by the object that was faulted on, for the
 * whole chain, and a fault with PGL_FAULT_FLAG_RESIDENT is only a touch; the others by the object where it happened.
 */
struct pgl_fault_counts {
    uint64_t touches;     /* faults of any kind, resident pages included */
    uint64_t faults;      /* those whose page was absent: it was waited for, asked for, copied up or made */
    uint64_t requests;    /* data requests made */
    uint64_t demanded;    /* pages asked for because somebody waits */
    uint64_t speculative; /* pages asked for beside them */
    uint64_t used;        /* speculative pages that were touched later */
    uint64_t unlocks;     /* access requests made */
    uint64_t retries;     /* times a fault began again: its entry changed, or it was woken to try for itself */
};

struct pgl_object_stats {
    struct pgl_fault_counts by_advice[PGL_ADVICE_COUNT];
    uint64_t resident;    /* pages, now */
    uint64_t busy;        /* pages marked, now: asked for, or placeholders */
    uint64_t outstanding; /* credits in use, now: pages asked for, for their data or for access */
    uint64_t waiting;     /* faults waiting, now */
    uint64_t duplicates;  /* pages a reply brought that were resident already */
    uint64_t aliens;      /* pages a reply named that it was not, or no longer, asked for */
};

/**
 * pgl_object_new - make an object
 * @config: borrowed for the call; what it points to, but for the table, outlives the object
 *
 * Returns the object with one reference, which the caller owns.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_object_unref(). Takes a reference on the backing object.
 * Errors:   NULL with errno EINVAL: an advice that does not exist, a pager range whose first is above its last, a
 *           backing_first outside the backing object, a pager without data_request, memory that lacks a function or a
 *           page_size, a backing object that has memory when this one has none or the other way round; ENOMEM.
 */
PGL_API struct pgl_object *pgl_object_new(const struct pgl_object_config *config);

/**
 * pgl_object_ref - take another reference
 *
 * Returns the object.
 *
 * Locks:    none.
 */
PGL_API struct pgl_object *pgl_object_ref(struct pgl_object *object);

/**
 * pgl_object_unref - let a reference go; the last one frees the object, its frames, and its hold on its backing object
 * @object: may be NULL
 *
 * At the last reference no fault is under way in the object and no request is outstanding: a pager that may still reply
 * holds a reference. So does pgl_fault_interrupt() while it runs, so that the object may be there a moment longer than
 * its faults: the pager's release(), which is called last, says when what the object was made with may go.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_unref(struct pgl_object *object);

/**
 * pgl_object_set_ready - the pager is ready: faults that wait for it go on
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_set_ready(struct pgl_object *object);

/**
 * pgl_object_terminate - the pager is gone: nobody waits for it any more
 *
 * Everything asked for is taken back, whoever waits gets PGL_FAULT_MEMORY_ERROR, and so does each later fault that
 * would have asked. Resident pages stay. Later replies are aliens.
 *
 * A fault that was about to ask when this was called may still call its pager after this has returned: what it asks for
 * has been taken back by then, and it ends in the same error. So what the object was made with has to last until the
 * pager's release(), and not only until here.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_terminate(struct pgl_object *object);

/**
 * pgl_object_advise - set an object's advice
 *
 * Locks:    entry: none. Faults that have chosen their cluster keep it.
 * Errors:   false with errno EINVAL for an advice that does not exist.
 */
PGL_API bool pgl_object_advise(struct pgl_object *object, enum pgl_advice advice);

/**
 * pgl_object_advice - an object's advice
 *
 * Locks:    entry: none.
 */
PGL_API enum pgl_advice pgl_object_advice(struct pgl_object *object);

/**
 * pgl_object_set_table - replace an object's advice table
 * @table: copied; NULL: pgl_advice_shipped()
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_set_table(struct pgl_object *object, const struct pgl_advice_table *table);

/**
 * pgl_object_remove - forget resident pages
 * @first, @last: inclusive
 *
 * Returns how many pages were forgotten; their frames are freed, and the next fault asks the pager again. Pages that
 * are marked by a fault, asked for, or wired are left as they are.
 *
 * Locks:    entry: none. Cost follows the pages that were ever touched, never the width of the range.
 */
PGL_API uint64_t pgl_object_remove(struct pgl_object *object, uint64_t first, uint64_t last);

/**
 * pgl_object_unwire - undo one successful fault with PGL_FAULT_FLAG_WIRE
 * @object, @index: as that fault's struct pgl_fault_page said
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL when the page is not wired.
 */
PGL_API bool pgl_object_unwire(struct pgl_object *object, uint64_t index);

/**
 * pgl_object_resident - whether a page is resident in this very object
 *
 * Locks:    entry: none. Without a wire the answer may be old when it arrives.
 */
PGL_API bool pgl_object_resident(struct pgl_object *object, uint64_t index);

/**
 * pgl_object_get_stats - an object's counts
 *
 * Locks:    entry: none. The counts fit together: they are read under one lock.
 */
PGL_API void pgl_object_get_stats(struct pgl_object *object, struct pgl_object_stats *stats);

/**
 * pgl_object_check - verify every invariant of an object
 * @say: called with each violation in words, or NULL; the object is locked, and @say calls nothing of this library
 * @opaque: handed to @say
 *
 * Returns the number of violations: 0 for a sound object. May be called at any time.
 *
 * Locks:    entry: none. Cost follows the pages that were ever touched.
 */
PGL_API unsigned pgl_object_check(struct pgl_object *object, void (*say)(const char *what, void *opaque) PGL_NOEXCEPT,
                                  void *opaque);

/*
 * A pager's replies. Each names the request and any part of its range; pages beyond it, pages of another request, pages
 * answered already, and everything after a roll-back are left alone and counted (duplicates, aliens). They may be given
 * in any order, from any thread, with no lock of the library held, also inside data_request().
 */

/**
 * pgl_pager_supply - here are pages
 * @range: in the pager's pages
 * @data: the pages' bytes, page_size apart, the first belonging to range.first; NULL: the object has no memory, or its
 *        pages are zero
 * @access: what may be done with them; PGL_ACCESS_NONE: resident, but to be asked for before it is read
 *
 * Returns how many pages were taken. A page of an external object whose frame cannot be had stays absent, and whoever
 * waits for it gets PGL_FAULT_MEMORY_SHORTAGE.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist. The pages stay asked for.
 */
PGL_API uint64_t pgl_pager_supply(struct pgl_object *object, uint64_t id, struct pgl_pager_range range,
                                  const void *data, enum pgl_access access);

/**
 * pgl_pager_no_data - the pager has nothing there
 *
 * Returns how many pages were still asked for. Whoever waits looks in the backing object; at the end of the chain there
 * are zeros where the object is internal, and PGL_FAULT_NO_DATA where it is not.
 *
 * Locks:    entry: none.
 */
PGL_API uint64_t pgl_pager_no_data(struct pgl_object *object, uint64_t id, struct pgl_pager_range range);

/**
 * pgl_pager_error - the pager cannot bring these pages, or cannot give the access
 *
 * Returns how many pages were still asked for. Whoever waits gets PGL_FAULT_MEMORY_ERROR. A page whose data failed is
 * in error: it is never speculated, and a fault on it asks for it alone, until it is supplied, or there is no data. A
 * page that only lacked access stays as it is.
 *
 * Locks:    entry: none.
 */
PGL_API uint64_t pgl_pager_error(struct pgl_object *object, uint64_t id, struct pgl_pager_range range);

/**
 * pgl_pager_grant - the answer to an access request
 * @access: what may be done with the pages from now on
 *
 * Returns how many pages had been asked for. A fault that still lacks access asks again.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist. The pages stay asked for.
 */
PGL_API uint64_t pgl_pager_grant(struct pgl_object *object, uint64_t id, struct pgl_pager_range range,
                                 enum pgl_access access);

/**
 * pgl_pager_withhold - allow no more than this from now on, unasked
 * @access: what may still be done; access that a page lacks already is not given
 *
 * Returns how many resident pages are in the range. Their frames and wires stay.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist.
 */
PGL_API uint64_t pgl_pager_withhold(struct pgl_object *object, struct pgl_pager_range range, enum pgl_access access);

/**
 * pgl_map_new - make an empty address space
 * @heap_ops, @heap: where its records come from; NULL: calloc() and free()
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_map_free().
 * Errors:   NULL with errno ENOMEM.
 */
PGL_API struct pgl_map *pgl_map_new(const struct pgl_heap_ops *heap_ops, void *heap);

/**
 * pgl_map_free - free a map, and its references on the objects it shows
 * @map: may be NULL; no fault is under way in it
 */
PGL_API void pgl_map_free(struct pgl_map *map);

/**
 * pgl_map_enter - show a part of an object
 * @first, @last: the map's pages, inclusive
 * @object: borrowed; the map takes a reference
 * @object_first: the object's page that is seen at @first
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last, an entry that would leave its object, an advice that does not
 *           exist; EEXIST: something is mapped in the range; ENOMEM. The map is then as it was.
 */
PGL_API bool pgl_map_enter(struct pgl_map *map, uint64_t first, uint64_t last, struct pgl_object *object,
                           uint64_t object_first, enum pgl_advice advice);

/**
 * pgl_map_remove - show nothing in a range any more
 * @first, @last: the map's pages, inclusive; entries that reach beyond are cut, holes are fine
 *
 * Faults that are under way there find out, and answer for what is mapped when they end.
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last; ENOMEM: one entry had to become two, because parts of it are
 *           left on both sides of the range. The map is then as it was. Nothing else needs memory.
 */
PGL_API bool pgl_map_remove(struct pgl_map *map, uint64_t first, uint64_t last);

/**
 * pgl_map_advise - set the advice of a range
 * @first, @last: the map's pages, inclusive; an entry with another advice is split where the range starts or ends
 *                inside it
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last, an advice that does not exist; ENOENT: a page of the range is
 *           not mapped; ENOMEM: an entry had to be split. The map is then as it was. Nothing else needs memory.
 */
PGL_API bool pgl_map_advise(struct pgl_map *map, uint64_t first, uint64_t last, enum pgl_advice advice);

/* One entry, as pgl_map_lookup() copies it out. */
struct pgl_map_entry {
    struct pgl_view view; /* first and last in the map's pages */
    struct pgl_object *object;
    enum pgl_advice advice;
};

/**
 * pgl_map_lookup - the entry that shows a page, or the next one above it
 * @entry: where its copy goes; the object in it carries no reference of its own
 *
 * Returns false when nothing is mapped at @map_index or above: entry->view.first tells which of the two it was. So a
 * walk goes on at entry->view.last + 1, and ends at the last page.
 *
 * Locks:    entry: none. The copy may be old when it arrives.
 */
PGL_API bool pgl_map_lookup(struct pgl_map *map, uint64_t map_index, struct pgl_map_entry *entry);

/* Of struct pgl_fault_args; PGL_FAULT_INVALID answers any other. */
#define PGL_FAULT_FLAG_WIRE 1u     /* keep the page until pgl_object_unwire(); does not speculate */
#define PGL_FAULT_FLAG_RESIDENT 2u /* the page has to be resident already: no pager is asked, no page is made */
#define PGL_FAULT_FLAG_NO_WAIT 4u  /* no credit, or a pager that is not ready: PGL_FAULT_RETRY instead of waiting */
#define PGL_FAULT_FLAG_RETRIED 8u  /* the caller tries again what went wrong before: does not speculate */

struct pgl_fault_args {
    struct pgl_map *map;       /* the fault is on a page of this map ... */
    struct pgl_object *object; /* ... or, when map is NULL, of this object: no entry, its own advice and bounds */
    uint64_t index;            /* a page of the map, or of the object */
    enum pgl_access access;    /* READ or WRITE; PGL_FAULT_INVALID answers NONE and every other number */
    unsigned flags;
    void *cookie; /* handed to the pager with each request of this fault */
};

/*
 * Where the page was found. One that was found below may have been copied up by another thread's write before this is
 * read: who maps pages for several threads sees to it that the copy is what stays mapped.
 */
struct pgl_fault_page {
    struct pgl_object *object; /* the object or one below it in the shadow chain; no reference of its own */
    uint64_t index;            /* its page there */
    void *frame;               /* NULL where the object has no memory */
    enum pgl_access access;    /* READ: the mapping has to trap a write, which will fault again */
    bool hit;                  /* there at the first look, here or below: nothing was waited for, asked for or made */
};

/**
 * pgl_fault_new - make what a thread needs to fault
 *
 * One serves for any number of faults, one after the other: a fault allocates nothing here.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_fault_free().
 * Errors:   NULL with errno ENOMEM.
 */
PGL_API struct pgl_fault *pgl_fault_new(void);

/**
 * pgl_fault_free - free it; no fault is under way with it, and nobody interrupts it any more
 * @fault: may be NULL
 */
PGL_API void pgl_fault_free(struct pgl_fault *fault);

/**
 * pgl_fault_run - handle one fault, sleeping where it has to wait
 * @args: borrowed for the call
 * @page: where the page was found; only with PGL_FAULT_SUCCESS; may be NULL
 *
 * With any other result nothing that this fault marked is still marked, its credits are back, and whoever waited for
 * its pages is awake. Speculative pages that were supplied stay; those still outstanding after success, or of a request
 * whose demand page was answered before this fault had to make another one, stay asked for until the pager answers.
 *
 * Without PGL_FAULT_FLAG_WIRE the page may be removed again before the caller looks at it.
 *
 * Locks:    entry: none of the library's.
 * Blocks:   until the pager answers, a credit is free, the pager is ready, or pgl_fault_interrupt(). No cancellation
 *           point; what the pager's own functions pass is the pager's concern.
 */
PGL_API enum pgl_fault_result pgl_fault_run(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                            struct pgl_fault_page *page);

/**
 * pgl_fault_start - handle one fault, without ever sleeping
 * @args: copied; the fault keeps the map borrowed and the objects referenced
 * @page: as for pgl_fault_run()
 * @ready, @arg: called once for each PGL_FAULT_PENDING, when the fault can go on; by the thread that made it so, with
 *               no lock of the library held, perhaps before pgl_fault_start() has returned PGL_FAULT_PENDING
 *
 * A fault that is pending holds no lock and no stack: whoever calls pgl_fault_continue() after @ready goes on with it.
 * What it knew of its entry is a copy with a version, which is checked before it answers. Others may wait for what it
 * has marked: it has to be continued to its end, if need be after pgl_fault_interrupt().
 *
 * Locks:    entry: none of the library's.
 */
PGL_API enum pgl_fault_result pgl_fault_start(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                              struct pgl_fault_page *page, void (*ready)(void *arg) PGL_NOEXCEPT,
                                              void *arg);

/**
 * pgl_fault_continue - go on with a pending fault, once, after its ready() was called
 * @page: as for pgl_fault_run()
 *
 * Returns PGL_FAULT_PENDING when it has to wait again; ready() will be called again then.
 *
 * Locks:    entry: none of the library's.
 */
PGL_API enum pgl_fault_result pgl_fault_continue(struct pgl_fault *fault, struct pgl_fault_page *page);

/**
 * pgl_fault_interrupt - end the fault that is under way, or else the next one, if it has to wait
 *
 * It answers PGL_FAULT_INTERRUPTED at the wait that it is in or comes to; what needs no waiting still succeeds.
 *
 * Locks:    entry: none of the library's. Any thread; @fault is not freed meanwhile.
 */
PGL_API void pgl_fault_interrupt(struct pgl_fault *fault);

#ifdef __cplusplus
}
#endif
#endif
