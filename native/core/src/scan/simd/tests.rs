use super::*;

/// Notes where words are, and of how many letters; of those with others where they end.
struct Noted {
    text: Vec<u8>,
    words: Vec<(usize, Result<u32, usize>)>,
}

impl Reader for Noted {
    fn plain(&mut self, at: usize, letters: u32) {
        self.words.push((at, Ok(letters)));
    }

    fn other(&mut self, at: usize) -> usize {
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || *byte == b'\'';
        let end = at + self.text[at..].iter().take_while(|byte| inside(byte)).count();
        self.words.push((at, Err(end)));
        end
    }
}

/// A form of the kernels: what it is called, and its functions.
type Form<const N: usize, const SURE: usize> = (
    &'static str,
    fn(&Fingerprints<N, SURE>, &[u8], &mut Masks, &mut Places),
    fn(&Fingerprints<N, SURE>, &[u8], &mut [u64]),
    fn(&[Fingerprints<N, SURE>], &[u8]) -> u64,
    fn(&Fingerprints<N, SURE>, &[u8], &mut Places),
    fn(&[u8], &mut Noted),
    fn(&[u8]) -> Tally,
    fn(&[u8]) -> usize,
    fn(&[u8]) -> usize,
);

/// The forms beside the scalar one that this processor has.
#[expect(unsafe_code, reason = "a function of a processor feature can only be called so")]
fn forms<const N: usize, const SURE: usize>() -> Vec<Form<N, SURE>> {
    let mut forms: Vec<Form<N, SURE>> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: each is called only where the processor has its features.
        if has_avx2() {
            forms.push((
                "avx2",
                |prints, text, masks, places| unsafe { avx2::classify(prints, text, masks, places) },
                |prints, text, blocks| unsafe { avx2::find(prints, text, blocks) },
                |sets, text| unsafe { avx2::first(sets, text) },
                |prints, text, places| unsafe { avx2::list(prints, text, places) },
                |text, noted| unsafe { avx2::words(text, noted) },
                |text| unsafe { avx2::tally(text) },
                |text| unsafe { avx2::skip_plain(text) },
                |text| unsafe { avx2::token_run(text) },
            ));
        }
        // SAFETY: as above.
        if has_avx512() {
            forms.push((
                "avx512",
                |prints, text, masks, places| unsafe { avx512::classify(prints, text, masks, places) },
                |prints, text, blocks| unsafe { avx512::find(prints, text, blocks) },
                |sets, text| unsafe { avx512::first(sets, text) },
                |prints, text, places| unsafe { avx512::list(prints, text, places) },
                |text, noted| unsafe { avx512::words(text, noted) },
                |text| unsafe { avx512::tally(text) },
                |text| unsafe { avx512::skip_plain(text) },
                |text| unsafe { avx512::token_run(text) },
            ));
        }
    }
    forms
}

/// Some literals of five bytes, and some that end before; more places than they have admit anything.
fn prints<const N: usize, const SURE: usize>() -> Fingerprints<N, SURE> {
    let place = |byte: u8, folded| Place::of(byte, folded);
    let literal =
        |text: &[u8], folded| std::array::from_fn(|i| text.get(i).map_or(Place::Any, |byte| place(*byte, folded)));
    let all = [literal(b"xyz-9 ", false), literal(b"+,-./0", false), literal(b"abcde ", true), literal(b"m_n", false)];
    Fingerprints::new(
        all.into_iter().chain([literal(b"   ", false)]).filter(|print| !print[..SURE].contains(&Place::Any)),
    )
}

/// Every byte at every place of a block.
fn text() -> Vec<u8> {
    let mut text = Vec::new();
    for shift in 0..BLOCK {
        text.extend(std::iter::repeat_n(b'x', shift));
        text.extend(0..=255u8);
        text.extend(b"aBcDe xyz-9 m_n\xc3 m_N XYZ-9");
    }
    text
}

#[test]
fn classes_are_what_they_say() {
    for byte in 0..=255u8 {
        let mut masks = Masks::default();
        scalar::classify(&prints::<5, 3>(), &[byte], &mut masks, &mut Places::new());
        assert_eq!([masks.row(0), masks.row(2)], [Classes::default(); 2]);
        let masks = masks.row(1);
        assert_eq!(masks.digits == 1, byte.is_ascii_digit(), "{byte}");
        assert_eq!(masks.alnum == 1, byte.is_ascii_alphanumeric(), "{byte}");
        assert_eq!(masks.token == 1, byte.is_ascii_alphanumeric() || b"_+-./=~".contains(&byte), "{byte}");
        assert_eq!(masks.colon == 1, byte == b':', "{byte}");
        assert_eq!(masks.at == 1, byte == b'@', "{byte}");
        assert_eq!(masks.mark == 1, b"`*".contains(&byte), "{byte}");
    }
}

#[test]
fn fingerprints_stand_where_their_bytes_do() {
    let mut places = Places::new();
    let text = b"aBcDe XYZ-9 xyz-9 m_n\xc3m_N m_";
    scalar::list(&prints::<5, 3>(), text, &mut places);
    places.retain(|place| (*place as usize) < text.len());
    assert_eq!(places, [0, 12, 18]);
}

/// The bits of a block that stand for so many bytes.
fn bits_of(count: usize) -> u64 {
    if count < BLOCK { (1 << count) - 1 } else { u64::MAX }
}

