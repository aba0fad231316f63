//! YAML as a person would write it: lists of words in one line, and one anchor for a block that stands in several places.

use serde_yaml::Value;

/// A tree as the value of `key`.
pub(super) fn emitted(key: &str, value: &Value) -> String {
    let mut emitter = Emitter::default();
    emitter.count(value);
    emitter.entry(key, value, 0);
    emitter.text
}

#[derive(Default)]
struct Emitter {
    text: String,
    /// Blocks that were seen, and whether more than once.
    seen: Vec<(Value, bool)>,
    /// The anchors of those that were written, and of which block.
    anchors: Vec<(String, Value)>,
    /// The option that is being written, by which its anchors are called.
    option: String,
}

/// Only a block with options of its own is worth an anchor.
fn is_block(value: &Value) -> bool {
    value.get("properties").is_some() && value.get("type").is_some()
}

impl Emitter {
    fn count(&mut self, value: &Value) {
        if is_block(value) {
            if let Some((_, again)) = self.seen.iter_mut().find(|(one, _)| one == value) {
                *again = true;
                return;
            }
            self.seen.push((value.clone(), false));
        }
        match value {
            Value::Mapping(map) => map.values().for_each(|value| self.count(value)),
            Value::Sequence(list) => list.iter().for_each(|value| self.count(value)),
            _ => {}
        }
    }

    /// What stands behind `key:` or `-`: an alias alone, an anchor before a block, or nothing.
    fn anchored(&mut self, value: &Value) -> (String, bool) {
        if !self.seen.iter().any(|(one, again)| *again && one == value) {
            return (String::new(), true);
        }
        if let Some((name, _)) = self.anchors.iter().find(|(_, one)| one == value) {
            return (format!(" *{name}"), false);
        }
        let taken = |name: &str| self.anchors.iter().any(|(one, _)| one == name);
        let numbered = (2..).map(|number| format!("{}-{number}", self.option));
        let name = std::iter::once(self.option.clone()).chain(numbered).find(|name| !taken(name)).unwrap();
        self.anchors.push((name.clone(), value.clone()));
        (format!(" &{name}"), true)
    }

    fn entry(&mut self, key: &str, value: &Value, indentation: usize) {
        let (anchor, whole) = self.anchored(value);
        self.text.extend([&" ".repeat(indentation), key, ":", &anchor]);
        match value {
            _ if !whole => self.text.push('\n'),
            Value::Mapping(map) => {
                self.text.push('\n');
                let outer = self.option.clone();
                for (inner, value) in map {
                    let inner = inner.as_str().unwrap();
                    if key == "properties" {
                        inner.clone_into(&mut self.option);
                    }
                    self.entry(inner, value, indentation + 2);
                }
                self.option = outer;
            }
            Value::Sequence(list) if list.iter().any(Value::is_mapping) => {
                self.text.push('\n');
                for one in list {
                    self.item(one, indentation + 2);
                }
            }
            Value::Sequence(list) => {
                let words: Vec<String> = list.iter().map(|one| scalar(one, true)).collect();
                self.text.extend([" [", &words.join(", "), "]\n"]);
            }
            one => self.text.extend([" ", &scalar(one, false), "\n"]),
        }
    }

    fn item(&mut self, value: &Value, indentation: usize) {
        let (anchor, whole) = self.anchored(value);
        let blank = " ".repeat(indentation);
        if !whole {
            return self.text.extend([&blank, "-", &anchor, "\n"]);
        }
        let start = self.text.len();
        for (key, value) in value.as_mapping().unwrap() {
            self.entry(key.as_str().unwrap(), value, indentation + 2);
        }
        if anchor.is_empty() {
            let dash = start + indentation;
            self.text.replace_range(dash..=dash, "-");
        } else {
            self.text.insert_str(start, &format!("{blank}-{anchor}\n"));
        }
    }
}

/// A scalar, in quotes where any version of YAML could read it as something else.
fn scalar(value: &Value, in_list: bool) -> String {
    let Value::String(text) = value else { return serde_json::to_string(value).unwrap() };
    let word = text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let sentence = !in_list
        && text.chars().all(|c| c.is_alphanumeric() || " -_.,;:/()'+=*@$~#\"…".contains(c))
        && ![": ", " #"].iter().any(|odd| text.contains(odd))
        && !text.ends_with([':', ' ']);
    let other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = (word || sentence)
        && text.starts_with(|c: char| c.is_alphabetic())
        && !other.contains(&text.to_lowercase().as_str());
    if plain { text.clone() } else { serde_json::to_string(text).unwrap() }
}

#[test]
fn what_is_written_is_read_again() {
    let block = r#"{type: object, properties: {on: {description: "a: b"}, list: {enum: ["no", "1", x]}}}"#;
    let list = format!("{{oneOf: [{block}, {{type: array, items: {block}}}]}}");
    let tree = format!("{{properties: {{a: {block}, b: {list}, c: 'a # b'}}}}");
    let tree: Value = serde_yaml::from_str(&tree).unwrap();
    let text = emitted("root", &tree);
    assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap()["root"], tree, "{text}");
    assert_eq!((text.matches("&a").count(), text.matches("*a").count()), (1, 2), "{text}");
}
