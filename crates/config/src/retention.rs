//! How long what lies on the agent's host is kept.

use serde::Deserialize;

use super::place::Error;
use dataflow_types::span::Span;

/// The shortest time for which records can be kept: they are looked through once a day.
pub const MIN_RECORDS: Span = Span::seconds(86_400);

/// How long what lies on this host is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Retention {
    /// For how long after its last link a record stays in `records` in the state directory, `1d` at least. A folder
    /// that `sinks` names is never touched. `sweep` removes what is older, and so does a step that is lent something,
    /// once a day and 1000 links at most. Only files named as links are, and no record whose journal is open. Default:
    /// for ever.
    pub records: Option<Span>,
}

impl Retention {
    /// What types alone do not check.
    pub(super) fn check(&self, file: &str) -> Result<(), Error> {
        match self.records {
            Some(records) if records < MIN_RECORDS => {
                let problem = format!("expected at least `{MIN_RECORDS}`, saw `{records}`");
                Err(Error::at(file, "retention.records", problem))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_parse::parse;

    #[test]
    fn records_are_kept_for_days_or_for_ever() {
        let records = |yaml: &str| parse("config.yml", yaml).map(|config| config.retention.records);
        assert_eq!(records("mode: enforce"), Ok(None));
        assert_eq!(records("retention: {records: 90d}"), Ok(Some(Span::seconds(90 * 86_400))));
        let refused = records("retention: {records: 1h}").unwrap_err().to_string();
        assert_eq!(refused, "config.yml:1:22: `retention.records`: expected at least `1d`, saw `1h`");
    }
}
