//! Requests: what a step or a grant asks for, one credential each.

use serde_json::{Value, json};
use url::Url;

use dataflow_config::credential::{self, Credential, CredentialSource, Entry, ProviderRequest, Settle};
use dataflow_config::git_ssh::GitSsh;
use dataflow_config::host::HostConfig;
use dataflow_config::place::Error;
use dataflow_config::step::{self, Step};
use dataflow_config::template;
use dataflow_job::Reported;
use dataflow_pipeline::condition::Condition;
use dataflow_types::claims::Claims;
use dataflow_types::near_name::nearest;

/// One credential that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub origin: Origin,
    /// Where it is asked for: `credentials[0]`, `grants.deploy[0]`.
    pub place: String,
    /// What other requests of the block call it.
    pub name: Option<String>,
    /// Whether the step sees it.
    pub export: bool,
    /// Whether callbacks may renew it.
    pub refresh: bool,
    /// The remotes for which git is given it.
    pub git: Vec<Url>,
    /// Whether what is written for SSH goes to these remotes by HTTPS.
    pub git_ssh: GitSsh,
    /// What becomes of it when the step has ended.
    pub settle: Settle,
    /// What is asked for.
    pub ask: ProviderRequest,
    /// The entry as it was written, for a callback that asks again.
    pub written: Value,
    /// What is settled only when the job is known.
    pub pending: Pending,
}

/// What of a request is settled only when the job is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// When it is asked for at all.
    pub condition: Option<Condition>,
    /// The entry with claims in it.
    pub template: Option<Value>,
    /// Its index in a grant.
    pub part: usize,
}

impl Pending {
    /// Whether the job must be known first.
    pub fn is_open(&self) -> bool {
        self.condition.is_some() || self.template.is_some()
    }
}

impl Request {
    /// The file in the block's private folder that a keeper keeps fresh.
    pub fn token_file(&self) -> Option<String> {
        self.ask.kind().token_file().filter(|_| self.export)
    }

    /// Asks for it only where `condition` holds too.
    fn narrow(&mut self, condition: Option<&Condition>) {
        if let Some(condition) = condition {
            let own = self.pending.condition.take();
            self.pending.condition = Some(own.map_or_else(|| condition.clone(), |own| condition.and(&own)));
        }
    }

    /// Whether a callback may ask for it again.
    pub fn may_be_renewed(&self) -> bool {
        self.refresh || !self.git.is_empty()
    }

    /// The name by which SDKs call back for it.
    pub fn callback(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.refresh)
    }

    /// The request of an entry, where it is one; `entry` is what was written, `written` what a callback reads.
    fn of(
        credential: &Credential,
        origin: Origin,
        place: String,
        entry: Option<&Value>,
        written: Value,
    ) -> Option<Self> {
        let CredentialSource::Request(ask) = &credential.source else { return None };
        let (name, export) = (credential.name.clone(), credential.export);
        let (refresh, git, settle) = (credential.refresh, credential.git.clone(), credential.settle);
        let git_ssh = credential.git_ssh.clone();
        let template = entry.filter(|entry| template::is_in(entry)).cloned();
        let pending = Pending { condition: credential.condition.clone(), template, part: 0 };
        let ask = ask.clone();
        Some(Self { origin, place, name, export, refresh, git, git_ssh, settle, ask, written, pending })
    }
}

/// Who asks for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The step's own block.
    Step,
    /// A named grant of the host config.
    Grant(String),
}

/// The requests of a step's block, its grants spelled out.
pub fn of_step(block: &Step, host: &HostConfig) -> Result<Vec<Request>, Error> {
    let mut requests = Vec::new();
    for (index, credential) in block.credentials.iter().enumerate() {
        let place = format!("credentials[{index}]");
        match &credential.source {
            CredentialSource::Request(_) => {
                let entry = block.written.get(index);
                let written = entry.cloned().unwrap_or_default();
                requests.extend(Request::of(credential, Origin::Step, place, entry, written));
            }
            CredentialSource::Grant(name) => {
                let mut granted = of_grant(name, &place, host)?;
                for request in &mut granted {
                    request.narrow(credential.condition.as_ref());
                }
                requests.extend(granted);
            }
        }
    }
    check(&requests)?;
    Ok(requests)
}

/// The requests of every automatic grant that a job with these reported values could have. Values from
/// the environment only spare a token here; the verified claims decide.
pub fn of_automatic_grants(reported: &Reported, host: &HostConfig) -> Result<Vec<Request>, Error> {
    let plausible = |claim: &String, pattern: &String| {
        reported.claim(claim).is_none_or(|seen| super::pattern::matches(pattern, seen))
    };
    let grants = host.grants.iter().filter(|grant| grant.automatic);
    let mut requests = Vec::new();
    for grant in grants.filter(|grant| grant.claims.iter().all(|(claim, pattern)| plausible(claim, pattern)))
    {
        requests.extend(of_grant(&grant.name, "grants", host)?);
    }
    Ok(requests)
}

