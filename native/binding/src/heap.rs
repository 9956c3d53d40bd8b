//! The memory of all that is native: small blocks are mimalloc's, large ones malloc's.
//!
//! Malloc's own work took 7 % of what a plain request costs, nearly all of it for blocks of a few hundred bytes. Bodies
//! and buffers are left to it: it gives the largest back to the system at once, and mimalloc does not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::null_mut;

use libmimalloc_sys as mi;
use mimalloc::MiMalloc;
use pyo3::prelude::*;

/// Bytes of the largest block that is mimalloc's.
const SMALL: usize = 16 << 10;

#[global_allocator]
static ALLOCATOR: BySize = BySize;

struct BySize;

const fn is_small(size: usize) -> bool {
    size <= SMALL
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; whose a block is follows from its size alone")]
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { if is_small(layout.size()) { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { if is_small(layout.size()) { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { if is_small(layout.size()) { MiMalloc.dealloc(block, layout) } else { System.dealloc(block, layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            match (is_small(layout.size()), is_small(size)) {
                (true, true) => MiMalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// Bytes of the small blocks that are given out at the moment.
#[pyfunction]
pub(crate) fn heap_bytes() -> usize {
    let mut bytes = 0_usize;
    let all = null_mut(); // the heap that all threads share
    #[expect(unsafe_code, reason = "C; it hands each area of the heap to `add`, with the pointer")]
    unsafe {
        mi::mi_heap_collect(all, false); // what other threads have given back is still to be noted
        mi::mi_heap_visit_blocks(all, false, Some(add), (&raw mut bytes).cast());
    }
    bytes
}

#[expect(unsafe_code, reason = "called by C with an area of the heap and the pointer that was handed over with it")]
unsafe extern "C" fn add(
    _: *const mi::mi_heap_t,
    area: *const mi::mi_heap_area_t,
    _: *mut c_void,
    _: usize,
    bytes: *mut c_void,
) -> bool {
    unsafe { *bytes.cast::<usize>() += (*area).used * (*area).block_size }; // `used` counts blocks
    true
}
