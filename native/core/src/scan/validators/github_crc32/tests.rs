use super::*;

#[test]
fn the_check_value_is_the_one_of_ieee() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_token_ends_in_its_check_value() {
    let body = "a1B2".repeat(7) + "zz";
    let mut sum = crc32(body.as_bytes());
    let mut check = [0; CHECK];
    for digit in check.iter_mut().rev() {
        *digit = DIGITS[(sum % 62) as usize];
        sum /= 62;
    }
    let token = format!("ghp_{body}{}", String::from_utf8_lossy(&check));
    assert!(github_crc32(token.as_bytes()));
    assert!(!github_crc32(token.replace("zz", "zy").as_bytes()));
    assert!(!github_crc32(b"ghp_"));
    assert!(!github_crc32(b"nothing"));
}
