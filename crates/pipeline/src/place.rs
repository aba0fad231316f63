//! Where in a pipeline's text something stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::spelling::spellings;

/// The way from a document's root to a value: `steps[2].depends_on[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// One step further, into a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Segment::Key(key.to_owned()))
    }

    /// One step further, into a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    fn then(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the document");
        }
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A path, and where the text has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The way from the root.
    pub path: Path,
    /// Line and column, both from 1, of the value or of the nearest thing around it that the text spells out.
    pub position: Option<(usize, usize)>,
}

impl Place {
    /// Looks `path` up in `text`.
    pub(super) fn find(text: &str, path: Path) -> Self {
        let mut lengths = (0..=path.0.len()).rev();
        let position = lengths.find_map(|length| mark(text, path.0.get(..length)?));
        Self { path, position }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{} (line {line}, column {column})", self.path),
            None => self.path.fmt(f),
        }
    }
}

/// The parser tells places in its errors only: walk to the value, fail there, and read where that was.
fn mark(text: &str, path: &[Segment]) -> Option<(usize, usize)> {
    let error = Walk(path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.to_string().contains(ARRIVED).then_some(())?;
    error.location().map(|at| (at.line(), at.column()))
}

const ARRIVED: &str = "arrived at the place";

struct Walk<'p>(&'p [Segment]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Scalars: either this is the place, or the way leads into nothing.
macro_rules! scalar {
    ($($method:ident($($kind:ty)?))*) => {$(
        fn $method<E: serde::de::Error>(self $(, _: $kind)?) -> Result<(), E> {
            if self.0.is_empty() { Err(E::custom(ARRIVED)) } else { Ok(()) }
        }
    )*};
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    scalar!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str) visit_unit());

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.0 {
            [] => return Err(A::Error::custom(ARRIVED)),
            [Segment::Key(key), rest @ ..] => (spellings(key), rest),
            [Segment::Index(_), ..] => (Vec::new(), self.0),
        };
        while let Some(key) = map.next_key::<serde_yaml::Value>()? {
            if key.as_str().is_some_and(|key| wanted.contains(&key)) {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (mut before, rest) = match self.0 {
            [] => return Err(A::Error::custom(ARRIVED)),
            [Segment::Index(index), rest @ ..] => (*index, rest),
            [Segment::Key(_), ..] => (usize::MAX, self.0),
        };
        while before > 0 && list.next_element::<IgnoredAny>()?.is_some() {
            before -= 1;
        }
        list.next_element_seed(Walk(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
steps:
  - command: a
    id: first
  - command: b
    depends_on:
      - first
      - { step: second }
  - wait
";

    fn step(index: usize) -> Path {
        Path::default().key("steps").index(index)
    }

    #[track_caller]
    fn check(path: Path, expected: &str) {
        assert_eq!(Place::find(TEXT, path).to_string(), expected);
    }

    #[test]
    fn a_value_is_found_in_maps_and_lists() {
        check(step(1).key("depends_on").index(0), "steps[1].depends_on[0] (line 6, column 9)");
        check(
            step(1).key("depends_on").index(1).key("step"),
            "steps[1].depends_on[1].step (line 7, column 17)",
        );
        check(step(2), "steps[2] (line 8, column 5)");
        check(step(1), "steps[1] (line 4, column 5)");
    }

    #[test]
    fn another_spelling_of_the_key_is_found() {
        check(step(0).key("key"), "steps[0].key (line 3, column 9)");
    }

    #[test]
    fn what_the_text_does_not_spell_out_is_placed_at_what_holds_it() {
        check(step(0).key("env").key("X"), "steps[0].env.X (line 2, column 5)");
        check(step(9), "steps[9] (line 2, column 3)");
    }
}
