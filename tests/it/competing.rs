//! What stands in the environment beside what is lent: covered, made right or told of, and put back.

use std::path::Path;
use std::process::Command;

use buildkite_dataflow::competing::{Line, Remedy, TABLE, When};
use serde_json::{Value, json};

use crate::support::components;
use crate::support::documents::{read, root};
use crate::support::hooks::{Stage, aws};
use crate::support::lent::stage;

/// The table of the documentation, as the code has it.
fn written() -> String {
    let mut text = String::new();
    let mut provider = "";
    for line in TABLE {
        if line.provider != provider {
            provider = line.provider;
            let head = "| beside | variable | what is done | why | judged by |\n|---|---|---|---|---|";
            text.extend(["\n## ", provider, "\n\n", head, "\n"]);
        }
        let beside: Vec<String> = line.beside.iter().map(|name| format!("`{name}`")).collect();
        let done = match line.remedy {
            Remedy::Empty => "empty".to_owned(),
            Remedy::Set(name, value) => format!("`{name}={value}`"),
            Remedy::Same(other) => format!("the value of `{other}`; where that is not set, reported"),
            Remedy::Warn => "reported".to_owned(),
        };
        let when = match line.when {
            When::Always => "",
            When::ProfileChosen => ", where a variable or the name `default` chooses the profile",
            When::ProfileNotChosen => ", where nothing chooses the profile",
            When::ProfileNamed => ", where `AWS_PROFILE` names the profile",
            When::NamesAnother => ", where it names no profile that is lent",
        };
        let judge = line.judge.unwrap_or("no test");
        let row = [
            beside.join(" or "),
            format!("`{}`", line.name),
            format!("{done}{when}"),
            line.because.to_owned(),
            judge.to_owned(),
        ];
        text.extend(["| ", &row.join(" | "), " |\n"]);
    }
    text
}

#[test]
fn the_documented_table_is_the_one_that_is_used() {
    let document = read("docs/variables.md");
    let table = document.split_once("\n## ").map(|(_, rest)| format!("\n## {rest}")).unwrap_or_default();
    if std::env::var_os("UPDATE_TABLES").is_some() {
        let head = document.split("\n## ").next().unwrap();
        std::fs::write(root().join("docs/variables.md"), format!("{head}{}", written())).unwrap();
        return;
    }
    assert!(table == written(), "docs/variables.md: UPDATE_TABLES=1 cargo test the_documented_table");
}

/// What this variable is set to before the step, by a host or an earlier hook.
const BEFORE: &str = "of-the-host";

/// Every variable that competes with what a block hands over is set, and afterwards as it was.
fn covers_and_puts_back(stage: &mut Stage, handed: &str, chosen: bool) {
    let judged = |line: &&Line| !chosen || line.name != "AWS_PROFILE";
    let lines = || TABLE.iter().filter(|line| line.beside.contains(&handed)).filter(judged);
    lines().for_each(|line| stage.set(line.name, BEFORE));
    if chosen {
        stage.set("AWS_PROFILE", "live");
    }
    let before = stage.api.env();
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let records = stage.records();
    let start = records[0].start.as_ref().unwrap();
    for line in lines() {
        let told = start.findings.iter().any(|finding| {
            ["variable-covered", "variable-competes"].contains(&finding.ident.as_str())
                && finding.what.contains(&format!("`{}`", line.name))
        });
        let ours = start.exported.iter().any(|name| name == line.name);
        let covered = stage.variable(line.name).as_deref() != Some(BEFORE);
        assert!(told || ours, "nobody is told of {}: {:?}", line.name, start.findings);
        assert!(covered || told, "{}", line.name);
        assert!(ended.text.contains(line.name), "{}: {}", line.name, ended.text);
    }
    stage.command_ended(0);
    let ended = stage.hook("post-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    for (name, value) in &before {
        if name != "BUILDKITE_COMMAND_EXIT_STATUS" {
            assert_eq!(stage.variable(name).as_deref(), Some(value.expose()), "{name} is not put back");
        }
    }
    assert_eq!(
        stage.variable("AZURE_TOKEN_CREDENTIALS").is_some(),
        before.contains_key("AZURE_TOKEN_CREDENTIALS")
    );
}

