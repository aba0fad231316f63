//! What stands on an agent's host before a step: repositories, plugins, hooks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::agent::{Scene, plain_environment};
use super::hooks::files;

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_buildkite-dataflow");

impl Scene {
    pub(super) fn furnish(&self) {
        for folder in ["home", "tmp", "hooks", "bin"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        symlink(self.agent.path(), self.path("bin/buildkite-agent")).unwrap();
        self.repository("source", &[("README", "a step's repository", false)]);
        // The environment as it is before everything, and after everything.
        let watch = |file: &str| format!("#!/bin/bash\nenv -0 >'{}'\n", self.path(file).display());
        let (before, after) = (watch("before"), watch("after"));
        self.write("watch/environment", &before, true);
        self.write("watch/pre-exit", &after, true);
        self.repository("watch-buildkite-plugin", &[("hooks/pre-exit", &after, true)]);
    }

    pub(super) fn write(&self, name: &str, text: &str, executable: bool) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A repository with one commit on the branch `main`; its URL.
    fn repository(&self, name: &str, contents: &[(&str, &str, bool)]) -> String {
        for (file, text, executable) in contents {
            self.write(&format!("{name}/{file}"), text, *executable);
        }
        let folder = self.path(name);
        for line in [
            &["-c", "init.defaultBranch=main", "init", "-q"] as &[&str],
            &["add", "-A"],
            &["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "contents"],
        ] {
            let mut git = Command::new("git");
            git.args(line).current_dir(&folder).env_clear().envs(plain_environment(self.folder.path()));
            assert!(git.status().unwrap().success());
        }
        format!("file://{}", folder.display())
    }

    /// Our own hooks as a plugin's repository, whose interpreter is the binary under test.
    pub(crate) fn our_plugin(&self) -> String {
        self.our_plugin_by(Path::new(BINARY))
    }

    /// The same with another program as interpreter.
    pub(super) fn our_plugin_by(&self, program: &Path) -> String {
        let hooks: Vec<_> = our_hooks()
            .into_iter()
            .map(|(name, text)| (name, text.replace(BINARY, program.to_str().unwrap())))
            .collect();
        let contents: Vec<_> =
            hooks.iter().map(|(name, text)| (name.as_str(), text.as_str(), true)).collect();
        let folder = self.path("dataflow-buildkite-plugin");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        format!("{}#main", self.repository("dataflow-buildkite-plugin", &contents))
    }

    /// Our own hooks in the step's own repository.
    pub(crate) fn vendored_plugin(&self) -> String {
        let hooks = our_hooks();
        let within = |name: &str| format!(".buildkite/plugins/dataflow/{name}");
        let hooks: Vec<_> = hooks.iter().map(|(name, text)| (within(name), text)).collect();
        let contents: Vec<_> =
            hooks.iter().map(|(name, text)| (name.as_str(), text.as_str(), true)).collect();
        self.repository("source", &contents);
        "./.buildkite/plugins/dataflow".to_owned()
    }

    /// Our binary as the agent's own hooks.
    pub(crate) fn install_agent_hooks(&self) {
        for (name, _) in our_hooks() {
            symlink(BINARY, self.path(&name)).unwrap();
        }
    }

    /// Somebody else's plugin with one hook.
    pub(crate) fn other_plugin(&self, name: &str, hook: &str, script: &str) -> String {
        let text = format!("#!/bin/bash\n{script}\n");
        format!("{}#main", self.repository(name, &[(&format!("hooks/{hook}"), &text, true)]))
    }
}

/// Our hooks as they stand in the repository, with the binary under test as interpreter.
fn our_hooks() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    let mut hooks = Vec::new();
    for path in files(&folder) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/local/bin/buildkite-dataflow", BINARY);
        assert!(text.contains(BINARY), "{text}");
        hooks.push((format!("hooks/{}", path.file_name().unwrap().display()), text));
    }
    hooks
}
