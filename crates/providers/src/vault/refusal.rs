//! What Vault says when it says no, by what to do about it.
//!
//! Words: `path_login.go` of the plugin `vault-plugin-auth-jwt` and of the library `cap/jwt` behind it; statuses:
//! Vault's HTTP API, "Error response" and "HTTP status codes".

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use crate::refusal::about;
use dataflow_config::vault::{Read, Vault};
use dataflow_host::http::StatusCode;

/// The longest message that is told.
const LONGEST: usize = 300;

/// What an error body says; nothing where it is not one of Vault's.
pub(super) fn words(body: &[u8]) -> String {
    let body = Tree::of(body);
    let said = body.texts("/errors").into_iter().chain(body.texts("/warnings"));
    let said: Vec<&str> = said.flat_map(str::split_whitespace).collect();
    said.join(" ").chars().take(LONGEST).collect()
}

/// Whether the same may go better later: a standby that lags behind (412), one that hands over (472, 473),
/// a limit (429), a fault of the server's, a sealed server (503).
pub(super) fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 412 | 429 | 472 | 473)
}

fn refusal(status: StatusCode, message: String, remedy: Remedy, hint: Option<String>) -> Refusal {
    Refusal { code: status.as_u16().to_string(), message, remedy, hint }
}

fn busy(status: StatusCode, message: String) -> Refusal {
    let sealed = status == StatusCode::SERVICE_UNAVAILABLE;
    let hint =
        sealed.then(|| "this Vault is sealed or in maintenance: its operators must unseal it".to_owned());
    refusal(status, message, Remedy::Wait, hint)
}

/// Why a login was refused.
pub(super) fn login(status: StatusCode, body: &[u8], vault: &Vault, audience: &str) -> Refusal {
    let message = words(body);
    if is_busy(status) {
        return busy(status, message);
    }
    match explain_login_refusal(status.as_u16(), &message.to_lowercase(), vault, audience) {
        Some((remedy, hint)) => refusal(status, message, remedy, Some(hint)),
        None => Refusal { message, ..Refusal::by_status(status) },
    }
}

/// What does not fit, by the words that were said, and what helps.
fn explain_login_refusal(status: u16, said: &str, vault: &Vault, audience: &str) -> Option<(Remedy, String)> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (role, mount) = (&vault.role, &vault.mount);
    Some(match status {
        400 if says(&["could not be found", "not found"]) && says(&["role"]) => (
            Remedy::Stop,
            format!(
                "`auth/{mount}/role/{role}` is not there: is this the role, the `mount` and the `namespace`?"
            ),
        ),
        400 if says(&["role_type"]) => (
            Remedy::Stop,
            format!("`role_type` of the role `{role}` must be `jwt`, and is `oidc` where nobody says so"),
        ),
        400 if says(&["load configuration"]) => (
            Remedy::Stop,
            format!("nobody wrote `auth/{mount}/config` yet: it names the `oidc_discovery_url`"),
        ),
        400 if says(&["expired", "not before", "nbf", "issued at", "iat)", "not yet valid"]) => {
            (Remedy::FreshToken, "look at the clocks of this host and of the Vault server".to_owned())
        }
        400 if says(&["audience", "(aud)"]) => (
            Remedy::OtherToken,
            format!(
                "`bound_audiences` of the role `{role}` must hold `{audience}`, or name another `token.audience`"
            ),
        ),
        400 if says(&["subject", "(sub)"]) => {
            (Remedy::OtherToken, format!("`bound_subject` of the role `{role}` must be the `sub` above"))
        }
        400 if says(&["signature", "issuer", "(iss)", "key set", "jwks", "discovery"]) => (
            Remedy::OtherToken,
            format!("`auth/{mount}/config` must know this `iss`: `oidc_discovery_url` and `bound_issuer`"),
        ),
        400 if says(&["claim"]) => (
            Remedy::OtherToken,
            format!(
                "`bound_claims` and `user_claim` of the role `{role}` must fit the claims of this job; optional ones are asked for with `token.claims`"
            ),
        ),
        403..=405 => (
            Remedy::Stop,
            format!(
                "no login at `auth/{mount}`: is this the `mount` and the `namespace`? A role may also refuse this host's address (`token_bound_cidrs`)"
            ),
        ),
        _ => return None,
    })
}

/// Why a path could not be read.
pub(super) fn read(status: StatusCode, body: &[u8], read: &Read) -> Refusal {
    let message = words(body);
    if is_busy(status) {
        return busy(status, message);
    }
    let path = &read.path;
    let verb = if read.data.is_some() { "update" } else { "read" };
    let hint = match status.as_u16() {
        403 => Some(format!(
            "the role's policies must allow `{verb}` on `{path}`; a KV v2 path has `data/` after its mount"
        )),
        404 if message.contains("versioned K/V") => {
            Some("a KV v2 path has `data/` after its mount: `secret/data/train`".to_owned())
        }
        404 if message.contains("no handler for route") => Some(format!(
            "no secrets engine is mounted where `{path}` begins: is this the mount and the `namespace`?"
        )),
        404 => Some(format!(
            "nothing is at `{path}`, or its version was deleted; a KV v2 path has `data/` after its mount"
        )),
        405 if read.data.is_none() => {
            Some("this path wants to be written: give its parameters as `data`, `{}` for none".to_owned())
        }
        _ => None,
    };
    // What this refuses is a path and not the job's token, whatever the status.
    refusal(status, about(path, message, body), Remedy::Stop, hint)
}

