//! Assuming a role: with a token, and with another role's session.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::parameters::{Parameters, check_token_tags, members};
use super::session_policy;
use super::{Issued, Refusal, Role, Sts, lock, refuse, xml};
use dataflow_config::aws::Partition;
use dataflow_host::serve::Request;
use dataflow_trust::{Asker, Verdict, evaluate};
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::{Fingerprint, Secret};

const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
const CHAINED: &str = "sts:AssumeRole";
const IDENTITY: &str = "sts:SetSourceIdentity";
const TAG: &str = "sts:TagSession";

/// How far ahead of the service an issuer's clock may be, in seconds.
const LEEWAY: i64 = 300;

/// The longest session that is had from another session, in seconds.
const MAX_CHAINED: i64 = 3600;

impl Sts {
    pub(super) fn with_web_identity(&self, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
        let asked = Parameters::of(form)?;
        let token = form.get("WebIdentityToken").map(String::as_str).unwrap_or_default();
        let audience = self.audience_of(asked.role);
        let claims = self.token(token, &audience)?;
        let role = self.role(asked.role).ok_or_else(|| not_authorized(WEB_IDENTITY, &[]))?;
        let who = Asker::bearer(&self.known_as, account(asked.role), &claims).named(asked.session);
        check_trust(&role, WEB_IDENTITY, &who)?;
        check_token_tags(who.tags())?;
        let issued = self.give(&asked, &role, who.tags().clone(), (Vec::new(), None))?;
        let of_token = xml::OfToken { claims: &claims, audience: &audience };
        Ok(xml::assumed("AssumeRoleWithWebIdentity", &issued, Some(&of_token)))
    }

    /// Policies of the caller's own role are not simulated: they are taken to allow it.
    pub(super) fn chained(
        &self,
        form: &BTreeMap<String, String>,
        request: &Request,
    ) -> Result<String, Refusal> {
        let caller = self.caller(request)?;
        let asked = Parameters::of(form)?;
        if asked.seconds > MAX_CHAINED {
            let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
            return Err(refuse(400, "ValidationError", text));
        }
        let denied = |action: &str, reasons: &[String]| {
            let text = format!(
                "User: {} is not authorized to perform: {action} on resource: {}",
                caller.arn, asked.role
            );
            refuse(403, "AccessDenied", text + &because(reasons))
        };
        if let Some(policy) = &caller.policy {
            let allowed = session_policy::allows(policy, CHAINED, self.clock.now());
            if !allowed.map_err(|what| not_understood(&what))? {
                return Err(denied(CHAINED, &["the session policy does not allow it".to_owned()]));
            }
        }
        let role = self.role(asked.role).ok_or_else(|| denied(CHAINED, &[]))?;
        let external_id = form.get("ExternalId").map(String::as_str);
        let who = Asker::role(&caller.role, external_id, tags(form)).named(asked.session);
        let identity = form.get("SourceIdentity").or(caller.source_identity.as_ref());
        let actions = std::iter::once(CHAINED).chain(identity.map(|_| IDENTITY));
        for action in actions {
            check_trust(&role, action, &who).map_err(|refusal| match refusal {
                Untrusted::Refused(action, reasons) => denied(action, &reasons),
                Untrusted::NotUnderstood(what) => not_understood(&what),
            })?;
        }
        let mut tags = caller.tags.clone();
        tags.retain(|name, _| caller.transitive.contains(name));
        tags.extend(who.tags().clone());
        let mut transitive = members(form, "TransitiveTagKeys", "");
        transitive.extend(caller.transitive.clone());
        let issued = self.give(&asked, &role, tags, (transitive, identity.cloned()))?;
        Ok(xml::assumed("AssumeRole", &issued, None))
    }

    fn role(&self, arn: &str) -> Option<Role> {
        lock(&self.roles).get(arn).cloned()
    }

    /// Some partitions expect an audience of their own.
    fn audience_of(&self, role: &str) -> String {
        let partition = role.split(':').nth(1).and_then(Partition::named).unwrap_or(Partition::USUAL);
        self.audience.replace(Partition::USUAL.audience(), partition.audience())
    }

