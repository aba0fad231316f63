//! How SDKs and git call this program back while a step runs.

use std::path::Path;

/// A command line for a shell or an SDK: the program, words, the block's folder, a credential's name.
pub fn line(program: &Path, words: &[&str], folder: &Path, name: &str) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    format!("{} {} {} {name}", quoted(program), words.join(" "), quoted(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_survives_blanks_and_quotes_in_paths() {
        let line = line(Path::new("/opt/a b/x"), &["token", "--block"], Path::new("/s/it's"), "main");
        assert_eq!(line, r"'/opt/a b/x' token --block '/s/it'\''s' main");
    }
}
