//! What the stories of every provider beside AWS need.

use std::process::Command;
use std::time::Duration;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::record::parts::Outcome;
use buildkite_dataflow::rehearse::sandbox::service::Issued;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use super::child::{output, run};
use super::hooks::Stage;

/// A page, as a proxy shows one.
pub(crate) fn html(status: u16) -> Response {
    Response::new(status, "text/html", "<html><body>Bad Gateway</body></html>")
}

/// No answer at all, for longer than anybody waits.
pub(crate) fn silence() -> Response {
    Response { delay: Duration::from_mins(1), ..html(200) }
}

/// How long a hook says that it waited for an answer, in seconds.
#[track_caller]
pub(crate) fn waited(text: &str) -> f32 {
    let said = text.split_once("did not answer within ").and_then(|(_, rest)| rest.split_once('s'));
    let (seconds, _) = said.unwrap_or_else(|| panic!("{text}"));
    seconds.parse().unwrap_or_else(|_| panic!("{text}"))
}

impl Stage {
    /// A job that asks for this one credential, on a host that reaches every provider's origin in the sandbox.
    pub(crate) fn asking(provider: &str, block: &Value) -> Self {
        let mut stage = Self::new();
        let services = stage.sandbox.providers().iter();
        let routes = services.flat_map(|service| {
            let base = stage.sandbox.provider_url(service.provider());
            let to = move |from: &str| format!("{base}{}", service.below(from));
            service.origins().into_iter().map(move |from| json!({"from": from, "to": to(from)}))
        });
        let network = json!({"routes": routes.collect::<Vec<_>>()});
        stage.config.as_object_mut().unwrap().insert("network".into(), network);
        stage.block = json!({"credentials": [{ provider: block }]});
        stage
    }

    /// Everything that a provider of the sandbox gave.
    pub(crate) fn issued(&self, provider: &str) -> Vec<Issued> {
        let service = self.sandbox.providers().iter().find(|service| service.provider() == provider);
        service.unwrap().issued()
    }

    /// Lends, or says why not.
    #[track_caller]
    pub(crate) fn lends(&mut self) {
        let ended = self.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
    }

    /// Gives back, and looks at what became of the one lease.
    #[track_caller]
    pub(crate) fn gives_back(&mut self) -> Settlement {
        self.command_ended(0);
        let ended = self.hook("post-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        self.nothing_left();
        let left = self.private_files();
        assert!(left.is_empty(), "{left:?}");
        let [settled] = self.records().pop().unwrap().end.unwrap().settlements.try_into().unwrap();
        settled.settlement
    }

    /// An answer makes the hook fail: the message, how often that path was asked, and what became of the intent.
    #[track_caller]
    pub(crate) fn refused(&mut self, path: &str, answer: Response, exit: i32, ident: &str) -> Refused {
        self.refused_times(path, 999, answer, exit, ident)
    }

    /// The same with an answer that comes so often.
    #[track_caller]
    pub(crate) fn refused_times(
        &mut self,
        path: &str,
        times: usize,
        answer: Response,
        exit: i32,
        ident: &str,
    ) -> Refused {
        self.fault(path, times, answer);
        let text = self.refuses(exit, ident);
        assert_eq!(self.records().first().unwrap().start.as_ref().unwrap().outcome, Outcome::Failed);
        let [settled] = self.records().pop().unwrap().end.unwrap().settlements.try_into().unwrap();
        Refused { text, asked: self.sandbox.faults().asked(path), settlement: settled.settlement }
    }

    /// What a program of the step's prints, given the step's environment.
    pub(crate) fn step(&self, program: Command, input: &str) -> Value {
        let text = self.text_of(program, input);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// The same, as text.
    pub(crate) fn text_of(&self, mut program: Command, input: &str) -> String {
        for (name, value) in self.api.env() {
            program.env(name, value.expose());
        }
        run(async {
            let ended = output(program.into(), input).await;
            assert!(!ended.stdout.is_empty(), "{ended:?}");
            ended.stdout
        })
    }
}

/// How a refusal was told.
pub(crate) struct Refused {
    pub(crate) text: String,
    pub(crate) asked: usize,
    pub(crate) settlement: Settlement,
}
