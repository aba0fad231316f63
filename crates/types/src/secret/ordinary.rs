//! Which words any text may hold: hidden, they would mangle the log.

/// Words that stand beside secrets, and in every log.
const COMMON: &[&str] = &[
    "localhost",
    "latest",
    "default",
    "production",
    "staging",
    "development",
    "password",
    "passwd",
    "secret",
    "username",
    "postgres",
    "postgresql",
    "mysql",
    "global",
    "public",
    "private",
    "enabled",
    "disabled",
    "required",
    "prefer",
    "bearer",
    "digest",
    "negotiate",
    "verify-full",
    "verify-ca",
    "service_account",
];

/// What a key is called that names no secret.
const HARMLESS: &[&str] = &[
    "host",
    "hostname",
    "hostaddr",
    "server",
    "machine",
    "port",
    "name",
    "database",
    "db",
    "dbname",
    "region",
    "zone",
    "type",
    "kind",
    "version",
    "apiversion",
    "sslmode",
    "ssl",
    "tls",
    "engine",
    "driver",
    "scheme",
    "protocol",
    "environment",
    "env",
    "namespace",
    "cluster",
    "format",
    "encoding",
    "timeout",
];

/// What a key is called that names a secret, or how it ends.
const TELLING: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "pass",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "bearer",
    "basic",
];

/// Whether a word says nothing: one of a language, a number, a name of several such as `eu-west-1` or `api.example.com`.
pub(super) fn is_ordinary(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    if is_common(word) {
        return true;
    }
    // A name has these between its words.
    let named = |c: char| c.is_alphanumeric() || "-._/@:,=".contains(c);
    word.chars().all(named) && word.split(|c: char| !c.is_alphanumeric()).all(is_word)
}

/// Whether a word stands in every log.
pub(super) fn is_common(word: &str) -> bool {
    COMMON.iter().any(|common| common.eq_ignore_ascii_case(word))
}

/// Letters of one case, perhaps after a capital, and a short number after them; or a number alone.
fn is_word(part: &str) -> bool {
    let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = part.len() - letters.len();
    let rest = letters.chars().next().map_or("", |first| letters.get(first.len_utf8()..).unwrap_or_default());
    let one_case = letters.chars().all(char::is_uppercase) || rest.chars().all(char::is_lowercase);
    // Hexadecimal digits and short names such as `x86` and `v1`.
    part.len() < 6 || letters.is_empty() || (one_case && digits <= 3)
}

/// Whether a key, as it is written, names what is no secret.
pub(super) fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key.trim_start_matches('-').to_ascii_lowercase().as_str())
}

/// Whether a word says that the next is a secret.
pub(super) fn is_telling(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    TELLING.iter().any(|telling| word.ends_with(telling))
}
