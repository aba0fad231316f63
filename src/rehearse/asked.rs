//! What a job will ask for: its blocks and the host's automatic grants, with the job's claims put in.

use dataflow_config::credential::ProviderRequest;
use dataflow_config::host::HostConfig;
use dataflow_config::step::Step;
use dataflow_host::Env;
use dataflow_job::Reported;
use dataflow_job::situation::Situation;
use dataflow_pipeline::PluginUse;
use dataflow_policy::{Request, request, wanted};
use dataflow_types::claims::Claims;

/// Everything that a job with these claims could ask for. What is wrong in a block is for its hook to tell.
pub(super) fn of(plugins: &[PluginUse], claims: &Claims, host: &HostConfig) -> Vec<ProviderRequest> {
    let steps = plugins.iter().filter(|plugin| plugin.is_ours());
    let steps = steps.filter_map(|plugin| Step::read(plugin.config.clone()).ok());
    let named = steps.filter_map(|step| request::of_step(&step, host).ok()).flatten();
    let automatic = request::of_automatic_grants(&Reported::default(), host).unwrap_or_default();
    named.chain(automatic).filter_map(|request| filled(request, claims)).collect()
}

/// The request as it is made, whether or not its condition holds.
fn filled(mut request: Request, claims: &Claims) -> Option<ProviderRequest> {
    request.pending.condition = None;
    let env = Env::default();
    let wanted = wanted::resolve(vec![request], claims, &Situation::of(claims, &env)).ok()?;
    wanted.requests.into_iter().next().map(|request| request.ask)
}
