//! What conditions ask about a job: from its verified token wherever a claim says it, from the environment otherwise.

use dataflow_host::Env;
use dataflow_pipeline::condition::{Scope, Value};
use dataflow_types::claims::Claims;

/// A job as conditions see it.
#[derive(Debug)]
pub struct Situation<'a> {
    claims: &'a Claims,
    env: &'a Env,
}

/// Where a variable's value stands.
enum Place {
    /// In a claim or, where the token has no such claim, in a variable.
    Claim(&'static str, &'static str),
    /// In a variable.
    Env(&'static str),
}

use Place::{Claim, Env as Variable};

/// Variables of conditions whose value is one text of a token or of the environment.
const PLACES: &[(&str, Place)] = &[
    ("build.id", Claim("build_id", "BUILDKITE_BUILD_ID")),
    ("build.source", Claim("build_source", "BUILDKITE_SOURCE")),
    ("build.branch", Claim("build_branch", "BUILDKITE_BRANCH")),
    ("build.tag", Claim("build_tag", "BUILDKITE_TAG")),
    ("build.commit", Claim("build_commit", "BUILDKITE_COMMIT")),
    ("build.number", Claim("build_number", "BUILDKITE_BUILD_NUMBER")),
    ("build.message", Variable("BUILDKITE_MESSAGE")),
    ("build.creator.name", Variable("BUILDKITE_BUILD_CREATOR")),
    ("build.creator.email", Variable("BUILDKITE_BUILD_CREATOR_EMAIL")),
    ("build.creator.teams", Variable("BUILDKITE_BUILD_CREATOR_TEAMS")),
    ("build.author.name", Variable("BUILDKITE_BUILD_AUTHOR")),
    ("build.author.email", Variable("BUILDKITE_BUILD_AUTHOR_EMAIL")),
    ("build.pull_request.id", Variable("BUILDKITE_PULL_REQUEST")),
    ("build.pull_request.base_branch", Variable("BUILDKITE_PULL_REQUEST_BASE_BRANCH")),
    ("build.pull_request.draft", Variable("BUILDKITE_PULL_REQUEST_DRAFT")),
    ("build.pull_request.labels", Variable("BUILDKITE_PULL_REQUEST_LABELS")),
    ("build.pull_request.repository", Variable("BUILDKITE_PULL_REQUEST_REPO")),
    ("build.merge_queue.base_branch", Variable("BUILDKITE_MERGE_QUEUE_BASE_BRANCH")),
    ("build.merge_queue.base_commit", Variable("BUILDKITE_MERGE_QUEUE_BASE_COMMIT")),
    ("pipeline.id", Claim("pipeline_id", "BUILDKITE_PIPELINE_ID")),
    ("pipeline.slug", Claim("pipeline_slug", "BUILDKITE_PIPELINE_SLUG")),
    ("pipeline.default_branch", Variable("BUILDKITE_PIPELINE_DEFAULT_BRANCH")),
    ("pipeline.repository", Variable("BUILDKITE_REPO")),
    ("organization.id", Claim("organization_id", "BUILDKITE_ORGANIZATION_ID")),
    ("organization.slug", Claim("organization_slug", "BUILDKITE_ORGANIZATION_SLUG")),
    ("step.id", Variable("BUILDKITE_STEP_ID")),
    ("step.key", Claim("step_key", "BUILDKITE_STEP_KEY")),
    ("step.label", Variable("BUILDKITE_LABEL")),
];

impl<'a> Situation<'a> {
    /// The job of the token with these claims, and its environment.
    pub fn of(claims: &'a Claims, env: &'a Env) -> Self {
        Self { claims, env }
    }

    /// Whether the token itself says what this variable holds, be it nothing.
    pub fn is_of_the_token(&self, name: &str) -> bool {
        let place = PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| place);
        name == "step.type"
            || matches!(place, Some(Claim(claim, _)) if self.claims.as_map().contains_key(*claim))
    }

