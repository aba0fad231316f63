//! The parts of a record. Every statement about identity carries its trust: `verified` (recomputed
//! from a signed token by whoever verifies the record), `reported` (the agent's environment, which
//! earlier hooks can rewrite), `asserted` (anything a caller could set).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::macros::{part, words};
use dataflow_types::finding;
use dataflow_types::secret::Fingerprint;

/// This program and its version.
pub const PRODUCER: &str = concat!("buildkite-dataflow ", env!("CARGO_PKG_VERSION"));

part! {
    /// Which job, which block of its step, which program.
    pub struct Run {
        /// The job's id, which is the run's id in OpenLineage.
        job: String,
        /// The block: a digest of its configuration, or `agent-hook`.
        instance: String,
        /// The container, where several share a host's folders.
        container: Option<String>,
        /// `plugin`, where a process of the agent's user could have replaced the hooks, or `agent-hook`.
        install: String,
        /// `enforce`, where denials stop the step, or `observe`.
        mode: String,
        /// `buildkite-dataflow` and its version.
        producer: String,
        /// Digest of the host config; absent for the embedded defaults.
        host_config: Option<Fingerprint>,
    }
}

part! {
    /// What was known and done before any step code ran.
    pub struct Start {
        /// Who runs, as the job's token says; absent when there was no token.
        identity: Option<Identity>,
        /// What the agent's environment says. Earlier hooks can rewrite it.
        reported: BTreeMap<String, String>,
        /// What anybody could have set.
        asserted: BTreeMap<String, String>,
        /// What was asked, and the answers.
        requests: Vec<Requested>,
        /// What was lent.
        leases: Vec<Lent>,
        /// Names of the variables that were set.
        exported: Vec<String>,
        /// Tokens that were minted, by digest.
        tokens: Vec<TokenUse>,
        /// Data the step says it will read and write.
        inputs: Vec<DataUse>,
        /// Data the step says it will write.
        outputs: Vec<DataUse>,
        /// How far it got.
        outcome: Outcome,
        /// Why it got no further.
        failure: Option<Finding>,
        /// What a reader should look at.
        findings: Vec<Finding>,
        /// The host config that ruled; absent for the embedded defaults.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ruled_by: Option<Box<RuledBy>>,
    }
}

part! {
    /// The host config that ruled; `run` has its digest.
    pub struct RuledBy {
        /// The file.
        file: String,
        /// What the job's user could have changed so that another config ruled: the file, or a folder or link on the way
        /// to it. Absent where only root could.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changeable: Option<String>,
    }
}

words! {
    /// How far the grant got.
    pub enum Outcome {
        /// Everything that was asked for was lent.
        Granted,
        /// The host's policy said no.
        Denied,
        /// Something failed; whatever had been lent was given back.
        Failed,
    }
}

part! {
    /// Who runs, and how sure that is.
    pub struct Identity {
        /// `verified`, or `reported` when the issuer's keys were out of reach.
        trust: IdentityTrust,
        /// Whether the keys were fetched for this job or kept from before; absent when there were none.
        keys: Option<KeySource>,
        /// Why it could not be verified.
        unverified_because: Option<String>,
        /// Every claim of the token.
        claims: serde_json::Map<String, serde_json::Value>,
        /// The host's clock minus the issuer's, in seconds.
        clock_skew_seconds: Option<i64>,
    }
}

words! {
    /// Where an issuer's keys came from.
    pub enum KeySource {
        /// From the issuer, for this job.
        Fetched,
        /// From the issuer, at most an hour before.
        Cached,
    }
}

words! {
    /// How sure an identity is.
    pub enum IdentityTrust {
        /// Signature, issuer, audience and time were checked.
        Verified,
        /// Nobody checked the signature.
        Reported,
    }
}

part! {
    /// One request and its answer.
    pub struct Requested {
        /// The request's id within this record.
        id: String,
        /// Where it was asked: `credentials[0]`.
        place: String,
        /// `step`, or `grant:NAME`.
        origin: String,
        /// Who was asked.
        provider: String,
        /// What for: a role's ARN.
        target: String,
        /// The answer; absent when identity was never known.
        decision: Option<Decision>,
        /// How long it was to live, in seconds.
        duration_seconds: u64,
    }
}

part! {
    /// The answer to one request.
    pub struct Decision {
        /// Yes or no.
        effect: Effect,
        /// What decided: `built-in`, `grant:NAME`, `endpoints`, `key-files`, `aws.allowed-accounts`, `limits.duration`, `limits.token-lifetime`, `step-requests`.
        rule: String,
        /// Why not; empty for an allowance.
        reason: String,
        /// The claims that were not as a grant wants them; empty where claims did not decide.
        failed: Vec<Mismatch>,
    }
}

words! {
    /// Yes or no.
    pub enum Effect {
        /// It may be lent.
        Allow,
        /// It may not.
        Deny,
    }
}

part! {
    /// A claim that is not as a grant wants it.
    pub struct Mismatch {
        /// The claim's name.
        claim: String,
        /// The grant's pattern.
        expected: String,
        /// The token's value; absent when the token has no such claim.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        seen: Option<String>,
    }
}

part! {
    /// One credential that was lent.
    pub struct Lent {
        /// The request it answers.
        request: String,
        /// Who lent it.
        provider: String,
        /// Who the step is there: an assumed-role ARN.
        principal: String,
        /// The provider's public name for the credential: an access key id.
        handle: String,
        /// What the exchange is called in the provider's log.
        session: String,
        /// Digest of the secret values.
        fingerprint: Fingerprint,
        /// When it was lent, by the host's clock.
        issued_at: DateTime<Utc>,
        /// When it ends by itself.
        expires_at: DateTime<Utc>,
        /// What else is known of it: `userid`, `deadline` and `session-ends`, `packed-policy-percent`,
        /// `session-token-percent`, `through`; of Vault `address`, `namespace`, `living`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        facts: BTreeMap<String, String>,
    }
}

part! {
    /// One token that was minted.
    pub struct TokenUse {
        /// Who was to believe it.
        audience: String,
        /// Where it came from: `agent`, `file`, `command`.
        source: String,
        /// Digest of the token.
        fingerprint: Fingerprint,
        /// Its `exp`.
        expires_at: Option<DateTime<Utc>>,
    }
}

part! {
    /// Data that a step says it uses.
    pub struct DataUse {
        /// Its name.
        uri: String,
        /// Who says so: always the step.
        trust: DataTrust,
    }
}

words! {
    /// Who says that data was used.
    pub enum DataTrust {
        /// The step's configuration or the step itself.
        Asserted,
    }
}

part! {
    /// Something in words.
    #[cfg_attr(feature = "schema", schemars(rename = "Told"))]
    pub struct Finding {
        /// Kebab-case, stable.
        ident: String,
        /// One sentence.
        what: String,
    }
}

impl Finding {
    /// A finding with this identifier.
    pub fn new(ident: finding::Ident, what: impl Into<String>) -> Self {
        Self { ident: ident.to_string(), what: what.into() }
    }
}
