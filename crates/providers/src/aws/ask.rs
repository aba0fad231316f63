//! Asking STS for sessions: with a token, and with another session's keys.

use std::cell::Cell;
use std::time::SystemTime;

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::{self, AssumedRoleUser, PolicyDescriptorType, Tag};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, Utc};

use super::{Error, transport};
use crate::door::{of_key_id, of_name, of_token};
use crate::{self as provider, Context};
use dataflow_config::aws::{Aws, Endpoint, Hop, PolicyArn};
use dataflow_host::Clock;
use dataflow_host::retry::{Verdict, retry};
use dataflow_types::secret::Secret;

/// A session that STS gave.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) token: Secret,
    pub(super) expires_at: DateTime<Utc>,
    /// The session's ARN.
    pub(super) principal: String,
    /// What policies see of it as `aws:userid`.
    pub(super) userid: String,
    pub(super) sizes: Sizes,
    /// Whether the answer to an earlier try was lost.
    pub(super) lost: bool,
}

/// What both ways to a session take.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) seconds: i32,
    pub(super) policy: Option<&'a str>,
    pub(super) managed: &'a [PolicyArn],
}

impl Asked<'_> {
    fn policy(&self) -> Option<String> {
        self.policy.map(str::to_owned)
    }

    fn managed(&self) -> Option<Vec<PolicyDescriptorType>> {
        let one = |arn: &PolicyArn| PolicyDescriptorType::builder().arn(arn.as_str()).build();
        (!self.managed.is_empty()).then(|| self.managed.iter().map(one).collect())
    }
}

/// How much of the room there is a session takes, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Its policies and tags, of what STS packs.
    pub(super) packed: Option<i32>,
    /// Its whole token; newer, and instead of the other one.
    pub(super) token: Option<i32>,
}

/// Reads the sizes of an answer, of whichever operation.
macro_rules! sizes {
    ($answer:expr) => {{
        #[expect(deprecated, reason = "only newer services answer what replaces it")]
        let packed = $answer.packed_policy_size;
        Sizes { packed, token: $answer.session_token_utilization }
    }};
}

/// The parts of an answer that both ways share.
struct Answer {
    credentials: Option<types::Credentials>,
    user: Option<AssumedRoleUser>,
    sizes: Sizes,
}

/// The STS that a block asks.
#[derive(Debug)]
pub(super) struct Sts<'a> {
    aws: &'a Aws,
    context: &'a Context<'a>,
    endpoint: Endpoint,
    began: DateTime<Utc>,
}

impl<'a> Sts<'a> {
    pub(super) fn new(aws: &'a Aws, context: &'a Context<'a>) -> Result<Self, Error> {
        let endpoint = aws.sts(context.host.aws.sts());
        let endpoint =
            endpoint.map_err(|_| Error::Malformed { host: "STS".into(), problem: "has no URL".into() })?;
        Ok(Self { aws, context, endpoint, began: context.clock.now() })
    }

    /// The first role's session, for the job's token.
    pub(super) async fn with_token(&self, asked: &Asked<'_>) -> Result<Session, provider::Error> {
        let subject = self.context.subject.ok_or_else(|| self.lacking("token"))?;
        let (client, host) = (self.client(None), self.host());
        let attempt = async |fresh: bool| {
            let token = subject.take(fresh).await?;
            let request = client
                .assume_role_with_web_identity()
                .role_arn(self.aws.role.as_str())
                .role_session_name(asked.name)
                .duration_seconds(asked.seconds)
                .set_policy(asked.policy())
                .set_policy_arns(asked.managed())
                .web_identity_token(token.expose());
            let answer = request.send().await.map_err(|error| self.refusal(&error, &host))?;
            let sizes = sizes!(answer);
            Ok(Answer { credentials: answer.credentials, user: answer.assumed_role_user, sizes })
        };
        let (answer, lost) = self.tried(attempt).await?;
        Ok(self.session(answer, lost)?)
    }

    /// A further role's session, for the keys of the one before.
    pub(super) async fn with_session(
        &self,
        hop: &Hop,
        by: &Session,
        asked: &Asked<'_>,
    ) -> Result<Session, provider::Error> {
        let (client, host) = (self.client(Some(by)), self.host());
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build().ok();
        let tags: Vec<Tag> = hop.session_tags.iter().filter_map(tag).collect();
        let transitive = &hop.transitive_tag_keys;
        let attempt = async |_| {
            let request = client
                .assume_role()
                .role_arn(hop.role.as_str())
                .role_session_name(asked.name)
                .duration_seconds(asked.seconds)
                .set_policy(asked.policy())
                .set_policy_arns(asked.managed())
                .set_external_id(hop.external_id.clone())
                .set_source_identity(hop.source_identity.as_ref().map(ToString::to_string))
                .set_tags((!tags.is_empty()).then(|| tags.clone()))
                .set_transitive_tag_keys((!transitive.is_empty()).then(|| transitive.clone()));
            let answer = request.send().await.map_err(|error| self.refusal(&error, &host))?;
            let sizes = sizes!(answer);
            Ok(Answer { credentials: answer.credentials, user: answer.assumed_role_user, sizes })
        };
        let (answer, lost) = self.tried(attempt).await?;
        Ok(self.session(answer, lost)?)
    }

