//! Steps under the real agent that are lent something that must be given back, and what can be done to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use buildkite_dataflow::config::credential::CredentialSource;
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::record::end::End;
use buildkite_dataflow::record::parts::Start;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::agent::{Agent, Ended, Running, Scene, asks_for, lossy, until};
use super::components::{not_run, told};
use super::furnish::BINARY;
use super::hooks::{JOB, ROLE};

impl Running {
    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Sends a signal to the process group that this process leads.
    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

/// A container and where its log goes.
pub(crate) struct Container {
    log: String,
    running: Running,
}

impl Container {
    pub(crate) fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// As a node that evicts: everything in it dies at once.
    pub(crate) fn kill(&self) {
        self.running.signal(Signal::SIGKILL);
    }
}

impl Scene {
    /// A step with our plugin that is lent a role of AWS, and a login of Vault that somebody must give back.
    pub(crate) fn guarded(agent: &Agent) -> Self {
        let mut scene = Self::new(agent);
        scene.config["endpoints"] = json!([scene.sandbox.url()]);
        let block = scene.guarded_block();
        scene.plugins = vec![(scene.our_plugin(), block)];
        scene
    }

    /// The same, with a copy of our program as the hooks' interpreter; the copy.
    pub(crate) fn guarded_by_a_copy(agent: &Agent) -> (Self, PathBuf) {
        let mut scene = Self::guarded(agent);
        let copy = scene.path("installed/buildkite-dataflow");
        fs::create_dir(scene.path("installed")).unwrap();
        fs::copy(BINARY, &copy).unwrap();
        scene.plugins[0].0 = scene.our_plugin_by(&copy);
        (scene, copy)
    }

    /// Two jobs of two agents on this host, whose commands are at it and deaf.
    pub(crate) fn two_deaf_jobs(&self) -> (Running, Running) {
        let started = |name: &str, job: &str| {
            let running = self.path(&format!("running-{name}"));
            let command = format!("trap '' TERM; touch {}; sleep 50", running.display());
            let mut agent = self.start_as(name, job, &command, &["--acquire-job", job]);
            self.wait_for(&running, &mut agent);
            agent
        };
        (started("a", JOB), started("b", "0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e60"))
    }

