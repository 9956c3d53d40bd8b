use proptest::prelude::*;

use super::*;
use crate::tokens::{CL100K, O200K};

proptest! {
    #[test]
    fn both_ways_of_merging_agree(piece in "[ab=é ]{2,90}|[a-z]{2,90}") {
        for vocabulary in [&*CL100K, &*O200K] {
            prop_assert_eq!(
                Merger::default().short(vocabulary, piece.as_bytes()),
                long(vocabulary, piece.as_bytes())
            );
        }
    }
}

#[test]
fn every_token_is_found_by_its_bytes_and_merges_to_itself() {
    for vocabulary in [&*CL100K, &*O200K] {
        let mut merger = Merger::default();
        for number in 0..vocabulary.len() {
            let token = vocabulary.token(number);
            assert_eq!(vocabulary.find(token), Some(number));
            if token.len() > 1 && number % 16 == 0 {
                assert_eq!(merger.short(vocabulary, token), 1, "{number}");
            }
        }
    }
}
