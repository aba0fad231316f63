//! `OpenLineage` run events, spec 2-0-2 (<https://openlineage.io/spec/2-0-2/OpenLineage.json>): a START, and one of
//! COMPLETE, FAIL and ABORT. The run is the job, its parent the build.

use chrono::SecondsFormat;
use dataflow_record::end::JobOutcome;
use serde_json::{Map, Value, json};

use super::account::Account;
use super::dataset::named;

const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// The schema of our own facets: `schemas/openlineage.json`.
pub const OWN: &str = "urn:buildkite-dataflow:openlineage:1";

/// The events of a job: its START and, once it has ended, how it did.
pub fn events(account: &Account) -> Vec<Value> {
    let start = account.began().map(|at| event(account, "START", at));
    let end = account.ended().zip(account.outcome());
    let end = end.map(|(at, outcome)| event(account, word(outcome), at));
    start.into_iter().chain(end).collect()
}

fn word(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Passed => "COMPLETE",
        JobOutcome::Failed | JobOutcome::TimedOut | JobOutcome::Refused => "FAIL",
        JobOutcome::Cancelled | JobOutcome::NotRun | JobOutcome::Abort => "ABORT",
    }
}

fn event(account: &Account, kind: &str, at: chrono::DateTime<chrono::Utc>) -> Value {
    let datasets = |uses: Vec<&dataflow_record::parts::DataUse>| -> Vec<Value> {
        let dataset = |uri: &str| {
            let named = named(uri);
            json!({ "namespace": named.namespace, "name": named.name, "facets": {} })
        };
        uses.into_iter().map(|data| dataset(&data.uri)).collect()
    };
    json!({
        "eventType": kind,
        "eventTime": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "producer": producer(account),
        "schemaURL": EVENT,
        "run": { "runId": account.job_id().to_string(), "facets": run_facets(account, kind) },
        "job": { "namespace": namespace(account), "name": name(account), "facets": job_facets(account) },
        "inputs": datasets(account.inputs()),
        "outputs": datasets(account.outputs()),
    })
}

/// The namespace of jobs: no slash is in it, for the older form of a parent splits at slashes.
pub fn namespace(account: &Account) -> String {
    format!("buildkite:{}", account.organization())
}

/// The job's name, `PIPELINE.STEP`, the same from build to build.
pub fn name(account: &Account) -> String {
    match account.step() {
        Some(step) => format!("{}.{}", account.pipeline(), step.replace('/', "-")),
        None => account.pipeline(),
    }
}

/// `urn:buildkite-dataflow:VERSION`.
fn producer(account: &Account) -> String {
    format!("urn:{}", account.producer().replace(' ', ":"))
}

fn facet(account: &Account, version: &str, name: &str, value: Value) -> Value {
    let schema = format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}");
    of_schema(account, &schema, value)
}

fn own_facet(account: &Account, name: &str, value: Value) -> Value {
    of_schema(account, &format!("{OWN}#/$defs/{name}"), value)
}

fn of_schema(account: &Account, schema: &str, value: Value) -> Value {
    let mut facet = Map::from_iter([
        ("_producer".to_owned(), json!(producer(account))),
        ("_schemaURL".to_owned(), json!(schema)),
    ]);
    if let Value::Object(fields) = value {
        facet.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Value::Object(facet)
}

fn run_facets(account: &Account, kind: &str) -> Value {
    let parent = json!({
        "run": { "runId": account.build_id().to_string() },
        "job": { "namespace": namespace(account), "name": account.pipeline() },
    });
    let adapter = account.producer().rsplit(' ').next().unwrap_or_default();
    // DataHub knows by it what orchestrates; the agent's version is not in the record.
    let engine = json!({ "version": adapter, "name": "buildkite", "openlineageAdapterVersion": adapter });
    let query = json!({ "externalQueryId": account.job_url(), "source": "buildkite" });
    let mut facets = json!({
        "parent": facet(account, "1-2-0", "ParentRunFacet", parent),
        "processing_engine": facet(account, "1-1-0", "ProcessingEngineRunFacet", engine),
        "externalQuery": facet(account, "1-0-2", "ExternalQueryRunFacet", query),
        "buildkiteDataflow_identity": own_facet(account, "IdentityRunFacet", identity(account)),
        "buildkiteDataflow_access": own_facet(account, "AccessRunFacet", access(account, kind != "START")),
    });
    if kind == "FAIL"
        && let Some(facets) = facets.as_object_mut()
    {
        let error = json!({ "message": failure(account), "programmingLanguage": "shell" });
        facets.insert("errorMessage".to_owned(), facet(account, "1-0-1", "ErrorMessageRunFacet", error));
    }
    facets
}

fn failure(account: &Account) -> String {
    let exit = || account.exit_status().map(|status| format!("the command exited with status {status}"));
    account.failure().map(str::to_owned).or_else(exit).unwrap_or_else(|| "the job failed".to_owned())
}

/// Who ran, and how sure that is.
fn identity(account: &Account) -> Value {
    let text = |claim: &str| account.claim(claim).cloned().unwrap_or(Value::Null);
    json!({
        "trust": if account.is_verified() { "verified" } else { "reported" },
        "issuer": text("iss"), "subject": text("sub"), "buildSource": text("build_source"),
    })
}

/// What was lent to the job, and what became of it.
fn access(account: &Account, ended: bool) -> Value {
    let leases = account.lent().map(|(link, lent)| {
        let settled = account.settlement(link, &lent.request).filter(|_| ended);
        let mut lease = json!({
            "provider": lent.provider, "principal": lent.principal, "handle": lent.handle,
            "issuedAt": lent.issued_at, "expiresAt": lent.expires_at,
        });
        if let (Some(lease), Some(settled)) = (lease.as_object_mut(), settled) {
            lease.insert("settlement".to_owned(), json!(settled.settlement.word()));
        }
        lease
    });
    json!({ "leases": leases.collect::<Vec<_>>() })
}

fn job_facets(account: &Account) -> Value {
    let kind = json!({ "processingType": "BATCH", "integration": "BUILDKITE", "jobType": "JOB" });
    let mut facets = json!({ "jobType": facet(account, "2-0-4", "JobTypeJobFacet", kind) });
    let repository = account.reported("repository").filter(|url| url::Url::parse(url).is_ok());
    if let (Some(url), Some(facets)) = (repository, facets.as_object_mut()) {
        let code = json!({
            "type": "git", "url": url, "repoUrl": url,
            "version": account.text("build_commit", "commit"), "branch": account.text("build_branch", "branch"),
            "tag": account.text("build_tag", "tag"),
        });
        let code = facet(account, "1-1-0", "SourceCodeLocationJobFacet", code);
        facets.insert("sourceCodeLocation".to_owned(), code);
    }
    facets
}
