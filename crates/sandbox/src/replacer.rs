//! What the agent's log hides, as it hides it (`internal/replacer` and `internal/redact` of buildkite/agent): over line
//! ends and over the pieces in which a text arrives, a line break of a hidden text standing for any white space.

use std::collections::BTreeMap;
use std::ops::Range;

use zeroize::Zeroizing;

const REDACTED: &[u8] = b"[REDACTED]";

/// A text that may turn out to be a hidden one.
#[derive(Clone, Copy, Debug)]
struct Partial {
    needle: usize,
    /// How much of it was seen.
    position: usize,
    /// How many bytes that took.
    length: usize,
}

/// A log on its way to whoever reads it.
#[derive(Debug, Default)]
pub(super) struct Replacer {
    needles: Vec<Zeroizing<Vec<u8>>>,
    /// Which begin with a byte.
    by_first: BTreeMap<u8, Vec<usize>>,
    held: Vec<u8>,
    partial: Vec<Partial>,
    /// What of `held` is to be hidden, in order.
    found: Vec<Range<usize>>,
}

impl Replacer {
    /// Hides one more text from now on.
    pub(super) fn hide(&mut self, text: &str) {
        let needle = Zeroizing::new(normalised(text).into_bytes());
        if let Some(first) = needle.first()
            && !self.needles.contains(&needle)
        {
            self.by_first.entry(*first).or_default().push(self.needles.len());
            self.needles.push(needle);
        }
    }

    /// How many texts are hidden.
    pub(super) fn len(&self) -> usize {
        self.needles.len()
    }

    /// Takes a piece of the log; what of it can be shown by now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            self.held.push(*byte);
            self.step(*byte);
        }
        let begun = self.partial.iter().map(|partial| self.held.len() - partial.length).min();
        self.show(begun.unwrap_or(self.held.len()))
    }

    /// The rest: what has begun and did not end is shown.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        self.partial.clear();
        self.show(self.held.len())
    }

    fn step(&mut self, byte: u8) {
        let mut next = Vec::new();
        let begins = self.by_first.get(&byte).map(Vec::as_slice).unwrap_or_default();
        let begins = begins.iter().map(|needle| Partial { needle: *needle, position: 0, length: 0 });
        for mut one in self.partial.drain(..).chain(begins) {
            let Some(needle) = self.needles.get(one.needle) else { continue };
            one.length += 1;
            match needle.get(one.position) {
                Some(b'\n') if b"\t\n\x0b\x0c\r ".contains(&byte) => {
                    // More white space may follow, or the rest.
                    next.push(one);
                    one.position += 1;
                }
                Some(expected) if *expected == byte => one.position += 1,
                _ => continue,
            }
            if one.position < needle.len() {
                next.push(one);
            } else {
                self.found.push(self.held.len() - one.length..self.held.len());
            }
        }
        self.partial = next;
    }

    /// What stands before `limit`, without what is hidden, unless that would cut a hidden text.
    fn show(&mut self, mut limit: usize) -> Vec<u8> {
        self.found.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in self.found.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        limit = merged.iter().find(|range| range.contains(&limit)).map_or(limit, |range| range.start);
        let (mut shown, mut done) = (Vec::new(), 0);
        for range in merged.iter().filter(|range| range.end <= limit) {
            shown.extend_from_slice(self.held.get(done..range.start).unwrap_or_default());
            shown.extend_from_slice(REDACTED);
            done = range.end;
        }
        shown.extend_from_slice(self.held.get(done..limit).unwrap_or_default());
        self.held.drain(..limit);
        let rest = merged.into_iter().filter(|range| range.end > limit);
        self.found = rest.map(|range| range.start - limit..range.end - limit).collect();
        shown
    }
}

/// Lines without white space around them, and without those that are empty.
fn normalised(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.trim_matches([' ', '\r', '\t']));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hidden: &[&str], pieces: &[&str]) -> String {
        let mut replacer = Replacer::default();
        for text in hidden {
            replacer.hide(text);
        }
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| replacer.write(piece.as_bytes())).collect();
        shown.extend(replacer.flush());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_text_is_hidden_over_pieces_and_line_ends() {
        assert_eq!(shown(&["hunter2"], &["it is hun", "ter2 and hunter"]), "it is [REDACTED] and hunter");
        assert_eq!(shown(&["one\n  two\n"], &["a one\r\n", "\ttwo b"]), "a [REDACTED] b");
    }

    #[test]
    fn what_overlaps_is_hidden_together() {
        assert_eq!(shown(&["abcdef", "efghij", "abc"], &["abcdefg", "hij."]), "[REDACTED].");
    }
}
