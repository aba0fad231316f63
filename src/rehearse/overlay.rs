//! The host config as a rehearsal changes it: what the sandbox must redirect, and nothing else.
//!
//! Every field is named below. A new one does not compile until somebody has decided whether it holds in a rehearsal.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use url::Url;

use super::Error;
use dataflow_config::host::{AwsHost, FileSink, HostConfig, Required, Sink};
use dataflow_config::host_parse;
use dataflow_config::network::{NetworkConfig, Route};

/// Whose tokens a Buildkite job brings: the issuer for whom the sandbox's stands in.
const BUILDKITE: &str = "https://agent.buildkite.com";

/// What a rehearsal puts in place of the host's own.
#[derive(Clone, Debug)]
pub(super) struct Redirected {
    /// The sandbox's issuer, which stands in for Buildkite's.
    pub issuer: String,
    /// The sandbox's STS.
    pub sts: Url,
    /// The ways into the sandbox.
    pub routes: Vec<Route>,
    /// The endpoints that the steps name; `None` where a host config says which are allowed.
    pub endpoints: Option<Vec<Url>>,
    /// Where leases are kept.
    pub state: PathBuf,
    /// Where records go.
    pub records: PathBuf,
}

impl Redirected {
    /// The config that holds in the rehearsal of `real`.
    fn over(&self, real: HostConfig) -> HostConfig {
        let HostConfig {
            mode,
            verify,
            issuers,
            step_requests,
            endpoints,
            key_files,
            grants,
            state_directory: _,
            // Nothing of a rehearsal belongs into a folder of the real host's, and it has no secret but made-up ones.
            survive_reboot: _,
            sinks: _,
            retention,
            aws: AwsHost { sts_endpoint: _, sts_region: _, allowed_accounts },
            // The sandbox listens on loopback, without TLS.
            network: NetworkConfig { ca_file: _, proxy: _, no_proxy: _, routes: _, client_certificates: _ },
            limits,
            deadlines,
            required: Required { settlement, record, survive_reboot: _, encryption_at_rest: _ },
            log,
        } = real;
        HostConfig {
            mode,
            verify,
            issuers: issuers.iter().map(|issuer| self.issuer(issuer)).collect(),
            step_requests,
            endpoints: self.endpoints.clone().unwrap_or(endpoints),
            key_files,
            grants,
            state_directory: Some(self.state.clone()),
            survive_reboot: None,
            sinks: vec![Sink::File(FileSink::private(self.records.clone()))],
            retention,
            aws: AwsHost { sts_endpoint: Some(self.sts.clone()), sts_region: None, allowed_accounts },
            network: NetworkConfig { routes: self.routes.clone(), ..NetworkConfig::default() },
            limits,
            deadlines,
            required: Required { settlement, record, survive_reboot: false, encryption_at_rest: false },
            log,
        }
    }

    /// The same as the hooks read it: `written` with what is redirected put in, held against [`Self::over`].
    pub(super) fn written(&self, real: &HostConfig, written: &Value) -> Result<String, Error> {
        let expected = self.over(real.clone());
        let mut whole = written.as_object().cloned().unwrap_or_default();
        let routes = self.routes.iter().map(|route| json!({"from": route.from, "to": route.to}));
        whole.insert("issuers".into(), json!(expected.issuers));
        whole.insert("state-directory".into(), json!(self.state));
        whole.insert("sinks".into(), json!([{ "file": { "directory": self.records } }]));
        whole.insert("network".into(), json!({ "routes": routes.collect::<Vec<_>>() }));
        put(&mut whole, "aws", "sts-endpoint", Some(json!(self.sts)));
        put(&mut whole, "aws", "sts-region", None);
        whole.remove("survive-reboot");
        put(&mut whole, "required", "survive-reboot", None);
        put(&mut whole, "required", "encryption-at-rest", None);
        if let Some(endpoints) = &self.endpoints {
            whole.insert("endpoints".into(), json!(endpoints));
        }
        // JSON is YAML.
        let text = Value::Object(whole).to_string();
        let rehearsed = host_parse::parse("the rehearsal's host config", &text).map_err(Error::Config)?;
        if rehearsed == expected { Ok(text) } else { Err(Error::Overlay) }
    }