/// Leaves out automatic grants whose claims do not match: no step asked for those.
pub fn without_unmatched(requests: Vec<Request>, claims: &Claims, host: &HostConfig) -> Vec<Request> {
    let unmatched = |name: &str| {
        let grant = host.grants.iter().find(|grant| grant.name == name && grant.automatic);
        grant.is_some_and(|grant| !super::pattern::mismatches(&grant.claims, claims).is_empty())
    };
    let wanted = |request: &Request| match &request.origin {
        Origin::Grant(name) => !(request.place.starts_with("grants.") && unmatched(name)),
        Origin::Step => true,
    };
    requests.into_iter().filter(wanted).collect()
}

fn of_grant(name: &str, place: &str, host: &HostConfig) -> Result<Vec<Request>, Error> {
    let Some(grant) = host.grants.iter().find(|grant| grant.name == name) else {
        let names: Vec<&str> = host.grants.iter().map(|grant| grant.name.as_str()).collect();
        let error =
            Error::at(step::FILE, format!("{place}.grant"), format!("this host has no grant `{name}`"));
        return Err(match nearest(name, &names) {
            Some(near) => error.hinted(format!("did you mean `{near}`?")),
            None => error.hinted("grants are named in the host config"),
        });
    };
    let place = if place == "grants" { format!("grants.{name}") } else { format!("{place}.{name}") };
    let credentials = grant.credentials.iter().enumerate();
    let requests = credentials.filter_map(|(index, credential)| {
        let written = json!({ "grant": name });
        let (origin, place) = (Origin::Grant(name.to_owned()), format!("{place}[{index}]"));
        let mut request = Request::of(credential, origin, place, grant.written.get(index), written)?;
        request.pending.part = index;
        Some(request)
    });
    Ok(requests.collect())
}

/// Checks requests against each other, wherever they come from.
pub fn check(requests: &[Request]) -> Result<(), Error> {
    let entries: Vec<Entry<'_>> = requests
        .iter()
        .map(|request| Entry {
            place: &request.place,
            name: request.name.as_deref(),
            export: request.export,
            conditional: request.pending.is_open(),
            ask: &request.ask,
        })
        .collect();
    credential::check_together(step::FILE, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTS: &str = "grants:\n- name: deploy\n  automatic: true\n  claims: {pipeline_slug: web, build_branch: main}\n  \
                          credentials: [{aws: {role: 'arn:aws:iam::123456789012:role/d'}}]\n";

    fn host() -> HostConfig {
        dataflow_config::host_parse::parse("config.yml", GRANTS).unwrap()
    }

    #[test]
    fn a_grant_is_spelled_out_where_it_is_named() {
        let block = Step::parse(r#"{"credentials":[{"grant":"deploy"}]}"#).unwrap();
        let requests = of_step(&block, &host()).unwrap();
        assert_eq!(requests[0].place, "credentials[0].deploy[0]");
        assert_eq!(requests[0].origin, Origin::Grant("deploy".into()));
    }

    #[test]
    fn an_unknown_grant_names_the_nearest() {
        let block = Step::parse(r#"{"credentials":[{"grant":"deplay"}]}"#).unwrap();
        let error = of_step(&block, &host()).unwrap_err();
        assert_eq!(error.place, "credentials[0].grant");
        assert_eq!(error.hint.unwrap(), "did you mean `deploy`?");
    }

    #[test]
    fn a_role_and_a_grant_for_the_same_names_are_refused() {
        let block =
            r#"{"credentials":[{"aws":{"role":"arn:aws:iam::123456789012:role/x"}},{"grant":"deploy"}]}"#;
        let error = of_step(&Step::parse(block).unwrap(), &host()).unwrap_err();
        assert_eq!(error.place, "credentials[1].deploy[0]");
    }

    #[test]
    fn automatic_grants_are_asked_for_only_by_jobs_that_could_match() {
        let reported = |pipeline: &str| Reported {
            said: [("pipeline", pipeline.to_owned())].into(),
            ..Reported::default()
        };
        assert_eq!(of_automatic_grants(&reported("web"), &host()).unwrap().len(), 1);
        assert_eq!(of_automatic_grants(&reported("docs"), &host()).unwrap().len(), 0);
    }

    #[test]
    fn an_automatic_grant_that_does_not_match_is_no_denial() {
        let requests = of_automatic_grants(&Reported::default(), &host()).unwrap();
        let claims = serde_json::json!({"pipeline_slug": "web", "build_branch": "fix"});
        let claims = Claims::new(claims.as_object().unwrap().clone());
        assert!(without_unmatched(requests, &claims, &host()).is_empty());
    }
}
