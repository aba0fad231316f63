//! What steps call each other.

use std::collections::BTreeMap;

use super::error::{Problem, UnknownKey, Wrong};
use super::place::Path;
use super::{Kind, Pipeline, Step, StepId};

/// The longest key that Buildkite takes.
const LONGEST: usize = 100;

/// Every key of a pipeline, and the steps behind it.
#[derive(Debug)]
pub(super) struct Keys<'p>(BTreeMap<&'p str, Vec<StepId>>);

impl<'p> Keys<'p> {
    pub(super) fn of(pipeline: &'p Pipeline) -> Self {
        let mut keys = BTreeMap::new();
        let mut next = 0..;
        for step in &pipeline.steps {
            let members = match &step.kind {
                Kind::Group(members) => members.as_slice(),
                _ => std::slice::from_ref(step),
            };
            let numbered: Vec<_> = members.iter().zip(next.by_ref().map(StepId)).collect();
            if let (Kind::Group(_), Some(key)) = (&step.kind, &step.key) {
                keys.insert(key.as_str(), numbered.iter().map(|(_, id)| *id).collect());
            }
            for (member, id) in numbered {
                if let Some(key) = &member.key {
                    keys.insert(key.as_str(), vec![id]);
                }
            }
        }
        Self(keys)
    }

    /// The step with this key, or the members of the group with it.
    pub(super) fn get(&self, key: &str) -> Option<&[StepId]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// That there is no such key, and which one may have been meant.
    pub(super) fn unknown(&self, key: &str) -> UnknownKey {
        let distance = |known: &str| strsim::damerau_levenshtein(known, key);
        let nearest = self.0.keys().map(|known| (distance(known), *known)).min();
        let near = nearest.filter(|(distance, known)| *distance <= known.chars().count().max(3) / 3);
        let known = self.0.keys().map(|known| (*known).to_owned()).collect();
        UnknownKey { key: key.to_owned(), nearest: near.map(|(_, known)| known.to_owned()), known }
    }
}

/// Refuses keys that Buildkite would refuse.
pub(super) fn check(pipeline: &Pipeline) -> Result<(), Wrong> {
    let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
    for step in pipeline.steps.iter().flat_map(with_members) {
        let Some(key) = &step.key else { continue };
        let wrong = |problem| Err(Wrong { path: step.path.key("key"), problem });
        let good = |c: char| c.is_ascii_alphanumeric() || "_-:.,".contains(c);
        if key.len() > LONGEST || !key.chars().all(good) {
            return wrong(Problem::KeyCharacters(key.clone()));
        }
        if looks_like_uuid(key) {
            return wrong(Problem::KeyUuid(key.clone()));
        }
        if let Some(first) = seen.insert(key, &step.path) {
            return wrong(Problem::DuplicateKey { key: key.clone(), first: first.clone() });
        }
    }
    Ok(())
}

fn with_members(step: &Step) -> impl Iterator<Item = &Step> {
    let members = match &step.kind {
        Kind::Group(members) => members.as_slice(),
        _ => &[],
    };
    std::iter::once(step).chain(members)
}

fn looks_like_uuid(key: &str) -> bool {
    let parts: Vec<_> = key.split('-').collect();
    let hexadecimal = parts.iter().all(|part| part.chars().all(|c| c.is_ascii_hexdigit()));
    hexadecimal && parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Pipeline::parse(text, None).unwrap_err().to_string()
    }

    #[test]
    fn a_key_of_other_characters_is_refused() {
        let expected = "the key `a/b` may hold only letters, digits and `_-:.,`, at most 100 of them \
                        at steps[0].key (line 1, column 24)";
        assert_eq!(refusal("steps: [{wait: ~, key: a/b}]"), expected);
        assert!(refusal(&format!("[{{wait: ~, key: {}}}]", "x".repeat(101))).contains("at most 100"));
        assert!(Pipeline::parse("[{wait: ~, key: 'Build_1-a:b.c,d'}]", None).is_ok());
    }

    #[test]
    fn a_key_like_a_uuid_is_refused() {
        let key = "0188ea9b-2a9f-4f3e-8f1e-0a6a3b7c9D10";
        assert!(
            refusal(&format!("[{{wait: ~, id: {key}}}]")).contains("looks like a UUID at [0].key (line 1,")
        );
        assert!(Pipeline::parse(&format!("[{{wait: ~, key: {key}a}}]"), None).is_ok());
    }

    #[test]
    fn a_key_is_used_once_groups_included() {
        let text = "\
steps:
  - group: g
    key: a
    steps:
      - wait: ~
        key: b
  - { wait: ~, key: b }
";
        let expected = "the key `b` is already used by steps[0].steps[0] at steps[1].key (line 7, column 21)";
        assert_eq!(refusal(text), expected);
        assert!(refusal(&text.replace("key: b", "key: a")).contains("already used by steps[0] at"));
    }

    #[test]
    fn a_group_is_named_for_all_its_members() {
        let text = "[wait, {group: g, key: g, steps: [wait, {wait: ~, key: b}]}, {wait: ~, key: c}]";
        let pipeline = Pipeline::parse(text, None).unwrap();
        assert_eq!(pipeline.named("g").unwrap(), [StepId(1), StepId(2)]);
        assert_eq!(pipeline.named("b").unwrap(), [StepId(2)]);
        assert_eq!(pipeline.named("c").unwrap(), [StepId(3)]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let pipeline = Pipeline::parse("[{wait: ~, key: deploy}, {wait: ~, key: test}]", None).unwrap();
        let check = |key, message: &str| {
            assert_eq!(pipeline.named(key).unwrap_err().to_string(), message);
        };
        check("tset", "no step has the key `tset`; did you mean `test`?");
        check("depoly", "no step has the key `depoly`; did you mean `deploy`?");
        check("lint", "no step has the key `lint`");
    }
}