    fn token(&self, token: &str, audience: &String) -> Result<Claims, Refusal> {
        let invalid = |message: &str| refuse(400, "InvalidIdentityToken", message);
        let unverified = SubjectToken::new(Secret::new(token)).unverified_claims().map_err(|_| {
            invalid(
                "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
            )
        })?;
        let issuer = unverified.text("iss").unwrap_or_default();
        if issuer != self.issuer.url() {
            return Err(invalid(&format!("No OpenIDConnect provider found in your account for {issuer}")));
        }
        let claims = self.issuer.verify(token);
        let claims =
            claims.ok_or_else(|| invalid("The web identity token that was passed could not be validated"))?;
        if !claims.audiences().contains(audience) {
            return Err(invalid("Incorrect token audience"));
        }
        let now = self.clock.now().timestamp();
        let end = claims.seconds("exp").unwrap_or_default();
        if end <= now {
            let text = format!(
                "Token expired: current date/time {now} must be before the expiration date/time {end}"
            );
            return Err(refuse(400, "ExpiredTokenException", text));
        }
        if claims.seconds("nbf").is_some_and(|start| start > now + LEEWAY) {
            return Err(invalid("The token is not valid yet"));
        }
        Ok(claims)
    }

    fn give(
        &self,
        asked: &Parameters<'_>,
        role: &Role,
        tags: BTreeMap<String, String>,
        (transitive, source_identity): (Vec<String>, Option<String>),
    ) -> Result<Issued, Refusal> {
        let packed = asked.packed(&tags)?;
        if asked.seconds > role.max_duration {
            let text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(refuse(400, "ValidationError", text));
        }
        let (life, longest) = (TimeDelta::seconds(asked.seconds), *lock(&self.longest));
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let letters = |count| random().chars().take(count).collect::<String>();
        let name = asked.role.rsplit('/').next().unwrap_or_default();
        let partition = asked.role.split(':').nth(1).unwrap_or("aws");
        let issued = Issued {
            access_key_id: format!("ASIA{}", letters(16).to_uppercase()),
            // As AWS's look: 40 characters of base64's alphabet.
            secret_access_key: Secret::new(format!("{}/+{}", letters(19), letters(19))),
            session_token: Secret::new(format!("FwoGZXIvYXdzE{}{}==", random(), random())),
            arn: format!(
                "arn:{partition}:sts::{}:assumed-role/{name}/{}",
                account(asked.role),
                asked.session
            ),
            role: asked.role.to_owned(),
            user_id: format!("{}:{}", role_id(asked.role), asked.session),
            expires_at: self.clock.now() + longest.map_or(life, |longest| life.min(longest)),
            policy: asked.policy.map(str::to_owned),
            managed: asked.managed.clone(),
            tags,
            transitive,
            source_identity,
            packed,
        };
        lock(&self.issued).push(issued.clone());
        Ok(issued)
    }
}

/// Why a trust policy does not let the asker in.
enum Untrusted {
    Refused(&'static str, Vec<String>),
    NotUnderstood(String),
}

impl From<Untrusted> for Refusal {
    fn from(untrusted: Untrusted) -> Self {
        match untrusted {
            Untrusted::Refused(action, reasons) => not_authorized(action, &reasons),
            Untrusted::NotUnderstood(what) => not_understood(&what),
        }
    }
}

fn check_trust(role: &Role, action: &'static str, who: &Asker) -> Result<(), Untrusted> {
    let tagging = (!who.tags().is_empty()).then_some(TAG);
    for action in std::iter::once(action).chain(tagging) {
        match evaluate(&role.trust, action, who) {
            Verdict::Allowed => {}
            Verdict::Refused(reasons) => return Err(Untrusted::Refused(action, reasons)),
            Verdict::NotUnderstood(what) => return Err(Untrusted::NotUnderstood(what)),
        }
    }
    Ok(())
}

fn not_authorized(action: &str, reasons: &[String]) -> Refusal {
    refuse(403, "AccessDenied", format!("Not authorized to perform {action}{}", because(reasons)))
}

/// AWS does not say which condition failed. A sandbox that did not would be of little use.
fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" [sandbox: {}]", reasons.join("; ")) }
}

fn not_understood(what: &str) -> Refusal {
    let text = format!("the sandbox cannot judge this trust policy: {what}");
    refuse(400, "MalformedPolicyDocument", text)
}

fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The same for the same role, as AWS's unique ids are.
fn role_id(arn: &str) -> String {
    format!("AROA{}", Fingerprint::of(arn.as_bytes()).short(17).to_uppercase())
}

/// `Tags.member.N.Key` and `….Value`.
fn tags(form: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let key = |name: &str| name.strip_prefix("Tags.member.")?.strip_suffix(".Key").map(str::to_owned);
    form.iter()
        .filter_map(|(name, tag)| Some((key(name)?, tag)))
        .map(|(number, tag)| {
            let value = form.get(&format!("Tags.member.{number}.Value")).cloned();
            (tag.clone(), value.unwrap_or_default())
        })
        .collect()
}
