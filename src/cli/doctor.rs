//! The face of `doctor`: how this program stands on its host, for the user who runs it.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::report::Report;
use dataflow_config::host_find;
use dataflow_host::Host;
use dataflow_host::trail::Trail;
use dataflow_lease::state::State;
use dataflow_types::failure::Failure;

/// The hooks that can be this program.
const HOOKS: [&str; 4] = ["environment", "pre-command", "post-command", "pre-exit"];

/// Say which host config rules, whether a job could change that, and how this program is installed.
///
/// To be run as the agent's user. Makes no request, changes nothing. Exit code: 0, or 102 if a hook would lend nothing.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The folder of the agent's own hooks (`hooks-path`)
    #[arg(long, value_name = "PATH", default_value = "/etc/buildkite-agent/hooks")]
    hooks_path: PathBuf,
}

/// Looks, and says what there is.
pub(super) fn doctor(host: &Host, arguments: &Doctor) -> Result<Report, Failure> {
    let user = nix::unistd::geteuid().as_raw();
    let mut report = Report::default();
    if user == 0 {
        let text = "this is root, and jobs run as the agent's user: run it as that user, for root can change all of it";
        report.warnings.push(text.to_owned());
    }
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let standing = loaded.standing();
    if loaded.file.is_some() && loaded.changeable.is_none() {
        report.lines.push(standing);
    } else {
        report.warnings.push(standing);
    }
    let program = Trail::of(&host.program);
    match program.changeable_by(user) {
        None => report.lines.push(format!(
            "this program is `{}`, and the job's user cannot change it",
            host.program.display()
        )),
        Some(place) => report.warnings.push(format!(
            "this program is `{}`: it can be changed by the job's user, at `{}`",
            host.program.display(),
            place.display()
        )),
    }
    report.lines.push(installed(&program, &host.cwd.join(&arguments.hooks_path)));
    match State::standing(&loaded.config) {
        Ok(Some(state)) => {
            let records = state.records();
            let folder = records.parent().unwrap_or(&records);
            report.lines.push(format!("the state directory is `{}`", folder.display()));
        }
        Ok(None) => report.lines.push("no state directory is there: the first hook makes it".to_owned()),
        Err(error) => report.failure = Some(error.failure()),
    }
    Ok(report)
}

/// Which of the agent's own hooks are this program.
fn installed(program: &Trail, hooks: &Path) -> String {
    let is_ours = |name: &&str| {
        let hook = Trail::of(&hooks.join(name));
        hook.broken.is_none() && hook.end == program.end
    };
    let ours: Vec<&str> = HOOKS.into_iter().filter(is_ours).collect();
    if ours.is_empty() {
        format!(
            "no hook in `{}` is this program: pipelines run it as a plugin, which they can leave out",
            hooks.display()
        )
    } else {
        format!("hooks of the agent in `{}` are this program: {}", hooks.display(), ours.join(", "))
    }
}
