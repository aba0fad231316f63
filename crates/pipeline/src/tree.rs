//! A document with its anchors and merge keys resolved, and its variables replaced.

use std::collections::HashSet;

use serde_yaml::{Mapping, Value};

use super::error::{Problem, Wrong};
use super::interpolate::{Variables, expand};
use super::place::Path;
use super::scalar;

/// Reads a text: every key a string, every `<<` merged, every tag dropped.
pub(super) fn read(text: &str) -> Result<Value, Wrong> {
    let document = serde_yaml::from_str(text).map_err(|e| Wrong::root(Problem::Yaml(e)))?;
    resolved(document, &Path::default())
}

/// The parser's own merging leaves a merge inside a merged map alone and moves keys to the end; order is meaning here.
fn resolved(value: Value, path: &Path) -> Result<Value, Wrong> {
    match value {
        Value::Tagged(tagged) => resolved(tagged.value, path),
        Value::Sequence(items) => {
            let items = items.into_iter().enumerate();
            items
                .map(|(at, item)| resolved(item, &path.index(at)))
                .collect::<Result<_, _>>()
                .map(Value::Sequence)
        }
        Value::Mapping(map) => resolved_map(map, path).map(Value::Mapping),
        scalar => Ok(scalar),
    }
}

fn resolved_map(map: Mapping, path: &Path) -> Result<Mapping, Wrong> {
    let own: HashSet<String> = map.keys().filter_map(scalar::text).collect();
    let mut out = Mapping::new();
    for (key, value) in map {
        let name = scalar::text(&key)
            .filter(|_| !key.is_null())
            .ok_or_else(|| Wrong::shape(path, "a key is neither a string nor a number nor a boolean"))?;
        let value = resolved(value, &path.key(&name))?;
        if name == "<<" {
            merge(value, &own, &mut out).map_err(|what| Wrong::shape(&path.key("<<"), what))?;
        } else {
            out.insert(Value::String(name), value);
        }
    }
    Ok(out)
}

/// <https://yaml.org/type/merge.html>: a key that is there already stays.
fn merge(value: Value, own: &HashSet<String>, out: &mut Mapping) -> Result<(), &'static str> {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                if !key.as_str().is_some_and(|key| own.contains(key)) && !out.contains_key(&key) {
                    out.insert(key, value);
                }
            }
            Ok(())
        }
        Value::Sequence(items) => items.into_iter().try_for_each(|item| merge(item, own, out)),
        _ => Err("`<<` takes a map or a list of maps"),
    }
}

/// Replaces the variables in every key and every text.
pub(super) fn interpolated(value: Value, path: &Path, variables: &Variables) -> Result<Value, Wrong> {
    match value {
        Value::String(text) => interpolated_text(&text, path, variables).map(Value::String),
        Value::Sequence(items) => {
            let items = items.into_iter().enumerate();
            let item = |(at, item)| interpolated(item, &path.index(at), variables);
            items.map(item).collect::<Result<_, _>>().map(Value::Sequence)
        }
        Value::Mapping(map) => {
            let mut out = Mapping::new();
            for (key, value) in map {
                let inner = path.key(key.as_str().unwrap_or_default());
                out.insert(interpolated(key, &inner, variables)?, interpolated(value, &inner, variables)?);
            }
            Ok(Value::Mapping(out))
        }
        other => Ok(other),
    }
}

/// Replaces the variables in one text.
pub(super) fn interpolated_text(text: &str, path: &Path, variables: &Variables) -> Result<String, Wrong> {
    expand(text, variables).map_err(|e| Wrong { path: path.clone(), problem: Problem::Interpolation(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, same_as: &str) {
        let plain: Value = serde_yaml::from_str(same_as).unwrap();
        let read = read(text).unwrap();
        assert_eq!(read, plain);
        let order = |value: &Value| value.as_mapping().map(|map| map.keys().cloned().collect::<Vec<_>>());
        assert_eq!(order(&read), order(&plain));
    }

    #[test]
    fn an_alias_stands_for_its_anchor() {
        check("a: &x [1, {b: c}]\nd: *x\n", "{a: [1, {b: c}], d: [1, {b: c}]}");
    }

    #[test]
    fn merged_keys_stand_where_the_merge_stands_and_own_keys_win() {
        check("{base: &b {x: 1, y: 2}, a: {<<: *b, y: 3}}", "{base: {x: 1, y: 2}, a: {x: 1, y: 3}}");
        check("{<<: {x: 1, y: 2}, y: 3}", "{x: 1, y: 3}");
        check("{y: 3, <<: {x: 1, y: 2}}", "{y: 3, x: 1}");
    }

    #[test]
    fn of_several_merged_maps_the_earlier_wins() {
        check("{<<: [{x: 1}, {x: 2, y: 2}]}", "{x: 1, y: 2}");
    }

    #[test]
    fn a_merge_inside_a_merged_map_is_followed() {
        check(
            "{a: &a {x: 1}, b: &b {<<: *a, y: 2}, c: {<<: *b}}",
            "{a: {x: 1}, b: {x: 1, y: 2}, c: {x: 1, y: 2}}",
        );
    }

    #[test]
    fn keys_become_strings_and_tags_are_dropped() {
        check("{1: !x a, true: b}", "{'1': a, 'true': b}");
    }

    #[test]
    fn what_cannot_be_merged_or_be_a_key_is_refused() {
        for text in ["<<: 1", "<<: [1]", "~: 1", "[a]: 1", "a: [", "a: *nowhere", "{a: 1, a: 2}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let one = format!("*a{}", level - 1);
            text.extend([format!("a{level}: &a{level} [{}]\n", [one.as_str(); 9].join(", "))]);
        }
        assert!(read(&text).is_err());
    }

    #[test]
    fn keys_and_texts_are_interpolated_and_nothing_else() {
        let variables = Variables::from([("X".to_owned(), "y".to_owned())]);
        let value = interpolated(read("{$X: [$X, 1, {a: $X$X}]}").unwrap(), &Path::default(), &variables);
        assert_eq!(value.unwrap(), read("{y: [y, 1, {a: yy}]}").unwrap());
    }
}
