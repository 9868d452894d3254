// SPDX-License-Identifier: LGPL-2.1-or-later
//! one-block.c in Rust, with a small safe binding in front: one translation block, one store beside it, and one store
//! into it. The library says how large its structs are and where their members lie.
//!
//!     rustc --edition 2021 one-block.rs && ./one-block

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::raw::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;

#[repr(C)]
struct Member {
    name: *const c_char,
    offset: usize,
    size: usize,
}

#[link(name = "pagelock")]
extern "C" {
    static pgl_members: [Member; 0];
    static pgl_sizeof_tb: usize;
    static pgl_alignof_tb: usize;
    static pgl_sizeof_bracket: usize;
    static pgl_sizeof_table_config: usize;
    static pgl_sizeof_tb_ops: usize;

    fn pgl_table_new(config: *const c_void) -> *mut c_void;
    fn pgl_table_free(table: *mut c_void);
    fn pgl_bracket_begin(bracket: *mut c_void, table: *mut c_void, index: u64) -> bool;
    fn pgl_bracket_commit(bracket: *mut c_void, tb: *mut c_void, equal: *mut *mut c_void) -> c_int;
    fn pgl_tb_init(tb: *mut c_void);
    fn pgl_tb_set_bytes(tb: *mut c_void, which: c_uint, first_addr: u64, last_addr: u64);
    fn pgl_tb_chain_next(tb: *const c_void) -> *mut c_void;
    fn pgl_store_check(table: *mut c_void, addr: u64, len: u64, running: *const c_void) -> c_int;
}

const PGL_HIT: c_int = 1;
const PGL_BRACKET_OK: c_int = 0;

#[repr(C, align(16))]
struct Unit(UnsafeCell<[u8; 16]>);

/// A struct of the library's, in zeroed memory that does not move.
struct Memory(Box<[Unit]>);

impl Memory {
    fn new(size: usize) -> Memory {
        assert!(unsafe { pgl_alignof_tb } <= std::mem::align_of::<Unit>());
        Memory((0..(size + 15) / 16).map(|_| Unit(UnsafeCell::new([0; 16]))).collect())
    }

    fn ptr(&self) -> *mut c_void {
        self.0.as_ptr() as *mut c_void // C may write there, because of the UnsafeCell
    }

    /// Set a member, such as "table_config.ops", to a value of its size.
    fn set<T>(&mut self, member: &str, value: T) {
        unsafe {
            let mut entry = pgl_members.as_ptr();
            while CStr::from_ptr((*entry).name).to_bytes() != member.as_bytes() {
                entry = entry.add(1);
            }
            assert_eq!((*entry).size, std::mem::size_of::<T>());
            self.ptr().cast::<u8>().add((*entry).offset).cast::<T>().write_unaligned(value);
        }
    }
}

/// Each block is the emulator's part, here a name, and the library's.
type Blocks = Mutex<HashMap<usize, (String, Memory)>>;

/// A table owns the blocks that are linked to it.
struct Table {
    table: *mut c_void,
    blocks: Box<Blocks>,
    _ops: Memory,
}

/// An error is what errno says.
fn check(is_done: bool) -> Result<()> {
    is_done.then_some(()).ok_or_else(Error::last_os_error)
}

/// The library calls this with the pages of the blocks locked. Out of the hash table, out of the jump caches.
unsafe extern "C" fn retired(chain: *mut c_void, opaque: *mut c_void) {
    let blocks = &*(opaque as *const Blocks);
    let mut tb = chain;
    while !tb.is_null() {
        let next = pgl_tb_chain_next(tb);
        let (name, _memory) = blocks.lock().unwrap().remove(&(tb as usize)).unwrap();
        println!("{name} is dead"); // an emulator keeps it until no thread can be running it
        tb = next;
    }
}

impl Table {
    fn new(page_bits: c_uint, addr_bits: c_uint) -> Result<Table> {
        let blocks: Box<Blocks> = Box::default();
        let mut ops = Memory::new(unsafe { pgl_sizeof_tb_ops });
        ops.set("tb_ops.retired", retired as unsafe extern "C" fn(*mut c_void, *mut c_void));
        let mut config = Memory::new(unsafe { pgl_sizeof_table_config });
        config.set("table_config.page_bits", page_bits);
        config.set("table_config.addr_bits", addr_bits);
        config.set("table_config.ops", ops.ptr());
        config.set("table_config.opaque", &*blocks as *const Blocks);
        let table = unsafe { pgl_table_new(config.ptr()) };
        check(!table.is_null())?;
        Ok(Table { table, blocks, _ops: ops })
    }

    /// Translate the bytes from `first` to `last`, on one page.
    fn translate(&self, name: &str, first: u64, last: u64) -> Result<()> {
        let bracket = Memory::new(unsafe { pgl_sizeof_bracket });
        check(unsafe { pgl_bracket_begin(bracket.ptr(), self.table, first >> 12) })?;
        // The page is locked from here to the commit. Read the guest's bytes here, and translate them.
        let memory = Memory::new(unsafe { pgl_sizeof_tb });
        let tb = memory.ptr();
        unsafe { pgl_tb_init(tb) };
        unsafe { pgl_tb_set_bytes(tb, 0, first, last) };
        self.blocks.lock().unwrap().insert(tb as usize, (name.to_string(), memory));
        let linked = check(unsafe { pgl_bracket_commit(bracket.ptr(), tb, null_mut()) } == PGL_BRACKET_OK);
        if linked.is_err() { // for want of memory: this thread stored nothing inside the bracket
            self.blocks.lock().unwrap().remove(&(tb as usize));
        }
        linked
    }

    fn store_check(&self, addr: u64, len: u64) -> c_int {
        unsafe { pgl_store_check(self.table, addr, len, null_mut()) }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        unsafe { pgl_table_free(self.table) }
    }
}

fn main() -> Result<()> {
    let table = Table::new(12, 48)?;
    table.translate("block 0x7010", 0x7010, 0x7043)?;
    println!("a store beside it: {}", table.store_check(0x7044, 8));
    println!("a store into it: {}", (table.store_check(0x7040, 8) == PGL_HIT) as c_int);
    Ok(())
}
