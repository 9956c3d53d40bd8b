//! Shapes that code tells better than an expression, each a function from a position to a verdict.

mod email;
mod iban;
mod infix;
mod ip;
mod jwt;
mod mac;
mod pem;
mod phone;
mod phone_words;
mod record;
mod secret;
mod ssn;
mod url_credentials;

use super::window::{Verdict, Window};

/// Says whether a value stands where a trigger was seen. It may begin up to [`super::window::REACH`] bytes earlier, but never
/// before a byte that breaks runs (see [`super::prefilter::breaks`]).
pub(super) type Matcher = fn(&Window<'_>, usize) -> Verdict;

/// What makes the engine ask a matcher about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// An `@`.
    At,
    /// A `:`.
    Colon,
    /// The start of an alphanumeric run that holds a digit (see [`super::rules::Start::Number`]), if an expression matches
    /// there: what every match begins with, so that most runs need not be asked about.
    Number(&'static str),
    /// The start of a token that one of the rule's context words precedes (see [`super::rules::Start::Token`]), likewise.
    Token(&'static str),
    /// As [`Trigger::Number`]; the match may begin at signs before it.
    Signed(&'static str),
    /// One of these, which need not be letters.
    Literals(&'static [&'static str]),
}

/// All matchers by the names that rules use.
pub(super) const MATCHERS: &[(&str, Trigger, Matcher)] = &[
    ("attached-secret", Trigger::Number("[0-9A-Za-z-]{16}"), secret::attached),
    ("email", Trigger::At, email::email),
    (
        "entra-secret",
        Trigger::Literals(&["0Q~", "1Q~", "2Q~", "3Q~", "4Q~", "5Q~", "6Q~", "7Q~", "8Q~", "9Q~"]),
        infix::entra,
    ),
    ("jwt", Trigger::Literals(&["eyJ"]), jwt::jwt),
    (
        "mailchimp-key",
        Trigger::Literals(&["-us1", "-us2", "-us3", "-us4", "-us5", "-us6", "-us7", "-us8", "-us9"]),
        infix::mailchimp,
    ),
    ("maxmind-key", Trigger::Literals(&["_mmk"]), infix::maxmind),
    ("named-secret", Trigger::Token(r"[0-9A-Za-z_+/=.~!@#$%^&*?:|-]{8}"), secret::named),
    ("openai-key", Trigger::Literals(&["T3BlbkFJ"]), infix::openai),
    ("password", Trigger::Literals(&["assw", "pwd"]), secret::password),
    ("pem", Trigger::Literals(&["-BEGIN "]), pem::pem),
    ("terraform-token", Trigger::Literals(&[".atlasv1."]), infix::terraform),
    ("url-credentials", Trigger::At, url_credentials::url_credentials),
    ("vendor-secret", Trigger::Token("[0-9A-Za-z_+/=.~-]{12}"), secret::vendor),
    ("iban", Trigger::Number("[A-Za-z]{2}[0-9]{2}"), iban::iban),
    ("ipv4", Trigger::Number(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"), ip::ipv4),
    ("ipv6", Trigger::Colon, ip::ipv6),
    ("mac", Trigger::Colon, mac::mac),
    ("phone", Trigger::Signed("[0-9][^A-Za-z]"), phone::phone),
    ("record-account", Trigger::Number("[0-9]{8}"), record::account),
    ("record-date", Trigger::Number("[0-9]{1,4}[-/.][0-9]"), record::date),
    ("ssn-blanks", Trigger::Number("[0-9]{3} [0-9]{2} [0-9]{4}"), ssn::with_blanks),
    ("record-passport", Trigger::Number("[A-Z][0-9A-Z]{2}[0-9]{6}"), record::passport),
];

/// The matcher of a name.
#[must_use]
pub(super) fn by_name(name: &str) -> Option<(Trigger, Matcher)> {
    MATCHERS.iter().find(|(known, ..)| *known == name).map(|(_, trigger, matcher)| (*trigger, *matcher))
}
