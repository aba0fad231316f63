//! An STS that checks what AWS's checks: signature, audience, time, duration, session name and the
//! role's trust policy. Answers have AWS's own shape (STS API reference, 2011-06-15).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::issuer::Issuer;
use super::sigv4;
use super::trust::{Asker, Verdict, evaluate, tags};
use crate::claims::Claims;
use crate::config::aws::SessionName;
use crate::host::Clock;
use crate::host::serve::{Request, Response};
use crate::secret::Secret;

const ASSUME: &str = "sts:AssumeRoleWithWebIdentity";

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
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// The service.
#[derive(Debug)]
pub struct Sts {
    issuer: Arc<Issuer>,
    known_as: String,
    audience: String,
    clock: Clock,
    roles: BTreeMap<String, Role>,
    issued: Mutex<Vec<Issued>>,
}

/// A refusal in AWS's words.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
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
        Self { issuer, known_as, audience, clock, roles, issued: Mutex::default() }
    }

    /// Every session given so far.
    pub fn issued(&self) -> Vec<Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers one request of the query protocol.
    pub fn answer(&self, request: &Request) -> Response {
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        let answer = match form.get("Action").map(String::as_str) {
            Some("AssumeRoleWithWebIdentity") => self.assume(&form),
            Some("GetCallerIdentity") => self.caller(request),
            Some(other) => Err(refuse(
                400,
                "InvalidAction",
                format!("Could not find operation {other} for version 2011-06-15"),
            )),
            None => Err(refuse(400, "MissingAction", "The request is missing an action")),
        };
        let body = answer.as_deref().map_or_else(error_xml, str::to_owned);
        Response::new(answer.err().map_or(200, |refusal| refusal.status), "text/xml", body)
    }

    fn assume(&self, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let invalid =
            |what: &str| refuse(400, "ValidationError", format!("1 validation error detected: {what}"));
        let session = field("RoleSessionName");
        if session.parse::<SessionName>().is_err() {
            return Err(invalid("Value at 'roleSessionName' failed to satisfy constraint"));
        }
        let seconds = form.get("DurationSeconds").map_or(Ok(3600), |text| text.parse::<i64>());
        let seconds = seconds.ok().filter(|seconds| (900..=43200).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| invalid("Value at 'durationSeconds' failed to satisfy constraint"))?;
        let claims = self.token(field("WebIdentityToken"))?;
        let role = self.roles.get(field("RoleArn")).ok_or_else(|| not_authorized(None))?;
        self.trusted(role, &claims)?;
        if seconds > role.max_duration {
            let text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(refuse(400, "ValidationError", text));
        }
        let issued = self.give(field("RoleArn"), session, seconds);
        Ok(assumed_xml(&issued, session, &claims, &self.audience))
    }

    fn token(&self, token: &str) -> Result<Claims, Refusal> {
        let invalid = |message: &str| refuse(400, "InvalidIdentityToken", message);
        let claims = self.issuer.verify(token);
        let claims =
            claims.ok_or_else(|| invalid("The web identity token that was passed could not be validated"))?;
        if claims.text("iss").as_deref() != Some(self.issuer.url()) {
            return Err(invalid("No OpenIDConnect provider found in your account for the token's issuer"));
        }
        if !claims.audiences().contains(&self.audience) {
            return Err(invalid("Incorrect token audience"));
        }
        let now = self.clock.now().timestamp();
        if claims.seconds("exp").is_none_or(|end| end <= now) {
            return Err(refuse(
                400,
                "ExpiredTokenException",
                "Token expired: current date/time is after its exp",
            ));
        }
        if claims.seconds("nbf").is_some_and(|start| start > now + 300) {
            return Err(invalid("The token is not valid yet"));
        }
        Ok(claims)
    }

    fn trusted(&self, role: &Role, claims: &Claims) -> Result<(), Refusal> {
        let asker = Asker { issuer: &self.known_as, claims };
        let tagging = (!tags(claims).is_empty()).then_some("sts:TagSession");
        for action in std::iter::once(ASSUME).chain(tagging) {
            match evaluate(&role.trust, action, &asker) {
                Verdict::Allowed => {}
                // AWS does not say which condition failed. A sandbox that did not would be of little use.
                Verdict::Refused(reasons) => return Err(not_authorized(Some((action, &reasons)))),
                Verdict::NotUnderstood(what) => {
                    return Err(refuse(
                        400,
                        "MalformedPolicyDocument",
                        format!("the sandbox cannot judge this trust policy: {what}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn give(&self, role: &str, session: &str, seconds: i64) -> Issued {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let (account, name) =
            (role.split(':').nth(4).unwrap_or_default(), role.rsplit('/').next().unwrap_or_default());
        let letters = |count| random().chars().take(count).collect::<String>();
        let issued = Issued {
            access_key_id: format!("ASIA{}", letters(16).to_uppercase()),
            // As AWS's look: 40 characters of base64's alphabet.
            secret_access_key: Secret::new(format!("{}/+{}", letters(19), letters(19))),
            session_token: Secret::new(format!("FwoGZXIvYXdzE{}{}==", random(), random())),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            expires_at: self.clock.now() + TimeDelta::seconds(seconds),
        };
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).push(issued.clone());
        issued
    }

    fn caller(&self, request: &Request) -> Result<String, Refusal> {
        let denied = |code, message: &str| refuse(403, code, message);
        let signed = sigv4::Signed::of(request);
        let signed = signed
            .ok_or_else(|| denied("MissingAuthenticationToken", "Request is missing Authentication Token"))?;
        let token = request.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
        let issued = self.issued();
        let known = issued.iter().find(|one| one.access_key_id == signed.access_key_id);
        let known = known.filter(|one| token == Some(one.session_token.expose()));
        let known = known.ok_or_else(|| {
            denied("InvalidClientTokenId", "The security token included in the request is invalid.")
        })?;
        if known.expires_at <= self.clock.now() {
            return Err(denied("ExpiredToken", "The security token included in the request is expired"));
        }
        if !signed.is_by(&known.secret_access_key, request) {
            let text = "The request signature we calculated does not match the signature you provided.";
            return Err(denied("SignatureDoesNotMatch", text));
        }
        let account = known.arn.split(':').nth(4).unwrap_or_default();
        Ok(response_xml(
            "GetCallerIdentity",
            &format!(
                "<Arn>{}</Arn><UserId>AROASANDBOX:{}</UserId><Account>{account}</Account>",
                escape(&known.arn),
                escape(known.arn.rsplit('/').next().unwrap_or_default()),
            ),
        ))
    }
}

fn not_authorized(why: Option<(&str, &[String])>) -> Refusal {
    let action = why.map_or(ASSUME, |(action, _)| action);
    let detail = why.map(|(_, reasons)| format!(" [sandbox: {}]", reasons.join("; "))).unwrap_or_default();
    refuse(403, "AccessDenied", format!("Not authorized to perform {action}{detail}"))
}

fn assumed_xml(issued: &Issued, session: &str, claims: &Claims, audience: &str) -> String {
    let result = format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
         <AssumedRoleUser><AssumedRoleId>AROASANDBOX:{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
         <SubjectFromWebIdentityToken>{}</SubjectFromWebIdentityToken><Audience>{}</Audience>\
         <PackedPolicySize>0</PackedPolicySize>",
        issued.access_key_id,
        escape(issued.secret_access_key.expose()),
        escape(issued.session_token.expose()),
        issued.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        escape(session),
        escape(&issued.arn),
        escape(&claims.text("sub").unwrap_or_default()),
        escape(audience),
    );
    response_xml("AssumeRoleWithWebIdentity", &result)
}

fn response_xml(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        uuid::Uuid::new_v4()
    )
}

fn error_xml(refusal: &Refusal) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{}</Code>\
         <Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        refusal.code,
        escape(&refusal.message),
        uuid::Uuid::new_v4()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
