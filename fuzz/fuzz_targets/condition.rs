//! Any text as a condition: it is read and answered, or refused; what is printed reads back the same.
#![no_main]

use buildkite_dataflow::condition::{Condition, Scope, Value};
use libfuzzer_sys::fuzz_target;

struct World;

impl Scope for World {
    fn variable(&self, name: &str) -> Value {
        match name {
            "build.branch" => Value::Text("main".to_owned()),
            "build.number" => Value::Number(7),
            "build.creator.teams" => Value::List(vec![Value::Text("deploy".to_owned()), Value::Null]),
            _ => Value::Null,
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "A").then(|| "value".to_owned())
    }
}

fuzz_target!(|text: &str| {
    let Ok(condition) = Condition::parse(text) else { return };
    if let Ok(again) = Condition::parse(&condition.to_string()) {
        assert_eq!(again.to_string(), condition.to_string());
        assert_eq!(again.holds(&World).ok(), condition.holds(&World).ok());
    }
});