#[test]
fn what_competes_with_lent_keys_is_covered_or_told_of_and_put_back() {
    covers_and_puts_back(&mut Stage::new(), "AWS_ACCESS_KEY_ID", false);
}

#[test]
fn what_competes_with_a_lent_profile_is_covered_or_told_of_and_put_back() {
    for chosen in [true, false] {
        let mut stage = Stage::new();
        stage.block = aws(&json!({"profile": "live"}));
        // Beside it no profile is chosen where no variable says one.
        if !chosen {
            let mut narrow = Stage::new();
            narrow.block = stage.block.clone();
            narrow.set("AWS_ACCESS_KEY_ID", "AKIAOFTHEHOST");
            let ended = narrow.hook("pre-command");
            assert!(ended.text.contains("`AWS_ACCESS_KEY_ID` is set too"), "{}", ended.text);
            assert_eq!(narrow.variable("AWS_ACCESS_KEY_ID").as_deref(), Some("AKIAOFTHEHOST"));
            continue;
        }
        covers_and_puts_back(&mut stage, "AWS_SHARED_CREDENTIALS_FILE", true);
    }
}

#[test]
fn static_keys_of_the_host_are_covered_where_the_step_takes_the_lent_profile() {
    for profile in ["live", "default"] {
        let mut stage = Stage::new();
        stage.block = aws(&json!({"profile": profile}));
        if profile == "live" {
            stage.set("AWS_PROFILE", profile);
        }
        stage.set("AWS_ACCESS_KEY_ID", "AKIAOFTHEHOST");
        stage.set("AWS_SECRET_ACCESS_KEY", "secret-of-the-host");
        let ended = stage.hook("pre-command");
        assert!(
            ended.status == 0 && ended.text.contains("`AWS_ACCESS_KEY_ID` was set already"),
            "{}",
            ended.text
        );
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            assert_eq!(stage.variable(name).as_deref(), Some(""), "{profile}: {name}");
        }
        stage.command_ended(0);
        stage.hook("post-command");
        assert_eq!(stage.variable("AWS_ACCESS_KEY_ID").as_deref(), Some("AKIAOFTHEHOST"));
    }
}

#[test]
fn a_profile_of_the_host_that_is_out_of_sight_then_is_reported_and_covers_nothing() {
    let mut stage = Stage::new();
    stage.block = aws(&json!({"profile": "live"}));
    stage.set("AWS_PROFILE", "other");
    stage.set("AWS_ACCESS_KEY_ID", "AKIAOFTHEHOST");
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(ended.text.contains("`AWS_PROFILE` is set too: it names none of the lent"), "{}", ended.text);
    assert_eq!(stage.variable("AWS_ACCESS_KEY_ID").as_deref(), Some("AKIAOFTHEHOST"));
}

#[test]
fn what_competes_with_an_identity_of_google_is_covered_or_told_of_and_put_back() {
    let block =
        json!({"provider": "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite"});
    covers_and_puts_back(&mut Stage::asking("gcp", &block), "GOOGLE_APPLICATION_CREDENTIALS", false);
    let mut token = block;
    token
        .as_object_mut()
        .unwrap()
        .extend([("credential-file".into(), json!(false)), ("access-token".into(), json!(true))]);
    covers_and_puts_back(&mut Stage::asking("gcp", &token), "CLOUDSDK_AUTH_ACCESS_TOKEN", false);
}

#[test]
fn what_competes_with_an_identity_of_azure_is_covered_or_told_of_and_put_back() {
    let block = json!({"tenant-id": "00000000-0000-4000-8000-000000000001",
        "client-id": "00000000-0000-4000-8000-000000000002", "arm": true});
    for handed in ["AZURE_FEDERATED_TOKEN_FILE", "ARM_USE_OIDC"] {
        covers_and_puts_back(&mut Stage::asking("azure", &block), handed, false);
    }
}

