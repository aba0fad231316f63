//! An STS that checks what AWS's checks: signature, audience, time, duration, session name and the
//! role's trust policy. Answers have AWS's own shape (STS API reference, 2011-06-15).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::issuer::Issuer;
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

mod assume;
mod caller;
mod parameters;
mod session_policy;
mod sigv4;
mod xml;

/// A role of the sandbox.
#[derive(Clone, Debug)]
pub struct Role {
    /// Who may assume it (IAM's JSON).
    pub trust: Value,
    /// Its maximum session duration, in seconds.
    pub max_duration: i64,
}

/// A session that was given.
#[derive(Clone, Debug)]
pub struct Issued {
    /// `ASIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Its token.
    pub session_token: Secret,
    /// The session's ARN.
    pub arn: String,
    /// The role's ARN.
    pub role: String,
    /// The role's unique id and the session's name: `aws:userid`.
    pub user_id: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The session policy that bounds it.
    pub policy: Option<String>,
    /// The managed policies that bound it.
    pub managed: Vec<String>,
    /// Its session tags.
    pub tags: BTreeMap<String, String>,
    /// Names of those that go on to sessions made with it.
    pub transitive: Vec<String>,
    /// Its source identity.
    pub source_identity: Option<String>,
    /// How full its policies and tags are, in percent.
    pub packed: usize,
}

/// The service.
#[derive(Debug)]
pub struct Sts {
    issuer: Arc<Issuer>,
    known_as: String,
    audience: String,
    clock: Clock,
    roles: Mutex<BTreeMap<String, Role>>,
    issued: Mutex<Vec<Issued>>,
    /// The most that a session lives, whatever was asked for: AWS's own least is 15 minutes.
    longest: Mutex<Option<TimeDelta>>,
    /// The region that it is in, where that matters.
    region: Mutex<Option<String>>,
}

/// A refusal in AWS's words.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

impl Sts {
    /// A service that believes `issuer`, which trust policies call `known_as`, for `audience`.
    pub fn new(
        issuer: Arc<Issuer>,
        known_as: &str,
        audience: &str,
        clock: Clock,
        roles: BTreeMap<String, Role>,
    ) -> Self {
        let (known_as, audience) = (known_as.to_owned(), audience.to_owned());
        let (roles, given) = (Mutex::new(roles), Mutex::default());
        Self {
            issuer,
            known_as,
            audience,
            clock,
            roles,
            issued: given,
            longest: Mutex::default(),
            region: Mutex::default(),
        }
    }

    /// Adds a role, or replaces the one of this ARN.
    pub fn add(&self, arn: &str, role: Role) {
        lock(&self.roles).insert(arn.to_owned(), role);
    }

    /// From now on no session lives longer, so that a test need not wait for the end of one.
    pub fn cut_short(&self, longest: TimeDelta) {
        *lock(&self.longest) = Some(longest);
    }

    /// From now on it is in this region, and takes signatures for no other.
    pub fn place_in(&self, region: &str) {
        *lock(&self.region) = Some(region.to_owned());
    }

    /// Every session given so far.
    pub fn issued(&self) -> Vec<Issued> {
        lock(&self.issued).clone()
    }

    /// Answers one request of the query protocol.
    pub fn answer(&self, request: &Request) -> Response {
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        let answer = match form.get("Action").map(String::as_str) {
            Some("AssumeRoleWithWebIdentity") => self.with_web_identity(&form),
            Some("AssumeRole") => self.chained(&form, request),
            Some("GetCallerIdentity") => self.caller(request).map(|caller| xml::caller(&caller)),
            Some(other) => Err(refuse(
                400,
                "InvalidAction",
                format!("Could not find operation {other} for version 2011-06-15"),
            )),
            None => Err(refuse(400, "MissingAction", "The request is missing an action")),
        };
        match answer {
            Ok(body) => Response::new(200, "text/xml", body),
            Err(refusal) => Response::new(refusal.status, "text/xml", xml::error(&refusal)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
