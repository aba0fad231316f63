//! A key that is known some levels further in or out. The levels are listed nowhere: the reader itself is asked.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::error::{Error, Mend};
use super::hint::elsewhere;
use super::path::{Segment, get, get_mut, written};
use dataflow_types::near_name::nearest;

type Judge<'a> = dyn Fn(&Value) -> Option<Error> + 'a;

/// What no map of fixed keys has.
const UNKNOWN_KEY: &str = "no-map-has-such-a-key";

/// Where the key that is unknown at `path` would be right.
pub(super) fn hint(
    tree: &Value,
    path: &[Segment],
    key: &str,
    known: &[&'static str],
    judge: &Judge<'_>,
) -> Option<String> {
    let names: Vec<String> = std::iter::once(key.replace('_', "-").to_lowercase())
        .chain(elsewhere(key).iter().map(|ours| (*ours).to_owned()))
        .collect();
    let ask = Ask { tree, judge, names: &names, left: Cell::new(READINGS) };
    let here = get(tree, path)?.as_object()?;
    // What the map has already comes first.
    let (there, absent): (Vec<&str>, Vec<&str>) = known.iter().partition(|known| here.contains_key(**known));
    let children: Vec<Vec<Segment>> =
        there.into_iter().chain(absent).map(|child| below(path, child)).collect();
    let near = children.iter().find_map(|inner| ask.at(path, inner).or_else(|| ask.at(path, &entry(inner))));
    let above = || (0..path.len()).rev().find_map(|length| ask.at(path.get(..length)?, path.get(..length)?));
    near.or_else(above).or_else(|| {
        let mut inside = children.iter().flat_map(|inner| [inner.clone(), entry(inner)]);
        inside.find_map(|inner| ask.deeper(path, &inner, LEVELS))
    })
}

fn below(path: &[Segment], key: &str) -> Vec<Segment> {
    [path, &[Segment::Key(key.to_owned())]].concat()
}

fn entry(path: &[Segment]) -> Vec<Segment> {
    [path, &[Segment::Index(0)]].concat()
}

/// How often the reader is asked for one key, at most.
const READINGS: usize = 400;
/// How many levels further in than that a key is looked for.
const LEVELS: usize = 2;

struct Ask<'a> {
    tree: &'a Value,
    judge: &'a Judge<'a>,
    names: &'a [String],
    left: Cell<usize>,
}

impl Ask<'_> {
    /// The tree in which `stem` holds nothing but the way to `map`, and a key that no map has.
    fn with_unknown_key(&self, stem: &[Segment], map: &[Segment]) -> Option<Value> {
        let mut inner = json!({ UNKNOWN_KEY: true });
        for segment in map.get(stem.len()..)?.iter().rev() {
            inner = match segment {
                Segment::Key(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
                Segment::Index(_) => Value::Array(vec![inner]),
            };
        }
        let mut tree = self.tree.clone();
        let place = get_mut(&mut tree, stem).filter(|place| place.is_object())?;
        *place = inner;
        Some(tree)
    }

    /// The keys that the map at this way knows; `None` where it is no map, or takes any key.
    fn known(&self, stem: &[Segment], map: &[Segment]) -> Option<&'static [&'static str]> {
        self.left.set(self.left.get().checked_sub(1)?);
        let tree = self.with_unknown_key(stem, map)?;
        let error = (self.judge)(&tree).filter(|error| error.place == written(map))?;
        match error.mend() {
            Mend::Key(key, _, known) if key == UNKNOWN_KEY => Some(known),
            _ => None,
        }
    }

    /// The first place further in than the keys of this map.
    fn deeper(&self, stem: &[Segment], map: &[Segment], levels: usize) -> Option<String> {
        let inner = self.known(stem, map)?.iter().map(|key| below(map, key));
        inner.flat_map(|inner| [entry(&inner), inner]).find_map(|inner| {
            let further = || if levels > 1 { self.deeper(stem, &inner, levels - 1) } else { None };
            self.found(stem, &inner, false).or_else(further)
        })
    }

    fn at(&self, stem: &[Segment], map: &[Segment]) -> Option<String> {
        self.found(stem, map, true)
    }

    /// What to say where the map knows the key, or one that is nearly the same.
    fn found(&self, stem: &[Segment], map: &[Segment], nearly: bool) -> Option<String> {
        let known = self.known(stem, map)?;
        let named = self.names.iter().find(|name| known.contains(&name.as_str()));
        let near = || {
            self.names.first().and_then(|name| nearest(name, known)).filter(|near| near.len() > 4 && nearly)
        };
        let name = named.map(String::as_str).or_else(near)?;
        Some(match map.split_last() {
            None => format!("`{name}` belongs at the top"),
            Some((Segment::Index(_), list)) if map.len() > stem.len() => {
                format!("`{name}` belongs in an entry of `{}`", written(list))
            }
            Some(_) => format!("`{name}` belongs in `{}`", written(map)),
        })
    }
}