/// Why nothing was signed.
pub(super) fn sign(status: StatusCode, body: &[u8], path: &str) -> Refusal {
    let message = words(body);
    // Vault calls it a fault of its own.
    let no_version = message.contains("requested version for signing");
    if is_busy(status) && !no_version {
        return busy(status, message);
    }
    let hint = match status.as_u16() {
        _ if no_version => Some("the key has no such version: is this the `version`?".to_owned()),
        403 => Some(format!("the role's policies must allow `update` on `{path}`")),
        404 => Some(format!("nothing is at `{path}`: is this the `mount` and the `namespace`?")),
        400 => Some("the key must be there, and of the kind that `algorithm` names".to_owned()),
        _ => None,
    };
    refusal(status, about(path, message, body), Remedy::Stop, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        serde_yaml::from_str("address: https://vault.example.test\nrole: train\n").unwrap()
    }

    #[track_caller]
    fn refused(status: u16, message: &str, remedy: Remedy, hint: &str) {
        let body = serde_json::json!({"errors": [message]}).to_string();
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = login(status, body.as_bytes(), &vault(), "https://vault.example.test");
        assert_eq!(refusal.remedy, remedy, "{refusal:?}");
        assert!(refusal.hint.unwrap_or_default().contains(hint), "{message}");
    }

    #[test]
    fn each_refusal_of_a_login_names_what_does_not_fit() {
        use Remedy::{FreshToken, OtherToken, Stop, Wait};
        let audience = "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience";
        refused(400, audience, OtherToken, "must hold `https://vault.example.test`");
        refused(
            400,
            r#"error validating claims: claim "pipeline_slug" does not match any associated bound claim values"#,
            OtherToken,
            "bound_claims",
        );
        refused(400, "error validating token: invalid subject (sub) claim", OtherToken, "bound_subject");
        refused(400, "error validating token: invalid issuer (iss) claim", OtherToken, "bound_issuer");
        refused(
            400,
            "error validating token: error verifying token signature: failed to verify id token signature",
            OtherToken,
            "oidc_discovery_url",
        );
        refused(
            400,
            "error validating token: invalid expiration time (exp) claim: token is expired",
            FreshToken,
            "clocks",
        );
        refused(400, r#"role "train" could not be found"#, Stop, "`auth/jwt/role/train` is not there");
        refused(400, "role with oidc role_type is not allowed", Stop, "must be `jwt`");
        refused(400, "could not load configuration", Stop, "`auth/jwt/config`");
        refused(403, "permission denied", Stop, "is this the `mount`");
        refused(
            404,
            r#"no handler for route "auth/jwt/login". route entry not found."#,
            Stop,
            "is this the `mount`",
        );
        refused(503, "Vault is sealed", Wait, "unseal it");
        for status in [412, 429, 472, 473, 500, 502] {
            refused(status, "", Wait, "");
        }
    }

    #[test]
    fn what_is_no_word_of_vaults_is_not_repeated() {
        assert_eq!(words(b"<html>token hunter2</html>"), "");
        assert_eq!(
            words(br#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
            "1 error occurred: * permission denied"
        );
        assert_eq!(words(format!(r#"{{"errors":["{}"]}}"#, "x".repeat(900)).as_bytes()).len(), LONGEST);
    }

    #[test]
    fn a_key_without_such_a_version_is_no_fault_of_the_server() {
        let told = |words: &str| {
            let body = serde_json::json!({"errors": [words]}).to_string();
            sign(StatusCode::INTERNAL_SERVER_ERROR, body.as_bytes(), "transit/sign/app")
        };
        let refusal = told("requested version for signing is higher than the latest key version");
        assert_eq!(refusal.remedy, Remedy::Stop);
        assert_eq!(told("internal error").remedy, Remedy::Wait);
    }

    #[test]
    fn a_path_that_cannot_be_read_is_told_with_what_it_may_lack() {
        let hint = |status: u16, body: &str, more: &str| {
            let asked: Read = serde_yaml::from_str(&format!("path: secret/train\nenv: A\n{more}")).unwrap();
            let refusal = read(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &asked);
            assert!(refusal.message.starts_with("for `secret/train`"));
            refusal.hint.unwrap_or_default()
        };
        assert!(hint(403, r#"{"errors":["permission denied"]}"#, "").contains("must allow `read` on"));
        assert!(hint(403, "", "data: {a: b}").contains("must allow `update` on"));
        let warned = r#"{"errors":[],"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs"]}"#;
        assert!(hint(404, warned, "").starts_with("a KV v2 path has `data/`"));
        assert!(hint(404, r#"{"errors":[]}"#, "").starts_with("nothing is at"));
        assert!(hint(405, r#"{"errors":["unsupported operation"]}"#, "").contains("as `data`"));
    }
}
