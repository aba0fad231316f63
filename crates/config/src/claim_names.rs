//! The names of claims that Buildkite's tokens have, for slips in configurations. Other issuers have names of their own, and
//! Buildkite may add some: a name that resembles none of these is no slip.

/// The claims of Buildkite's tokens, those that a step can ask for among them (Buildkite's documentation of
/// `buildkite-agent oidc request-token`).
const KNOWN: [&str; 25] = [
    "iss",
    "sub",
    "aud",
    "iat",
    "nbf",
    "exp",
    "jti",
    "organization_slug",
    "organization_id",
    "pipeline_slug",
    "pipeline_id",
    "build_number",
    "build_branch",
    "build_tag",
    "build_commit",
    "build_source",
    "build_id",
    "step_key",
    "job_id",
    "agent_id",
    "cluster_id",
    "cluster_name",
    "queue_id",
    "queue_key",
    "runner_environment",
];

/// How far a slip is from what was meant, at most: two letters, and one in a short name.
fn slip(name: &str) -> usize {
    if name.len() < 9 { 1 } else { 2 }
}

/// The claim that was meant by a name that is none: another spelling of it, or a slip.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    if KNOWN.contains(&name) || name.contains("://") {
        return None;
    }
    let plain = |name: &str| name.replace(['_', '-', '.', ' '], "").to_lowercase();
    let seen = plain(name);
    let near = |known: &&&str| {
        let distance = strsim::damerau_levenshtein(&seen, &plain(known));
        // `agent_ip` is no slip of `agent_id`: of short words only what is written otherwise is one.
        distance == 0 || known.len() > 5 && slip(known) > 1 && distance <= slip(known)
    };
    KNOWN.iter().find(near).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_or_another_spelling_of_a_claim_is_known_and_a_name_of_another_kind_is_no_slip() {
        for (seen, known) in [
            ("pipline_slug", "pipeline_slug"),
            ("organisation_slug", "organization_slug"),
            ("pipeline-slug", "pipeline_slug"),
            ("buildBranch", "build_branch"),
            ("Queue_Key", "queue_key"),
            ("queue_keys", "queue_key"),
        ] {
            assert_eq!(meant(seen), Some(known), "{seen}");
        }
        for other in [
            "build_branch",
            "zebra",
            "project_path",
            "agent_ip",
            "ref",
            "environment",
            "agent_tag:queue",
            "job_url",
        ] {
            assert_eq!(meant(other), None, "{other}");
        }
    }
}
