//! The job's OIDC token, straight from the agent's endpoint.
//!
//! Wire format: `api/oidc.go` of buildkite/agent; retries: its `oidc request-token` command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

pub use super::token_request::TokenRequest;
use crate::http::{self, Http, Method, Request, StatusCode};
use crate::process::Command;
use crate::retry::{Backoff, UNTIL_THE_DEADLINE, Verdict, retry, retry_after};
use crate::{Clock, Env, Host, env};
use dataflow_types::claims::SubjectToken;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::{Mask, Secret};

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers that speak of the form of the request and not of the job: worth asking the agent's own command.
const FORM_REFUSED: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
];

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process was not started by an agent.
    #[error("`{0}` is not set: this is not a Buildkite job")]
    NotAJob(&'static str),
    /// The endpoint is no URL.
    #[error("`BUILDKITE_AGENT_ENDPOINT` is not a URL")]
    Endpoint(#[source] url::ParseError),
    /// The endpoint said no.
    #[error("the agent's OIDC endpoint answered {status}{}{}", said(.message.as_deref()), asked(*.later))]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its own words.
        message: Option<String>,
        /// How long it asks to be left alone.
        later: Option<Duration>,
    },
    /// The endpoint could not be asked.
    #[error("the agent's OIDC endpoint gave no answer")]
    Http(#[from] http::Error),
    /// An answer without a token.
    #[error("the agent's OIDC endpoint answered {0} without a token")]
    NoToken(StatusCode),
    /// The endpoint refused the shape, and so did the agent's command.
    #[error(
        "neither the agent's OIDC endpoint ({endpoint}) nor `buildkite-agent oidc request-token` gave a token"
    )]
    Fallback {
        /// What the endpoint said.
        endpoint: Box<Error>,
        /// What happened to the command.
        #[source]
        command: CommandError,
    },
}

/// Why the agent's own command gave no token.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be run.
    #[error("cannot run `{path}`")]
    Run {
        /// Which program.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It failed.
    #[error("`buildkite-agent` ended with status {status}: {complaint}")]
    Failed {
        /// Its exit status, -1 for a signal.
        status: i32,
        /// The last line it complained with.
        complaint: String,
    },
}

