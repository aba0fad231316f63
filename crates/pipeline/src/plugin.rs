//! Plugins as a step names them, and the names the agent makes of that.
//!
//! Knows JSON and nothing of YAML: a hook reads `BUILDKITE_PLUGINS` through it.

use serde_json::{Map, Value};

/// One use of a plugin, in a step's order.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginUse {
    /// Where the plugin is, as written: `acme/dataflow#v1.0.0`, a URL, a path.
    pub source: String,
    /// What the step gave it; `null` where it gave nothing.
    pub config: Value,
}

/// `BUILDKITE_PLUGINS` is not a list of plugins.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No JSON at all.
    #[error("the list of plugins is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("expected a list of plugins, each a string or a map from source to configuration, saw {0}")]
    Shape(&'static str),
}

/// Reads the list that the agent gives to every hook in `BUILDKITE_PLUGINS`.
pub fn parse_plugins(json: &str) -> Result<Vec<PluginUse>, Error> {
    let Value::Array(entries) = serde_json::from_str(json).map_err(Error::Json)? else {
        return Err(Error::Shape("no list"));
    };
    let mut uses = Vec::new();
    for entry in entries {
        match entry {
            Value::String(source) => uses.push(PluginUse { source, config: Value::Null }),
            Value::Object(map) => {
                uses.extend(map.into_iter().map(|(source, config)| PluginUse { source, config }));
            }
            _ => return Err(Error::Shape("an entry that is neither")),
        }
    }
    Ok(uses)
}

