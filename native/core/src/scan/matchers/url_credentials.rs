//! Passwords in URLs: `scheme://user:password@host`.

use crate::scan::bytes::ByteSet;
use crate::scan::prefilter::breaks;
use crate::scan::stoplist::{holds, is_placeholder};
use crate::scan::window::{Match, REACH, Verdict, Window};

const HOST_MAX: usize = 128;
static HOST: ByteSet = ByteSet::of(b".-_:").alphanumeric();

/// The password before an `@`.
pub(super) fn url_credentials(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    let (host, open) = window.run(at + 1, HOST_MAX, |byte| HOST.has(byte));
    // A later `@` in the same authority: the password goes on up to there, and is asked about again.
    if !open && (host == at + 1 && window.get(host) != Some(b'[') || window.get(host) == Some(b'@')) {
        return Verdict::No;
    }
    let least = at.saturating_sub(REACH);
    let mut colons = memchr::memrchr_iter(b':', &text[least..at]).map(|colon| least + colon);
    let Some(scheme) = colons.find(|colon| text[*colon..at].starts_with(b"://")) else { return Verdict::No };
    let user = scheme + 3;
    let userinfo = &text[user..at];
    let Some(colon) = userinfo.iter().position(|byte| *byte == b':') else { return Verdict::No };
    let start = user + colon + 1;
    let named =
        scheme > least && text[scheme - 1].is_ascii_alphanumeric() && !userinfo.iter().any(|byte| breaks(*byte));
    // A path before the `@` means that it is none of the authority's.
    if !named
        || userinfo[..colon].iter().any(|byte| matches!(byte, b'/' | b'?' | b'#'))
        || text[start..at].starts_with(b"/")
    {
        return Verdict::No;
    }
    if open {
        return Verdict::More;
    }
    let password = &text[start..at];
    let path = password
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .is_some_and(|slash| password[..slash].iter().all(u8::is_ascii_digit));
    let odd = colon == 0 && password.contains(&b':');
    if password.len() < 4 || path || odd || is_placeholder(password) || is_dull(password) {
        return Verdict::No;
    }
    Verdict::Match(Match { start, end: at, score: 0.9 })
}

/// What documentation writes for a password.
fn is_dull(password: &[u8]) -> bool {
    const DULL: &[&str] = &["pass", "user", "secret", "test", "admin", "root", "guest", "token", "pwd"];
    DULL.iter().any(|word| password.eq_ignore_ascii_case(word.as_bytes()))
        || (password.len() < 10 && holds(password, b"pass"))
        || matches!(password[0], b'$' | b'%' | b'<' | b'*' | b':')
}

#[cfg(test)]
mod tests;