#[test]
fn what_competes_with_a_login_of_vault_is_covered_or_reported_and_put_back() {
    let mut stage = stage("vault");
    let address = stage.sandbox.provider_url("vault");
    let vault = json!({"address": address, "role": "train", "export-token": true});
    stage.block = json!({"credentials": [{ "vault": vault }]});
    stage.prepare();
    // What the step is lent stands where the host had something else, and that comes back too.
    stage.set("VAULT_TOKEN", BEFORE);
    stage.set("VAULT_ADDR", BEFORE);
    covers_and_puts_back(&mut stage, "VAULT_TOKEN", false);
}

#[test]
fn what_competes_with_a_token_of_github_is_covered_or_reported_and_put_back() {
    for handed in ["GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ENTERPRISE_TOKEN"] {
        let mut stage = stage("github");
        let octo = json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci", "env": handed});
        stage.block = json!({"credentials": [{ "github": octo }]});
        stage.set(handed, BEFORE);
        covers_and_puts_back(&mut stage, handed, false);
    }
}

#[test]
fn two_uses_of_the_plugin_do_not_cover_each_other() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let lent = stage.variable("AWS_ACCESS_KEY_ID");
    stage.set("AWS_PROFILE", "live");
    stage.block = aws(&json!({"profile": "live"}));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable("AWS_ACCESS_KEY_ID"), lent, "{}", ended.text);
}

fn with(block: &Value, more: &Value) -> Value {
    let mut block = block.clone();
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    block
}

#[test]
fn two_uses_of_the_plugin_have_a_profile_each_and_either_may_end_first() {
    let use_of =
        |profile: &str, release: &str| with(&aws(&json!({"profile": profile})), &json!({"release": release}));
    for (first, second) in
        [("post-command", "post-command"), ("post-command", "pre-exit"), ("pre-exit", "post-command")]
    {
        let mut stage = Stage::new();
        stage.set("AWS_CONFIG_FILE", "/of/the/host");
        for (profile, release) in [("one", first), ("two", second)] {
            stage.block = use_of(profile, release);
            let ended = stage.hook("pre-command");
            assert_eq!(ended.status, 0, "{}", ended.text);
            let ours = ["DATAFLOW_BLOCK", "BUILDKITE_OIDC_TMPDIR", "AWS_SHARED_CREDENTIALS_FILE"];
            let warned = ours.iter().any(|name| ended.text.contains(&format!("`{name}` was set already")));
            assert!(!warned, "{}", ended.text);
            assert_eq!(ended.text.contains("`AWS_CONFIG_FILE` was set"), profile == "one", "{}", ended.text);
        }
        let read =
            |stage: &Stage, name: &str| std::fs::read_to_string(stage.variable(name).unwrap()).unwrap();
        for profile in ["one", "two"] {
            assert!(read(&stage, "AWS_CONFIG_FILE").contains(&format!("[profile {profile}]")), "{profile}");
            assert!(
                read(&stage, "AWS_SHARED_CREDENTIALS_FILE").contains(&format!("[{profile}]")),
                "{profile}"
            );
        }
        stage.command_ended(0);
        let end = |stage: &mut Stage, phase: &str| {
            for (profile, release) in [("one", first), ("two", second)] {
                stage.block = use_of(profile, release);
                let ended = stage.hook(phase);
                assert_eq!(ended.status, 0, "{}", ended.text);
            }
        };
        end(&mut stage, "post-command");
        let still = [(first, "one"), (second, "two")].into_iter().find(|(release, _)| *release == "pre-exit");
        if let Some((_, profile)) = still {
            assert!(read(&stage, "AWS_CONFIG_FILE").contains(&format!("[profile {profile}]")));
            end(&mut stage, "pre-exit");
        }
        assert_eq!(stage.variable("AWS_CONFIG_FILE").as_deref(), Some("/of/the/host"), "{first} {second}");
        assert_eq!(stage.variable("AWS_SHARED_CREDENTIALS_FILE"), None, "{first} {second}");
    }
}

