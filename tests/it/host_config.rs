//! Which host config rules, judged by the program itself as another user, with an `/etc` of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

const AGENT: u32 = 65534;
const RULES: &str = "etc/buildkite-dataflow/config.yml";
const BESIDE: &str = "agent/buildkite-dataflow.yml";

/// What the hint must name, and what is done to the places.
type Trouble<'a> = (&'a str, &'a dyn Fn(&Places));

/// An `/etc` and a folder of the agent's user, as Buildkite's Linux package leaves it.
struct Places(tempfile::TempDir);

impl Places {
    /// `None` where no namespace can be made, which CI must be able to.
    #[expect(clippy::print_stderr, reason = "who runs the tests must see what was not tried")]
    fn new() -> Option<Self> {
        let made = Command::new("unshare").args(["-m", "true"]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI runs as root, with namespaces");
            eprintln!("SKIPPED: needs root and mount namespaces");
            return None;
        }
        let places = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(places.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(places.at("etc/buildkite-dataflow")).unwrap();
        fs::create_dir_all(places.at("agent")).unwrap();
        // Where the program lies, another user may not come.
        fs::copy(env!("CARGO_BIN_EXE_buildkite-dataflow"), places.at("buildkite-dataflow")).unwrap();
        for name in ["etc", "etc/buildkite-dataflow"] {
            fs::set_permissions(places.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(places.at("agent"), Some(AGENT), Some(AGENT)).unwrap();
        Some(places)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A config that says where it is: nothing else has such a key.
    fn write(&self, name: &str, owner: u32) {
        let key = name.rsplit('/').nth(1).unwrap();
        fs::write(self.at(name), format!("{key}-rules: yes\n")).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o644)).unwrap();
        chown(self.at(name), Some(owner), Some(owner)).unwrap();
    }

    /// What the agent's user is told by a sweep.
    fn told(&self) -> String {
        self.told_where("true")
    }

    /// The same after a command of root's among these mounts.
    fn told_where(&self, mounted: &str) -> String {
        self.said(mounted, &["sweep"]).1
    }

    /// How a command of the agent's user ends after that, and what it says.
    fn said(&self, mounted: &str, words: &[&str]) -> (Option<i32>, String) {
        let script = format!("mount --bind \"$1\" /etc && {mounted} && shift && exec \"$@\"");
        let Output { stdout, stderr, status } = Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh"])
            .arg(self.at("etc"))
            .args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(self.at("buildkite-dataflow"))
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.at("agent"))
            .env("BUILDKITE_CONFIG_PATH", self.at("agent/buildkite-agent.cfg"))
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code(), text)
    }
}

