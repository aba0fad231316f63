//! What is asked for once the job is known: conditions answered, claims put in. It narrows what is asked and allows
//! nothing: the policy decides what comes out of here.

use serde_json::Value;

use super::request::{self, Origin, Request};
use dataflow_config::aws;
use dataflow_config::credential::{Credential, CredentialSource, ProviderRequest};
use dataflow_config::place::{self, Error};
use dataflow_config::step::FILE;
use dataflow_config::template;
use dataflow_pipeline::condition::{Condition, Scope};
use dataflow_types::claims::Claims;

/// What is asked for, and what is not.
#[derive(Debug, Default)]
pub struct Wanted {
    /// What is asked for.
    pub requests: Vec<Request>,
    /// What is not, because its condition is false.
    pub left_out: Vec<LeftOut>,
}

/// A request that is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it stands.
    pub place: String,
    /// What others call it.
    pub name: Option<String>,
    /// The provider.
    pub provider: &'static str,
    /// Why.
    pub condition: String,
}

/// Answers every condition and puts in every claim.
pub fn resolve(requests: Vec<Request>, claims: &Claims, scope: &dyn Scope) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    let open = requests.iter().any(|request| request.pending.is_open());
    for mut request in requests {
        match request.pending.condition.take() {
            Some(condition) if !holds(&condition, &request.place, scope)? => {
                let (place, name) = (request.place, request.name);
                let provider = request.ask.kind().provider();
                let condition = condition.text().to_owned();
                wanted.left_out.push(LeftOut { place, name, provider, condition });
            }
            _ => {
                let request = filled(request, claims)?;
                tags_fit(&request, claims)?;
                wanted.requests.push(request);
            }
        }
    }
    // What a callback asks for alone was checked with the others when it was lent.
    if open && wanted.requests.len() + wanted.left_out.len() > 1 {
        sources_are_asked_for(&wanted)?;
        request::check(&wanted.requests)?;
    }
    Ok(wanted)
}

fn holds(condition: &Condition, place: &str, scope: &dyn Scope) -> Result<bool, Error> {
    condition.holds(scope).map_err(|error| {
        let problem = format!("`{}` cannot be answered: {error}", condition.text());
        Error::at(FILE, format!("{place}.if"), problem)
    })
}

/// The request with the claims in it, read and checked as if it had been written so.
fn filled(mut request: Request, claims: &Claims) -> Result<Request, Error> {
    if let Some(template) = request.pending.template.take() {
        let entry = template::filled(FILE, &request.place, &template, claims)?;
        let under = |error: Error| Error { place: format!("{}.{}", request.place, error.place), ..error };
        let credential: Credential = place::from_json(FILE, entry.clone()).map_err(under)?;
        let wrong = |(key, problem): (&str, String)| under(Error::at(FILE, key, problem));
        credential.check().map_err(wrong)?;
        let CredentialSource::Request(ask) = credential.source else { return Ok(request) };
        let provider = ask.kind().provider();
        // Stand-ins led to the hosts that the author meant.
        if hosts(&ask) != hosts(&request.ask) {
            let problem = "a claim cannot choose the host: who names a branch would choose where tokens go";
            return Err(wrong((provider, problem.to_owned())));
        }
        ask.kind().check().map_err(|(key, problem)| wrong((&format!("{provider}.{key}"), problem)))?;
        (request.ask, request.git) = (ask, credential.git);
        if request.origin == Origin::Step {
            request.written = template::escaped(&entry);
        }
    }
    // A callback asks again for what was asked for, whatever its condition would say then.
    if let Value::Object(members) = &mut request.written {
        members.remove("if");
    }
    Ok(request)
}

/// The servers of the provider's own convention.
fn hosts(ask: &ProviderRequest) -> Vec<url::Origin> {
    ask.kind().hosts().iter().map(url::Url::origin).collect()
}

/// The tags in the job's token are Buildkite's: they cannot be made to fit, and STS refuses the whole token.
fn tags_fit(request: &Request, claims: &Claims) -> Result<(), Error> {
    for (index, name) in request.ask.kind().session_tags().iter().enumerate() {
        let Some(value) = claims.text(name).filter(|value| !aws::is_tag_value(value)) else { continue };
        let provider = request.ask.kind().provider();
        let place = format!("{}.{provider}.session-tags[{index}]", request.place);
        let problem = format!(
            "the claim `{name}` is `{}`, which no session tag can be: {}",
            value.chars().take(80).collect::<String>().escape_debug(),
            aws::TAG_VALUE
        );
        return Err(Error::at(FILE, place, problem).hinted(
            "tags of the job's token are as Buildkite writes them; `session-tags` of a role of `chain` are made to fit",
        ));
    }
    Ok(())
}

fn sources_are_asked_for(wanted: &Wanted) -> Result<(), Error> {
    let there: Vec<&str> = wanted.requests.iter().filter_map(|request| request.name.as_deref()).collect();
    for request in &wanted.requests {
        for (key, source) in request.ask.kind().sources() {
            let place = format!("{}.{}.{key}", request.place, request.ask.kind().provider());
            source_is_asked_for(place, source, &there, &wanted.left_out)?;
        }
    }
    Ok(())
}