#[test]
fn a_profile_of_one_name_in_two_uses_is_the_later_one_and_told() {
    let mut stage = Stage::new();
    stage.block = aws(&json!({"profile": "live"}));
    stage.hook("pre-command");
    stage.block = aws(&json!({"profile": "live", "region": "eu-west-2"}));
    let ended = stage.hook("pre-command");
    assert!(ended.text.contains("`[profile live]` was lent by an earlier use"), "{}", ended.text);
    let text = std::fs::read_to_string(stage.variable("AWS_SHARED_CREDENTIALS_FILE").unwrap()).unwrap();
    assert_eq!(text.matches("[live]").count(), 1);
}

#[test]
fn a_folder_of_another_plugin_stays_in_its_variable_and_ours_is_found_by_our_own() {
    let mut stage = Stage::new();
    let theirs = stage.folder.path().join("of-another-plugin");
    std::fs::create_dir(&theirs).unwrap();
    stage.set("BUILDKITE_OIDC_TMPDIR", theirs.to_str().unwrap());
    stage.block = aws(&json!({"profile": "live"}));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap(), theirs.to_str().unwrap());
    let ours = stage.variable("DATAFLOW_BLOCK").unwrap();
    assert!(stage.variable("AWS_CONFIG_FILE").unwrap().starts_with(&ours));
}

#[test]
fn a_plugin_that_removes_what_it_finds_in_the_shared_variable_breaks_no_end_of_ours() {
    for release in ["post-command", "pre-exit"] {
        let mut stage = Stage::new();
        stage.block = with(&aws(&json!({"profile": "live"})), &json!({"release": release}));
        assert_eq!(stage.hook("pre-command").status, 0);
        stage.command_ended(0);
        std::fs::remove_dir_all(stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap()).unwrap();
        let ended = stage.hook(if release == "post-command" { "post-command" } else { "pre-exit" });
        assert!(ended.status == 0 && !ended.text.contains("warning"), "{}", ended.text);
        stage.nothing_left();
    }
}

#[test]
fn a_later_folder_of_another_plugin_hides_nothing_from_callbacks() {
    let mut stage = Stage::new();
    let mut block = aws(&json!({"profile": "live"}));
    block["credentials"][0]
        .as_object_mut()
        .unwrap()
        .extend([("name".into(), json!("live")), ("refresh".into(), json!(true))]);
    stage.block = block;
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.set("BUILDKITE_OIDC_TMPDIR", "/tmp/of-another-plugin");
    let answer = stage.program(&["credential-process", "live"]).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn a_folder_of_another_plugin_that_is_gone_is_no_folder() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_OIDC_TMPDIR", "/gone");
    stage.block = aws(&json!({"profile": "live"}));
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.variable("BUILDKITE_OIDC_TMPDIR"), stage.variable("DATAFLOW_BLOCK"));
}

/// A process of another user that may start no further one, not even a thread.
fn alone(stage: &Stage, phase: &str) -> Command {
    use std::os::unix::fs::chown;
    const NOBODY: u32 = 65534;
    let hook = stage.command(phase);
    let root =
        std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    let program = stage.folder.path().join("dataflow");
    std::fs::copy(hook.get_program(), &program).unwrap();
    let mut limited = Command::new("prlimit");
    limited.arg("--nproc=1").arg(program).args(hook.get_args()).env_clear();
    limited.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if root {
        let mut folders = vec![stage.folder.path().to_owned()];
        while let Some(path) = folders.pop() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            if path.is_dir() {
                folders.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        std::os::unix::process::CommandExt::uid(&mut limited, NOBODY);
        std::os::unix::process::CommandExt::gid(&mut limited, NOBODY);
    }
    limited
}

#[test]
fn a_host_that_lets_no_thread_start_lends_all_the_same() {
    let mut stage = Stage::new();
    // A name, which must be looked up.
    let sts = stage.sandbox.url().replace("127.0.0.1", "localhost");
    stage.config["aws"]["sts-endpoint"] = json!(sts);
    stage.write_config();
    let output = alone(&stage, "pre-command").output().unwrap();
    let ended = stage.ended(&output);
    assert!(ended.status == 0 && !ended.text.contains("report"), "{}", ended.text);
    assert!(stage.variable("AWS_ACCESS_KEY_ID").is_some());
    stage.command_ended(0);
    let output = alone(&stage, "post-command").output().unwrap();
    let ended = stage.ended(&output);
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable("AWS_ACCESS_KEY_ID"), None);
}

