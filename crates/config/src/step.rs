//! The plugin's block in `pipeline.yml`.

use serde::Deserialize;
use serde_json::Value;

use super::credential::{self, Credential, CredentialSource, Entry};
use super::place::{self, Error};
use super::{collect, template};
use dataflow_types::dataset::Dataset;

/// How messages name this configuration.
pub const FILE: &str = "step config";

/// What one plugin block asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Step {
    /// The credentials that the step is to be lent, all or none. Each item is one provider or one `grant`.
    pub credentials: Vec<Credential>,
    /// Data that the step says it reads, by URI. Recorded as `asserted`; no user name or password in them.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub inputs: Vec<Dataset>,
    /// Data that the step says it writes, by URI. Recorded as `asserted`; no user name or password in them.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub outputs: Vec<Dataset>,
    /// When credentials are lent: before the command, or before the checkout for a step whose checkout needs them.
    /// Default: `pre-command`.
    pub hook: Hook,
    /// The credentials as they were written, for a callback that asks again.
    #[serde(skip)]
    pub written: Vec<Value>,
    /// When they are given back: after the command, or after artifacts were uploaded and other plugins' hooks have
    /// run. Default: `post-command`.
    pub release: Release,
}

/// When credentials are lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Before the command.
    #[default]
    PreCommand,
    /// Before the checkout.
    Environment,
}

/// When credentials are given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// After the command.
    #[default]
    PostCommand,
    /// After artifacts were uploaded and other plugins' hooks have run.
    PreExit,
}

impl Step {
    /// Reads the JSON in `BUILDKITE_PLUGIN_CONFIGURATION`.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let problem =
                format!("saw what is no JSON at line {line}, column {column}, expected the block as JSON");
            Error::at(FILE, "", problem).hinted("the agent gives it in `BUILDKITE_PLUGIN_CONFIGURATION`")
        })?;
        Self::read(value)
    }

    /// Reads one block, or tells every error in it.
    #[expect(clippy::needless_pass_by_value, reason = "callers have no use for it any more")]
    pub fn read(value: Value) -> Result<Self, Error> {
        if value.is_null() {
            return Ok(Self::default());
        }
        collect::every(&value, Self::once)
    }

    /// Reads one block up to the first error.
    fn once(value: &Value) -> Result<Self, Error> {
        if let Some(place) = place::first_null(value) {
            return Err(Error::at(FILE, place, "saw null, expected a value").hinted(
                "remove the key or give it a value: the agent drops a plugin's whole configuration at a null",
            ));
        }
        let written = value.get("credentials").and_then(Value::as_array).cloned().unwrap_or_default();
        let filled = Self::with_stand_ins(value, &written)?;
        let tree = filled.as_ref().unwrap_or(value);
        let step = place::from_tree::<Self>(FILE, tree)
            .and_then(|step| check(FILE, "credentials", &step.credentials).map(|()| step))
            .map_err(|error| error.for_written(tree, value))?;
        Ok(Self { written, ..step })
    }

    /// The block with something else for each claim, where there is one.
    fn with_stand_ins(value: &Value, written: &[Value]) -> Result<Option<Value>, Error> {
        if !written.iter().any(template::is_in) {
            return Ok(None);
        }
        let mut filled = value.clone();
        for (index, entry) in written.iter().enumerate().filter(|(_, entry)| template::is_in(entry)) {
            let stand_in = template::with_stand_ins(FILE, &format!("credentials[{index}]"), entry)?;
            if let Some(place) = filled.get_mut("credentials").and_then(|entries| entries.get_mut(index)) {
                *place = stand_in;
            }
        }
        Ok(Some(filled))
    }

    /// Whether nothing is asked and nothing is to be recorded.
    pub fn asks_for_nothing(&self) -> bool {
        self.credentials.is_empty() && self.inputs.is_empty() && self.outputs.is_empty()
    }
}

/// Checks what types alone do not: each credential by itself and, where no grant hides any, against each other.
pub fn check(file: &str, place: &str, credentials: &[Credential]) -> Result<(), Error> {
    let mut asked = Vec::new();
    for (index, credential) in credentials.iter().enumerate() {
        let wrong = |(key, problem)| Error::at(file, format!("{place}[{index}].{key}"), problem);
        credential.check().map_err(wrong)?;
        let CredentialSource::Request(ask) = &credential.source else { continue };
        let here = format!("{place}[{index}].{}", ask.kind().provider());
        let exported = || if credential.export { ask.kind().check_exported() } else { Ok(()) };
        let checked = ask.kind().check().and_then(|()| exported());
        checked.map_err(|(key, problem)| Error::at(file, format!("{here}.{key}"), problem))?;
        asked.push((here, credential, ask));
    }
    if asked.len() < credentials.len() {
        return Ok(());
    }
    let entries: Vec<Entry<'_>> = asked
        .iter()
        .map(|(place, credential, ask)| Entry {
            place,
            name: credential.name.as_deref(),
            export: credential.export,
            conditional: credential.condition.is_some(),
            ask,
        })
        .collect();
    credential::check_together(file, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLE: &str = r#""role":"arn:aws:iam::123456789012:role/train""#;

    #[track_caller]
    fn refused(json: &str, expected: &str) {
        assert_eq!(Step::parse(json).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_whole_block_is_read() {
        let json = format!(
            r#"{{"credentials":[{{"aws":{{{ROLE},"region":"eu-west-1","duration":"2h"}}}},{{"grant":"read"}}],
                 "inputs":["s3://raw/"],"outputs":["artifact://model/*"],"hook":"environment","release":"pre-exit"}}"#
        );
        let step = Step::parse(&json).unwrap();
        assert_eq!(step.credentials.len(), 2);
        assert_eq!((step.hook, step.release), (Hook::Environment, Release::PreExit));
    }

    #[test]
    fn a_block_without_anything_asks_for_nothing() {
        assert!(Step::parse("{}").unwrap().asks_for_nothing());
        assert!(Step::parse("null").unwrap().asks_for_nothing());
    }

    #[test]
    fn a_null_names_its_place() {
        refused(
            r#"{"credentials":[{"aws":{"role":null}}]}"#,
            "step config: `credentials[0].aws.role`: saw null, expected a value",
        );
    }

    #[test]
    fn a_role_that_is_no_arn_names_its_place() {
        refused(
            r#"{"credentials":[{"aws":{"role":"train"}}]}"#,
            "step config: `credentials[0].aws.role`: expected the ARN of a role such as \
             `arn:aws:iam::123456789012:role/NAME`, saw `train`",
        );
    }

    #[test]
    fn a_wrong_type_names_its_place() {
        refused(r#"{"credentials":"aws"}"#, "step config: `credentials`: saw `aws`, expected a list");
        refused(
            r#"{"credentials":[{"aws":{"role":7}}]}"#,
            "step config: `credentials[0].aws.role`: saw integer `7`, expected a string (in quotes)",
        );
    }

    #[test]
    fn a_duration_out_of_range_names_its_place() {
        refused(
            &format!(r#"{{"credentials":[{{"aws":{{{ROLE},"duration":60}}}}]}}"#),
            "step config: `credentials[0].aws.duration`: expected 15m to 12h, saw `1m`",
        );
    }

    #[test]
    fn two_credentials_that_export_one_name_are_refused() {
        refused(
            &format!(r#"{{"credentials":[{{"aws":{{{ROLE}}}}},{{"aws":{{{ROLE}}}}}]}}"#),
            "step config: `credentials[1].aws`: would export `AWS_ACCESS_KEY_ID`, which `credentials[0].aws` exports too",
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            drop(Step::parse(&text));
        }
    }
}
