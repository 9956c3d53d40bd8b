//! The memory of all that is native: small blocks are mimalloc's, large ones malloc's.
//!
//! Malloc's own work took 7 % of what a plain request costs, nearly all of it for blocks of a few hundred bytes. The
//! bodies and buffers of many megabytes are left to it: it gives them back to the system at once, and mimalloc does not.

use std::alloc::{GlobalAlloc, Layout, System};

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

/// Bytes that the small blocks take from the system, whether or not they are in use at the moment.
#[pyfunction]
pub(crate) fn heap_bytes() -> usize {
    let (mut elapsed, mut user, mut system, mut resident, mut most_resident) = (0, 0, 0, 0, 0);
    let (mut committed, mut most_committed, mut faults) = (0, 0, 0);
    #[expect(unsafe_code, reason = "C; it writes these numbers and nothing else")]
    unsafe {
        libmimalloc_sys::mi_process_info(
            &raw mut elapsed,
            &raw mut user,
            &raw mut system,
            &raw mut resident,
            &raw mut most_resident,
            &raw mut committed,
            &raw mut most_committed,
            &raw mut faults,
        );
    }
    committed
}
