//! What a secrets manager says when it says no, by what to do about it.
//!
//! Codes: "Errors" of `GetSecretValue` and `GetParameter`, AWS's common errors; Google's `google.rpc.Status`;
//! "Error codes" of Azure Key Vault's REST API.

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use crate::refusal::about;
use dataflow_config::secrets::{Secrets, Store, Stored};
use dataflow_host::http::StatusCode;

/// The longest message that is told.
const LONGEST: usize = 300;

/// Codes by which a busy AWS answers 400.
const BUSY: [&str; 4] =
    ["ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"];

/// Why one value could not be read.
pub(super) fn explain(status: StatusCode, body: &[u8], secrets: &Secrets, one: &Stored) -> Refusal {
    let usual = Refusal::by_status(status);
    let (code, message) = words(body);
    let code = if code.is_empty() { usual.code } else { code };
    let message = about(&one.name, message, body);
    if usual.remedy == Remedy::Wait || BUSY.contains(&code.as_str()) {
        return Refusal { code, message, remedy: Remedy::Wait, hint: None };
    }
    let hint = cause(&code, &message, secrets, one).or_else(|| hint(&code, status, secrets, one));
    // What this refuses is the source and not the job's token.
    Refusal { code, message, remedy: Remedy::Stop, hint }
}

/// The code and the words of an error body; nothing where it is none.
fn words(body: &[u8]) -> (String, String) {
    let body = Tree::of(body);
    let text =
        |names: &[&str]| body.text(names).unwrap_or_default().chars().take(LONGEST).collect::<String>();
    let code = text(&["/__type", "/error/status", "/error/innererror/code", "/error/code"]);
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    (code, text(&["/message", "/Message", "/error/message"]))
}

/// What one store means by a code or a word that others do not have: most come with a status that says something else.
fn cause(code: &str, message: &str, secrets: &Secrets, one: &Stored) -> Option<String> {
    let (source, name) = (&secrets.source, &one.name);
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    Some(match secrets.store {
        Store::AzureKeyVault if code == "SecretDisabled" || says(&["disabled secret"]) => {
            format!("`{name}`, or this version of it, is disabled: enable it, or name another `version`")
        }
        Store::AzureKeyVault if ["ForbiddenByFirewall", "ForbiddenByConnection"].contains(&code) => {
            "the key vault's networking does not let this host in: allow its address, or reach it by a private endpoint"
                .to_owned()
        }
        Store::AzureKeyVault if code == "ForbiddenByPolicy" => {
            format!("an access policy of the key vault must give `{source}` the permission `get` on secrets")
        }
        Store::AzureKeyVault if says(&["not yet valid", "expired secret", "expiration time"]) => {
            format!("`{name}` is outside the time in which it is active: look at its `nbf` and `exp`")
        }
        Store::GcpSecretManager if code == "FAILED_PRECONDITION" => {
            format!("this version of `{name}` is disabled or destroyed: enable it, or name another `version`")
        }
        Store::GcpSecretManager if says(&["has not been used in project", "it is disabled"]) => {
            "enable the API `secretmanager.googleapis.com` in the project".to_owned()
        }
        Store::GcpSecretManager if says(&["insufficient authentication scopes"]) => {
            format!("`{source}` needs the scope `https://www.googleapis.com/auth/cloud-platform`")
        }
        Store::GcpSecretManager if says(&["organization's policy", "vpcServiceControls"]) => {
            "a perimeter of VPC Service Controls does not let this host in".to_owned()
        }
        Store::AwsSecretsManager if says(&["marked for deletion", "scheduled for deletion"]) => {
            format!("`{name}` is marked for deletion: `aws secretsmanager restore-secret` brings it back")
        }
        Store::AwsSecretsManager if says(&["staging label"]) => {
            format!("no version of `{name}` has this label: is this its `version`?")
        }
        Store::AwsSecretsManager | Store::AwsSsm if says(&["VPC endpoint policy"]) => {
            "the policy of the VPC endpoint by which this host asks does not allow it".to_owned()
        }
        Store::AwsSecretsManager | Store::AwsSsm if says(&["explicit deny"]) => {
            "a policy denies it: of the role, of the organization, of the secret or of the session".to_owned()
        }
        Store::AwsSecretsManager | Store::AwsSsm
            if says(&["KMS", "kms:Decrypt"]) || ["InvalidKeyId", "DecryptionFailure"].contains(&code) =>
        {
            format!("the key by which `{name}` is encrypted must be enabled and allow `{source}` `kms:Decrypt`")
        }
        _ => return None,
    })
}

