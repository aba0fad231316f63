//! The examples for timers: systemd and Python read them as their readers do, and what they name is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use buildkite_dataflow::host::env::TABLE;
use serde_json::{Value, json};

use crate::support::components::{find, not_run};
use crate::support::documents::{read, root};

const SERVICE: &str = "buildkite-dataflow-sweep.service";
const TIMER: &str = "buildkite-dataflow-sweep.timer";
const SURVIVORS: [&str; 2] = ["buildkite-dataflow-survivors.service", "buildkite-dataflow-survivors.timer"];
const PLIST: &str = "examples/launchd/buildkite-dataflow.sweep.plist";

fn unit(name: &str) -> String {
    read(&format!("examples/systemd/{name}"))
}

/// The settings of a unit; a name that comes twice keeps both values.
fn settings(unit: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings = BTreeMap::<String, Vec<String>>::new();
    let lines = unit.lines().filter(|line| !line.starts_with('#'));
    for (name, value) in lines.filter_map(|line| line.split_once('=')) {
        settings.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    settings
}

/// What the hooks name as the binary.
fn installed() -> String {
    let hook = read("hooks/pre-command");
    hook.lines().next().unwrap().trim_start_matches("#!").trim().to_owned()
}

fn the_binary_takes(arguments: &[&str]) {
    let mut binary = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    let output = binary.args(arguments).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
}

fn is_read(variable: &str) -> bool {
    TABLE.iter().any(|one| one.name == variable)
}

/// The units with the binary where it is, or why nobody can look at them.
fn units() -> Option<(PathBuf, tempfile::TempDir)> {
    let analyze = PathBuf::from("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        not_run("systemd-analyze is not installed (.ci/components)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in [SERVICE, TIMER, SURVIVORS[0], SURVIVORS[1]] {
        let unit = unit(name).replace(&installed(), env!("CARGO_BIN_EXE_buildkite-dataflow"));
        std::fs::write(folder.path().join(name), unit).unwrap();
    }
    Some((analyze, folder))
}

#[track_caller]
fn analyzes(analyze: &Path, folder: &Path, arguments: &[&str]) {
    let output = Command::new(analyze).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn systemd_takes_the_units_and_has_nothing_to_say() {
    let Some((analyze, folder)) = units() else { return };
    analyzes(&analyze, folder.path(), &["verify", "--man=no", "--recursive-errors=no", SERVICE, TIMER]);
    analyzes(
        &analyze,
        folder.path(),
        &[&["verify", "--man=no", "--recursive-errors=no"], &SURVIVORS[..]].concat(),
    );
}

#[test]
fn systemd_calls_the_service_hardened() {
    let Some((analyze, folder)) = units() else { return };
    // In tenths: 2.5 of 10, where a service without any of it has 9.2.
    let offline = ["security", "--offline=true", "--no-pager", "--threshold=25"];
    for service in [SERVICE, SURVIVORS[0]] {
        analyzes(&analyze, folder.path(), &[&offline[..], &[service]].concat());
    }
}

#[test]
fn the_units_name_what_is_there() {
    let (service, timer) = (settings(&unit(SERVICE)), settings(&unit(TIMER)));
    let started: Vec<&str> = service["ExecStart"][0].split(' ').collect();
    assert_eq!(started[0], installed());
    the_binary_takes(&started[1..]);
    assert_eq!(timer["Unit"], [SERVICE]);
    let readme = read("README.md");
    let writable: Vec<&str> = service["ReadWritePaths"][0].split(' ').map(|path| &path[1..]).collect();
    let sink = "      directory: ";
    let sink = readme.lines().find_map(|line| line.strip_prefix(sink)).unwrap();
    assert!(writable.iter().any(|folder| Path::new(sink).starts_with(folder)), "{sink}: {writable:?}");
    for file in [SERVICE, TIMER] {
        assert!(root().join("examples/systemd").join(file).exists());
    }
}

#[test]
fn the_units_of_the_sweep_after_a_restart_are_those_that_the_guide_makes_a_user_for() {
    let (service, timer) = (settings(&unit(SURVIVORS[0])), settings(&unit(SURVIVORS[1])));
    let started: Vec<&str> = service["ExecStart"][0].split(' ').collect();
    assert_eq!((started[0], timer["Unit"][0].as_str()), (installed().as_str(), SURVIVORS[0]));
    the_binary_takes(&started[1..]);
    let guide = read("docs/configuration.md");
    let (user, folder) = (&service["User"][0], &service["ReadWritePaths"][0]);
    for named in [
        format!("{} {user}\n", service["Group"][0]),
        format!("-out {}\n", started[3]),
        format!("-o {user} -g {} {folder}\n", service["Group"][0]),
        format!("directory: {folder}\n"),
    ] {
        assert!(guide.contains(&named), "{named}");
    }
}

#[test]
fn nothing_hides_a_living_job_from_the_sweep() {
    let service = settings(&unit(SERVICE));
    for hides in ["ProtectProc", "ProcSubset", "PrivatePIDs", "PrivateUsers", "PrivateTmp", "DynamicUser"] {
        assert!(!service.contains_key(hides), "{hides}");
    }
    assert_eq!(service["User"], ["buildkite-agent"]);
}

#[test]
fn the_property_list_names_what_is_there() {
    let Some(python) = find("venv/bin/python") else { return };
    let script = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let output = Command::new(python).args(["-c", script]).arg(root().join(PLIST)).env_clear().output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["ProgramArguments"], json!([installed(), "sweep"]));
    assert!(list["EnvironmentVariables"].as_object().unwrap().keys().all(|name| is_read(name)));
    assert_eq!((&list["StartInterval"], &list["Umask"]), (&json!(300), &json!(0o77)));
    assert!(PLIST.ends_with(&format!("/{}.plist", list["Label"].as_str().unwrap())), "{list}");
}
