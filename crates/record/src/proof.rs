//! How far a link can be believed, told as what it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::macros::{part, words};
use dataflow_types::secret::Fingerprint;

part! {
    /// How far a link can be believed, told as what it is.
    pub struct Proof {
        /// The strongest that holds.
        level: Level,
        /// A token whose audience is this link's digest.
        notarisation: Option<Notarisation>,
        /// A signature of the job's keeper.
        witness: Option<Witness>,
        /// A statement signed with a key that the job does not hold.
        attestation: Option<Attestation>,
    }
}

impl Default for Proof {
    fn default() -> Self {
        Self { level: Level::Digest, notarisation: None, witness: None, attestation: None }
    }
}

words! {
    /// Proof in rising strength.
    pub enum Level {
        /// The chain of digests.
        Digest,
        /// At a time, a process holding the job's token asked for this digest.
        Notarised,
        /// The keeper that was started before step code signed it.
        Witnessed,
        /// A key management service signed a statement about it.
        Attested,
    }
}

part! {
    /// A token that names a digest.
    pub struct Notarisation {
        /// The token's audience.
        audience: String,
        /// Digest of the token; the token itself is published beside the record after it expired.
        token: Fingerprint,
        /// Its `iat`.
        issued_at: DateTime<Utc>,
        /// Who signed it.
        issuer: String,
    }
}

part! {
    /// A keeper's signature.
    pub struct Witness {
        /// Digest of the public key.
        key: Fingerprint,
        /// Ed25519 over the link's bytes without its proof, base64.
        signature: String,
    }
}

part! {
    /// An in-toto statement elsewhere.
    pub struct Attestation {
        /// Where it is.
        uri: String,
        /// Digest of the DSSE envelope.
        digest: Fingerprint,
    }
}
