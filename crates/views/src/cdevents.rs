//! `CDEvents` 0.5 (<https://cdevents.dev>): a job is a task run of the pipeline run that its build is.

use chrono::{DateTime, SecondsFormat, Utc};
use dataflow_record::end::JobOutcome;
use serde_json::{Value, json};
use uuid::Uuid;

use super::account::Account;

const VERSION: &str = "0.5.1";

/// The events of a job: that it started and, once it has ended, how.
pub fn events(account: &Account) -> Vec<Value> {
    let started = account.began().map(|at| event(account, "started", at, json!({})));
    let ended = account.ended().zip(account.outcome()).map(|(at, outcome)| {
        let (outcome, errors) = in_words(account, outcome);
        let mut content = json!({ "outcome": outcome });
        if let (Some(content), Some(errors)) = (content.as_object_mut(), errors) {
            content.insert("errors".to_owned(), json!(errors));
        }
        event(account, "finished", at, content)
    });
    started.into_iter().chain(ended).collect()
}

/// Only words that the next version of the specification has too.
fn in_words(account: &Account, outcome: JobOutcome) -> (&'static str, Option<String>) {
    let exit = account.exit_status().map(|status| format!("exit status {status}"));
    let why = account.failure().map(str::to_owned).or(exit);
    match outcome {
        JobOutcome::Passed => ("success", None),
        JobOutcome::Failed | JobOutcome::TimedOut => ("failure", why),
        JobOutcome::Cancelled => ("cancel", None),
        JobOutcome::Refused | JobOutcome::NotRun | JobOutcome::Abort => ("error", why),
    }
}

fn event(account: &Account, what: &str, at: DateTime<Utc>, content: Value) -> Value {
    let kind = format!("dev.cdevents.taskrun.{what}.0.3.0");
    let source = format!("https://buildkite.com/{}/{}", account.organization(), account.pipeline());
    let mut subject = json!({
        "taskName": account.step().unwrap_or_else(|| account.pipeline()),
        "uri": account.job_url(),
        "pipelineRun": { "id": account.build_id().to_string(), "source": source },
    });
    if let (Some(subject), Value::Object(content)) = (subject.as_object_mut(), content) {
        subject.extend(content);
    }
    json!({
        "context": {
            "specversion": VERSION,
            // The same for each try to deliver it.
            "id": Uuid::new_v5(&account.job_id(), kind.as_bytes()).to_string(),
            "source": source,
            "type": kind,
            "timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "chainId": account.build_id().to_string(),
        },
        "subject": { "id": account.job_id().to_string(), "source": source, "content": subject },
    })
}