fn source_is_asked_for(
    place: String,
    source: &str,
    there: &[&str],
    left_out: &[LeftOut],
) -> Result<(), Error> {
    let gone = left_out.iter().find(|other| other.name.as_deref() == Some(source));
    let Some(gone) = gone.filter(|_| !there.contains(&source)) else { return Ok(()) };
    let problem = format!(
        "it is made with `{source}` (`{}`), which is not asked for: `{}` is false",
        gone.place, gone.condition
    );
    Err(Error::at(FILE, place, problem).hinted("give both the same `if`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_config::host::HostConfig;
    use dataflow_config::host_parse;
    use dataflow_config::step::Step;
    use dataflow_pipeline::condition;
    use serde_json::json;

    struct Branch(&'static str);

    impl Scope for Branch {
        fn variable(&self, name: &str) -> condition::Value {
            condition::Value::of((name == "build.branch").then_some(self.0))
        }

        fn env(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn settled_with(block: &Value, host: &HostConfig, branch: &'static str) -> Result<Wanted, Error> {
        let claims = json!({"pipeline_slug": "web", "build_branch": branch});
        let claims = Claims::new(claims.as_object().unwrap().clone());
        resolve(request::of_step(&Step::read(block.clone())?, host)?, &claims, &Branch(branch))
    }

    fn settled(block: &Value, branch: &'static str) -> Result<Wanted, Error> {
        settled_with(block, &HostConfig::default(), branch)
    }

    fn role(name: &str) -> Value {
        json!({"role": format!("arn:aws:iam::123456789012:role/{name}")})
    }

    fn targets(wanted: &Wanted) -> Vec<String> {
        wanted.requests.iter().map(|request| request.ask.kind().target()).collect()
    }

    #[test]
    fn of_two_roles_for_the_same_variables_the_condition_chooses() {
        let block = json!({"credentials": [
            {"if": "build.branch == 'main'", "aws": role("deploy")},
            {"if": "build.branch != 'main'", "aws": role("read")},
        ]});
        assert_eq!(targets(&settled(&block, "main").unwrap()), ["arn:aws:iam::123456789012:role/deploy"]);
        let wanted = settled(&block, "fix").unwrap();
        assert_eq!(targets(&wanted), ["arn:aws:iam::123456789012:role/read"]);
        assert_eq!(wanted.left_out[0].place, "credentials[0]");
        assert_eq!(wanted.requests[0].written, json!({"aws": role("read")}));
    }

    #[test]
    fn two_that_are_asked_for_after_all_cannot_have_the_same_variables() {
        let block = json!({"credentials": [{"if": "true", "aws": role("a")}, {"aws": role("b")}]});
        let error = settled(&block, "main").unwrap_err();
        assert_eq!(error.place, "credentials[1]");
        assert!(error.problem.contains("`credentials[0]` exports too"), "{error}");
    }

    #[test]
    fn claims_are_put_in_before_anything_is_checked() {
        let block = json!({"credentials": [{"aws": role("ci-${claims.pipeline_slug}")}]});
        assert_eq!(targets(&settled(&block, "main").unwrap()), ["arn:aws:iam::123456789012:role/ci-web"]);
        let block = json!({"credentials": [{"aws": role("ci-${claims.build_branch}")}]});
        let error = settled(&block, "a b").unwrap_err();
        assert_eq!(error.place, "credentials[0].aws.role");
        assert!(error.problem.contains("the claim `build_branch` is `a b`"), "{error}");
    }

    #[test]
    fn what_is_wrong_for_any_job_is_said_before_the_job_is_known() {
        let block = json!({"credentials": [{"aws": {"role": "x-${claims.pipeline_slug}"}}]});
        assert_eq!(Step::read(block).unwrap_err().place, "credentials[0].aws.role");
    }

    #[test]
    fn a_plain_text_that_looks_like_a_claim_stays_one_for_a_callback() {
        let block = json!({"credentials": [{"git": ["https://h.test/$${claims.x}"], "name": "a", "aws": role("${claims.pipeline_slug}")}]});
        let wanted = settled(&block, "main").unwrap();
        let written = json!({"credentials": [wanted.requests[0].written]});
        assert_eq!(settled(&written, "main").unwrap().requests[0].git, wanted.requests[0].git);
    }

    #[test]
    fn what_is_made_with_something_that_is_not_asked_for_names_both() {
        let left_out = [LeftOut {
            place: "credentials[0]".into(),
            name: Some("base".into()),
            provider: "aws",
            condition: "build.branch == 'main'".into(),
        }];
        let check = |there: &[&str]| {
            source_is_asked_for("credentials[1].aws.source".into(), "base", there, &left_out)
        };
        assert_eq!(
            check(&["other"]).unwrap_err().to_string(),
            "step config: `credentials[1].aws.source`: it is made with `base` (`credentials[0]`), which is not asked for: \
             `build.branch == 'main'` is false"
        );
        assert_eq!(check(&["base"]), Ok(()), "another of the same name is asked for");
    }

    #[test]
    fn a_condition_on_a_grant_narrows_each_of_its_credentials() {
        let host = host_parse::parse(
            "config.yml",
            "grants:\n- name: g\n  claims: {pipeline_slug: web}\n  credentials:\n  - {if: \"build.branch == 'main'\", \
             name: a, aws: {role: 'arn:aws:iam::123456789012:role/${claims.pipeline_slug}-a'}}\n  \
             - {if: \"build.branch != 'main'\", name: b, aws: {role: 'arn:aws:iam::123456789012:role/b'}}\n",
        )
        .unwrap();
        let block = |condition: &str| json!({"credentials": [{"grant": "g", "if": condition}]});
        let wanted = settled_with(&block("build.branch =~ /i/"), &host, "main").unwrap();
        assert_eq!(targets(&wanted), ["arn:aws:iam::123456789012:role/web-a"]);
        assert_eq!((wanted.requests[0].pending.part, wanted.left_out.len()), (0, 1));
        let wanted = settled_with(&block("build.branch =~ /x/"), &host, "main").unwrap();
        assert_eq!((wanted.requests.len(), wanted.left_out.len()), (0, 2));
    }
}
