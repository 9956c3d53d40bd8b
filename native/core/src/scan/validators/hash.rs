//! The two hash functions that addresses of crypto-currencies are checked with. They guard nothing here.

/// SHA-256 of at most 55 bytes (FIPS 180-4): one block.
#[expect(clippy::many_single_char_names, reason = "they are the names of the standard")]
pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    let length = message.len().min(55);
    block[..length].copy_from_slice(&message[..length]);
    block[length] = 0x80;
    block[56..].copy_from_slice(&(length as u64 * 8).to_be_bytes());
    let mut schedule = [0u32; 64];
    for (word, bytes) in schedule.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for i in 16..64 {
        let (a, b) = (schedule[i - 15], schedule[i - 2]);
        let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
        let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
        schedule[i] = schedule[i - 16].wrapping_add(s0).wrapping_add(schedule[i - 7]).wrapping_add(s1);
    }
    let mut state = START;
    for i in 0..64 {
        let [a, b, c, d, e, f, g, h] = state;
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h.wrapping_add(s1).wrapping_add((e & f) ^ (!e & g)).wrapping_add(ROUND[i]).wrapping_add(schedule[i]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        state = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
    }
    let mut out = [0; 32];
    for ((bytes, word), start) in out.chunks_exact_mut(4).zip(state).zip(START) {
        bytes.copy_from_slice(&word.wrapping_add(start).to_be_bytes());
    }
    out
}

const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Keccak-256 as Ethereum uses it, of at most 135 bytes: one block, padding 1.
pub(super) fn keccak256(message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 136];
    let length = message.len().min(135);
    block[..length].copy_from_slice(&message[..length]);
    block[length] ^= 1;
    block[135] ^= 0x80;
    let mut lanes = [0u64; 25];
    for (lane, bytes) in lanes.iter_mut().zip(block.chunks_exact(8)) {
        *lane = bytes.iter().rev().fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    }
    permute(&mut lanes);
    let mut out = [0; 32];
    for (bytes, lane) in out.chunks_exact_mut(8).zip(lanes) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    out
}

fn permute(lanes: &mut [u64; 25]) {
    // The round constants come from the shift register of the standard: bits 0, 1, 3, 7, 15, 31 and 63.
    let mut register = 1u8;
    for _ in 0..24 {
        let mut columns = [0u64; 5];
        for (i, lane) in lanes.iter().enumerate() {
            columns[i % 5] ^= lane;
        }
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane ^= columns[(i + 4) % 5] ^ columns[(i + 1) % 5].rotate_left(1);
        }
        let (mut x, mut y) = (1, 0);
        let mut moved = lanes[1];
        for turn in 0..24u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let next = lanes[x + 5 * y];
            lanes[x + 5 * y] = moved.rotate_left((turn + 1) * (turn + 2) / 2 % 64);
            moved = next;
        }
        for row in lanes.chunks_exact_mut(5) {
            let before = [row[0], row[1], row[2], row[3], row[4]];
            for i in 0..5 {
                row[i] = before[i] ^ (!before[(i + 1) % 5] & before[(i + 2) % 5]);
            }
        }
        for bit in 0..7 {
            if register & 1 == 1 {
                lanes[0] ^= 1 << ((1u32 << bit) - 1);
            }
            register = register << 1 ^ if register & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}
