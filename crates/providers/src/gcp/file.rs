//! The credential file that SDKs and gcloud read: AIP-4117's `external_account`.

use std::path::Path;

use serde_json::{Value, json};

use super::no_url;
use crate::{Context, Error};
use dataflow_config::gcp::{Gcp, Source, TOKEN_FILE};
use dataflow_policy as policy;
use dataflow_types::credential::PrivateFile;
use dataflow_types::secret::Secret;

/// The credential file's name in the block's folder.
pub(super) const CREDENTIALS: &str = "gcp-credentials.json";

/// How long an SDK waits for the command, in milliseconds: its own default.
const TIMEOUT: u32 = 30_000;

/// Where an SDK finds the subject token: a file, or a command that prints it.
pub(super) fn source(gcp: &Gcp, name: Option<&str>, context: &Context<'_>) -> Result<Value, Error> {
    match (gcp.credential_source, name) {
        (Source::Executable, Some(name)) => {
            let words = ["token", "--format", "gcp-executable", "--block"].join(" ");
            let command = format!("{} {words} {} {name}", plain(context.program)?, plain(context.folder)?);
            Ok(json!({ "executable": { "command": command, "timeout_millis": TIMEOUT } }))
        }
        _ => Ok(json!({ "file": context.folder.join(TOKEN_FILE).display().to_string() })),
    }
}

/// google-auth takes a command apart at every blank, and other SDKs have quotes of their own: so there are none.
fn plain(path: &Path) -> Result<&str, Error> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\".contains(c);
    path.to_str().filter(|text| !text.contains(odd)).ok_or_else(|| Error::Unquotable(path.to_owned()))
}

/// The credential file: it names the ways that this host takes, and holds no secret.
pub(super) fn credentials(gcp: &Gcp, source: &Value, context: &Context<'_>) -> Result<PrivateFile, Error> {
    let sts = gcp.sts().and_then(|host| host.join("v1/token")).map_err(|_| no_url("STS"))?;
    let mut file = json!({
        "type": "external_account",
        "audience": gcp.audience(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": context.http.route(sts).as_str(),
        "universe_domain": gcp.universe(),
        "credential_source": source,
    });
    if let (Some(account), Some(file)) = (&gcp.service_account, file.as_object_mut()) {
        let path = format!("v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        let url =
            gcp.credentials().and_then(|host| host.join(&path)).map_err(|_| no_url("iamcredentials"))?;
        let seconds = policy::duration(gcp, context.host).as_secs();
        file.insert("service_account_impersonation_url".into(), json!(context.http.route(url).as_str()));
        file.insert("service_account_impersonation".into(), json!({ "token_lifetime_seconds": seconds }));
    }
    Ok(PrivateFile { name: CREDENTIALS.into(), content: Secret::new(file.to_string()).into(), secret: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_blank_in_it_is_not_named() {
        assert_eq!(
            plain(Path::new("/usr/local/bin/buildkite-dataflow")).unwrap(),
            "/usr/local/bin/buildkite-dataflow"
        );
        for odd in ["/opt/a b/x", "/it's", "/a\"b", "/a\\b", "/a\tb"] {
            assert!(matches!(plain(Path::new(odd)), Err(Error::Unquotable(_))), "{odd}");
        }
    }
}
