//! A byte at a time.

use super::{
    BLOCK, Classes, Fingerprints, Masks, Places, Reader, Tally, WIDE, Words, append, each_block, is_flag, read_words,
    with_first_block,
};

pub(super) const DIGIT: u8 = 1;
pub(super) const ALNUM: u8 = 2;
pub(super) const TOKEN: u8 = 4;
pub(super) const AT: u8 = 8;
pub(super) const COLON: u8 = 16;
pub(super) const MARK: u8 = 32;

/// The classes of each byte of ASCII.
pub(super) const CLASSES: [u8; 128] = {
    let mut table = [0; 128];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT | ALNUM | TOKEN,
            b'A'..=b'Z' | b'a'..=b'z' => ALNUM | TOKEN,
            b'_' | b'+' | b'-' | b'.' | b'/' | b'=' | b'~' => TOKEN,
            b'@' => AT,
            b':' => COLON,
            b'`' | b'*' => MARK,
            _ => 0,
        };
        byte += 1;
    }
    table
};

pub(super) fn classify<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    masks: &mut Masks,
    places: &mut Places,
) {
    each_block(text, |from, block| {
        append(places, from, admitted(prints, block));
        let mut all = Classes::default();
        for (i, byte) in block[..BLOCK].iter().enumerate() {
            let class = CLASSES.get(usize::from(*byte)).copied().unwrap_or_default();
            let bit = |wanted: u8| u64::from(class & wanted != 0) << i;
            all.digits |= bit(DIGIT);
            all.alnum |= bit(ALNUM);
            all.token |= bit(TOKEN);
            all.at |= bit(AT);
            all.colon |= bit(COLON);
            all.mark |= bit(MARK);
        }
        masks.set(from / BLOCK, all);
    });
    masks.work_out::<1>(text.len().div_ceil(BLOCK));
}

fn admitted<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>, block: &[u8; WIDE]) -> u64 {
    let admitted = |bytes: &[u8]| {
        let groups = |place: usize| {
            let byte = bytes[place];
            prints.exact[place].get(usize::from(byte)).copied().unwrap_or(prints.open[place])
        };
        (1..N).fold(groups(0), |all, place| all & groups(place)) != 0
    };
    block.windows(N).take(BLOCK).enumerate().fold(0, |all, (i, bytes)| all | u64::from(admitted(bytes)) << i)
}

pub(super) fn find<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>, text: &[u8], blocks: &mut [u64]) {
    let mut room = blocks.iter_mut();
    each_block(text, |_, block| {
        if let Some(entry) = room.next() {
            *entry = admitted(prints, block);
        }
    });
}

pub(super) fn first<const N: usize, const SURE: usize>(prints: &[Fingerprints<N, SURE>], text: &[u8]) -> u64 {
    with_first_block(text, |block| prints.iter().fold(0, |all, prints| all | admitted(prints, block)))
}

pub(super) fn list<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    places: &mut Places,
) {
    each_block(text, |from, block| append(places, from, admitted(prints, block)));
}

pub(super) fn words(text: &[u8], reader: &mut impl Reader) {
    let class = |block: &[u8; WIDE]| {
        let mut all = Words::default();
        for (i, byte) in block[..BLOCK].iter().enumerate() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' => all.letters |= 1 << i,
                b'0'..=b'9' | b'\'' | 0x80.. => all.others |= 1 << i,
                b'!'..=b'~' => all.signs |= 1 << i,
                _ => {}
            }
        }
        all
    };
    read_words(text, class, reader);
}

pub(super) fn tally(text: &[u8]) -> Tally {
    let count = |wanted: fn(u8) -> bool| text.iter().filter(|byte| wanted(**byte)).count();
    Tally {
        foreign: count(|byte| byte.wrapping_sub(0xC3) < 0x2C && byte != 0xE2),
        signs: count(|byte| (byte | 0x20).wrapping_sub(b'{') < 3),
        spelled: text.windows(2).filter(|pair| matches!(pair, [b'0'..=b'9', b'a'..=b'z' | b'A'..=b'Z'])).count(),
    }
}

pub(super) fn skip_plain(text: &[u8]) -> usize {
    text.iter().position(|byte| is_flag(*byte)).unwrap_or(text.len())
}

pub(super) fn token_run(text: &[u8]) -> usize {
    let is_token = |byte: &u8| CLASSES.get(usize::from(*byte)).is_some_and(|class| class & TOKEN != 0);
    text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len())
}