    fn text(&self, place: &Place) -> Option<String> {
        match place {
            Claim(claim, _) if self.claims.as_map().contains_key(*claim) => self.claims.text(claim),
            Claim(_, variable) | Variable(variable) => self.env.told(variable).map(str::to_owned),
        }
    }

    fn webhook(&self, variable: &str) -> Value {
        let webhook = self.variable("build.source") == Value::Text("webhook".into());
        Value::of(self.env(variable).filter(|_| webhook))
    }
}

impl Scope for Situation<'_> {
    fn variable(&self, name: &str) -> Value {
        match name {
            "build.source_event" => return self.webhook("BUILDKITE_GITHUB_EVENT"),
            "build.source_action" => return self.webhook("BUILDKITE_GITHUB_ACTION"),
            "step.type" => return Value::Text("command".into()),
            _ => {}
        }
        let place = PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| place);
        let seen = place.and_then(|place| self.text(place)).filter(|text| !text.trim().is_empty());
        let Some(text) = seen else { return Value::Null };
        let list = |at: char| Value::List(text.split(at).map(|part| Value::Text(part.to_owned())).collect());
        match name {
            "build.number" => text.parse().map_or(Value::Null, Value::Number),
            "build.pull_request.draft" => Value::Bool(text == "true"),
            "build.pull_request.labels" => list(','),
            "build.creator.teams" => list(':'),
            // What the agent says of a build that is of no pull request.
            "build.pull_request.id" if text == "false" => Value::Null,
            _ => Value::Text(text),
        }
    }

    /// A variable that carries what a claim says is not asked.
    fn env(&self, name: &str) -> Option<String> {
        let of_claim = PLACES.iter().find_map(|(_, place)| match place {
            Claim(claim, variable) if *variable == name && self.claims.as_map().contains_key(*claim) => {
                Some(self.claims.text(claim).unwrap_or_default())
            }
            _ => None,
        });
        of_claim.or_else(|| self.env.told(name).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_pipeline::condition::{Condition, VARIABLES};
    use serde_json::json;

    #[track_caller]
    fn holds(text: &str) -> bool {
        let claims =
            json!({"build_branch": "main", "build_tag": null, "build_number": 7, "pipeline_slug": "web"});
        let claims = Claims::new(claims.as_object().unwrap().clone());
        let env = Env::of([
            ("BUILDKITE_BRANCH", "forged"),
            ("BUILDKITE_TAG", "v1"),
            ("BUILDKITE_BUILD_NUMBER", "8"),
            ("BUILDKITE_SOURCE", "webhook"),
            ("BUILDKITE_PULL_REQUEST", "false"),
            ("BUILDKITE_PULL_REQUEST_LABELS", "a,b"),
            ("BUILDKITE_BUILD_CREATOR_TEAMS", "web:deploy"),
            ("BUILDKITE_GITHUB_EVENT", "push"),
            ("BUILDKITE_MESSAGE", " "),
            ("DEPLOY", ""),
        ]);
        Condition::parse(text).unwrap().holds(&Situation::of(&claims, &env)).unwrap()
    }

    #[test]
    fn what_a_claim_says_no_variable_can_change() {
        assert!(holds("build.branch == 'main' && build.number == 7 && env('BUILDKITE_BRANCH') == 'main'"));
        assert!(holds(
            "build.tag == null && build.env('BUILDKITE_TAG') == '' && $BUILDKITE_BRANCH == 'main'"
        ));
    }

    #[test]
    fn what_no_claim_says_is_as_the_environment_reports_it() {
        assert!(holds("build.source == 'webhook' && build.source_event == 'push' && build.message == null"));
        assert!(holds("build.pull_request.id == null && build.pull_request.labels includes 'b'"));
        assert!(holds("build.creator.teams includes /^dep/ && build.env('DEPLOY') == ''"));
    }

    #[test]
    fn every_variable_has_a_value_here_or_is_refused() {
        let special = ["build.source_event", "build.source_action", "step.type"];
        for variable in VARIABLES {
            let placed = PLACES.iter().any(|(name, _)| *name == variable.name);
            assert_eq!(variable.in_a_job, placed || special.contains(&variable.name), "{}", variable.name);
        }
    }
}