fn said(message: Option<&str>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

fn asked(later: Option<Duration>) -> String {
    later.map(|later| format!(", and asks to wait {} s", later.as_secs())).unwrap_or_default()
}

impl Error {
    fn verdict(&self) -> Verdict {
        let later = match self {
            Self::Refused { later, .. } => *later,
            _ => None,
        };
        let again = match self {
            Self::Refused { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Self::Http(error) => error.is_transient(),
            _ => false,
        };
        match later {
            _ if !again => Verdict::Stop,
            Some(time) => Verdict::After(time),
            None => Verdict::Again,
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let ident = match self {
            Self::NotAJob(_) | Self::Endpoint(_) => Ident::NoToken,
            _ => Ident::NoTokenFromAgent,
        };
        let failure = Failure::of(ident, self);
        match self {
            Self::NotAJob(_) => {
                failure.hinted("run this as a hook of a Buildkite job, or try `buildkite-dataflow rehearse`")
            }
            Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => failure
                .hinted("the job's access token was not accepted: has the job ended or been cancelled?"),
            Self::Refused { status, .. } if *status == StatusCode::UNPROCESSABLE_ENTITY => {
                failure.hinted("the token's audience, lifetime (at most 7200 s) or claims are not allowed")
            }
            _ => failure,
        }
    }
}

/// The agent's endpoint, for one job.
#[derive(Clone, Debug)]
pub struct Issuer {
    url: Url,
    access_token: Secret,
    headers: Vec<(String, Secret)>,
    binary: Option<PathBuf>,
    environment: BTreeMap<String, Secret>,
    http: Http,
    clock: Clock,
    mask: Mask,
    backoff: Backoff,
}

impl Issuer {
    /// The endpoint that the environment names; the agent protects those variables, all but the job's id.
    pub fn of(host: &Host, http: &Http, base_wait: Duration) -> Result<Self, Error> {
        let needed = |variable: &env::Variable| host.env.get(variable).ok_or(Error::NotAJob(variable.name));
        let mut url = Url::parse(needed(&env::ENDPOINT)?).map_err(Error::Endpoint)?;
        let job = needed(&env::JOB_ID)?;
        let access_token =
            host.env.secret(&env::ACCESS_TOKEN).ok_or(Error::NotAJob(env::ACCESS_TOKEN.name))?;
        host.mask.add(&access_token);
        // As the agent escapes it: a dot could be read as a format by the server.
        let escaped: String = url::form_urlencoded::byte_serialize(job.as_bytes()).collect();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/jobs/{}/oidc/tokens", escaped.replace('+', "%20").replace('.', "%2E")));
        Ok(Self {
            url,
            access_token,
            headers: host.env.server_headers(),
            binary: host.env.get(&env::BIN_PATH).map(|folder| PathBuf::from(folder).join("buildkite-agent")),
            environment: command_environment(&host.env),
            http: http.clone(),
            clock: host.clock.clone(),
            mask: host.mask.clone(),
            backoff: Backoff { attempts: UNTIL_THE_DEADLINE, base: base_wait, jitter: false },
        })
    }

    /// Asks for a token of this shape, again where that is worth it, until `until`.
    pub async fn mint(
        &self,
        token_request: &TokenRequest,
        until: DateTime<Utc>,
    ) -> Result<SubjectToken, Error> {
        let ask = |_| self.ask(token_request, until);
        let token = match retry(&self.clock, self.backoff, until, Error::verdict, ask).await {
            Err(Error::Refused { status, message, later }) if FORM_REFUSED.contains(&status) => {
                self.ask_command(token_request, Error::Refused { status, message, later }, until).await?
            }
            answer => answer?,
        };
        self.mask.add(token.secret());
        Ok(token)
    }

    async fn ask(&self, token_request: &TokenRequest, until: DateTime<Utc>) -> Result<SubjectToken, Error> {
        let body = serde_json::to_vec(token_request).unwrap_or_default();
        let mut request = Request::new(Method::POST, self.url.clone(), self.left(until)).secret_header(
            "authorization",
            "Token ",
            &self.access_token,
        )?;
        for (name, value) in &self.headers {
            request = request.secret_header(name, "", value)?;
        }
        let answer = self.http.send(request.body("application/json", body)).await?;
        if !answer.status.is_success() {
            let message = super::said(answer.body.bytes(), "message");
            let message = message.map(|text| super::beginning(&self.mask.apply(&text)));
            let header = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
            let later = header.and_then(|value| retry_after(value, self.clock.now()));
            return Err(Error::Refused { status: answer.status, message, later });
        }
        let body: serde_json::Value = serde_json::from_slice(answer.body.bytes()).unwrap_or_default();
        match body.get("token").and_then(serde_json::Value::as_str) {
            Some(token) if !token.is_empty() => Ok(SubjectToken::new(Secret::new(token))),
            _ => Err(Error::NoToken(answer.status)),
        }
    }

    /// How long one request may take.
    fn left(&self, until: DateTime<Utc>) -> Duration {
        self.clock.left(until).min(REQUEST_TIMEOUT)
    }

    async fn ask_command(
        &self,
        token_request: &TokenRequest,
        refusal: Error,
        until: DateTime<Utc>,
    ) -> Result<SubjectToken, Error> {
        let Some(program) = self.binary.clone() else { return Err(refusal) };
        let command = Command {
            program: program.clone(),
            arguments: arguments(token_request).into_iter().map(Into::into).collect(),
            environment: self.environment.clone(),
            folder: PathBuf::from("/"),
        };
        let failed = |command| Error::Fallback { endpoint: Box::new(refusal), command };
        let ended = match command.output(self.left(until)).await {
            Ok(ended) => ended,
            Err(source) => return Err(failed(CommandError::Run { path: program, source })),
        };
        let token = Secret::new(ended.stdout.expose().trim());
        if ended.status == Some(0) && !token.expose().is_empty() {
            return Ok(SubjectToken::new(token));
        }
        let complaint = self.mask.apply(ended.stderr.lines().last().unwrap_or("it said nothing"));
        Err(failed(CommandError::Failed { status: ended.status.unwrap_or(-1), complaint }))
    }
}

/// The arguments of `buildkite-agent oidc request-token`; the access token travels in the environment.
fn arguments(token_request: &TokenRequest) -> Vec<String> {
    let mut arguments = vec!["oidc".to_owned(), "request-token".to_owned(), "--skip-redaction".to_owned()];
    let mut push = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
    if let Some(audience) = &token_request.audience {
        push("--audience", audience);
    }
    if let Some(lifetime) = token_request.lifetime {
        push("--lifetime", &lifetime.to_string());
    }
    if let Some(claim) = &token_request.subject_claim {
        push("--subject-claim", claim);
    }
    for claim in &token_request.claims {
        push("--claim", claim);
    }
    for tag in &token_request.aws_session_tags {
        push("--aws-session-tag", tag);
    }
    arguments
}

fn command_environment(env: &Env) -> BTreeMap<String, Secret> {
    env.some(&[&env::ACCESS_TOKEN, &env::ENDPOINT, &env::JOB_ID])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_shape_is_an_empty_object() {
        assert_eq!(serde_json::to_string(&TokenRequest::default()).unwrap(), "{}");
    }

    #[test]
    fn the_command_is_given_the_whole_shape_and_no_secret() {
        let token_request = TokenRequest {
            audience: Some("sts.amazonaws.com".into()),
            lifetime: Some(300),
            claims: vec!["pipeline_id".into()],
            aws_session_tags: vec!["pipeline_slug".into()],
            subject_claim: Some("job_id".into()),
        };
        assert_eq!(
            arguments(&token_request).join(" "),
            "oidc request-token --skip-redaction --audience sts.amazonaws.com --lifetime 300 \
             --subject-claim job_id --claim pipeline_id --aws-session-tag pipeline_slug"
        );
    }

    #[test]
    fn a_job_id_cannot_leave_its_place_in_the_path() {
        let host = Host {
            env: Env::of([
                ("BUILDKITE_AGENT_ENDPOINT", "http://127.0.0.1:1/v3"),
                ("BUILDKITE_AGENT_ACCESS_TOKEN", "bkaj_secret"),
                ("BUILDKITE_JOB_ID", "../../x?y#z"),
            ]),
            ..Host::real()
        };
        let issuer = Issuer::of(&host, &Http::new(http::Network::default()), Duration::ZERO).unwrap();
        assert_eq!(issuer.url.as_str(), "http://127.0.0.1:1/v3/jobs/%2E%2E%2F%2E%2E%2Fx%3Fy%23z/oidc/tokens");
    }
}
