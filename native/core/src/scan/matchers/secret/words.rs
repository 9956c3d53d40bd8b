//! Words that names of secrets are made of, and words that keep a name from being one.

/// Words that make the last or the last but one part of a name that of a secret.
#[rustfmt::skip]
pub(super) const SECRET_WORDS: &[&str] = &[
    "key", "keys", "token", "tokens", "tok", "secret", "secrets", "password", "passwd", "passphrase", "passcode",
    "pass", "pwd", "pw", "pat", "credential", "credentials", "creds", "cred", "auth", "authorization",
    "authentication", "bearer", "apikey", "apitoken", "apisecret", "authtoken", "accesstoken", "accesskey",
    "secretkey", "secretaccesskey", "privatekey", "clientsecret", "appsecret", "authkey", "licensekey", "access",
    "private", "psk", "jwt", "login", "passkey", "encryptionkey", "signingkey", "masterkey",
];

/// Words that tell more of a mention than of a thing: not enough in a sentence.
#[rustfmt::skip]
pub(super) const WEAK_WORDS: &[&str] = &[
    "access", "private", "pass", "login", "keys", "pat", "pw", "jwt", "psk",
];

/// Parts that may follow the word: `api_key_prod`, `token1`.
#[rustfmt::skip]
pub(super) const TAILS: &[&str] = &[
    "prod", "production", "live", "dev", "test", "staging", "stage", "sandbox", "value", "string", "text", "base64",
    "hex", "default", "header",
];

/// A name with one of these parts is that of something public.
#[rustfmt::skip]
pub(super) const PUBLIC_WORDS: &[&str] = &[
    "public", "pub", "recv", "keyserver", "gpg", "id", "ids", "sha", "sha1", "sha256", "sha384", "sha512", "md5", "crc32", "hash", "hashes",
    "digest", "checksum", "checksums", "fingerprint", "commit", "revision", "rev", "integrity", "etag", "uuid",
    "guid", "idempotency", "cache", "primary", "foreign", "partition", "sort", "index", "object", "url", "uri",
    "path", "file", "filename", "name", "type", "length", "len", "size", "version", "count", "h1", "base64", "ssh",
    "ed25519", "rsa", "trace", "span", "request", "address", "contract", "tx", "txid", "block", "build", "blob",
    "tree", "image", "resolved", "signature", "sig", "nonce", "cursor", "offset", "page", "endpoint", "max", "min",
    "hostname", "host", "model", "format", "mode",
];

/// Words that stand between a name and its value in a sentence.
#[rustfmt::skip]
pub(super) const FILLERS: &[&str] = &[
    "is", "was", "are", "to", "as", "be", "with", "of", "this", "following", "here", "equals", "the", "a", "it",
    "use", "using", "code", "one", "called", "set", "for", "now", "s",
];
