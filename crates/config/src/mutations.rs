//! Everything that can be wrong in a configuration, made from configurations that are right: what is reported then.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::error::{Error, Mend};
use super::host_parse;
use super::path::{Segment, get_mut};
use super::step::Step;
use dataflow_pipeline::Pipeline;

/// Words of the language and the libraries that this program is written in.
const FOREIGN: [&str; 32] = [
    "struct",
    "enum ",
    "variant",
    "serde",
    "untagged",
    "u8",
    "u16",
    "u32",
    "u64",
    "i64",
    "f64",
    "usize",
    "sequence",
    "unit",
    "tuple",
    "newtype",
    "identifier",
    "field `",
    "invalid type",
    "invalid value",
    "invalid length",
    "did not match",
    "relative URL",
    "without a base",
    "expected value",
    "EOF",
    "trailing",
    "Some(",
    "None",
    "Err(",
    "unwrap",
    "panicked",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The blocks of the examples.
fn blocks() -> Vec<Value> {
    let pipeline = Pipeline::parse(&read("examples/everything.yml"), None).unwrap();
    let mut blocks: Vec<Value> = Vec::new();
    for (_, step) in pipeline.walk() {
        if let dataflow_pipeline::Kind::Command(command) = &step.kind {
            let plugins = command.jobs.iter().flat_map(|job| &job.plugins);
            blocks.extend(plugins.filter(|plugin| plugin.is_ours()).map(|plugin| plugin.config.clone()));
        }
    }
    for entry in std::fs::read_dir(format!("{}/../../examples/fixtures", env!("CARGO_MANIFEST_DIR"))).unwrap()
    {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let fixture: Value = serde_yaml::from_str(&text).unwrap();
        blocks.push(fixture["plugin"].clone());
    }
    blocks.retain(Value::is_object);
    blocks
}

const HOST: &str = r#"
mode: enforce
verify: required
issuers: ["https://agent.buildkite.com"]
step-requests: allowed
endpoints: ["https://vault.example.test:8200"]
key-files: [/etc/keys/app.pem]
state-directory: /var/lib/dataflow
survive-reboot: {public-key: /etc/sweeper.pem, directory: /var/spool/dataflow}
sinks: [{file: {directory: /var/log/dataflow}}]
retention: {records: 90d}
aws: {sts-endpoint: "https://sts.example.test", allowed-accounts: ["123456789012"]}
network:
  proxy: "http://proxy.example.test:3128"
  routes: [{from: "https://sts.googleapis.com", to: "https://private.example.test"}]
  client-certificates: [{endpoint: "https://vault.example.test:8200", certificate: /etc/c.pem, key: /etc/k.pem}]
limits: {duration: 12h, token-lifetime: 2h}
deadlines: {grant: 60s, release: 5s, retry: 1s}
required: {settlement: false, record: false, survive-reboot: false}
log: warn
grants:
  - name: deploy
    claims: {organization_slug: acme, pipeline_slug: "web-*"}
    automatic: true
    credentials:
      - name: login
        export: true
        vault: {address: "https://vault.example.test:8200", role: ci, secrets: [{path: secret/data/x, key: y, env: Z}]}
      - aws: {role: "arn:aws:iam::123456789012:role/x", region: eu-west-1, token: {from: {file: /run/token}}}
"#;

fn ways(tree: &Value, way: &mut Vec<Segment>, found: &mut Vec<Vec<Segment>>) {
    let mut below = |segment: Segment, inner: &Value| {
        way.push(segment);
        found.push(way.clone());
        ways(inner, way, found);
        way.pop();
    };
    match tree {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| below(Segment::Index(at), item));
        }
        Value::Object(map) => map.iter().for_each(|(key, item)| below(Segment::Key(key.clone()), item)),
        _ => {}
    }
}

