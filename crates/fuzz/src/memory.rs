//! Memory that a file may cost: an allocator that counts.

#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that any file may cost, however small.
const BASE: usize = 100 << 20;
/// Bytes that each byte of the file may cost on top: a number of two characters becomes a node, a text or a value of a parser.
const PER_BYTE: usize = 1_000;

/// The system's allocator, which counts what this thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn count(taken: usize, given_back: usize) {
    // Memory may come from another thread: what is held never falls below nothing.
    let held = HELD.get().saturating_add(taken).saturating_sub(given_back);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Where the block moves there are two of them for a while.
        count(new_size, 0);
        count(0, layout.size());
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does `work` on a file of `n_bytes`.
///
/// # Panics
/// When it takes more memory than such a file is worth.
pub(crate) fn bounded(n_bytes: usize, work: impl FnOnce()) {
    let before = HELD.get();
    MOST.set(before);
    work();
    let taken = MOST.get().saturating_sub(before);
    let allowed = BASE + PER_BYTE * n_bytes;
    assert!(taken <= allowed, "a file of {n_bytes} bytes took {taken} bytes of memory, more than {allowed}");
}
