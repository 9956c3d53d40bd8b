use super::{VALIDATORS, by_name};

/// A check, a value that passes it, and one that differs in one place and does not. Computed from the published rules, or the
/// samples of those.
const CASES: &[(&str, &str, &str)] = &[
    ("luhn", "79927398713", "79927398710"),
    ("card", "4111 1111 1111 1111", "4111 1111 1111 1112"),
    ("card", "378282246310005", "378282246310006"),
    ("card", "5555555555554444", "9555555555554444"),
    ("any-card", "4222222222222", "4222222222223"),
    ("any-card", "122000000000003", "122000000000004"),
    ("any-card", "4012888888881881", "9012888888881881"),
    ("iban", "GB82 WEST 1234 5698 7654 32", "GB82 WEST 1234 5698 7654 33"),
    ("iban", "DE89370400440532013000", "DE8937040044053201300"),
    ("iban", "NO9386011117947", "XX9386011117947"),
    ("iban", "FR14 2004 1010 0505 0001 3M02 606", "FR69 7F82 9099 6DD9 DE57 9812 1E8"),
    ("iban", "AD1200012030200359100100", "ad217b853860886599b2ac75"),
    ("iban", "BE68 5390 0754 7034", "be96793cf4220c91"),
    ("iban", "MT84MALT011000012345MTLCAST001S", "MT84MALT011000012345MTLCAST001T"),
    ("iban", "BR1800360305000010009795493C1", "BR1800360305000010009795493C2"),
    ("iban", "SC18SSCB11010000000000001497USD", "SC18SSCB11010000000000001497USE"),
    ("bic", "DEUTDEFF500", "DEUTXQFF500"),
    ("aba", "021000021", "021000022"),
    ("aba", "0711-0130-7", "9911-0130-7"),
    ("mac", "02-00-5E-10-00-FF", "FF-FF-FF-FF-FF-FF"),
    ("mac", "00:00:00:00:00:01", "00:00:00:00:00:00"),
    ("ipv4", "192.0.2.1", "192.0.2.256"),
    ("ipv4", "0.0.0.0", "192.0.02.1"),
    ("ssn", "219-09-9998", "000-09-9998"),
    ("ssn", "899 01 0001", "900 01 0001"),
    ("itin", "911-70-1234", "911-89-1234"),
    ("npi", "1245319599", "1245319598"),
    ("dea", "BB1388568", "BB1388567"),
    ("vin", "1M8GDM9AXKP042788", "1M8GDM9A1KP042788"),
    ("nhs", "943 476 5919", "943 476 5918"),
    ("nino", "AB 12 34 56 C", "BG 12 34 56 C"),
    ("dni", "12345678Z", "12345678A"),
    ("dni", "X9613851N", "Y9613851N"),
    ("codice-fiscale", "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
    ("partita-iva", "01333550323", "01333554564"),
    ("pesel", "44051401458", "44051401459"),
    ("bsn", "111222333", "111222334"),
    ("nir", "184127645108946", "184127645108947"),
    ("rijksregister", "85.07.30-033.28", "85.07.30-033.29"),
    ("pt-nif", "123456789", "123456788"),
    ("ahv", "756.9217.0769.85", "756.9217.0769.84"),
    ("steuer-id", "86095742719", "86095742718"),
    ("iso7064-mod11-10", "136695976", "136695977"),
    ("oib", "33392005961", "33392005962"),
    ("rvnr", "15070649C103", "15070649C100"),
    ("kvnr", "A123456780", "A123456787"),
    ("lanr", "123456601", "123456401"),
    ("mrz", "C01234565", "C01234567"),
    ("ro-cnp", "1800101221144", "1800101221145"),
    ("hetu", "131052-308T", "131052-308U"),
    ("hetu", "010594Y9032", "310294Y9032"),
    ("personnummer", "871220-2384", "871220-2385"),
    ("orgnr", "556703-7485", "556703-7486"),
    ("cpr", "070761-4285", "071361-4285"),
    ("fodselsnummer", "01010750160", "01010750161"),
    ("abn", "51 824 753 556", "51 824 753 557"),
    ("acn", "005 499 981", "005 499 982"),
    ("tfn", "876 543 210", "876 543 211"),
    ("au-medicare", "2123 45670 1", "2123 45680 1"),
    ("sin", "130-692-544", "046-454-286"),
    ("cpf", "111.444.777-35", "111.444.777-36"),
    ("cnpj", "11.222.333/0001-81", "11.222.333/0001-82"),
    ("verhoeff", "2363", "2364"),
    ("aadhaar", "3123 4567 8909", "3123 4567 8908"),
    ("pan", "ABBPM4567S", "ABBXM4567S"),
    ("gstin", "27AAPFU0939F1ZV", "27AAPFU0939F1ZW"),
    ("sg-nric", "S1234567D", "S1234567A"),
    ("sg-nric", "G1234567X", "G1122144K"),
    ("sg-uen", "53125226D", "53125226A"),
    ("sg-uen", "201434292D", "201434292E"),
    ("sg-uen", "T16RF0037C", "T16RF0037D"),
    ("sg-uen", "S57TU0392K", "S57TU0392L"),
    ("th-id", "1220000000007", "1220000000008"),
    ("tckn", "10000000146", "10000000145"),
    ("kr-rrn", "960121-1234567", "961321-1234567"),
    ("kr-rrn", "111111-1111112", "111111-1111111"),
    ("kr-brn", "104-86-56659", "104-86-56658"),
    ("cn-resident", "11010519491231002X", "110105194912310021"),
    ("my-number", "123456789018", "123456789019"),
    ("il-id", "123456782", "123456783"),
    ("za-id", "8001015009087", "8001015009088"),
    ("base58check", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3"),
    ("bech32", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdd"),
    ("eip55", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed"),
];

#[test]
fn checks_tell_a_number_from_a_slip() {
    let mut wrong = Vec::new();
    for (name, good, bad) in CASES {
        let check = by_name(name).unwrap();
        wrong.extend((!check(good.as_bytes())).then(|| format!("{name} refuses {good}")));
        wrong.extend(check(bad.as_bytes()).then(|| format!("{name} accepts {bad}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn checks_take_anything() {
    let mut texts = vec![Vec::new(), b" -./".to_vec(), vec![0xff; 40]];
    for (_, good, _) in CASES {
        let good = good.as_bytes();
        texts.extend((0..good.len()).map(|end| good[..end].to_vec()));
        for byte in [b'0', b'9', b'A', b'Z', b'z', b'-', 0, 0xc3] {
            texts.extend((0..good.len()).map(|at| [&good[..at], &[byte], &good[at + 1..]].concat()));
        }
        texts.push(good.repeat(8));
    }
    for (_, check) in VALIDATORS {
        for text in &texts {
            let _ = check(text);
        }
    }
}