fn hint(code: &str, status: StatusCode, secrets: &Secrets, one: &Stored) -> Option<String> {
    let (source, name) = (&secrets.source, &one.name);
    let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
    let hint = if is(&["NotFound", "NOT_FOUND"]) || status == StatusCode::NOT_FOUND {
        format!("`{name}` is not there: is this its name, its region or project, and its version?")
    } else if is(&[
        "ExpiredToken",
        "UnrecognizedClient",
        "InvalidSignature",
        "UNAUTHENTICATED",
        "Unauthorized",
    ]) || status == StatusCode::UNAUTHORIZED
    {
        let scope = match secrets.store {
            Store::GcpSecretManager => {
                ": it needs the scope `https://www.googleapis.com/auth/cloud-platform`"
            }
            Store::AzureKeyVault => ": it needs the scope `https://vault.azure.net/.default`",
            _ => ": look at the host's clock, and whether it is of this account",
        };
        format!("`{source}` is not accepted{scope}")
    } else if is(&["AccessDenied", "PERMISSION_DENIED", "Forbidden", "Decrypt"])
        || status == StatusCode::FORBIDDEN
    {
        format!("`{source}` must be allowed {} on `{name}`", right(secrets.store))
    } else {
        return None;
    };
    Some(hint)
}

fn right(store: Store) -> &'static str {
    match store {
        Store::AwsSecretsManager => "`secretsmanager:GetSecretValue`, and `kms:Decrypt` on a key of its own,",
        Store::AwsSsm => "`ssm:GetParameter`, and `kms:Decrypt` on a key of its own,",
        Store::GcpSecretManager => "`secretmanager.versions.access` (`roles/secretmanager.secretAccessor`)",
        Store::AzureKeyVault => "`get` on secrets (`Key Vault Secrets User`)",
        Store::Vault => "`read`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(store: &str, status: u16, body: &str, code: &str, remedy: Remedy, hint: &str) {
        let secrets: Secrets = serde_yaml::from_str(&format!(
            "{{source: reader, store: {store}, values: [{{name: db, env: A}}]}}"
        ))
        .unwrap();
        let refusal =
            explain(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &secrets, &secrets.values[0]);
        assert_eq!((refusal.code.as_str(), refusal.remedy), (code, remedy));
        assert!(refusal.message.starts_with("for `db`"), "{refusal:?}");
        assert!(refusal.hint.clone().unwrap_or_default().contains(hint), "{refusal:?}");
    }

    #[test]
    fn refusals_of_aws_are_told_by_their_type() {
        use Remedy::{Stop, Wait};
        let aws = |body: &str, code: &str, remedy, hint: &str| {
            check("aws-secrets-manager", 400, body, code, remedy, hint);
        };
        let missing = r#"{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}"#;
        aws(missing, "ResourceNotFoundException", Stop, "its region");
        let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"User: x is not authorized"}"#;
        aws(denied, "AccessDeniedException", Stop, "`secretsmanager:GetSecretValue`");
        aws(
            r#"{"__type":"ExpiredTokenException","message":"expired"}"#,
            "ExpiredTokenException",
            Stop,
            "clock",
        );
        aws(r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#, "ThrottlingException", Wait, "");
        check(
            "aws-ssm",
            400,
            r#"{"__type":"ParameterNotFound"}"#,
            "ParameterNotFound",
            Stop,
            "`db` is not there",
        );
        check("aws-ssm", 500, "<html>", "500", Wait, "");
    }

    #[test]
    fn a_refusal_with_a_cause_of_its_own_is_told_by_that_cause() {
        let azure = |inner: &str, hint: &str| {
            let body = format!(
                r#"{{"error":{{"code":"Forbidden","message":"x","innererror":{{"code":"{inner}"}}}}}}"#
            );
            check("azure-key-vault", 403, &body, inner, Remedy::Stop, hint);
        };
        azure("SecretDisabled", "is disabled");
        azure("ForbiddenByFirewall", "networking does not let this host in");
        azure("ForbiddenByConnection", "private endpoint");
        azure("ForbiddenByPolicy", "access policy");
        let google = |status: u16, code: &str, message: &str, hint: &str| {
            let body = format!(r#"{{"error":{{"message":"{message}","status":"{code}"}}}}"#);
            check("gcp-secret-manager", status, &body, code, Remedy::Stop, hint);
        };
        google(400, "FAILED_PRECONDITION", "Secret Version is in DESTROYED state.", "disabled or destroyed");
        google(
            403,
            "PERMISSION_DENIED",
            "API has not been used in project 1 before or it is disabled",
            "enable the API",
        );
        google(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "scope");
        google(
            403,
            "PERMISSION_DENIED",
            "Request is prohibited by organization's policy.",
            "VPC Service Controls",
        );
        let aws = |store: &str, code: &str, message: &str, hint: &str| {
            let body = format!(r#"{{"__type":"{code}","message":"{message}"}}"#);
            check(store, 400, &body, code, Remedy::Stop, hint);
        };
        let manager = "aws-secrets-manager";
        aws(manager, "InvalidRequestException", "the secret was marked for deletion.", "restore-secret");
        aws(
            manager,
            "ResourceNotFoundException",
            "can't find the secret value for staging label: X",
            "label",
        );
        aws(manager, "AccessDeniedException", "Access to KMS is not allowed", "`kms:Decrypt`");
        aws(manager, "AccessDeniedException", "because no VPC endpoint policy allows it", "VPC endpoint");
        aws(
            "aws-ssm",
            "AccessDeniedException",
            "with an explicit deny in a service control policy",
            "denies it",
        );
        aws("aws-ssm", "InvalidKeyId", "key is disabled", "must be enabled");
    }

    #[test]
    fn refusals_of_google_and_azure_are_told_by_their_status() {
        use Remedy::{Stop, Wait};
        let google = |status: u16, code: &str, remedy, hint: &str| {
            let body = format!(r#"{{"error":{{"code":{status},"message":"words","status":"{code}"}}}}"#);
            check("gcp-secret-manager", status, &body, code, remedy, hint);
        };
        google(403, "PERMISSION_DENIED", Stop, "`roles/secretmanager.secretAccessor`");
        google(404, "NOT_FOUND", Stop, "its region or project");
        google(401, "UNAUTHENTICATED", Stop, "cloud-platform");
        google(429, "RESOURCE_EXHAUSTED", Wait, "");
        let azure = |status: u16, error: &str, code: &str, remedy, hint: &str| {
            check("azure-key-vault", status, &format!(r#"{{"error":{error}}}"#), code, remedy, hint);
        };
        azure(404, r#"{"code":"SecretNotFound","message":"x"}"#, "SecretNotFound", Stop, "is not there");
        let rbac = r#"{"code":"Forbidden","message":"x","innererror":{"code":"ForbiddenByRbac"}}"#;
        azure(403, rbac, "ForbiddenByRbac", Stop, "`Key Vault Secrets User`");
        azure(401, r#"{"code":"Unauthorized","message":"x"}"#, "Unauthorized", Stop, "vault.azure.net");
        azure(429, r#"{"code":"Throttled","message":"x"}"#, "Throttled", Wait, "");
    }
}
