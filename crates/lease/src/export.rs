//! Handing variables to the step, and taking them back: redact, then set, all or nothing.

use std::path::{Path, PathBuf};

pub use super::around::NAMES;
use super::around::{compete, cover, list_of_names, whereabouts};
use super::forms::{self, Forms};
use super::journal::Exported;
use super::private;
pub use super::restore::{Restore, restore, restoring};
use crate::competing::Found;
use dataflow_host::agent::job_api::{self, JobApi};
use dataflow_host::agent::protected::is_protected;
use dataflow_host::{Env, files};
use dataflow_types::at_rest::AtRest;
use dataflow_types::credential::{Content, PrivateFile, Value, Variable};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::{Fingerprint, MIN_LENGTH, Secret};

/// The longest value that is exported, in bytes. Past about 128 KiB every later process of the job
/// fails to start ("argument list too long"), the hooks that clean up among them.
pub const MAX_VALUE: usize = 64 << 10;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent would refuse the name.
    #[error("`{0}` is protected by the agent and cannot be set from within a job")]
    Protected(String),
    /// The value would break the job.
    #[error("the value of `{name}` has {length} bytes, the most that is exported is {MAX_VALUE}")]
    TooLong {
        /// Which variable.
        name: String,
        /// Its length.
        length: usize,
    },
    /// The value cannot be hidden in the log.
    #[error(
        "the secret in `{name}` is shorter than {MIN_LENGTH} characters and could not be hidden in the log"
    )]
    TooShort {
        /// Which variable.
        name: String,
    },
    /// The value cannot be hidden in the log: it stands in every line.
    #[error("the secret in `{0}` is white space alone and could not be hidden in the log")]
    Blank(String),
    /// The value cannot stand in an environment.
    #[error("the value of `{0}` holds a NUL character")]
    Nul(String),
    /// The private files could not be written.
    #[error("the files of a credential cannot be written")]
    Files(#[source] std::io::Error),
    /// The Job API said no.
    #[error("the variables could not be handed to the step")]
    JobApi(#[source] job_api::Error),
}

impl Error {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let failure = Failure::of(Ident::ExportFailed, self);
        match self {
            Self::TooShort { .. } | Self::Blank(_) => failure.hinted(
                "where it is no secret (a user name, a port), `secret: false` beside its `env` or `file` says so",
            ),
            _ => failure,
        }
    }
}

/// Variables that may be exported.
#[derive(Debug)]
pub struct Export {
    variables: Vec<Variable>,
    files: Vec<PrivateFile>,
    folder: PathBuf,
    hidden: Vec<Secret>,
    previous: Vec<Exported>,
    competing: Vec<Found>,
}

impl Export {
    /// Checks variables and `files`, which will be in `folder`, and takes down what stands in their place now.
    /// A variable that several credentials share is there once, a file that they share with all their parts.
    pub fn prepare(
        shared: Vec<Variable>,
        parts: Vec<PrivateFile>,
        folder: &Path,
        env: &Env,
    ) -> Result<Self, Error> {
        let (mut variables, mut files) = (Vec::<Variable>::new(), Vec::new());
        for variable in shared {
            if !variables.iter().any(|known| known.name == variable.name) {
                variables.push(variable);
            }
        }
        for part in parts {
            join(&mut files, part);
        }
        if !files.is_empty() {
            variables.extend(whereabouts(folder, env));
        }
        variables.iter().try_for_each(check)?;
        files.iter().try_for_each(check_file)?;
        let competing = compete(&variables, &files, env);
        for variable in competing.iter().filter_map(cover) {
            if !variables.iter().any(|known| known.name == variable.name) {
                variables.push(variable);
            }
        }
        variables.extend(list_of_names(&variables, env));
        let previous = variables.iter().map(|variable| Exported {
            name: variable.name.to_string(),
            fingerprint: Fingerprint::of(variable.value.expose().as_bytes()),
            previous: env.standing(&variable.name).cloned().map(AtRest),
        });
        Ok(Self {
            previous: previous.collect(),
            variables,
            files,
            folder: folder.to_owned(),
            hidden: Vec::new(),
            competing,
        })
    }

    /// The same, with secrets that nothing here holds and the log must hide too.
    #[must_use]
    pub fn hiding(self, hidden: Vec<Secret>) -> Self {
        Self { hidden, ..self }
    }

    /// What the journal must hold before anything is set.
    pub fn previous(&self) -> &[Exported] {
        &self.previous
    }

    /// Whether files are written.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The names, for people; not of what is only covered.
    pub fn names(&self) -> Vec<String> {
        let covers = |name: &str| self.competing.iter().any(|found| found.covers(name));
        self.variables.iter().map(|variable| variable.name.to_string()).filter(|name| !covers(name)).collect()
    }

    /// What stood in the way of what is handed over.
    pub fn competing(&self) -> &[Found] {
        &self.competing
    }

    /// What the log is to hide before anything is handed over.
    pub fn to_hide(&self) -> Forms {
        let mut all = forms::of_all(self.secrets());
        for file in self.files.iter().filter(|file| file.secret) {
            if let Content::Bytes(bytes) = &file.content {
                all.texts.extend(forms::of_bytes(bytes).texts);
            }
        }
        all
    }

    /// Tells the log to hide them.
    pub async fn hide(&self, job: &JobApi, forms: Forms) -> Result<(), Error> {
        forms::register(job, forms).await.map_err(Error::JobApi)
    }

