//! What the author of an unknown key meant: words of the plugins and actions that people come from. None is accepted.

use super::place::nearest;

/// How others call what we call by the words on the right; the first that is known where it stands.
const ELSEWHERE: &[(&str, &[&str])] = &[
    // AWS: the plugins of Buildkite, aws-actions/configure-aws-credentials, the AWS CLI's config.
    ("role-arn", &["role"]),
    ("role-to-assume", &["role"]),
    ("assume-role", &["role"]),
    ("assume-role-arn", &["role"]),
    ("aws-role-arn", &["role"]),
    ("aws-role", &["role"]),
    ("iam-role", &["role"]),
    ("iam-role-arn", &["role"]),
    ("arn", &["role"]),
    ("aws-region", &["region"]),
    ("region-name", &["region"]),
    ("default-region", &["region"]),
    ("aws-default-region", &["region"]),
    ("sso-region", &["region"]),
    ("session-duration", &["duration", "lifetime"]),
    ("role-session-duration", &["duration"]),
    ("role-duration-seconds", &["duration"]),
    ("duration-seconds", &["duration", "lifetime"]),
    ("duration-in-seconds", &["duration", "lifetime"]),
    ("max-session-duration", &["duration"]),
    ("expires-in", &["duration", "lifetime"]),
    ("ttl", &["duration", "lifetime", "wrap-ttl"]),
    ("role-session-name", &["session-name"]),
    ("session", &["session-name"]),
    ("role-external-id", &["external-id"]),
    ("inline-session-policy", &["session-policy"]),
    ("policy", &["session-policy"]),
    ("managed-session-policies", &["policy-arns"]),
    ("session-policies", &["policy-arns"]),
    ("policies", &["policy-arns"]),
    ("role-chaining", &["chain"]),
    ("tags", &["session-tags"]),
    ("aws-session-tags", &["session-tags"]),
    ("aws-session-tag", &["session-tags"]),
    ("mask-aws-account-id", &["mask-account-id"]),
    ("sts-endpoint", &["endpoint", "sts-endpoint"]),
    ("endpoint-url", &["endpoint", "address"]),
    ("aws-profile", &["profile"]),
    ("profile-name", &["profile"]),
    ("credential-name-prefix", &["prefix"]),
    ("env-prefix", &["prefix"]),
    ("output-env-credentials", &["export"]),
    ("account-id", &["allowed-accounts"]),
    ("account-ids", &["allowed-accounts"]),
    ("allowed-account-ids", &["allowed-accounts"]),
    ("sso-account-id", &["allowed-accounts"]),
    // Tokens.
    ("oidc-audience", &["audience"]),
    ("jwt-audience", &["audience"]),
    ("jwtgithubaudience", &["audience"]),
    ("aud", &["audience"]),
    ("web-identity-token-file", &["from"]),
    ("token-file", &["from"]),
    ("claim", &["claims"]),
    ("subject-claims", &["subject-claim"]),
    // Google Cloud: gcp-workload-identity-federation, google-github-actions/auth.
    ("workload-identity-provider", &["provider"]),
    ("workload-identity-pool-provider", &["provider"]),
    ("gcp-workload-identity-provider", &["provider"]),
    ("identity-provider", &["provider"]),
    ("provider-id", &["provider"]),
    ("provider-name", &["provider"]),
    ("service-account-email", &["service-account"]),
    ("gcp-service-account", &["service-account"]),
    ("impersonate-service-account", &["service-account"]),
    ("project-id", &["project"]),
    ("gcp-project", &["project"]),
    ("universe-domain", &["universe"]),
    ("access-token-lifetime", &["lifetime"]),
    ("access-token-scopes", &["scopes"]),
    ("access-token-subject", &["subject"]),
    ("id-token-audience", &["id-token"]),
    ("id-token-include-email", &["include-email"]),
    ("create-credentials-file", &["credential-file"]),
    ("export-environment-variables", &["credential-file"]),
    ("token-format", &["access-token"]),
    // Azure: azure/login, Terraform.
    ("azure-tenant-id", &["tenant-id"]),
    ("arm-tenant-id", &["tenant-id"]),
    ("tenant", &["tenant-id"]),
    ("azure-client-id", &["client-id"]),
    ("arm-client-id", &["client-id"]),
    ("application-id", &["client-id", "app-id"]),
    ("client", &["client-id"]),
    ("azure-subscription-id", &["subscription-id"]),
    ("arm-subscription-id", &["subscription-id"]),
    ("subscription", &["subscription-id"]),
    ("environment", &["cloud"]),
    // Vault: vault-secrets, vault-oidc-auth, hashicorp/vault-action.
    ("vault-addr", &["address"]),
    ("vault-address", &["address"]),
    ("vault-url", &["address"]),
    ("addr", &["address"]),
    ("server", &["address"]),
    ("server-url", &["address"]),
    ("host", &["address"]),
    ("url", &["address"]),
    ("vault-namespace", &["namespace"]),
    ("vault-ns", &["namespace"]),
    ("auth-path", &["mount"]),
    ("vault-auth-path", &["mount"]),
    ("auth-mount", &["mount"]),
    ("mount-path", &["mount"]),
    ("mount-point", &["mount"]),
    ("path", &["mount"]),
    ("jwt-path", &["mount"]),
    ("vault-role", &["role"]),
    ("auth-role", &["role"]),
    ("jwt-role", &["role"]),
    ("role-name", &["role"]),
    ("export-env", &["env"]),
    ("env-var", &["env"]),
    ("output-token", &["export-token"]),
    ("secret", &["secrets", "values"]),
    // GitHub.
    ("github-app-id", &["app-id"]),
    ("app-client-id", &["app-id"]),
    ("organization", &["owner"]),
    ("org", &["owner", "organization"]),
    ("installation-owner", &["owner"]),
    ("repos", &["repositories"]),
    ("repo", &["repositories", "repository"]),
    ("app-private-key", &["private-key"]),
    ("key-path", &["private-key"]),
    ("key-file", &["private-key", "key-files"]),
    // OAuth.
    ("token-url", &["token-endpoint"]),
    ("token-uri", &["token-endpoint"]),
    ("issuer-url", &["issuer"]),
    ("client-assertion", &["grant"]),
    ("grant-type", &["grant"]),
    // The host config.
    ("state-dir", &["state-directory"]),
    ("allowed-issuers", &["issuers"]),
    ("trusted-issuers", &["issuers"]),
    ("allowed-endpoints", &["endpoints"]),
    ("ca", &["ca-file"]),
    ("cacert", &["ca-file"]),
    ("ca-cert", &["ca-file"]),
    ("ca-bundle", &["ca-file"]),
    ("http-proxy", &["proxy"]),
    ("https-proxy", &["proxy"]),
    ("log-level", &["log"]),
    ("timeouts", &["deadlines"]),
    ("timeout", &["deadlines", "grant"]),
    ("dir", &["directory"]),
];

