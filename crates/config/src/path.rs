//! The way to a value of a configuration: `credentials[1].aws.role`.

use serde_json::Value;

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The way as a person writes it.
pub fn written(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => text.extend([".", key]),
        }
    }
    text
}

/// The way that `place` writes, as far as `tree` has it, and the key that is not there.
pub fn locate(tree: &Value, place: &str) -> (Vec<Segment>, Option<String>) {
    let (mut path, mut at, mut rest) = (Vec::new(), tree, place.trim_start_matches('.'));
    while !rest.is_empty() {
        let Some((segment, inner, after)) = step(at, rest) else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            return (path, rest.get(..end).filter(|key| !key.is_empty()).map(str::to_owned));
        };
        path.push(segment);
        (at, rest) = (inner, after.strip_prefix('.').unwrap_or(after));
    }
    (path, None)
}

fn step<'v, 'p>(at: &'v Value, rest: &'p str) -> Option<(Segment, &'v Value, &'p str)> {
    if let Some(inside) = rest.strip_prefix('[') {
        let (index, after) = inside.split_once(']')?;
        let index: usize = index.parse().ok()?;
        return Some((Segment::Index(index), at.get(index)?, after));
    }
    // A key may have dots of its own: the longest that fits.
    let whole = |after: &str| after.is_empty() || after.starts_with(['.', '[']);
    let fits = at.as_object()?.iter().filter_map(|(key, inner)| {
        let after = rest.strip_prefix(key.as_str()).filter(|after| whole(after))?;
        Some((Segment::Key(key.clone()), inner, after))
    });
    fits.min_by_key(|(_, _, after)| after.len())
}

/// The way that is written where no key has a dot: `steps[1].steps[0]`.
pub fn parse(place: &str) -> Vec<Segment> {
    let parts = place.split(['.', '[']).filter(|part| !part.is_empty());
    let segment = |part: &str| match part.strip_suffix(']').and_then(|index| index.parse().ok()) {
        Some(index) => Segment::Index(index),
        None => Segment::Key(part.to_owned()),
    };
    parts.map(segment).collect()
}

/// The value at the end of the way.
pub fn get<'v>(tree: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(tree, |at, segment| match segment {
        Segment::Key(key) => at.get(key),
        Segment::Index(index) => at.get(index),
    })
}

/// The same, to be changed.
pub fn get_mut<'v>(tree: &'v mut Value, path: &[Segment]) -> Option<&'v mut Value> {
    path.iter().try_fold(tree, |at, segment| match segment {
        Segment::Key(key) => at.get_mut(key),
        Segment::Index(index) => at.get_mut(index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_found_as_it_is_written_and_keys_may_have_dots() {
        let tree = json!({"grants": [{"claims": {"agent_tag:a.b": "x"}}]});
        let place = "grants[0].claims.agent_tag:a.b";
        let (path, missing) = locate(&tree, place);
        assert_eq!((written(&path).as_str(), missing), (place, None));
        assert_eq!(get(&tree, &path), Some(&json!("x")));
        let (path, missing) = locate(&tree, "grants[0].name");
        assert_eq!((written(&path).as_str(), missing.as_deref()), ("grants[0]", Some("name")));
    }
}
