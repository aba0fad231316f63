//! Any text as a step config or a host config: it is read, or refused with a place; and whatever claims a job has, what
//! asks for them is filled in or refused.
#![no_main]

use buildkite_dataflow::claims::Claims;
use buildkite_dataflow::config::host::HostConfig;
use buildkite_dataflow::config::host_parse;
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::config::template;
use buildkite_dataflow::host::Env;
use buildkite_dataflow::job::situation::Situation;
use buildkite_dataflow::policy::{self, request, wanted};
use buildkite_dataflow::provider;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    let config = host_parse::parse("config.yml", text);
    if let Ok(step) = Step::parse(text) {
        asked(&step, &config.unwrap_or_default());
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let claims = claims();
        drop(template::filled("f", "p", &value, &claims));
        drop(template::with_stand_ins("f", "p", &value));
        assert_eq!(template::filled("f", "p", &template::escaped(&value), &claims).ok(), Some(value));
    }
});

fn claims() -> Claims {
    let claims =
        json!({"a": "../x", "b": "main", "n": 7, "sub": "organization:acme:pipeline:web", "z": null});
    Claims::new(claims.as_object().cloned().unwrap_or_default())
}

/// What a step asks for, as a job with these claims is answered.
fn asked(step: &Step, host: &HostConfig) {
    let Ok(requests) = request::of_step(step, host) else { return };
    drop(request::check(&requests));
    let (claims, env) = (claims(), Env::of([("BUILDKITE_BRANCH", "main")]));
    let Ok(wanted) = wanted::resolve(requests, &claims, &Situation::of(&claims, &env)) else { return };
    for request in &wanted.requests {
        drop((
            policy::decide(request, &claims, host),
            provider::token_key(request),
            request.ask.kind().target(),
        ));
        drop((provider::session(request, "job"), request.token_file(), request.may_be_renewed()));
    }
}
