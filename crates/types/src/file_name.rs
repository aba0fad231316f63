//! Texts as names of files.

/// A text as one name in a folder: what could leave the folder or hide in it is replaced. At most 80 characters.
pub fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_=".contains(c) { c } else { '_' };
    let name: String = text.chars().map(safe).take(80).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_the_folder() {
        for text in ["..", "../../etc", "a/b", "", "a\0b", ".hidden"] {
            let name = plain(text);
            assert!(!name.contains('/') && !name.contains('.') && !name.is_empty(), "{name}");
        }
    }
}