    /// Writes every file and sets every variable, or none.
    pub async fn hand_over(&self, job: &JobApi) -> Result<(), Error> {
        self.write_files().map_err(Error::Files)?;
        let values = self.variables.iter().map(|variable| (variable.name.as_str(), variable.value.expose()));
        let set = job.set(&values.collect()).await;
        if let Err(job_api::Error::Http { .. }) = set {
            self.undo(job).await;
        }
        set.map_err(Error::JobApi)
    }

    /// An answer that was lost says nothing: what may have been set goes back to what it was.
    async fn undo(&self, job: &JobApi) {
        let before = |variable: &Exported| match variable.previous {
            Some(_) => (variable.clone(), Restore::PutBack),
            None => (variable.clone(), Restore::Remove),
        };
        let variables: Vec<_> = self.previous.iter().map(before).collect();
        if let Err(error) = restore(job, &variables).await {
            tracing::warn!(%error, "variables that were set without an answer may stand in the job");
        }
    }

    fn write_files(&self) -> std::io::Result<()> {
        if !self.files.is_empty() {
            private::make(&self.folder)?;
        }
        self.files.iter().try_for_each(|file| {
            // No power cut matters to it: the lease ends with the job.
            files::replace_lossy(&self.folder.join(&file.name), file.content.expose())
        })
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let files = self.files.iter().filter(|file| file.secret).filter_map(|file| file.content.text());
        let mut seen = std::collections::BTreeSet::new();
        let all =
            self.hidden.iter().chain(self.variables.iter().filter_map(|variable| match &variable.value {
                Value::Secret(secret) => Some(secret),
                Value::Plain(_) => None,
            }));
        all.chain(files).filter(move |secret| seen.insert(secret.expose()))
    }
}

/// Adds a file, or a part of one that is there.
fn join(files: &mut Vec<PrivateFile>, file: PrivateFile) {
    match files.iter_mut().find(|known| known.name == file.name) {
        Some(known) => {
            known.content = known.content.and(&file.content);
            known.secret |= file.secret;
        }
        None => files.push(file),
    }
}

fn check(variable: &Variable) -> Result<(), Error> {
    let (name, value) = (variable.name.to_string(), variable.value.expose());
    if is_protected(&name) {
        return Err(Error::Protected(name));
    }
    if value.len() > MAX_VALUE {
        return Err(Error::TooLong { name, length: value.len() });
    }
    if value.contains('\0') {
        return Err(Error::Nul(name));
    }
    if matches!(variable.value, Value::Secret(_)) { hideable(name, value.as_bytes()) } else { Ok(()) }
}

/// One rule for what is handed over, in a variable or in a file.
fn check_file(file: &PrivateFile) -> Result<(), Error> {
    if file.secret { hideable(file.name.clone(), file.content.expose()) } else { Ok(()) }
}

fn hideable(name: String, value: &[u8]) -> Result<(), Error> {
    if value.len() < MIN_LENGTH {
        return Err(Error::TooShort { name });
    }
    let is_blank = str::from_utf8(value).is_ok_and(|text| text.trim().is_empty());
    if is_blank { Err(Error::Blank(name)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::Restore::{LeaveChanged, PutBack, Remove};
    use super::*;

    fn variable(name: &str, value: Value) -> Variable {
        Variable { name: name.parse().unwrap(), value }
    }

    fn secret(name: &str, value: &str) -> Variable {
        variable(name, Value::Secret(Secret::new(value)))
    }

    #[track_caller]
    fn refused(one: Variable, expected: &str) {
        assert_eq!(
            Export::prepare(vec![one], Vec::new(), Path::new("/p"), &Env::default()).unwrap_err().to_string(),
            expected
        );
    }

    #[test]
    fn what_would_break_or_betray_the_job_is_not_exported() {
        refused(
            secret("BUILDKITE_SHELL", "long-enough"),
            "`BUILDKITE_SHELL` is protected by the agent and cannot be set from within a job",
        );
        refused(
            secret("TOKEN", "12345"),
            "the secret in `TOKEN` is shorter than 6 characters and could not be hidden in the log",
        );
        refused(
            secret("TOKEN", &"x".repeat(MAX_VALUE + 1)),
            "the value of `TOKEN` has 65537 bytes, the most that is exported is 65536",
        );
        refused(secret("TOKEN", "abcdef\0"), "the value of `TOKEN` holds a NUL character");
    }

    #[test]
    fn the_names_are_listed_after_those_of_an_earlier_block() {
        let env = Env::of([(NAMES, "AWS_REGION VAULT_TOKEN")]);
        let variables = vec![
            secret("AWS_SECRET_ACCESS_KEY", "long-enough"),
            variable("AWS_REGION", Value::Plain("x".into())),
        ];
        let export = Export::prepare(variables, Vec::new(), Path::new("/p"), &env).unwrap();
        let list = export.variables.last().unwrap();
        assert_eq!(list.value.expose(), "AWS_REGION VAULT_TOKEN AWS_SECRET_ACCESS_KEY");
    }

    #[test]
    fn a_variable_goes_back_to_what_it_was_unless_somebody_changed_it() {
        let before = Env::of([("A", "old"), ("C", "old")]);
        let variables = ["A", "B", "C", "D"].map(|name| variable(name, Value::Plain("ours".into())));
        let export = Export::prepare(variables.to_vec(), Vec::new(), Path::new("/p"), &before).unwrap();
        let now = Env::of([("A", "ours"), ("B", "ours"), ("C", "theirs")]);
        let decided: Vec<_> =
            restoring(export.previous(), &now).iter().map(|(_, restore)| *restore).collect();
        assert_eq!(decided, [PutBack, Remove, LeaveChanged, LeaveChanged, LeaveChanged]);
    }
}
