//! What an author probably meant by a name that is not known.

/// The known word that the author probably meant, however it is spelled: `Session_Name` is `session-name`.
pub fn nearest<'a>(seen: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.replace(['_', '-', ' '], "").to_lowercase();
    let seen = plain(seen);
    let distance = |word: &&str| strsim::damerau_levenshtein(&seen, &plain(word));
    known.iter().copied().min_by_key(distance).filter(|word| distance(word) <= (word.len() / 3).max(1))
}
