//! The values in XML.

use super::plain::of_entities;

/// The texts between the tags of XML. What is called a key or a name is none. At most `most` of each kind.
pub(super) fn elements(text: &str, found: &mut Vec<String>, most: usize) {
    for part in text.split("<![CDATA[").skip(1).take(most) {
        found.extend(part.split("]]>").next().map(str::to_owned));
    }
    for (tag, text) in text.split('<').take(most).filter_map(|part| part.split_once('>')) {
        let text = text.trim();
        let name = tag.split(char::is_whitespace).next().unwrap_or_default();
        if !matches!(name, "key" | "name") {
            found.extend([of_entities(text), Some(text.to_owned())].into_iter().flatten());
        }
    }
}