#[test]
fn too_few_open_files_are_one_clear_error_and_no_fault_of_the_program() {
    for limit in 3..24 {
        let mut stage = Stage::new();
        stage.write_config();
        let hook = stage.command("pre-command");
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={limit}")).arg(hook.get_program()).args(hook.get_args()).env_clear();
        limited.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        let ended = stage.ended(&output);
        assert!(
            !ended.text.contains("error[bug]") && !ended.text.contains("panicked"),
            "{limit}: {}",
            ended.text
        );
        assert!(
            ended.status == 0 || ended.text.contains("error[") || ended.text.contains("shared lib"),
            "{limit}: {}",
            ended.text
        );
    }
}

#[test]
fn too_little_memory_is_one_clear_error_and_no_fault_of_the_program() {
    for mebibytes in [36, 40, 42, 44, 48, 56, 63, 64, 72, 96, 128] {
        let mut stage = Stage::new();
        stage.write_config();
        let hook = stage.command("pre-command");
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--as={}", mebibytes << 20)).arg(hook.get_program()).args(hook.get_args());
        limited.env_clear().envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        let ended = stage.ended(&output);
        let text = format!("{mebibytes} MiB: {}", ended.text);
        assert!(!text.contains("error[bug]") && !text.contains("panicked"), "{text}");
        // What cannot even be loaded says so itself, or is ended by the kernel.
        let loaded = !ended.text.is_empty() && !text.contains("shared lib");
        match ended.status {
            0 => assert!(mebibytes >= 64 && stage.variable("AWS_ACCESS_KEY_ID").is_some(), "{text}"),
            _ => assert!(mebibytes < 64 && (!loaded || text.contains("and needs 64")), "{text}"),
        }
    }
}

