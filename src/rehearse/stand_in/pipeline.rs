//! Adding steps to the build.

use serde_json::json;

use super::{Agent, Answer, Refusal, Words, piped};
use dataflow_host::files;
use dataflow_host::http::Method;
use dataflow_pipeline::upload;

/// Where a pipeline is looked for that is not named.
const PIPELINES: &[&str] = &[
    "buildkite.yml",
    "buildkite.yaml",
    "buildkite.json",
    ".buildkite/pipeline.yml",
    ".buildkite/pipeline.yaml",
    ".buildkite/pipeline.json",
    "buildkite/pipeline.yml",
    "buildkite/pipeline.yaml",
    "buildkite/pipeline.json",
];

impl Agent<'_> {
    pub(super) async fn upload(&self, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &["job"], &["replace", "no-interpolation", "dry-run"])?;
        let wrong = |what: String| format!("buildkite-agent: {what}");
        let read = |path: &str| {
            let bytes = files::read(&self.host.cwd.join(path)).map_err(|error| wrong(error.to_string()))?;
            String::from_utf8(bytes).map_err(|_| wrong(format!("`{path}` is not UTF-8 text")))
        };
        let found = || PIPELINES.iter().find(|path| self.host.cwd.join(path).exists());
        let text = match words.rest.first() {
            Some(path) => read(path)?,
            None => match (piped()?, found()) {
                (text, None) if text.trim().is_empty() => {
                    return Err(wrong("no pipeline is piped in, and none is in the usual places".to_owned()));
                }
                (text, Some(path)) if text.trim().is_empty() => read(path)?,
                (text, _) => text,
            },
        };
        let variables = (!words.flag("no-interpolation")).then(|| self.host.env.pairs());
        let told = |error: dataflow_pipeline::Error| match std::error::Error::source(&error) {
            Some(cause) => wrong(format!("{error}: {cause}")),
            None => wrong(error.to_string()),
        };
        let pipeline = upload::written(&text, variables.as_ref()).map_err(told)?;
        if words.flag("dry-run") {
            return Ok(Answer::said(pipeline));
        }
        let body = json!({
            "uuid": uuid::Uuid::new_v4().to_string(), "pipeline": pipeline, "replace": words.flag("replace"),
        });
        self.ask(Method::POST, &self.job("pipelines")?, Some(body)).await?;
        Ok(Answer::default())
    }
}