    /// Who is believed in place of `issuer`: another than Buildkite's is no job's here either.
    fn issuer(&self, issuer: &str) -> String {
        if issuer == BUILDKITE { self.issuer.clone() } else { issuer.to_owned() }
    }
}

/// Sets a key of a map inside, or takes it away.
fn put(whole: &mut Map<String, Value>, outer: &str, key: &str, value: Option<Value>) {
    let mut inner = match whole.remove(outer) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    match value {
        Some(value) => inner.insert(key.to_owned(), value),
        None => inner.remove(key),
    };
    whole.insert(outer.to_owned(), Value::Object(inner));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host config in which every key differs from its default.
    const FULL: &str = "
mode: observe
verify: when-available
issuers: [https://agent.buildkite.com, https://other.example.test]
step-requests: grants-only
endpoints: ['https://vault.example.test']
key-files: [/etc/keys/app.pem]
grants:
  - name: deploy
    automatic: true
    claims: {pipeline_slug: web}
    credentials: [{aws: {role: 'arn:aws:iam::123456789012:role/${claims.pipeline_slug}'}}]
state-directory: /var/lib/real
survive-reboot: {public-key: /etc/a.pem, directory: /var/real}
sinks: [{file: {directory: /var/log/real}}]
retention: {records: 90d}
aws: {sts-endpoint: 'https://vpce.example.test', allowed-accounts: ['123456789012']}
network:
  ca-file: /etc/ca.pem
  proxy: http://proxy.example.test:3128
  routes: [{from: 'https://sts.googleapis.com', to: 'https://private.example.test'}]
  client-certificates: [{endpoint: 'https://vault.example.test', certificate: /a.pem, key: /a.key}]
limits: {duration: 30m, token-lifetime: 10m}
deadlines: {grant: 30s, release: 4s, retry: 2s}
required: {settlement: true, record: true, survive-reboot: true, encryption-at-rest: true}
log: info
";

    fn redirected() -> Redirected {
        let url = |text: &str| Url::parse(text).unwrap();
        Redirected {
            issuer: "http://127.0.0.1:1".into(),
            sts: url("http://127.0.0.1:1"),
            routes: vec![Route { from: url("https://a.example.test"), to: url("http://127.0.0.1:1/a") }],
            endpoints: None,
            state: "/tmp/state".into(),
            records: "/tmp/records".into(),
        }
    }

    fn rehearsed(yaml: &str) -> (HostConfig, HostConfig) {
        let real = host_parse::parse("config.yml", yaml).unwrap();
        let value: Value = serde_yaml::from_str(yaml).unwrap();
        let text = redirected().written(&real, &value).unwrap();
        (real, host_parse::parse("config.yml", &text).unwrap())
    }

    #[test]
    fn a_rehearsal_changes_of_a_host_config_what_the_sandbox_redirects_and_nothing_else() {
        let (real, rehearsed) = rehearsed(FULL);
        let HostConfig { aws, network, required, .. } = &rehearsed;
        assert_eq!(aws.allowed_accounts, real.aws.allowed_accounts);
        assert!(
            network.ca_file.is_none() && network.proxy.is_none() && network.client_certificates.is_empty()
        );
        assert!(
            required.settlement
                && required.record
                && !required.survive_reboot
                && !required.encryption_at_rest
        );
        let back = HostConfig {
            issuers: real.issuers.clone(),
            state_directory: real.state_directory.clone(),
            survive_reboot: real.survive_reboot.clone(),
            sinks: real.sinks.clone(),
            aws: AwsHost { sts_endpoint: real.aws.sts_endpoint.clone(), ..aws.clone() },
            network: real.network.clone(),
            required: Required { survive_reboot: true, encryption_at_rest: true, ..required.clone() },
            ..rehearsed.clone()
        };
        assert_eq!(back, real);
        assert_eq!(rehearsed.issuers, ["http://127.0.0.1:1", "https://other.example.test"]);
    }

    #[test]
    fn a_host_that_does_not_believe_buildkite_believes_no_rehearsed_job() {
        let (_, rehearsed) = rehearsed("issuers: [https://other.example.test]");
        assert_eq!(rehearsed.issuers, ["https://other.example.test"]);
    }
}