/// What a line's variables are before it competes: lent, and nothing else.
fn lent(line: &Line, folder: &Path) -> Vec<(&'static str, String)> {
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let pair = |name, value: &str| (name, value.to_owned());
    match line.provider {
        "aws" if line.beside.contains(&"AWS_ACCESS_KEY_ID") => {
            let keys = [pair("AWS_ACCESS_KEY_ID", "ASIALENT"), pair("AWS_SECRET_ACCESS_KEY", "lent")];
            let token = (line.name != "AWS_SESSION_TOKEN").then(|| pair("AWS_SESSION_TOKEN", "lent"));
            keys.into_iter().chain(token).collect()
        }
        "aws" => {
            let keys = "[live]\naws_access_key_id = ASIALENT\naws_secret_access_key = lent\naws_session_token = lent\n";
            vec![
                ("AWS_SHARED_CREDENTIALS_FILE", file("keys", keys)),
                ("AWS_CONFIG_FILE", file("config", "[profile live]\n")),
                pair("AWS_PROFILE", "live"),
            ]
        }
        "gcp" => {
            let source = json!({"file": file("token", "x")});
            let identity = json!({"type": "external_account", "audience": "lent", "credential_source": source,
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": "https://sts.googleapis.com/v1/token"});
            vec![("GOOGLE_APPLICATION_CREDENTIALS", file("identity", &identity.to_string()))]
        }
        "azure" if line.beside.contains(&"ARM_USE_OIDC") => vec![
            pair("ARM_CLIENT_ID", "00000000-0000-4000-8000-000000000002"),
            pair("ARM_TENANT_ID", "00000000-0000-4000-8000-000000000001"),
            pair("ARM_SUBSCRIPTION_ID", "00000000-0000-4000-8000-000000000003"),
            ("ARM_OIDC_TOKEN_FILE_PATH", file("token", "x")),
            pair("ARM_USE_OIDC", "true"),
        ],
        "vault" => {
            vec![pair("VAULT_ADDR", "https://vault.example.test"), pair("VAULT_TOKEN", "hvs.lent")]
        }
        "azure" => vec![
            pair("AZURE_CLIENT_ID", "00000000-0000-4000-8000-000000000002"),
            pair("AZURE_TENANT_ID", "00000000-0000-4000-8000-000000000001"),
            ("AZURE_FEDERATED_TOKEN_FILE", file("token", "x")),
        ],
        other => panic!("no judge knows {other}"),
    }
}

/// What must stand beside a variable for it to compete, and the value that does.
fn competitor(name: &'static str) -> Vec<(&'static str, String)> {
    let value = match name {
        "AWS_CREDENTIAL_EXPIRATION" => "2020-01-01T00:00:00Z",
        "AZURE_TOKEN_CREDENTIALS" => "dev",
        "AWS_WEB_IDENTITY_TOKEN_FILE" => "/etc/hostname",
        "VAULT_AGENT_ADDR" => "http://agent.example.test",
        "VAULT_SKIP_VERIFY" => "true",
        _ => "of-another",
    };
    let beside = match name {
        "AWS_ACCESS_KEY_ID" => Some(("AWS_SECRET_ACCESS_KEY", "of-another")),
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(("AWS_ROLE_ARN", "none")),
        "AZURE_USERNAME" => Some(("AZURE_PASSWORD", "of-another")),
        _ => None,
    };
    [(name, value)].into_iter().chain(beside).map(|(name, value)| (name, value.to_owned())).collect()
}

/// How a judge is started; `None` where it is not here, which is said loudly.
fn judge(name: &str) -> Option<Command> {
    if name == "vault" {
        let mut vault = Command::new(components::find("vault")?);
        vault.arg("asks");
        return Some(vault);
    }
    if name.starts_with("terraform") && Command::new("terraform").arg("version").output().is_err() {
        // No registry that CI may use has it.
        components::told("`terraform` is not on the PATH: no test judges what it reads");
        return None;
    }
    let mut python = Command::new(components::find("venv/bin/python")?);
    python.arg(root().join("tests/real/competing.py")).arg(name);
    Some(python)
}

/// Whom a judge takes from these variables alone.
fn takes(name: &str, env: &[(&'static str, String)], home: &Path) -> Option<String> {
    let mut asked = judge(name)?;
    asked.env_clear().env("HOME", home).env("AWS_EC2_METADATA_DISABLED", "true");
    asked.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let said = asked.envs(env.iter().cloned()).output().unwrap();
    let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
    Some(String::from_utf8(said.stdout).unwrap() + if said.status.success() { "" } else { &complaint })
}

fn is_judged(line: &Line) {
    let Some(name) = line.judge else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut env = lent(line, folder.path());
    let Some(before) = takes(name, &env, folder.path()) else { return };
    assert!(!before.trim_end().ends_with("Error"), "{}: {before}", line.name);
    env.extend(competitor(line.name));
    assert_ne!(takes(name, &env, folder.path()).unwrap(), before, "{name} does not mind {}", line.name);
    let covered = match line.remedy {
        Remedy::Empty => (line.name, String::new()),
        Remedy::Set(name, value) => (name, value.to_owned()),
        Remedy::Same(other) => (line.name, env.iter().find(|(name, _)| *name == other).unwrap().1.clone()),
        Remedy::Warn => return,
    };
    env.push(covered);
    assert_eq!(takes(name, &env, folder.path()).unwrap(), before, "{name}, {}", line.name);
}

#[test]
fn each_line_is_judged_by_an_sdk_that_reads_it() {
    let lines: Vec<&Line> = TABLE.iter().collect();
    std::thread::scope(|scope| {
        for some in lines.chunks(lines.len().div_ceil(4)) {
            scope.spawn(|| some.iter().for_each(|line| is_judged(line)));
        }
    });
}
