//! What a command did, and how it ends.

use dataflow_types::failure::{Failure, Ident};

/// What a hook has to say, and how it ends.
#[derive(Debug, Default)]
pub struct Report {
    /// What was done, a line each.
    pub lines: Vec<String>,
    /// What looks wrong and stopped nothing.
    pub warnings: Vec<String>,
    /// What went wrong.
    pub failure: Option<Failure>,
}

impl Report {
    /// The hook's exit code. After the command, 0 unless the host config asks for more: another code
    /// would replace the command's own and stop the hooks that follow.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |failure| failure.ident.class().exit_code())
    }

    /// This, and what another has to say; the later failure counts, if there is one.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.warnings.extend(other.warnings);
        self.failure = other.failure.or(self.failure);
        self
    }

    pub(crate) fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

/// What this process needs to begin with is not to be had from the system.
pub fn exhausted(error: &std::io::Error) -> Failure {
    let what = format!("this host gives the process not even what it starts with: {error}");
    Failure::new(Ident::HostExhausted, what).hinted(
        "look at the limits of the agent's user: open files (`ulimit -n`), processes (`ulimit -u`) and addresses (`ulimit -v`)",
    )
}

/// A fault of this program, as a hook reports it.
pub fn bug(what: &str) -> Failure {
    Failure::new(Ident::Bug, what).hinted("please report it with the lines above")
}
