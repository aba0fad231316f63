//! Who runs: the claims of the job's token, and how sure they are.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::CoreIdToken;
use openidconnect::{
    ClaimsVerificationError, ClientId, IdTokenVerifier, IssuerUrl, Nonce, SignatureVerificationError,
};

use super::jwk;
use super::keys::{self, KeyStore, Keys, Source};
use dataflow_config::host::Verify;
use dataflow_types::claims::{Claims, Malformed, SubjectToken};
use dataflow_types::failure::{Failure, Ident};

/// How far the host's clock may be from the issuer's, in seconds.
pub const LEEWAY: i64 = 150;

/// Who runs, as a token says it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Everything the token says.
    pub claims: Claims,
    /// How sure that is.
    pub trust: Trust,
    /// The host's clock minus the issuer's, in seconds, from the token's `iat`.
    pub skew: Option<i64>,
}

/// How sure a token's claims are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Issuer, audience, time and signature were checked.
    Verified(Source),
    /// The issuer's keys were out of reach; everything else was checked.
    Unverified(String),
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no token.
    #[error("the agent gave something that is no token")]
    Malformed(#[source] Malformed),
    /// Nobody here believes its issuer.
    #[error("the token's issuer is `{issuer}`, expected {}", .allowed.join(" or "))]
    Issuer {
        /// Who signed it.
        issuer: String,
        /// Whom the host config believes.
        allowed: Vec<String>,
    },
    /// A check failed.
    #[error("the job's token is not valid: {0}")]
    Invalid(String),
    /// Times do not fit.
    #[error(
        "the job's token is not valid now ({now}): issued {issued}, ends {ends}; the host's clock is {skew} s off the issuer's"
    )]
    Time {
        /// By the host's clock.
        now: DateTime<Utc>,
        /// `iat`.
        issued: String,
        /// `exp`.
        ends: String,
        /// Host minus issuer, in seconds.
        skew: i64,
    },
    /// No key, and the host config wants one.
    #[error("the job's token could not be verified")]
    Keys(#[source] Arc<keys::Error>),
}

impl Error {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let of = |ident| Failure::of(ident, self);
        match self {
            Self::Malformed(_) | Self::Invalid(_) => of(Ident::TokenInvalid),
            Self::Time { .. } => of(Ident::TokenInvalid).hinted("set the host's clock (NTP)"),
            Self::Issuer { .. } => of(Ident::IssuerNotAllowed)
                .hinted("`issuers` in the host config names whose tokens are believed"),
            Self::Keys(_) => of(Ident::TokenUnverified).hinted(
                "the issuer must be reachable from this host; `verify: when-available` in the host config lends without",
            ),
        }
    }
}

/// Checks tokens against the host's rules.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// Whose tokens are believed.
    pub issuers: &'a [String],
    /// Whether keys out of reach are an obstacle.
    pub verify: Verify,
    /// The issuers' keys.
    pub keys: &'a KeyStore,
}

impl Verifier<'_> {
    /// Who `token`, made for `audience` and received at `now`, says is running.
    pub async fn identify(
        &self,
        token: &SubjectToken,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Identity, Error> {
        let claims = token.unverified_claims().map_err(Error::Malformed)?;
        let issuer = claims.text("iss").unwrap_or_default();
        if !self.issuers.contains(&issuer) {
            return Err(Error::Issuer { issuer, allowed: self.issuers.to_vec() });
        }
        let skew = claims.seconds("iat").map(|issued| now.timestamp().saturating_sub(issued));
        check_time(&claims, now, skew.unwrap_or_default())?;
        let trust = match self.keys.keys(&issuer).await {
            Err(error) if self.verify == Verify::WhenAvailable => Trust::Unverified(error.to_string()),
            Err(error) => return Err(Error::Keys(error)),
            Ok(keys) => Trust::Verified(self.check(token, audience, &issuer, keys, now).await?),
        };
        Ok(Identity { claims, trust, skew })
    }

    async fn check(
        &self,
        token: &SubjectToken,
        audience: &str,
        issuer: &str,
        keys: Keys,
        now: DateTime<Utc>,
    ) -> Result<Source, Error> {
        let source = keys.source;
        match signed(token, audience, issuer, keys, now) {
            Ok(()) => Ok(source),
            // A key that the store does not know may be a new one.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) if source == Source::Cached => {
                let keys = self.keys.fetch(issuer).await.map_err(Error::Keys)?;
                signed(token, audience, issuer, keys, now).map_err(invalid)?;
                Ok(Source::Fetched)
            }
            Err(error) => Err(invalid(error)),
        }
    }
}

fn invalid(error: ClaimsVerificationError) -> Error {
    Error::Invalid(match error {
        ClaimsVerificationError::SignatureVerification(inner) => format!("its signature is wrong ({inner})"),
        other => other.to_string().to_lowercase(),
    })
}

fn signed(
    token: &SubjectToken,
    audience: &str,
    issuer: &str,
    keys: Keys,
    now: DateTime<Utc>,
) -> Result<(), ClaimsVerificationError> {
    let other = |error: &dyn std::error::Error| ClaimsVerificationError::Other(error.to_string());
    let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|error| other(&error))?;
    let parsed: CoreIdToken = token.expose().parse().map_err(|error| other(&error))?;
    let leeway = TimeDelta::seconds(LEEWAY);
    let verifier = IdTokenVerifier::new_public_client(ClientId::new(audience.to_owned()), issuer, keys.set)
        .set_allowed_algs(jwk::ALGORITHMS)
        .set_time_fn(move || now - leeway)
        .set_issue_time_verifier_fn(move |issued| {
            if issued <= now + leeway { Ok(()) } else { Err("issued in the future".to_owned()) }
        });
    parsed.claims(&verifier, |_: Option<&Nonce>| Ok(())).map(|_| ())
}

fn check_time(claims: &Claims, now: DateTime<Utc>, skew: i64) -> Result<(), Error> {
    let (now_s, not_before) = (now.timestamp(), claims.seconds("nbf").or(claims.seconds("iat")));
    let early = not_before.is_some_and(|start| now_s + LEEWAY < start);
    let late = claims.seconds("exp").is_none_or(|end| now_s - LEEWAY >= end);
    if !early && !late {
        return Ok(());
    }
    let told = |name| match claims.seconds(name).and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        Some(at) => at.to_string(),
        None => "(not said)".to_owned(),
    };
    Err(Error::Time { now, issued: told("iat"), ends: told("exp"), skew })
}
