//! The face of the callbacks: what SDKs and git start, and read from standard output.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::print;
use crate::callback::renew::Renewed;
use crate::callback::{Callback, not_renewed};
use crate::keeper;
use dataflow_host::{Host, env};
use dataflow_lease::cached::Form;
use dataflow_types::failure::Failure;
use dataflow_types::secret::Secret;

/// The longest request of git that is read, in bytes.
const MAX_REQUEST: u64 = 64 << 10;

/// Which credential of which block.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The block's private folder [default: `DATAFLOW_BLOCK`]
    #[arg(long, value_name = "DIR")]
    block: Option<PathBuf>,
    /// The credential's name in the block
    name: String,
}

impl Which {
    fn of<'a>(&self, host: &'a Host) -> Result<Callback<'a>, Failure> {
        let from_env =
            || host.env.get(&env::BLOCK).or_else(|| host.env.get(&env::OIDC_TMPDIR)).map(PathBuf::from);
        let folder = self.block.clone().or_else(from_env).ok_or_else(|| {
            not_handed("`--block` is not given, and `DATAFLOW_BLOCK` is not set", "run it inside a step")
        })?;
        Ok(Callback::of(host, folder, self.name.clone()))
    }
}

/// Print AWS credentials for `credential_process` of an AWS config file.
#[derive(Debug, Args)]
pub(super) struct CredentialProcess {
    #[command(flatten)]
    which: Which,
}

/// Print a token, renewed where it ends soon.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  curl -H \"Authorization: Bearer $(buildkite-dataflow token api)\" https://api.example.test/"
)]
pub(super) struct Token {
    #[command(flatten)]
    which: Which,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
}

/// What `token` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The token
    Raw,
    /// The job's own token as Google's executable-sourced credentials want it (version 1)
    GcpExecutable,
}

/// Serve git as a credential helper.
#[derive(Debug, Args)]
pub(super) struct GitCredential {
    #[command(flatten)]
    which: Which,
    /// `get`, `store` or `erase`: git says it
    operation: String,
}

/// Stay with a block until its job is over; the hook starts it.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Keeper {
    /// The folder of the block's journal
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
}

/// Stays until the job is over.
pub(super) async fn keep(host: &Host, arguments: &Keeper) -> Result<(), Failure> {
    keeper::keep(host, arguments.journal.clone()).await
}

fn not_handed(what: impl Into<String>, hint: &str) -> Failure {
    not_renewed(what).hinted(hint)
}

/// Credentials in the form of the AWS SDKs' process provider, version 1.
pub(super) async fn credential_process(host: &Host, arguments: &CredentialProcess) -> Result<(), Failure> {
    let kept = arguments.which.of(host)?.credential().await?.kept;
    let Form::AwsKeys { access_key_id, secret_access_key, session_token } = &kept.secret else {
        return Err(not_handed(
            format!("`{}` is no role of AWS", arguments.which.name),
            "name an `aws` credential",
        ));
    };
    let answer = json!({
        "Version": 1,
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret_access_key.0.expose(),
        "SessionToken": session_token.0.expose(),
        "Expiration": kept.expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    });
    hand_over(&Secret::new(answer.to_string()));
    Ok(())
}

/// A token, as it is asked for.
pub(super) async fn token(host: &Host, arguments: &Token) -> Result<(), Failure> {
    let callback = arguments.which.of(host)?;
    match arguments.format {
        Format::Raw => hand_over(&the_token(&callback.credential().await?, &arguments.which.name)?),
        Format::GcpExecutable => match callback.subject_token().await {
            Ok(token) => {
                let ends = token.unverified_claims().ok().and_then(|claims| claims.seconds("exp"));
                let answer = json!({
                    "version": 1,
                    "success": true,
                    "token_type": "urn:ietf:params:oauth:token-type:jwt",
                    "id_token": token.expose(),
                    "expiration_time": ends,
                });
                hand_over(&Secret::new(answer.to_string()));
            }
            // The SDK reads the reason here and not from standard error.
            Err(failure) => {
                let sentence = print::one_line(&host.mask.apply(&failure.sentence()));
                let answer = json!({"version": 1, "success": false, "code": failure.ident.as_str(), "message": sentence});
                hand_over(&Secret::new(answer.to_string()));
                return Err(failure);
            }
        },
    }
    Ok(())
}

/// One exchange of git's credential helper protocol (gitcredentials(7), git-credential(1)).
pub(super) async fn git_credential(host: &Host, arguments: &GitCredential) -> Result<(), Failure> {
    let callback = arguments.which.of(host)?;
    let mut request = String::new();
    // Of what git says only its own abilities matter: the configuration by URL has chosen already.
    let read = std::io::stdin().lock().take(MAX_REQUEST).read_to_string(&mut request);
    read.map_err(|error| not_handed(format!("git's request cannot be read: {error}"), "let git start it"))?;
    match arguments.operation.as_str() {
        "get" => {
            let renewed = callback.credential().await?;
            let token = the_token(&renewed, &arguments.which.name)?;
            let ends = renewed.kept.expires_at.timestamp();
            let who = git_answer(&renewed, &token, &request)?;
            let answer = format!("{who}\npassword_expiry_utc={ends}\nquit=true");
            hand_over(&Secret::new(answer));
        }
        // The remote refused it: the next `get` is answered anew.
        "erase" => callback.forget()?,
        _ => {}
    }
    Ok(())
}

/// Who git is to be: by a user name and a password or, from git 2.46 on, by an authorization of its own kind.
fn git_answer(renewed: &Renewed, token: &Secret, request: &str) -> Result<String, Failure> {
    if !renewed.git_wants_bearer {
        return Ok(format!("username={}\npassword={}", renewed.git_username, token.expose()));
    }
    if !request.lines().any(|line| line == "capability[]=authtype") {
        return Err(not_handed(
            "this remote takes the token as `Authorization: Bearer` alone, which this git cannot send",
            "git 2.46 can",
        ));
    }
    Ok(format!("capability[]=authtype\nauthtype=Bearer\ncredential={}", token.expose()))
}

fn the_token(renewed: &Renewed, name: &str) -> Result<Secret, Failure> {
    match &renewed.kept.secret {
        Form::Token(token) => Ok(token.0.clone()),
        _ => Err(not_handed(format!("`{name}` is no token"), "name a credential that is one token")),
    }
}

/// The one place where a secret is printed: to whoever called back for it.
fn hand_over(text: &Secret) {
    print::secret(text);
}