    /// One container for each id, as agent-stack-k8s has one for each command: a PID namespace, its own
    /// `/dev/shm`, its own agent's socket, and the rest shared. `None` where this machine has no namespaces.
    pub(crate) fn containers(&self, ids: &[&str], command: &str) -> Option<Vec<Container>> {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]);
            unshare.args(["--mount-proc", "sh", "-c", "mount -t tmpfs none /dev/shm && exec \"$@\"", "sh"]);
            unshare
        };
        if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
            not_run("no container can be made here (unshare --user --pid)");
            return None;
        }
        let start = |id: &&str| {
            let mut program = unshare();
            // What tells containers apart; in Kubernetes an earlier one has fetched the plugins for all.
            let path = |name: &str| self.path(&format!("{name}{id}")).display().to_string();
            let own = [
                ("CONTAINER_ID", (*id).to_owned()),
                ("SOCKETS_PATH", path("")),
                ("BUILD_PATH", path("b")),
                ("PLUGINS_PATH", path("p")),
            ];
            program.arg("env").args(own.map(|(name, value)| format!("BUILDKITE_{name}={value}")));
            program.arg(self.agent.path());
            Container {
                log: format!("log-{id}"),
                running: self.bootstrap(program, command, &format!("log-{id}")),
            }
        };
        Some(ids.iter().map(start).collect())
    }

    /// Waits for a container's end.
    pub(crate) fn container_ended(&self, container: Container) -> Ended {
        let log = self.path(&container.log);
        self.ended(container.running, || lossy(&log))
    }

    /// What such a step asks for.
    pub(crate) fn guarded_block(&self) -> Value {
        let secret = |key: &str, env: &str| json!({"path": "database/creds/train", "key": key, "env": env});
        let vault = json!({"address": self.sandbox.provider_url("vault"), "role": "train", "export-token": true,
            "secrets": [secret("username", "PGUSER"), secret("password", "PGPASSWORD")]});
        let mut block = asks_for(ROLE);
        block["credentials"].as_array_mut().unwrap().push(json!({"vault": vault}));
        let credentials = Step::read(block.clone()).unwrap().credentials;
        let asked: Vec<_> = credentials
            .into_iter()
            .filter_map(|credential| match credential.source {
                CredentialSource::Request(ask) => Some(ask),
                CredentialSource::Grant(_) => None,
            })
            .collect();
        self.sandbox.providers().iter().for_each(|service| service.prepare(&asked));
        block
    }

    /// How many credentials Vault gave, and how many of them still work.
    pub(crate) fn given_and_living(&self) -> (usize, usize) {
        let issued = self.sandbox.provider("vault").unwrap().issued();
        (issued.len(), issued.iter().filter(|one| !one.revoked).count())
    }

    /// Of each block one START and one END and nothing else, in which the role's lease expires and Vault's is
    /// revoked; Vault says so too; no journal, secret or process is left. What the ENDs say.
    #[track_caller]
    pub(crate) fn all_is_given_back(&self) -> Vec<(Start, End)> {
        until(
            || format!("the end of {:?}\n{}", self.told(), lossy(&self.path("agent.log"))),
            || self.processes().is_empty(),
        );
        self.holds_nothing_back();
        let (given, living) = self.given_and_living();
        assert!(given > 0 && living == 0, "{given} given, {living} living");
        let accounts = self.accounts();
        assert_eq!(self.links().len(), 2 * accounts.len());
        for (start, end) in &accounts {
            let mut words: Vec<_> = end.settlements.iter().map(|one| one.settlement.word()).collect();
            // What ends first is settled first, and both may end within the same second.
            words.sort_unstable();
            assert_eq!((start.leases.len(), words), (2, vec!["expires", "revoked"]), "{end:?}");
        }
        accounts
    }

    /// The processes that were started by this step, by what they are called with.
    pub(crate) fn told(&self) -> Vec<String> {
        self.processes().iter().map(|process| lossy(&process.join("cmdline")).replace('\0', " ")).collect()
    }

    /// The keepers of this scene's jobs.
    pub(crate) fn keepers(&self) -> Vec<Pid> {
        self.of_word("keeper")
    }

    /// Whether each keeper has come so far that a SIGTERM is heard, and does not end it.
    pub(crate) fn keepers_listen(&self) -> bool {
        let listens = |keeper: &Pid| {
            let status = lossy(Path::new(&format!("/proc/{keeper}/status")));
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
            u64::from_str_radix(caught.trim(), 16)
                .is_ok_and(|mask| mask & (1 << (Signal::SIGTERM as u64 - 1)) != 0)
        };
        self.keepers().iter().all(listens)
    }

    /// The bootstraps of this scene's jobs.
    pub(crate) fn bootstraps(&self) -> Vec<Pid> {
        self.of_word("bootstrap")
    }

    /// Everything that runs for this scene, as a control group holds it.
    pub(crate) fn control_group(&self) -> Vec<Pid> {
        self.processes().iter().map(|process| pid(process)).collect()
    }

    fn of_word(&self, word: &str) -> Vec<Pid> {
        let says = |process: &PathBuf| lossy(&process.join("cmdline")).split('\0').nth(1) == Some(word);
        self.processes().iter().filter(|process| says(process)).map(|process| pid(process)).collect()
    }

    /// How long after `since` Vault has everything back.
    pub(crate) fn time_until_given_back(&self, since: Instant) -> Duration {
        until(|| "the last revocation".to_owned(), || self.given_and_living().1 == 0);
        since.elapsed()
    }
}

/// A control group of the kernel's own (version 2), which goes with this.
pub(crate) struct ControlGroup(pub(crate) PathBuf);

impl ControlGroup {
    /// One with nobody in it; `None` where this user may not make any.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let mounts = lossy(Path::new("/proc/self/mounts"));
        let root = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, root, "cgroup2", ..] => Some(root),
            _ => None,
        });
        let group = Path::new(root.unwrap_or("/sys/fs/cgroup")).join(name);
        if let Err(error) = fs::create_dir(&group) {
            told(&format!("no control group can be made here ({}: {error})", group.display()));
            return None;
        }
        let group = Self(group);
        if !group.0.join("cgroup.kill").exists() {
            told("this kernel kills no control group at once (before Linux 5.14)");
            return None;
        }
        Some(group)
    }

    /// Who is in it.
    pub(crate) fn holds(&self) -> Vec<Pid> {
        let listed = lossy(&self.0.join("cgroup.procs"));
        listed.lines().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    /// Kills everything in it, in one act.
    pub(crate) fn kill(&self) {
        fs::write(self.0.join("cgroup.kill"), "1").unwrap();
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _empty = fs::write(self.0.join("cgroup.kill"), "1");
        let end = Instant::now() + Duration::from_secs(5);
        // The dead leave it one by one.
        while fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

/// Puts another build in the place of our hooks' interpreter, as an upgrade does: by renaming.
pub(crate) fn upgrade(binary: &Path) {
    let (next, old) = (binary.with_extension("next"), fs::read(binary).unwrap());
    fs::write(&next, [&old[..], b"\nanother build\n"].concat()).unwrap();
    fs::set_permissions(&next, fs::metadata(binary).unwrap().permissions()).unwrap();
    fs::rename(next, binary).unwrap();
}

fn pid(process: &Path) -> Pid {
    Pid::from_raw(process.file_name().unwrap().to_str().unwrap().parse().unwrap())
}