/// The trees with one thing changed, in every way: each key once, wherever it stands in however many of them.
fn mutants(trees: &[Value]) -> Vec<Value> {
    let values =
        [json!(null), json!(true), json!(-1.5), json!("x y"), json!([]), json!(["x"]), json!({"x": 1})];
    let (mut known, mut mutants) = (BTreeSet::new(), Vec::new());
    for tree in trees {
        let mut found = Vec::new();
        ways(tree, &mut Vec::new(), &mut found);
        found.retain(|way| known.insert(kind(way)));
        for way in found {
            for value in &values {
                let mut mutant = tree.clone();
                *get_mut(&mut mutant, &way).unwrap() = value.clone();
                mutants.push(mutant);
            }
            if let Some((Segment::Key(key), above)) = way.split_last() {
                mutants.extend([None, Some(format!("{key}x"))].map(|other| renamed(tree, above, key, other)));
            }
        }
    }
    mutants
}

/// The way without the numbers of items: what is read there is of one type.
fn kind(way: &[Segment]) -> Vec<Option<String>> {
    let key = |segment: &Segment| match segment {
        Segment::Key(key) => Some(key.clone()),
        Segment::Index(_) => None,
    };
    way.iter().map(key).collect()
}

fn renamed(tree: &Value, above: &[Segment], key: &str, other: Option<String>) -> Value {
    let mut mutant = tree.clone();
    let map = get_mut(&mut mutant, above).and_then(Value::as_object_mut).unwrap();
    let value = map.remove(key).unwrap();
    if let Some(other) = other {
        map.insert(other, value);
    }
    mutant
}

fn judge(error: &Error, seen: &mut BTreeSet<String>) {
    for error in error.clone().each() {
        let line = format!("{error}; {}", error.hint.as_deref().unwrap_or_default());
        for word in FOREIGN {
            assert!(!line.contains(word), "`{word}` in: {line}");
        }
        let says = [
            "saw",
            "expected",
            "unknown key",
            "missing",
            "already",
            "needs",
            "belongs",
            "too",
            "no credential",
            "did you mean",
            "with",
        ];
        assert!(says.iter().any(|word| line.contains(word)) || seen.contains(&error.problem), "{line}");
        seen.insert(error.problem);
    }
}

/// The mutants of the blocks, and what is reported for each; reading them takes a while.
static STEPS: LazyLock<Vec<(Value, Option<Error>)>> = LazyLock::new(|| {
    let read = |mutant: Value| (mutant.clone(), Step::read(mutant).err());
    mutants(&blocks()).into_iter().map(read).collect()
});

#[test]
fn no_message_of_a_step_config_has_a_word_of_the_language_it_is_written_in() {
    let mut seen = BTreeSet::new();
    STEPS.iter().filter_map(|(_, error)| error.as_ref()).for_each(|error| judge(error, &mut seen));
    assert!(seen.len() > 100, "{seen:#?}");
}

#[test]
fn no_message_of_a_host_config_has_a_word_of_the_language_it_is_written_in() {
    let mut seen = BTreeSet::new();
    let tree: Value = serde_yaml::from_str(HOST).unwrap();
    host_parse::parse("config.yml", HOST).unwrap();
    for mutant in mutants(&[tree]) {
        if let Err(error) = host_parse::parse("config.yml", &serde_yaml::to_string(&mutant).unwrap()) {
            judge(&error, &mut seen);
            for error in error.each() {
                assert!(error.file.split(':').count() == 3, "no line and column: {error}");
            }
        }
    }
    assert!(seen.len() > 50, "{seen:#?}");
}

/// What types and keys alone say: a schema can say it too.
fn a_schema_can_tell(error: &Error) -> bool {
    error.clone().each().iter().any(|error| {
        matches!(error.mend(), Mend::Key(..) | Mend::Missing(_) | Mend::Word(_))
            || error.problem.starts_with("saw null")
            || error.problem.starts_with("saw ") && !error.problem.contains("expected an address")
    })
}

#[test]
fn the_published_schema_refuses_what_the_program_refuses_as_far_as_a_schema_can() {
    let schema: Value = serde_json::from_str(&read("schemas/step.json")).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for (mutant, error) in STEPS.iter() {
        let valid = validator.is_valid(mutant);
        match error {
            // Claims are put in before the text is looked at.
            None => {
                assert!(valid || mutant.to_string().contains("${claims."), "refused by the schema: {mutant}");
            }
            Some(error) if a_schema_can_tell(error) => {
                assert!(!valid, "the schema takes what is refused: {error}: {mutant}");
            }
            Some(_) => {}
        }
    }
}
