//! The keeper: token files that stay fresh while a step runs, by a process that ends with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::components;
use crate::support::hooks::Stage;

const PATIENCE: Duration = Duration::from_secs(40);
/// What a keeper may take for itself, in KiB.
const MOST: u64 = 5 << 10;

/// Asks again and again, and gives up at a time.
#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// The keepers of journals below a folder.
pub(crate) fn keepers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = String::from_utf8_lossy(&line).split('\0').map(str::to_owned).collect();
        words.contains(&"keeper".to_owned()) && words.iter().any(|word| Path::new(word).starts_with(folder))
    };
    entries.filter(has).collect()
}

/// A number of `/proc/PID/status`, in KiB.
fn kibibytes(process: &Path, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn asking() -> Stage {
    let azure = json!({"tenant-id": "acme.onmicrosoft.com", "client-id": "11111111-2222-4333-8444-555555555555",
        "token": {"lifetime": "3s"}});
    Stage::asking("azure", &azure)
}

fn lent() -> Stage {
    let mut stage = asking();
    stage.lends();
    stage
}

#[test]
fn a_token_file_is_written_anew_before_its_token_ends_and_each_token_is_a_lease() {
    let mut stage = lent();
    let path = stage.variable("AZURE_FEDERATED_TOKEN_FILE").unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    let first = read();
    let fresh = until("the file was not written anew", || Some(read()).filter(|now| *now != first));
    let issued = |token: &str| {
        let claims = stage.sandbox.issuer().verify(token).unwrap();
        assert_eq!(claims.audiences(), ["api://AzureADTokenExchange"]);
        claims.seconds("iat").unwrap()
    };
    assert!(issued(&fresh) > issued(&first) && issued(&fresh) <= issued(&first) + 3);
    assert!(stage.api.redacted(&fresh).contains("[REDACTED]"));
    assert_eq!(keepers(stage.folder.path()).len(), 1);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
    assert_eq!(stage.private_files().len(), 0);
    let end = stage.records()[1].end.clone().unwrap();
    assert_eq!(end.renewals[0].request, "1+1");
    assert_eq!(end.settlements.len(), end.renewals.len() + 1);
    assert!(end.settlements.iter().all(|one| one.settlement.word() == "expires"), "{:?}", end.settlements);
    until("the keeper stays", || keepers(stage.folder.path()).is_empty().then_some(()));
}

#[test]
fn a_keeper_takes_little_memory_for_itself() {
    let mut stage = asking();
    stage.speak_tls();
    let ca = stage.folder.path().join("ca.pem");
    stage.config["network"]["ca-file"] = json!(ca);
    stage.lends();
    let path = stage.variable("AZURE_FEDERATED_TOKEN_FILE").unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    // After its first refresh: TLS is set up, and the authorities of host and config are read.
    let first = read();
    until("the file was not written anew", || Some(read()).filter(|now| *now != first));
    let keeper = keepers(stage.folder.path()).pop().unwrap();
    let anonymous = until("no memory to see", || kibibytes(&keeper, "RssAnon"));
    assert!(anonymous <= MOST, "{anonymous} KiB");
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
}

#[test]
fn no_keeper_is_started_where_there_is_nothing_to_keep() {
    let mut stage = Stage::new();
    stage.lends();
    assert_eq!(keepers(stage.folder.path()), [] as [PathBuf; 0]);
    assert!(stage.private_files().is_empty());
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
}

#[test]
fn google_auth_goes_on_after_the_first_token_has_ended() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let provider = "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite";
    let gcp = json!({"provider": provider, "project": "proj", "token": {"lifetime": "3s"}});
    let mut stage = Stage::asking("gcp", &gcp);
    stage.lends();
    let first = stage.sandbox.agent().tokens().pop().unwrap();
    let ends = stage.sandbox.issuer().verify(first.expose()).unwrap().seconds("exp").unwrap();
    until("the first token does not end", || (chrono::Utc::now().timestamp() > ends).then_some(()));
    let mut google = Command::new(python);
    google.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/google_client.py")).env_clear();
    let answer = stage.step(google, "[null]")[0].clone();
    assert!(stage.issued("gcp").iter().any(|one| answer["token"] == json!(one.secret.expose())), "{answer}");
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
}

#[test]
fn the_hosts_policy_decides_each_token_again() {
    let mut stage = lent();
    stage.config["step-requests"] = json!("grants-only");
    stage.write_config();
    until("nothing was asked", || (stage.sandbox.faults().asked("/oidc/tokens") > 1).then_some(()));
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
    let end = stage.records()[1].end.clone().unwrap();
    assert!(end.renewals.is_empty(), "{:?}", end.renewals);
}

const PIPELINE: &str = r#"
steps:
  - key: long
    command: |
      first="$$(cat "$$AZURE_FEDERATED_TOKEN_FILE")"
      cat "$$BUILDKITE_OIDC_TMPDIR/.owner" > "FOLDER/owner"
      end=$$(( $$(date +%s) + 40 ))
      while [ "$$(cat "$$AZURE_FEDERATED_TOKEN_FILE")" = "$$first" ]; do
        [ "$$(date +%s)" -lt "$$end" ] || exit 3
      done
      echo "now it is $$(cat "$$AZURE_FEDERATED_TOKEN_FILE")"
    plugins:
      - acme/dataflow#v1:
          credentials:
            - azure:
                tenant-id: acme.onmicrosoft.com
                client-id: 11111111-2222-4333-8444-555555555555
                token: { lifetime: 3s }
"#;

#[test]
fn a_step_that_outlasts_its_token_sees_another_and_no_process_outlasts_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("pipeline.yml");
    let text = PIPELINE.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(&pipeline, text).unwrap();
    let mut rehearse = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    rehearse.args(["rehearse", "--records"]).arg(folder.path().join("records")).arg(&pipeline);
    let output = rehearse.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("now it is [REDACTED]"), "{out}");
    assert!(out.contains("no secret was seen in any log or record"), "{out}");
    let owner = std::fs::read(folder.path().join("owner")).unwrap();
    let owner: serde_json::Value = serde_json::from_slice(&owner).unwrap();
    let (host, _) = owner["journal"].as_str().unwrap().split_once("/state/").unwrap();
    until("the keeper stays", || keepers(Path::new(host)).is_empty().then_some(()));
}
