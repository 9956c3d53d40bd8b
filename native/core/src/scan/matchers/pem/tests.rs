use crate::scan::{Policy, Rules, Scanner};

fn redacted(text: &str) -> Option<String> {
    Scanner::new(Rules::builtin(), &Policy::default()).scan(text).redacted
}

fn block(label: &str, newline: &str) -> String {
    let line = "q7Rk2mVx9Lt0ZwB3nYpQ8sJd+HcG5fTgKe1Wa/UoX6iNbMrEzDyCvA4hSlPqIu7";
    let dashes = "-".repeat(5);
    [format!("{dashes}BEGIN {label}{dashes}"), line.into(), line.into(), format!("{dashes}END {label}{dashes}")]
        .join(newline)
}

#[test]
fn a_private_key_is_found_with_its_armour() {
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"] {
        let text = format!("see\n{}\nbelow", block(label, "\n"));
        assert_eq!(redacted(&text).as_deref(), Some("see\n<SECRET>\nbelow"), "{label}");
    }
}

#[test]
fn line_breaks_may_be_escaped() {
    let text = format!(r#"{{"private_key": "{}\n"}}"#, block("PRIVATE KEY", r"\n"));
    assert_eq!(redacted(&text).as_deref(), Some(r#"{"private_key": "<SECRET>\n"}"#));
}

#[test]
fn a_key_that_is_cut_off_is_found_up_to_its_last_line() {
    let whole = block("EC PRIVATE KEY", "\n");
    let cut = &whole[..whole.len() - 40];
    assert_eq!(redacted(cut).as_deref(), Some("<SECRET>"));
}

#[test]
fn public_keys_and_descriptions_stay() {
    assert_eq!(redacted(&block("PUBLIC KEY", "\n")), None);
    let dashes = "-".repeat(5);
    assert_eq!(
        redacted(&format!("{dashes}BEGIN PRIVATE KEY{dashes}\nanything\n{dashes}END PRIVATE KEY{dashes}")),
        None
    );
    assert_eq!(redacted(&format!("It starts with {dashes}BEGIN PRIVATE KEY{dashes} as a rule.")), None);
}

#[test]
fn pieces_are_found_like_the_whole() {
    let text = format!("a {} b", block("RSA PRIVATE KEY", "\n"));
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    let whole = scanner.scan(&text);
    for size in [1, 7, 64] {
        let (mut stream, mut out) = (scanner.stream(), String::new());
        for piece in text.as_bytes().chunks(size) {
            stream.feed(std::str::from_utf8(piece).unwrap(), &mut out).unwrap();
        }
        stream.finish(&mut out).unwrap();
        assert_eq!(Some(out), whole.redacted, "in pieces of {size}");
    }
}
