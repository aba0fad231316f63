//! AWS: `AssumeRoleWithWebIdentity` (STS API 2011-06-15).
//!
//! STS takes nothing back: a session lives until its `Expiration`, and its lease settles as `expires`.

use std::time::Duration;

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityOutput;
use chrono::DateTime;

use super::{Context, Provider, Settling, Terms};
use crate::config::aws::{Aws, Region as RegionName};
use crate::credential::{Credential, Material, SettleWith, Value, Variable};
use crate::host::retry::retry;
use crate::secret::Secret;
use crate::settlement::Settlement;

mod error;
mod transport;

pub use error::Error;

/// The provider's name in configurations and records.
pub const NAME: &str = "aws";

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// One role that a step asks for.
#[derive(Debug)]
pub struct Role<'a>(pub &'a Aws);

impl Provider for Role<'_> {
    async fn exchange(&self, session: &str, context: &Context<'_>) -> Result<Credential, super::Error> {
        let Role(aws) = self;
        let audience = aws.role.partition().audience();
        let key = super::Key { from: aws.token.from.clone(), shape: aws.token.shape(audience) };
        let client = self.client(context)?;
        let stale = std::cell::Cell::new(false);
        let lost = std::cell::Cell::new(false);
        let attempt = |_| async {
            let fresh = stale.replace(false);
            let token =
                if fresh { context.tokens.fresh(&key).await? } else { context.tokens.get(&key).await? };
            let answer =
                self.request(&client, session, context).web_identity_token(token.expose()).send().await;
            answer.map_err(|error| {
                let error = Error::of(&error, &self.endpoint(context));
                stale.set(error.wants_fresh_token());
                lost.set(lost.get() || !error.nothing_issued());
                super::Error::Aws(error)
            })
        };
        let judge = |error: &super::Error| match error {
            super::Error::Aws(error) => error.verdict(),
            _ => crate::host::retry::Verdict::Stop,
        };
        let output = retry(context.clock, context.backoff, context.until, judge, attempt).await;
        // A refusal now says nothing about an earlier try whose answer never came.
        let output = output.map_err(|last| if lost.get() { super::Error::after_loss(last) } else { last })?;
        Ok(Credential { answer_lost: lost.get(), ..self.credential(output, context)? })
    }

    async fn settle(lease: &Terms, context: &Settling<'_>) -> Settlement {
        if lease.expires_at <= context.clock.now() {
            return Settlement::AlreadyExpired { at: lease.expires_at };
        }
        Settlement::Expires { at: lease.expires_at }
    }
}

impl Role<'_> {
    fn endpoint(&self, context: &Context<'_>) -> String {
        let url = self.0.sts(context.host.aws.sts_endpoint.as_ref());
        url.ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    fn client(&self, context: &Context<'_>) -> Result<aws_sdk_sts::Client, Error> {
        let Role(aws) = self;
        let url = aws
            .sts(context.host.aws.sts_endpoint.as_ref())
            .map_err(|_| Error::Malformed { host: "STS".into(), problem: "has no URL".into() })?;
        let left = (context.until - context.clock.now()).to_std().unwrap_or_default();
        let timeout = left.min(REQUEST_TIMEOUT);
        let region = aws.region.as_ref().map_or(aws.role.partition().first_region(), RegionName::as_str);
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(SharedHttpClient::new(transport::Transport { http: context.http.clone(), timeout }))
            .interceptor(transport::Caller)
            .region(Region::new(region.to_owned()))
            .endpoint_url(url.as_str())
            // Retries and timeouts are ours: the SDK's own turn a failed handshake into seconds.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .identity_cache(aws_sdk_sts::config::IdentityCache::no_cache())
            .stalled_stream_protection(aws_sdk_sts::config::StalledStreamProtectionConfig::disabled())
            .build();
        Ok(aws_sdk_sts::Client::from_conf(config))
    }

    fn request(
        &self,
        client: &aws_sdk_sts::Client,
        session: &str,
        context: &Context<'_>,
    ) -> aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder
    {
        let Role(aws) = self;
        let seconds = crate::policy::duration(*aws, context.host).as_secs();
        client
            .assume_role_with_web_identity()
            .role_arn(aws.role.as_str())
            .role_session_name(session)
            .duration_seconds(i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    fn credential(
        &self,
        output: AssumeRoleWithWebIdentityOutput,
        context: &Context<'_>,
    ) -> Result<Credential, Error> {
        let lacking = |what: &str| Error::Malformed {
            host: self.endpoint(context),
            problem: format!("answered no {what}"),
        };
        let keys = output.credentials.ok_or_else(|| lacking("credentials"))?;
        let expires_at =
            DateTime::from_timestamp(keys.expiration.secs(), 0).ok_or_else(|| lacking("expiration"))?;
        if expires_at <= context.clock.now() {
            let problem = format!("answered credentials that ended at {expires_at}");
            return Err(Error::Malformed { host: self.endpoint(context), problem });
        }
        let (secret, session) = (Secret::new(keys.secret_access_key), Secret::new(keys.session_token));
        let secrets = [
            ("AWS_ACCESS_KEY_ID", Value::Plain(keys.access_key_id.clone())),
            ("AWS_SECRET_ACCESS_KEY", Value::Secret(secret.clone())),
            ("AWS_SESSION_TOKEN", Value::Secret(session.clone())),
        ];
        let region = self.0.region.iter().flat_map(|region| {
            ["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| (name, Value::Plain(region.to_string())))
        });
        let variable = |(name, value): (&str, Value)| Some(Variable { name: name.parse().ok()?, value });
        Ok(Credential {
            variables: secrets.into_iter().chain(region).filter_map(variable).collect(),
            files: Vec::new(),
            material: Material::AwsKeys {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: secret,
                session_token: session,
            },
            expires_at,
            principal: output.assumed_role_user.map(|user| user.arn).unwrap_or_default(),
            handle: keys.access_key_id,
            settle_with: SettleWith::Nothing,
            answer_lost: false,
        })
    }
}

/// A session name that no other exchange has: made of the job's id, so that CloudTrail names the job.
pub fn session_name(job_id: &str) -> String {
    let plain: String = job_id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' })
        .take(40)
        .collect();
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("buildkite-job-{plain}-{}", unique.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::aws::SessionName;

    #[test]
    fn a_session_name_holds_the_job_and_is_valid_and_unique() {
        let job = "0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e5f";
        let (one, other) = (session_name(job), session_name(job));
        assert!(one.starts_with(&format!("buildkite-job-{job}-")));
        assert_ne!(one, other);
        for name in [one, session_name("../evil id!"), session_name(&"x".repeat(300))] {
            assert!(name.parse::<SessionName>().is_ok(), "{name}");
        }
    }
}
