//! What is piped into this process.

use std::io::{self, Read as _};

use super::files::MAX_LENGTH;

/// All of it, and nothing where a terminal or nobody is behind it.
pub fn read() -> io::Result<Vec<u8>> {
    use std::io::IsTerminal as _;
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_LENGTH).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
