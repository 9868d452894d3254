/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The headers without the macros that add the place of a call, so that these names mean the exported functions. The
 * unit tests are compiled a second time with this file in front.
 */
#ifndef PGL_CODE_EXPORTS_INTERNAL_H
#define PGL_CODE_EXPORTS_INTERNAL_H

#include <pagelock/pagelock.h>

#undef pgl_assert_none_held
#undef pgl_bracket_abort
#undef pgl_bracket_begin
#undef pgl_bracket_commit
#undef pgl_bracket_cross
#undef pgl_bracket_store
#undef pgl_collection_lock
#undef pgl_collection_unlock
#undef pgl_flush
#undef pgl_invalidate_if
#undef pgl_invalidate_page
#undef pgl_invalidate_range
#undef pgl_invalidate_tb
#undef pgl_invalidate_tbs
#undef pgl_page_assert_held
#undef pgl_page_foreach_tb
#undef pgl_page_lock
#undef pgl_page_lock_pair
#undef pgl_page_trylock
#undef pgl_page_unlock
#undef pgl_page_unlock_pair
#undef pgl_store_begin
#undef pgl_store_begin_pair
#undef pgl_store_check
#undef pgl_store_end
#undef pgl_store_u16
#undef pgl_store_u32
#undef pgl_store_u64
#undef pgl_store_u8
#undef pgl_table_new
#undef pgl_table_reset
#undef pgl_table_trim
#undef pgl_tb_link_unlisted
#undef pgl_tb_lock_pages
#undef pgl_tb_unlock_pages

#endif
