//! The block that a hook serves: what is asked, by whom, and what tells it from the job's other blocks.

use super::phase::Form;
use dataflow_config::host::HostConfig;
use dataflow_config::place::Error;
use dataflow_config::step::{FILE, Hook, Release, Step};
use dataflow_host::{Env, env};
use dataflow_job::Reported;
use dataflow_pipeline::plugin::{self, PluginUse};
use dataflow_policy::{Request, request};
use dataflow_types::failure::Failure;
use dataflow_types::secret::{Fingerprint, Secret};

/// What one hook serves.
#[derive(Debug)]
pub struct Block {
    /// What tells it from the job's other blocks.
    pub instance: String,
    /// Data and times, as the step says them.
    pub step: Step,
    /// What is asked for.
    pub requests: Vec<Request>,
}

/// The instance of an agent hook's block.
pub fn agent_instance(hook: Hook) -> &'static str {
    match hook {
        Hook::PreCommand => "agent-hook",
        Hook::Environment => "agent-hook-environment",
    }
}

/// What is to be served in this phase; `None` when nothing is asked.
pub fn of(env: &Env, form: Form, hook: Hook, host: &HostConfig) -> Result<Option<Block>, Failure> {
    let block = match form {
        Form::Plugin => of_plugin(env, host),
        Form::AgentHook => of_agent(env, hook, host),
    };
    let block = block.map_err(|error| error.failure())?;
    Ok(block.filter(|block| {
        block.step.hook == hook && (!block.requests.is_empty() || !block.step.asks_for_nothing())
    }))
}

/// The instance of the plugin's block whose hook this is.
pub fn plugin_instance(env: &Env) -> String {
    Fingerprint::of(env.get(&env::PLUGIN_CONFIGURATION).unwrap_or_default().as_bytes()).short(12).to_owned()
}

/// The accounts of a step's blocks that want them hidden, before anything is known to be right in those: what is wrong
/// is told, too.
pub fn accounts_to_mask(env: &Env) -> Vec<Secret> {
    let texts = [&env::PLUGIN_CONFIGURATION, &env::PLUGINS].map(|variable| env.get(variable));
    let asks = |text: &&str| text.contains("mask-account-id");
    let parsed = texts.into_iter().flatten().filter(asks).filter_map(|text| serde_json::from_str(text).ok());
    let mut accounts = Vec::new();
    parsed.for_each(|json: serde_json::Value| accounts_of(&json, &mut accounts));
    accounts
}

fn accounts_of(json: &serde_json::Value, accounts: &mut Vec<Secret>) {
    use serde_json::Value;
    match json {
        Value::Object(map)
            if map.get("mask-account-id").is_some_and(|asked| *asked != Value::Bool(false)) =>
        {
            let text = json.to_string();
            let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() == 12);
            accounts.extend(numbers.map(Secret::new));
        }
        Value::Object(map) => map.values().for_each(|value| accounts_of(value, accounts)),
        Value::Array(items) => items.iter().for_each(|item| accounts_of(item, accounts)),
        _ => {}
    }
}

fn of_plugin(env: &Env, host: &HostConfig) -> Result<Option<Block>, Error> {
    let step = match env.get(&env::PLUGIN_CONFIGURATION) {
        Some(json) => Step::parse(json)?,
        None => return dropped_configuration(env).map(|()| None),
    };
    let requests = request::of_step(&step, host)?;
    Ok(Some(Block { instance: plugin_instance(env), step, requests }))
}

/// The agent drops a plugin's whole environment at a null anywhere in its configuration, with a line
/// in the log that nobody reads: the block is looked up where the agent keeps it for everybody.
fn dropped_configuration(env: &Env) -> Result<(), Error> {
    for plugin in ours(env)? {
        Step::read(plugin.config)?;
    }
    Ok(())
}

fn of_agent(env: &Env, hook: Hook, host: &HostConfig) -> Result<Option<Block>, Error> {
    let mut whole = Step { hook, ..Step::default() };
    let mut requests = match hook {
        Hook::PreCommand => request::of_automatic_grants(&Reported::of(env), host)?,
        Hook::Environment => Vec::new(),
    };
    for plugin in ours(env)? {
        let step = Step::read(plugin.config)?;
        if step.hook != hook {
            continue;
        }
        requests.extend(request::of_step(&step, host)?);
        whole.inputs.extend(step.inputs);
        whole.outputs.extend(step.outputs);
        if step.release == Release::PreExit {
            whole.release = Release::PreExit;
        }
    }
    request::check(&requests)?;
    Ok(Some(Block { instance: agent_instance(hook).to_owned(), step: whole, requests }))
}

fn ours(env: &Env) -> Result<Vec<PluginUse>, Error> {
    let Some(json) = env.get(&env::PLUGINS) else { return Ok(Vec::new()) };
    let all = plugin::parse_plugins(json)
        .map_err(|error| Error::at(FILE, "BUILDKITE_PLUGINS", error.to_string()))?;
    Ok(all.into_iter().filter(PluginUse::is_ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"{"credentials":[{"aws":{"role":"arn:aws:iam::123456789012:role/x"}}]}"#;

    fn plugins(config: &str) -> (&'static str, String) {
        ("BUILDKITE_PLUGINS", format!(r#"[{{"github.com/acme/dataflow-buildkite-plugin#v1":{config}}}]"#))
    }

    #[test]
    fn a_block_that_asks_for_nothing_is_not_served() {
        let env = Env::of([("BUILDKITE_PLUGIN_CONFIGURATION", "{}")]);
        assert!(of(&env, Form::Plugin, Hook::PreCommand, &HostConfig::default()).unwrap().is_none());
    }

    #[test]
    fn a_block_is_served_in_its_own_phase_only() {
        let env = Env::of([("BUILDKITE_PLUGIN_CONFIGURATION", ROLE)]);
        let served = |hook| of(&env, Form::Plugin, hook, &HostConfig::default()).unwrap().is_some();
        assert!(served(Hook::PreCommand) && !served(Hook::Environment));
    }

    #[test]
    fn a_null_that_made_the_agent_drop_the_configuration_is_named() {
        let env = Env::of([plugins(r#"{"credentials":[{"aws":{"role":null}}]}"#)]);
        let failure = of(&env, Form::Plugin, Hook::PreCommand, &HostConfig::default()).unwrap_err();
        assert_eq!(failure.what, "step config: `credentials[0].aws.role`: saw null, expected a value");
    }

    #[test]
    fn an_agent_hook_serves_the_steps_blocks() {
        let env = Env::of([plugins(ROLE)]);
        let block = of(&env, Form::AgentHook, Hook::PreCommand, &HostConfig::default()).unwrap().unwrap();
        assert_eq!((block.instance.as_str(), block.requests.len()), ("agent-hook", 1));
    }

    #[test]
    fn an_agent_hook_has_nothing_to_do_for_a_job_that_asks_for_nothing() {
        let env = Env::of([("BUILDKITE_PLUGINS", r#"[{"docker#v5":{"image":"x"}}]"#)]);
        assert!(of(&env, Form::AgentHook, Hook::PreCommand, &HostConfig::default()).unwrap().is_none());
    }
}
