//! Every error of one configuration in one run.
//!
//! Reading ends at the first error. So the error is mended in a copy of the tree, by a value that stands in for the
//! right one, and the copy is read again, until nothing is wrong. What is only wrong because of a mend is not reported.

use std::cell::Cell;

use serde_json::{Value, json};

use super::error::{Error, MOST, Mend};
use super::level;
use super::path::{Segment, get, get_mut, locate, written};
use super::shown::without_secrets;

/// How often a configuration with errors is read again, at most, and how many values are read then, about.
const READINGS: usize = 6000;
const VALUES: usize = 1_500_000;

/// Reads a tree by `read`, or tells all that is wrong with it.
pub(super) fn every<T>(tree: &Value, read: impl Fn(&Value) -> Result<T, Error>) -> Result<T, Error> {
    read(tree).map_err(|first| all(tree, first, &|tree| read(tree).err()))
}

/// All that is wrong with a tree of which the first error is known.
fn all(tree: &Value, first: Error, read: &Judge<'_>) -> Error {
    let most = READINGS.min(VALUES / size(tree));
    // What hints cost is no mend's loss.
    let (left, left_for_hints) = (Cell::new(most), Cell::new(most));
    let judge_by = |left: &Cell<usize>, tree: &Value| {
        // Without any left everything is taken for right, so that the end is near.
        left.set(left.get().checked_sub(1)?);
        read(tree)
    };
    let judge = |tree: &Value| judge_by(&left, tree);
    let hints = |tree: &Value| judge_by(&left_for_hints, tree);
    let mut mending = Mending {
        tree: tree.clone(),
        original: tree,
        moved: Vec::new(),
        mended: Vec::new(),
        reported: Vec::new(),
    };
    let mut error = Some(first.clone());
    while let Some(next) = error.filter(|_| mending.reported.len() < MOST && left.get() > 0) {
        mending.tell(&next, &hints);
        mending.mend(&next, &judge);
        error = judge(&mending.tree);
    }
    // In the order of the tree; where there is a text, its places decide later.
    mending.reported.sort_by(|(one, _), (other, _)| one.cmp(other));
    let errors = mending.reported.into_iter().map(|(_, error)| error).collect();
    Error::first(errors).unwrap_or(first)
}