#[test]
fn a_config_map_whose_folder_all_may_write_rules_only_where_its_mount_is_read_only() {
    let Some(places) = Places::new() else { return };
    fs::create_dir(places.at("etc/buildkite-dataflow/..2024")).unwrap();
    places.write("etc/buildkite-dataflow/..2024/config.yml", 0);
    symlink("..2024", places.at("etc/buildkite-dataflow/..data")).unwrap();
    symlink("..data/config.yml", places.at(RULES)).unwrap();
    let folder = "/etc/buildkite-dataflow";
    let read_only = format!("mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}");
    for mode in [0o777, 0o1777, 0o775] {
        for name in ["etc/buildkite-dataflow", "etc/buildkite-dataflow/..2024"] {
            fs::set_permissions(places.at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = places.told_where(&read_only);
        assert!(output.contains("..2024-rules"), "{mode:o}: {output}");
        let output = places.told();
        // In a sticky folder others add names, and change none of root's.
        let ours = mode & 0o1000 != 0;
        assert!(output.contains("..2024-rules") == ours, "{mode:o}: {output}");
        assert!(ours || output.contains("`sudo chmod go-w /etc/buildkite-dataflow`"), "{mode:o}: {output}");
    }
}

#[test]
fn doctor_says_which_config_rules_and_what_a_job_could_change() {
    let Some(places) = Places::new() else { return };
    let (status, text) = places.said("true", &["doctor"]);
    // This user has no home, and so no state directory.
    assert!(status == Some(102) && text.contains("no host config is there"), "{text}");
    assert!(text.contains("they can leave out") && text.contains("error[state-unusable]"), "{text}");
    let hooks = places.at("hooks");
    fs::create_dir(&hooks).unwrap();
    symlink(places.at("buildkite-dataflow"), hooks.join("pre-command")).unwrap();
    fs::write(places.at(RULES), format!("state-directory: {}\n", places.at("agent/state").display()))
        .unwrap();
    let (status, text) = places.said("true", &["doctor", "--hooks-path", hooks.to_str().unwrap()]);
    assert!(status == Some(0) && text.contains("are this program: pre-command"), "{text}");
    assert!(text.contains("config.yml` rules, and the job's user cannot change it"), "{text}");
    fs::set_permissions(places.at("buildkite-dataflow"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(places.said("true", &["doctor"]).1.contains("can be changed by the job's user, at `"));
    fs::rename(places.at(RULES), places.at("etc/buildkite-dataflow/config.yaml")).unwrap();
    let (status, text) = places.said("true", &["doctor"]);
    assert!(status == Some(102) && text.contains("config.yaml` is not read"), "{text}");
    assert!(text.contains("hint: `sudo mv "), "{text}");
}

#[test]
fn a_config_that_the_agents_user_wrote_never_shadows_roots() {
    let Some(places) = Places::new() else { return };
    places.write(RULES, 0);
    places.write(BESIDE, AGENT);
    let told = places.told();
    assert!(told.contains("buildkite-dataflow-rules") && !told.contains("agent-rules"), "{told}");
}

#[test]
fn the_config_beside_the_agent_rules_where_root_has_none() {
    let Some(places) = Places::new() else { return };
    places.write(BESIDE, AGENT);
    assert!(places.told().contains("agent-rules"), "{}", places.told());
    fs::remove_dir(places.at("etc/buildkite-dataflow")).unwrap();
    assert!(places.told().contains("agent-rules"), "{}", places.told());
}

#[test]
fn where_roots_config_cannot_be_trusted_or_looked_at_none_rules() {
    let folder = "etc/buildkite-dataflow";
    let trouble: [Trouble<'_>; 8] = [
        ("chown -h root", &|places| chown(places.at(RULES), Some(AGENT), None).unwrap()),
        ("chown -h root", &|places| chown(places.at(folder), Some(AGENT), None).unwrap()),
        ("chown -h root", &|places| {
            fs::remove_file(places.at(RULES)).unwrap();
            chown(places.at(folder), Some(AGENT), None).unwrap();
        }),
        ("chmod go-w", &|places| {
            fs::set_permissions(places.at(folder), fs::Permissions::from_mode(0o775)).unwrap();
        }),
        ("chmod go+rX", &|places| {
            fs::set_permissions(places.at(folder), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("chmod go+rX", &|places| {
            fs::set_permissions(places.at(RULES), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("", &|places| {
            fs::remove_file(places.at(RULES)).unwrap();
            nix::unistd::mkfifo(&places.at(RULES), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("chown -h root", &|places| {
            fs::rename(places.at(folder), places.at("agent/moved")).unwrap();
            symlink("/nowhere", places.at(folder)).unwrap();
            std::os::unix::fs::lchown(places.at(folder), Some(AGENT), None).unwrap();
        }),
    ];
    for (case, (hint, make)) in trouble.iter().enumerate() {
        let Some(places) = Places::new() else { return };
        places.write(RULES, 0);
        places.write(BESIDE, AGENT);
        make(&places);
        let told = places.told();
        assert!(told.contains("untrusted-configuration") && told.contains(hint), "case {case}: {told}");
        assert!(!told.contains("-rules"), "case {case}: {told}");
    }
}

#[test]
fn a_config_map_of_roots_is_read_through_its_links() {
    let Some(places) = Places::new() else { return };
    let folder = places.at("etc/buildkite-dataflow");
    fs::create_dir(folder.join("..2024")).unwrap();
    places.write("etc/buildkite-dataflow/..2024/config.yml", 0);
    symlink("..2024", folder.join("..data")).unwrap();
    symlink("..data/config.yml", folder.join("config.yml")).unwrap();
    assert!(places.told().contains("..2024-rules"), "{}", places.told());
    std::os::unix::fs::lchown(folder.join("..data"), Some(AGENT), None).unwrap();
    let told = places.told();
    assert!(told.contains("untrusted-configuration") && told.contains("..data"), "{told}");
}
