//! Which hook this process is, and how it was installed.

use dataflow_host::{Env, env};

/// A phase of a step in which this program acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the checkout.
    Environment,
    /// Before the command.
    PreCommand,
    /// After the command.
    PostCommand,
    /// At the very end.
    PreExit,
}

impl Phase {
    /// The phase that a hook's file name says.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "environment" => Some(Self::Environment),
            "pre-command" => Some(Self::PreCommand),
            "post-command" => Some(Self::PostCommand),
            "pre-exit" => Some(Self::PreExit),
            _ => None,
        }
    }

    /// Whether the step's code has not run yet.
    pub fn is_before_command(self) -> bool {
        matches!(self, Self::Environment | Self::PreCommand)
    }
}

/// How the hooks are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a plugin: one block of the step's.
    Plugin,
    /// As agent hooks: the host's automatic grants, and every block of the step's.
    AgentHook,
}

impl Form {
    /// The word in the record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::AgentHook => "agent-hook",
        }
    }
}

/// What the arguments say: a hook, or `None` for the command line.
///
/// As interpreter of a hook file the kernel passes that file's path first; as agent hook the file's
/// own name is the phase; by hand it is the argument.
pub fn of_arguments(program: &str, first: Option<&str>, env: &Env) -> Option<(Form, Phase)> {
    let file = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let form = |otherwise| match env.get(&env::HOOK_SCOPE) {
        Some("plugin") => Form::Plugin,
        Some(_) => Form::AgentHook,
        None => otherwise,
    };
    if let Some(phase) = Phase::named(&file(program)) {
        return Some((form(Form::AgentHook), phase));
    }
    if let Some(phase) = first.and_then(|first| Phase::named(&file(first))) {
        return Some((form(Form::Plugin), phase));
    }
    // `exec`ed by something that kept neither name nor argument: the agent's own word.
    let phase = env.get(&env::HOOK_PHASE).and_then(Phase::named).filter(|_| first.is_none())?;
    Some((form(Form::Plugin), phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(program: &str, first: Option<&str>, env: &[(&str, &str)]) -> Option<(Form, Phase)> {
        of_arguments(program, first, &Env::of(env.iter().copied()))
    }

    #[test]
    fn the_file_that_named_us_as_interpreter_says_the_phase() {
        let first = Some("/plugins/dataflow/hooks/post-command");
        assert_eq!(
            of("/usr/local/bin/buildkite-dataflow", first, &[]),
            Some((Form::Plugin, Phase::PostCommand))
        );
    }

    #[test]
    fn a_link_in_the_agents_hooks_folder_is_the_hook() {
        assert_eq!(
            of("/etc/buildkite-agent/hooks/pre-exit", None, &[]),
            Some((Form::AgentHook, Phase::PreExit))
        );
    }

    #[test]
    fn the_agent_knows_whose_hook_it_is() {
        let scope = [("BUILDKITE_HOOK_SCOPE", "agent")];
        let hook = of("/usr/local/bin/buildkite-dataflow", Some("/hooks/pre-command"), &scope);
        assert_eq!(hook, Some((Form::AgentHook, Phase::PreCommand)));
    }

    #[test]
    fn without_a_name_or_argument_the_agents_word_counts() {
        let phase = [("BUILDKITE_HOOK_PHASE", "pre-command")];
        assert_eq!(of("buildkite-dataflow", None, &phase), Some((Form::Plugin, Phase::PreCommand)));
        assert_eq!(of("buildkite-dataflow", Some("rehearse"), &phase), None);
        assert_eq!(of("buildkite-dataflow", None, &[]), None);
    }
}
