use super::*;

/// RFC 8032, 7.1: private key, public key, message, signature.
const VECTORS: [(&str, &str, &str, &str); 4] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn signs_and_verifies_as_the_rfc_does() {
    for (seed, public, message, signature) in VECTORS {
        let key = SigningKey::from_seed(&bytes(seed).try_into().unwrap());
        let message = bytes(message);
        assert_eq!(key.public().as_slice(), bytes(public));
        assert_eq!(key.sign(&message).as_slice(), bytes(signature));
        assert!(verifies(&bytes(public), &bytes(signature), &message));
    }
}

#[test]
fn one_bit_of_anything_is_noticed() {
    let (_, public, message, signature) = VECTORS[2];
    let parts = [bytes(public), bytes(signature), bytes(message)];
    for part in 0..parts.len() {
        for bit in 0..parts[part].len() * 8 {
            let mut changed = parts.clone();
            changed[part][bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&changed[0], &changed[1], &changed[2]), "bit {bit} of part {part}");
        }
    }
}

#[test]
fn a_key_or_signature_of_another_length_verifies_nothing() {
    let (_, public, message, signature) = VECTORS[1];
    let (public, signature, message) = (bytes(public), bytes(signature), bytes(message));
    for length in 0..KEY {
        assert!(!verifies(&public[..length], &signature, &message));
    }
    for length in 0..SIGNATURE {
        assert!(!verifies(&public, &signature[..length], &message));
    }
    assert!(!verifies(&public, &[signature.as_slice(), &[0]].concat(), &message));
}

#[test]
fn a_key_of_small_order_verifies_nothing() {
    // The neutral element as the key and as R, and S = 0: without the check this signs every message.
    let mut neutral = [0; KEY];
    neutral[0] = 1;
    let mut signature = [0; SIGNATURE];
    signature[0] = 1;
    assert!(!verifies(&neutral, &signature, b"anything"));
}

#[test]
fn a_signature_has_one_form_only() {
    // S + L, with L the order of the group, solves the same equation.
    let (_, public, message, signature) = VECTORS[1];
    let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut other = bytes(signature);
    let mut carry = 0;
    for (byte, add) in other[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!verifies(&bytes(public), &other, &bytes(message)));
}

/// Of RFC 8410, 10.3.
const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const PUBLIC_8410: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

#[test]
fn reads_what_openssl_writes() {
    let expected = bytes(PUBLIC_8410);
    for file in [
        RFC_8410.to_string(),
        RFC_8410.replace('\n', "\r\n"),
        RFC_8410.trim_end().to_string(),
        format!("Words in front, é\n{RFC_8410}and behind\n"),
    ] {
        assert_eq!(SigningKey::from_pem(file.as_bytes()).unwrap().public().as_slice(), expected);
    }
}

#[test]
fn what_it_writes_is_what_it_read() {
    assert_eq!(SigningKey::from_pem(RFC_8410.as_bytes()).unwrap().to_pem().unwrap().as_str(), RFC_8410);
}

#[test]
fn what_is_no_key_is_refused() {
    let broken = RFC_8410.replace("VwB", "VxB"); // the identifier of another algorithm
    let short = RFC_8410.replace("qI9EdVhC", "");
    for file in
        ["", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----\n-----BEGIN PRIVATE KEY-----", &broken, &short]
    {
        assert_eq!(SigningKey::from_pem(file.as_bytes()).unwrap_err(), NoKey::Malformed, "{file}");
    }
    assert_eq!(SigningKey::from_pem(b"\xff").unwrap_err(), NoKey::Malformed);
    assert_eq!(SigningKey::from_pem(&RFC_8410.as_bytes()[..100]).unwrap_err(), NoKey::Malformed);
}

#[test]
fn new_keys_differ_and_show_nothing() {
    let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_ne!(one.public(), other.public());
    assert_eq!(format!("{one:?}"), "SigningKey(***)");
    assert!(verifies(&one.public(), &one.sign(b"m"), b"m"));
    assert!(!verifies(&other.public(), &one.sign(b"m"), b"m"));
}