/// What a key is called by those who write it so elsewhere; it is a key of ours somewhere.
pub(super) fn elsewhere(seen: &str) -> &'static [&'static str] {
    let seen = seen.replace(['_', ' '], "-").to_lowercase();
    ELSEWHERE.iter().find(|(theirs, _)| *theirs == seen).map_or(&[], |(_, ours)| *ours)
}

/// The known key that was meant.
pub(super) fn meant(seen: &str, known: &[&'static str]) -> Option<&'static str> {
    let same = known.iter().find(|known| known.replace('-', "_") == seen.replace('-', "_").to_lowercase());
    let theirs = || elsewhere(seen).iter().find_map(|ours| known.iter().find(|known| *known == ours));
    same.or_else(theirs).copied().or_else(|| nearest(seen, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_plugin_is_known_in_any_spelling() {
        let known = ["role", "region", "duration", "session-name"];
        for (seen, ours) in [
            ("role_arn", "role"),
            ("role-to-assume", "role"),
            ("AWS_REGION", "region"),
            ("role_duration_seconds", "duration"),
            ("sessionName", "session-name"),
            ("Session_Name", "session-name"),
        ] {
            assert_eq!(meant(seen, &known), Some(ours), "{seen}");
        }
        assert_eq!(meant("zebra", &known), None);
    }
}
