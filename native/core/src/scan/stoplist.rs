//! What looks like a secret and is none: placeholders, and identifiers that are made to be public.

/// Whether a value is a placeholder.
#[must_use]
pub fn is_placeholder(value: &[u8]) -> bool {
    value.starts_with(b"${") || value.starts_with(b"{{") || value.iter().all(|byte| *byte == value[0])
}
