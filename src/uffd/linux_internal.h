/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Declarations that older headers lack. Whether the running kernel has it is another question. Private. */
#ifndef PGL_UFFD_LINUX_INTERNAL_H
#define PGL_UFFD_LINUX_INTERNAL_H

#include <linux/userfaultfd.h>

#ifndef AT_MINSIGSTKSZ /* Linux 5.14 */
#define AT_MINSIGSTKSZ 51
#endif

#ifndef UFFDIO_POISON /* Linux 6.6 */
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON_MODE_DONTWAKE ((__u64)1 << 0)
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#define UFFD_FEATURE_POISON (1 << 14)
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED /* Linux 6.4, which brought this mode as well */
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif

#ifndef UFFDIO_MOVE /* Linux 6.8 */
struct uffdio_move {
    __u64 dst;
    __u64 src;
    __u64 len;
    __u64 mode;
    __s64 move;
};
#define UFFDIO_MOVE_MODE_DONTWAKE ((__u64)1 << 0)
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#define UFFD_FEATURE_MOVE (1 << 16)
#endif

#ifndef UFFD_FEATURE_WP_ASYNC /* Linux 6.7 */
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#endif
