//! The memory of all that is native. It is mimalloc's: malloc's own took 7 % of what a plain request costs.

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that this memory takes, whether or not they are in use at the moment.
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
