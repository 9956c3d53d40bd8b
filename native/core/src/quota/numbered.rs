//! Maps by numbers that this process gives out itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by ids or addresses. Nobody outside chooses them, so they need no hash that withstands that.
pub(super) type Numbered<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// Spreads numbers that follow each other, or that end alike, over all bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // A product is best mixed at its top, and maps look at the bottom first.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 29);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::Hasher as _;

    use super::Spread;

    #[test]
    fn numbers_in_a_row_and_addresses_differ_where_a_map_looks() {
        for step in [1_u64, 8, 16, 48, 64, 4096] {
            let low: HashSet<u64> = (0..1024)
                .map(|i| {
                    let mut spread = Spread::default();
                    spread.write_u64(i * step);
                    spread.finish() % 1024
                })
                .collect();
            // Random numbers take 647 of as many places.
            assert!(low.len() > 600, "{step}: {}", low.len());
        }
    }
}
