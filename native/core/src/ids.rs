//! Request ids: 16 random bytes from a pool, because a system call per id costs more than the id.

use std::sync::{Mutex, PoisonError};

const ID: usize = 16;
const POOL: usize = 256 * ID;

struct Pool {
    /// A forked child must not hand out its parent's ids.
    process: u32,
    used: usize,
    noise: [u8; POOL],
}

static IDS: Mutex<Pool> = Mutex::new(Pool { process: 0, used: POOL, noise: [0; POOL] });

/// `req_` and 32 hexadecimal digits, unpredictable and unique.
///
/// # Errors
/// The system has no random bytes.
pub fn new_id() -> Result<String, getrandom::Error> {
    let mut pool = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if pool.used >= POOL || pool.process != process {
        getrandom::fill(&mut pool.noise)?;
        (pool.process, pool.used) = (process, 0);
    }
    let mut id = String::with_capacity(4 + 2 * ID);
    id.push_str("req_");
    for byte in pool.noise.iter().skip(pool.used).take(ID) {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    pool.used += ID;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_sane_over_several_pools() {
        let ids: HashSet<String> = (0..1000).map(|_| new_id().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| {
            id.strip_prefix("req_").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        }));
    }
}