/// Writes the list as `pipeline upload` does: one map each, sources in full, nothing for an empty configuration.
pub fn to_json(uses: &[PluginUse]) -> Value {
    let entry = |plugin: &PluginUse| {
        let empty = match &plugin.config {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let config = if empty { Value::Null } else { plugin.config.clone() };
        Value::Object(Map::from_iter([(plugin.full_source(), config)]))
    };
    Value::Array(uses.iter().map(entry).collect())
}

impl PluginUse {
    /// The source with a shorthand written out: `acme/x#v1` is `github.com/acme/x-buildkite-plugin#v1`.
    pub fn full_source(&self) -> String {
        let source = self.source.as_str();
        if source.is_empty() || source.starts_with(['/', '.', '\\']) || scheme(source).is_some() {
            return source.to_owned();
        }
        let (path, version) = source.split_once('#').map_or((source, ""), |(path, version)| (path, version));
        let (owner, name) = match path.split('/').collect::<Vec<_>>().as_slice() {
            [name] => ("buildkite-plugins", *name),
            [owner, name] => (*owner, *name),
            _ => return source.to_owned(),
        };
        let version = if version.is_empty() { String::new() } else { format!("#{version}") };
        format!("github.com/{owner}/{name}-buildkite-plugin{version}")
    }

    /// The plugin's name: the last part of where it is, in lower case, without what marks it as a plugin.
    pub fn name(&self) -> String {
        let location = self.source.split('#').next().unwrap_or_default().replace('\\', "/");
        let last = location.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let words = last.trim_start_matches('.').split_whitespace().collect::<Vec<_>>().join(" ");
        words
            .to_lowercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
            .replace("-buildkite-plugin-git", "")
            .replace("-buildkite-plugin", "")
    }

    /// The name as it stands in `BUILDKITE_PLUGIN_NAME` and in the names of the plugin's variables.
    pub fn env_name(&self) -> String {
        self.name().to_uppercase().replace('-', "_")
    }

    /// Whether this is our own plugin, wherever it is hosted.
    pub fn is_ours(&self) -> bool {
        let name = self.name();
        let name = name.strip_suffix("-git").unwrap_or(&name);
        matches!(name, "dataflow" | "buildkite-dataflow")
    }

    /// Whether this is a key of our block that was not indented below the plugin's name.
    pub fn is_misplaced_key(&self) -> bool {
        ["credentials", "inputs", "outputs", "hook", "release"].contains(&self.source.as_str())
    }

    /// Whether this was hardly meant to be another plugin than ours.
    pub fn is_nearly_ours(&self) -> bool {
        let name = self.name();
        let near = |ours: &str| strsim::damerau_levenshtein(&name, ours) <= 2;
        !self.is_ours() && (near("dataflow") || near("buildkite-dataflow"))
    }
}

/// What stands before the first colon, where it is a URL's scheme (or a Windows drive).
fn scheme(source: &str) -> Option<&str> {
    let (scheme, _) = source.split_once(':')?;
    let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letters)).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(source: &str) -> PluginUse {
        PluginUse { source: source.to_owned(), config: Value::Null }
    }

    #[test]
    fn the_name_is_the_last_part_without_its_decoration() {
        let check = |source, name| assert_eq!(at(source).name(), name, "{source}");
        check("docker#v5", "docker");
        check("github.com/acme/Docker-Compose-buildkite-plugin#v1.0.0", "docker-compose");
        check("https://git.example/acme/dataflow-buildkite-plugin.git#main", "dataflow");
        check("ssh://git@git.example/acme/dataflow-buildkite-plugin.git", "dataflow");
        check("file:///srv/plugins/my plugin", "my-plugin");
        check("./.buildkite/plugins/dataflow/", "dataflow");
        check("github.com/acme/repo/.buildkite", "buildkite");
        check("C:\\plugins\\Dataflow", "dataflow");
        check("", "");
    }

    #[test]
    fn variables_carry_the_name_in_capitals() {
        assert_eq!(at("acme/docker-compose#v1").env_name(), "DOCKER_COMPOSE");
    }

    #[test]
    fn our_plugin_is_known_wherever_it_is_hosted() {
        for source in [
            "acme/dataflow#v1.0.0",
            "dataflow",
            "github.com/acme/dataflow-buildkite-plugin#v1",
            "https://git.example/tools/buildkite-dataflow.git#main",
            "ssh://git@git.example:22/tools/dataflow-buildkite-plugin.git#v1",
            "file:///srv/git/buildkite-dataflow",
            "./.buildkite/plugins/dataflow",
            "/opt/plugins/dataflow-buildkite-plugin/",
        ] {
            assert!(at(source).is_ours(), "{source}");
        }
        for source in ["acme/dataflow-lint#v1", "docker#v5", "acme/my-dataflow", "dataflow/docker#v1", ""] {
            assert!(!at(source).is_ours(), "{source}");
        }
    }

    #[test]
    fn a_shorthand_is_written_out_as_at_upload() {
        let check = |source, full| assert_eq!(at(source).full_source(), full);
        check("docker#v5", "github.com/buildkite-plugins/docker-buildkite-plugin#v5");
        check("acme/dataflow#v1", "github.com/acme/dataflow-buildkite-plugin#v1");
        check("acme/dataflow", "github.com/acme/dataflow-buildkite-plugin");
        check("git.example/acme/dataflow#v1", "git.example/acme/dataflow#v1");
        check("./vendored", "./vendored");
        check("https://git.example/x.git#v1", "https://git.example/x.git#v1");
        check("file:///srv/x", "file:///srv/x");
    }

    #[test]
    fn a_hooks_list_keeps_order_and_repetition() {
        let uses = parse_plugins(r#"["a#v1", {"b#v2": {"x": 1}}, {"b#v2": null}]"#).unwrap();
        let seen: Vec<_> = uses.iter().map(|u| (u.source.as_str(), &u.config)).collect();
        assert_eq!(seen, [("a#v1", &Value::Null), ("b#v2", &json!({"x": 1})), ("b#v2", &Value::Null)]);
    }

    #[test]
    fn what_is_no_list_of_plugins_is_refused() {
        assert!(matches!(parse_plugins("nonsense"), Err(Error::Json(_))));
        for json in ["{}", "null", "[1]", "[[\"a\"]]"] {
            assert!(matches!(parse_plugins(json), Err(Error::Shape(_))), "{json}");
        }
    }

    #[test]
    fn what_is_written_reads_back_in_full() {
        let uses = [at("acme/x#v1"), PluginUse { source: "./y".into(), config: json!({"k": [1]}) }];
        let written = to_json(&uses).to_string();
        assert_eq!(written, r#"[{"github.com/acme/x-buildkite-plugin#v1":null},{"./y":{"k":[1]}}]"#);
        assert_eq!(parse_plugins(&written).unwrap()[1], uses[1]);
    }

    proptest! {
        #[test]
        fn no_source_makes_the_naming_panic(source in ".{0,80}") {
            let plugin = at(&source);
            prop_assert!(plugin.env_name().chars().all(|c| !c.is_lowercase()));
            drop((plugin.full_source(), plugin.is_ours()));
        }

        #[test]
        fn no_text_makes_the_list_panic(text in ".{0,200}") {
            drop(parse_plugins(&text));
        }
    }
}