    /// Tries until there is an answer, and says whether an earlier one was lost. A try is told whether a
    /// token that nobody used before is wanted.
    async fn tried<F>(&self, attempt: F) -> Result<(Answer, bool), provider::Error>
    where
        F: AsyncFn(bool) -> Result<Answer, provider::Error>,
    {
        let (stale, lost) = (Cell::new(false), Cell::new(false));
        let once = |_| async {
            let answer = attempt(stale.replace(false)).await;
            if let Err(provider::Error::Aws(error)) = &answer {
                stale.set(error.wants_fresh_token());
                lost.set(lost.get() || !error.nothing_issued());
            }
            answer
        };
        let judge = |error: &provider::Error| match error {
            provider::Error::Aws(error) if error.is_access_denied() && self.may_be_new() => Verdict::Again,
            provider::Error::Aws(error) => error.verdict(),
            _ => Verdict::Stop,
        };
        let context = self.context;
        match retry(context.clock, context.backoff, context.until, judge, once).await {
            Ok(answer) => Ok((answer, lost.get())),
            // A refusal now says nothing about an earlier try whose answer never came.
            Err(error) if lost.get() => Err(provider::Error::after_loss(error)),
            Err(error) => Err(error),
        }
    }

    /// Whether a role that is refused may be one that was made a moment ago.
    fn may_be_new(&self) -> bool {
        let patience = self.aws.retry_access_denied;
        patience.is_some_and(|patience| self.context.clock.now() < self.began + patience.0)
    }

    fn refusal<E>(&self, error: &SdkError<E, HttpResponse>, host: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        Error::of(error, host, self.context.mask, self.context.clock.now())
    }

    pub(super) fn host(&self) -> String {
        self.endpoint.url.host_str().unwrap_or_default().to_owned()
    }

    fn lacking(&self, what: &str) -> Error {
        Error::Malformed { host: self.host(), problem: format!("answered no {what}") }
    }

    fn session(&self, answer: Answer, lost: bool) -> Result<Session, Error> {
        let keys = answer.credentials.ok_or_else(|| self.lacking("credentials"))?;
        let expires_at = DateTime::from_timestamp(keys.expiration.secs(), 0);
        let expires_at = expires_at.ok_or_else(|| self.lacking("expiration"))?;
        if expires_at <= self.context.clock.now() {
            let problem = format!("answered credentials that ended at {expires_at}");
            return Err(Error::Malformed { host: self.host(), problem });
        }
        let (principal, userid) =
            answer.user.map(|user| (user.arn, user.assumed_role_id)).unwrap_or_default();
        let secret_access_key = Secret::new(keys.secret_access_key);
        let session_token = Secret::new(keys.session_token);
        for secret in [&secret_access_key, &session_token] {
            self.context.mask.add(secret);
        }
        // A chain signs with them before they are handed over.
        for (field, problem) in [
            ("AccessKeyId", of_key_id(&keys.access_key_id)),
            ("SecretAccessKey", of_token(secret_access_key.expose())),
            ("SessionToken", of_token(session_token.expose())),
            ("Arn", of_name(&principal)),
            ("AssumedRoleId", of_name(&userid)),
        ] {
            if let Some(problem) = problem {
                let problem = format!("answered `{field}` {problem}");
                return Err(Error::Malformed { host: self.host(), problem });
            }
        }
        Ok(Session {
            access_key_id: keys.access_key_id,
            secret_access_key,
            token: session_token,
            expires_at,
            principal,
            userid,
            sizes: answer.sizes,
            lost,
        })
    }

    fn client(&self, by: Option<&Session>) -> aws_sdk_sts::Client {
        let context = self.context;
        let (http, clock) = (context.http.clone(), context.clock.clone());
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            // The signature holds the host: it must be the one that will be asked.
            .endpoint_url(http.route(self.endpoint.url.clone()).as_str())
            .http_client(SharedHttpClient::new(transport::Transport { http, clock, until: context.until }))
            .interceptor(transport::Caller)
            .time_source(Now(context.clock.clone()))
            .region(Region::new(self.endpoint.region.clone()))
            // Retries and timeouts are ours: the SDK's own turn a failed handshake into seconds.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let config = match by {
            Some(by) => config.credentials_provider(keys(by)),
            None => config,
        };
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

fn keys(session: &Session) -> Credentials {
    let (secret, token) = (session.secret_access_key.expose(), session.token.expose());
    Credentials::new(&session.access_key_id, secret, Some(token.to_owned()), None, "chain")
}

/// Our clock, as the SDK wants to see one: it signs with the time.
#[derive(Debug)]
struct Now(Clock);

impl TimeSource for Now {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}