/// How many values a tree has.
fn size(tree: &Value) -> usize {
    match tree {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

type Judge<'a> = dyn Fn(&Value) -> Option<Error> + 'a;

/// What a mend did to the ways of the tree.
enum Moved {
    /// An item of a list is gone; the way in the original.
    Gone(Vec<Segment>, usize),
    /// A key of the map at this way has a new name: the new one, the old one.
    Renamed(Vec<Segment>, String, String),
}

struct Mending<'a> {
    tree: Value,
    original: &'a Value,
    moved: Vec<Moved>,
    /// Where something was taken away, in the original.
    mended: Vec<Vec<Segment>>,
    /// Each with its way in the original.
    reported: Vec<(Vec<Segment>, Error)>,
}

impl Mending<'_> {
    /// The way in the original.
    fn origin(&self, path: &[Segment]) -> Vec<Segment> {
        let mut out: Vec<Segment> = Vec::new();
        for segment in path {
            let mut segment = segment.clone();
            for moved in &self.moved {
                match (moved, &mut segment) {
                    (Moved::Gone(list, gone), Segment::Index(index)) if *list == out && *gone <= *index => {
                        *index += 1;
                    }
                    (Moved::Renamed(map, new, old), Segment::Key(key)) if *map == out && new == key => {
                        key.clone_from(old);
                    }
                    _ => {}
                }
            }
            out.push(segment);
        }
        out
    }

    fn tell(&mut self, error: &Error, hints: &Judge<'_>) {
        let (path, missing) = locate(&self.tree, &error.place);
        let origin = self.origin(&path);
        if self.is_a_consequence(error, &origin, missing.as_deref()) {
            return;
        }
        let mut copy = error.clone();
        let rest = missing.map(Segment::Key);
        copy.place = match &rest {
            // A key that is not there may have more behind it, which is written as it was.
            Some(_) if written(&path) == written(&origin) => error.place.clone(),
            _ => written(&origin.iter().cloned().chain(rest).collect::<Vec<_>>()),
        };
        if let Some(value) = get(self.original, &origin) {
            copy.problem = without_secrets(&origin, value, copy.problem);
            copy.hint = copy.hint.map(|hint| without_secrets(&origin, value, hint));
        }
        if let Mend::Key(key, None, known) = error.mend()
            && let Some(hint) = level::hint(&self.tree, &path, &key, known, hints)
        {
            copy.hint = Some(hint);
        }
        let key = if let Mend::Key(key, ..) = error.mend() { Some(Segment::Key(key)) } else { None };
        let way = origin.into_iter().chain(key).collect();
        if !self.reported.iter().any(|(_, other)| other.place == copy.place && other.problem == copy.problem)
        {
            self.reported.push((way, copy));
        }
    }

    /// Whether only the mends made it wrong.
    fn is_a_consequence(&self, error: &Error, origin: &[Segment], missing: Option<&str>) -> bool {
        let text = format!("{} {}", error.problem, error.hint.as_deref().unwrap_or_default()).to_lowercase();
        if ["stand-in", "stand_in", "000000000000"].iter().any(|mark| text.contains(mark)) {
            return true;
        }
        if !self.reported.is_empty() && error.problem.starts_with("no credential here has the name") {
            return true;
        }
        let key = match (missing, error.mend()) {
            (Some(key), _) | (None, Mend::Missing(key)) => Some(key.to_owned()),
            (None, Mend::Key(..)) => return false,
            (None, _) => None,
        };
        self.mended.iter().any(|gone| {
            let below = gone.strip_prefix(origin);
            below.is_some_and(|rest| match (&key, rest) {
                (Some(key), [Segment::Key(gone)]) => gone == key,
                (Some(_), _) => false,
                (None, rest) => !rest.is_empty(),
            })
        })
    }

    fn mend(&mut self, error: &Error, judge: &Judge<'_>) {
        let (path, missing) = locate(&self.tree, &error.place);
        match (error.mend(), missing) {
            (Mend::Key(key, meant, _), None) => self.other_key(&path, &key, meant),
            (Mend::Missing(key), None) => self.insert(&path, key, error, judge),
            (_, Some(key)) => self.insert(&path, &key, error, judge),
            (Mend::Word(word), None) if self.stands(&path, word.into(), error, judge) => {}
            (_, None) => {
                if !stand_ins().into_iter().any(|value| self.stands(&path, value, error, judge)) {
                    self.remove(&path);
                }
            }
        }
    }

    fn other_key(&mut self, path: &[Segment], key: &str, meant: Option<&str>) {
        let origin = self.origin(path);
        let Some(map) = get_mut(&mut self.tree, path).and_then(Value::as_object_mut) else { return };
        let value = map.remove(key);
        match (value, meant) {
            (Some(value), Some(meant)) if !map.contains_key(meant) => {
                map.insert(meant.to_owned(), value);
                self.moved.push(Moved::Renamed(origin, meant.to_owned(), key.to_owned()));
            }
            _ => self.mended.push([origin, vec![Segment::Key(key.to_owned())]].concat()),
        }
    }

    /// Puts a value where none is; where nothing helps, what misses it goes.
    fn insert(&mut self, path: &[Segment], key: &str, error: &Error, judge: &Judge<'_>) {
        let inner = [path, &[Segment::Key(key.to_owned())]].concat();
        let Some(map) = get_mut(&mut self.tree, path).and_then(Value::as_object_mut) else {
            return self.remove(path);
        };
        map.insert(key.to_owned(), Value::Null);
        if stand_ins().into_iter().any(|value| self.stands(&inner, value, error, judge)) {
            return;
        }
        if let Some(map) = get_mut(&mut self.tree, path).and_then(Value::as_object_mut) {
            map.remove(key);
        }
        self.remove(path);
    }

    /// Whether the error goes away with this value, which then stays.
    fn stands(&mut self, path: &[Segment], value: Value, error: &Error, judge: &Judge<'_>) -> bool {
        let Some(place) = get_mut(&mut self.tree, path) else { return false };
        let before = std::mem::replace(place, value);
        let here = written(path);
        let same = judge(&self.tree).is_some_and(|next| {
            let inside = next.place.strip_prefix(&here);
            let inside = inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            inside || (next.place == error.place && next.problem == error.problem)
        });
        if same && let Some(place) = get_mut(&mut self.tree, path) {
            *place = before;
        }
        !same
    }

    fn remove(&mut self, path: &[Segment]) {
        let origin = self.origin(path);
        let Some((last, above)) = path.split_last() else {
            self.tree = json!({});
            return self.mended.push(origin);
        };
        match (get_mut(&mut self.tree, above), last) {
            (Some(Value::Object(map)), Segment::Key(key)) => drop(map.remove(key)),
            (Some(Value::Array(items)), Segment::Index(index)) if *index < items.len() => {
                items.remove(*index);
                if let (Some(Segment::Index(index)), Some(list)) =
                    (origin.last(), origin.get(..origin.len() - 1))
                {
                    self.moved.push(Moved::Gone(list.to_vec(), *index));
                    self.moved.sort_by_key(|moved| match moved {
                        Moved::Gone(_, index) => *index,
                        Moved::Renamed(..) => 0,
                    });
                }
            }
            _ => {}
        }
        self.mended.push(origin);
    }
}

/// Values of which one is right nearly everywhere. A message that names one of them is not reported.
fn stand_ins() -> Vec<Value> {
    let words = [
        "STAND_IN",
        "stand-in.example",
        "stand-in/stand-in",
        "https://stand-in.example",
        "https://stand-in.example/.default",
        "arn:aws:iam::000000000000:role/STAND_IN",
        "arn:aws:iam::aws:policy/STAND_IN",
        "000000000000",
        "us-east-1",
        "projects/1/locations/global/workloadIdentityPools/stand-in/providers/stand-in",
        "stand-in@stand-in.iam.gserviceaccount.com",
        "00000000-0000-4000-8000-000000000000",
        "/STAND_IN",
        "s3://stand-in/",
        "projects/stand-in/secrets/stand-in",
        "pipeline:stand-in",
        "1h",
        "1d",
        "true",
    ];
    let others = [
        json!(1),
        json!(true),
        json!(false),
        json!({"organization_slug": "STAND_IN"}),
        json!({"source": "STAND_IN", "field": "STAND_IN"}),
        json!({"file": "/STAND_IN"}),
        json!({}),
        json!(["STAND_IN"]),
        json!([{"vault": {"address": "https://stand-in.example", "role": "STAND_IN", "export-token": true}}]),
        json!([]),
    ];
    words.into_iter().map(Value::from).chain(others).collect()
}