#[test]
fn words_are_shown_where_they_are() {
    let text = b"Is this the fifteen-letter incomprehensibly, donnerwetterbuch: don't a1 \xc3\xa9t\xc3\xa9 (it) 'so'";
    let mut noted = Noted { text: text.to_vec(), words: Vec::new() };
    scalar::words(text, &mut noted);
    let read = noted.words.iter().map(|(at, word)| match word {
        Ok(0) => (&text[*at..=*at], true),
        Ok(letters) => (&text[*at..at + *letters as usize], true),
        Err(end) => (&text[*at..*end], false),
    });
    let plain = |word: &'static [u8]| (word, true);
    let other = |word: &'static [u8]| (word, false);
    let words = [
        [b"Is".as_slice(), b"this", b"the", b"fifteen", b"-", b"letter"].map(plain).to_vec(),
        vec![other(b"incomprehensibly"), plain(b","), other(b"donnerwetterbuch"), plain(b":"), other(b"don't")],
        vec![other(b"a1"), other(b"\xc3\xa9t\xc3\xa9"), plain(b"("), plain(b"it"), plain(b")"), other(b"'so'")],
    ];
    assert_eq!(read.collect::<Vec<_>>(), words.concat());
}

#[test]
fn all_forms_agree_on_every_byte_at_every_place() {
    all_agree(&prints::<5, 3>());
    all_agree(&prints::<4, 2>());
    all_agree(&prints::<6, 6>());
}

fn all_agree<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>) {
    let text = text();
    for end in [text.len(), text.len() - 1, text.len() - 63, 0, 1, 4, 61, 64, 65, 67, 68, 69, 70, 128, 133] {
        let text = &text[..end];
        let mut exact = Places::new();
        scalar::list(prints, text, &mut exact);
        for (name, classify, find, first, list, words, tally, ..) in forms() {
            let mut listed = Places::new();
            list(prints, text, &mut listed);
            assert!(listed.is_sorted_by(|a, b| a < b), "{name} {end}: each once");
            assert!(exact.iter().all(|place| listed.binary_search(place).is_ok()), "{name} {end}: none is overlooked");
            for part in text.chunks((PIECE + 1) * BLOCK) {
                let (mut masks, mut own, mut places) =
                    (Masks::default(), Masks::default(), [const { Places::new() }; 3]);
                let [exact, own_places, own_listed] = &mut places;
                scalar::classify(prints, part, &mut masks, exact);
                classify(prints, part, &mut own, own_places);
                assert_eq!(own, masks, "{name} {end}");
                list(prints, part, own_listed);
                assert_eq!(own_places, own_listed, "{name} {end}");
            }
            let mut blocks = vec![0; end.div_ceil(BLOCK)];
            find(prints, text, &mut blocks);
            let bits = blocks.iter().zip((0..).step_by(BLOCK));
            let found: Places = bits
                .flat_map(|(bits, from)| (0..64).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| from + bit))
                .collect();
            assert_eq!(found, listed, "{name} {end}");
            let sets = [Fingerprints::new([[Place::Byte(b'?'); N]].into_iter()), prints.clone()];
            for from in (0..end).step_by(21) {
                let (own, exact) = (first(&sets, &text[from..]), scalar::first(&sets, &text[from..]));
                assert_eq!(exact & !own, 0, "{name} {from}: none is overlooked");
                let listed = listed.iter().map(|place| (*place as usize).wrapping_sub(from));
                let known = listed.filter(|at| *at < BLOCK.min(end - from)).fold(0, |all, at| all | 1 << at);
                assert_eq!(first(&sets[1..], &text[from..]) & bits_of(end - from), known, "{name} {from}");
            }
            let [mut own, mut noted] = [(); 2].map(|()| Noted { text: text.to_vec(), words: Vec::new() });
            words(text, &mut own);
            scalar::words(text, &mut noted);
            assert_eq!(own.words, noted.words, "{name} {end}");
            assert_eq!(tally(text), scalar::tally(text), "{name} {end}");
        }
    }
}

#[test]
fn all_forms_find_the_first_flag_at_every_place() {
    for at in 0..200 {
        for flag in *b"%&\\\x80\xff" {
            let mut text = [b'a'; 200];
            text[at] = flag;
            assert_eq!(scalar::skip_plain(&text), at);
            for (name, .., skip_plain, _) in forms::<5, 3>() {
                assert_eq!(skip_plain(&text), at, "{name}");
            }
        }
    }
    for (name, .., skip_plain, _) in forms::<5, 3>() {
        assert_eq!(skip_plain(&[b'a'; 131]), 131, "{name}");
    }
}

#[test]
fn all_forms_find_the_end_of_a_token_at_every_place() {
    for at in 0..200 {
        for byte in 0..=255u8 {
            let mut text = [b'a'; 200];
            text[at] = byte;
            let end = if byte.is_ascii_alphanumeric() || b"_+-./=~".contains(&byte) { 200 } else { at };
            assert_eq!(scalar::token_run(&text), end);
            for (name, .., token_run) in forms::<5, 3>() {
                assert_eq!(token_run(&text), end, "{name} {byte}");
                assert_eq!(token_run(&text[..at]), at, "{name} {byte}");
            }
        }
    }
}
