//! Which ends each provider can give a lease: no other end is believed.

use super::{aws, azure, bitbucket, buildkite, gcp, github, oauth, secrets, vault};
use dataflow_types::settlement::Settlement;

/// Whether a settlement of `provider` can have come to this. What could not be done, or was left, is no provider's word.
pub fn can_give(provider: &str, settlement: &Settlement) -> bool {
    let word = settlement.word();
    if ["failed", "left", "unknown", "not-issued"].contains(&word) {
        return true;
    }
    let words: &[&str] = match provider {
        aws::NAME => &["expires", "bounded", "already-expired"],
        gcp::NAME | azure::NAME => &["expires", "already-expired"],
        oauth::NAME => &["expires", "already-expired", "revoked", "revoke-accepted"],
        github::NAME | bitbucket::NAME | buildkite::NAME => {
            &["expires", "already-expired", "revoked", "revoked-inferred"]
        }
        vault::NAME => {
            &["expires", "already-expired", "revoked", "revoked-inferred", "revoked-in-part", "stored"]
        }
        secrets::NAME => &["stored"],
        // Of a later version, which is not here to say so.
        _ => &[],
    };
    words.contains(&word)
}
