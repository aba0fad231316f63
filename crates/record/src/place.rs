//! Where a link belongs in a sink. It is computed from what the link itself says and from its record's START, name by
//! name: no text of a journal is ever taken for a path.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Kind;
use dataflow_types::claims::Claims;
use dataflow_types::file_name::plain;

/// The folders that lead from a sink to a link, and the link's file: columns for DuckDB, Athena and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the top: `v=1`, `org=`, `date=`, `pipeline=`, `build=`.
    pub folders: Vec<String>,
    /// The file's name.
    pub name: String,
}

/// What a journal says of the place of its links.
#[derive(Clone, Copy, Debug)]
pub struct Hint<'a> {
    /// The folder, as it was computed when the journal was opened. Hostile input.
    pub folder: &'a str,
    /// When the journal was opened.
    pub at: DateTime<Utc>,
}

/// What of a link says where it belongs; a later version's link may say more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sheet {
    kind: Kind,
    sequence: u32,
    run: Whose,
    #[serde(default)]
    start: Option<Began>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Whose {
    job: String,
    instance: String,
    #[serde(default)]
    container: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Began {
    #[serde(default)]
    identity: Option<Identity>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    claims: Map<String, Value>,
}

impl Place {
    /// Where a sealed document belongs; `None` where it is no link. `first` is the first document of its record, `journal`
    /// what the journal says of it.
    pub fn of(document: &str, first: &str, journal: &Hint<'_>) -> Option<Self> {
        let sheet: Sheet = serde_json::from_str(document).ok()?;
        let first: Option<Sheet> = serde_json::from_str(first).ok();
        let began = first.filter(|first| first.run == sheet.run).and_then(|first| first.start);
        let claims = began.and_then(|start| start.identity).map(|identity| Claims::new(identity.claims));
        let folders = match claims {
            Some(claims) => folders(&claims, journal.at),
            // The job died before its START was sealed: what its journal says counts where it has that shape.
            None => told(journal.folder).unwrap_or_else(|| folders(&Claims::default(), journal.at)),
        };
        Some(Self { folders, name: sheet.name() })
    }

    /// The file alone, for a link beside those that are there.
    pub fn beside(document: &str) -> Option<Self> {
        let sheet: Sheet = serde_json::from_str(document).ok()?;
        Some(Self { folders: Vec::new(), name: sheet.name() })
    }
}

impl Sheet {
    fn name(&self) -> String {
        let parts = [Some(&self.run.job), Some(&self.run.instance), self.run.container.as_ref()];
        let chain: Vec<String> = parts.into_iter().flatten().map(|part| plain(part)).collect();
        format!("job-{}.{}-{}.json", chain.join("."), self.sequence, self.kind.word())
    }
}

/// Where a record's links belong, as one text with `/`: what a journal is told of it, for earlier versions.
pub fn folder(claims: &Claims, at: DateTime<Utc>) -> String {
    folders(claims, at).join("/")
}

/// The names of these folders, and how each begins.
const LEVELS: [&str; 5] = ["v=", "org=", "date=", "pipeline=", "build="];

fn folders(claims: &Claims, at: DateTime<Utc>) -> Vec<String> {
    let claim = |name| plain(claims.text(name).as_deref().unwrap_or("unknown"));
    let (organization, pipeline, build) =
        (claim("organization_slug"), claim("pipeline_slug"), claim("build_number"));
    let values = ["1".to_owned(), organization, plain(&at.format("%Y-%m-%d").to_string()), pipeline, build];
    LEVELS.iter().zip(values).map(|(level, value)| format!("{level}{value}")).collect()
}

fn told(text: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = text.split('/').collect();
    let fits = |(part, level): (&&str, &&str)| {
        part.strip_prefix(level).is_some_and(|value| plain(value) == value && !value.is_empty())
    };
    let date = parts.get(2).and_then(|date| date.strip_prefix("date="))?;
    let is_date = NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
    let all = parts.len() == LEVELS.len() && parts.iter().zip(&LEVELS).all(fits);
    (all && is_date && parts.first() == Some(&"v=1")).then(|| parts.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GOOD: &str = "v=1/org=acme/date=1970-01-01/pipeline=web/build=7";

    fn hint(folder: &str) -> Hint<'_> {
        Hint { folder, at: DateTime::from_timestamp(86_399, 0).unwrap() }
    }

    fn document(kind: &str, start: &Value) -> String {
        let run = json!({"job": "../j", "instance": "i", "container": null, "later": 1});
        json!({"kind": kind, "sequence": 3, "run": run, "start": start, "later": 1}).to_string()
    }

    #[test]
    fn a_link_belongs_where_its_record_says_and_not_where_its_journal_does() {
        let claims = json!({"organization_slug": "acme", "pipeline_slug": "a/../b", "build_number": 7});
        let start = document("start", &json!({"identity": {"claims": claims}}));
        let end = document("end", &Value::Null);
        for records in ["../../x", "/etc", GOOD, ""] {
            let place = Place::of(&end, &start, &hint(records)).unwrap();
            let folders = ["v=1", "org=acme", "date=1970-01-01", "pipeline=a____b", "build=7"];
            assert_eq!(place.folders, folders, "{records}");
            assert_eq!(place.name, "job-___j.i.3-end.json");
        }
        assert_eq!(Place::of("{}", &start, &hint(GOOD)), None);
    }

    #[test]
    fn a_record_without_a_start_belongs_where_its_journal_says_in_the_shape_of_a_sink_only() {
        let end = document("end", &Value::Null);
        let place = |records: &str| Place::of(&end, &end, &hint(records)).unwrap().folders.join("/");
        assert_eq!(place(GOOD), GOOD);
        let unknown = "v=1/org=unknown/date=1970-01-01/pipeline=unknown/build=unknown";
        for records in [
            "v=1",
            "/v=1/org=acme/date=1970-01-01/pipeline=web/build=7",
            "v=1/org=acme/date=1970-01-01/pipeline=web/build=7/..",
            "v=1/org=acme/date=1970-01-01/pipeline=../build=7",
            "v=1/org=acme/date=today/pipeline=web/build=7",
            "v=2/org=acme/date=1970-01-01/pipeline=web/build=7",
        ] {
            assert_eq!(place(records), unknown, "{records}");
        }
    }
}
