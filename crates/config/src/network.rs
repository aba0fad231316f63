//! The `network` block of the host config.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::address::is_safe;
use dataflow_host::direct::Direct;
use dataflow_host::http::Network;
use dataflow_host::http::identity::Identity;

/// The network, as this host reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NetworkConfig {
    /// Certificates trusted beside the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The proxy for requests that leave the host. Loopback is asked directly.
    pub proxy: Option<Url>,
    /// Who is asked directly all the same: hosts and all below them, addresses, networks, each with or without a port,
    /// or `*` ([how it is read](#past-the-proxy)). A list, or one text with commas as in `NO_PROXY`.
    #[serde(deserialize_with = "rules")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub no_proxy: Vec<Direct>,
    /// Origins that this host reaches by another way, such as a private endpoint.
    pub routes: Vec<Route>,
    /// Certificates by which servers know this host (mTLS). Their keys sign for no other origin.
    pub client_certificates: Vec<ClientCertificate>,
}

/// Another way to one origin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The origin that a provider is known by: `https://sts.googleapis.com`.
    pub from: Url,
    /// Where its requests go instead. A path stands before theirs.
    pub to: Url,
}

/// A certificate of this host's, and the one server that it is shown to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientCertificate {
    /// The exact https origin, after `routes`, that is shown it: `https://vault.example.test:8200`.
    pub endpoint: Url,
    /// The certificate, and what leads to its authority, PEM. An absolute path.
    pub certificate: PathBuf,
    /// Its private key, PEM, not encrypted. An absolute path, no link, of root or the agent's user, closed to others.
    pub key: PathBuf,
}

/// A list of rules, each a text in which commas may stand, or one such text.
fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Direct>, D::Error> {
    struct Rules;
    /// One item of the list, so that an error is reported for it.
    struct Text(Vec<Direct>);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Rules.visit_str(&String::deserialize(deserializer)?).map(Self)
        }
    }
    impl<'de> Visitor<'de> for Rules {
        type Value = Vec<Direct>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of hosts, addresses and networks")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Direct>, E> {
            let rules = text.split([',', ' ', '\t', '\n']).filter(|rule| !rule.is_empty());
            rules.map(|rule| rule.parse().map_err(E::custom)).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Direct>, A::Error> {
            let mut rules = Vec::new();
            while let Some(Text(some)) = list.next_element()? {
                rules.extend(some);
            }
            Ok(rules)
        }
    }
    deserializer.deserialize_any(Rules)
}

impl NetworkConfig {
    /// What is wrong, with the key that is wrong.
    pub fn check(&self) -> Result<(), (String, String)> {
        let mut routes = self.routes.iter().enumerate();
        if let Some((index, route)) = routes.find(|(_, route)| !is_safe(&route.to)) {
            let seen = route.to.origin().ascii_serialization();
            return Err((format!("routes[{index}].to"), format!("expected an https URL, saw `{seen}`")));
        }
        if self.proxy.is_none() && !self.no_proxy.is_empty() {
            let problem = "there is no `proxy` past which these would be asked".to_owned();
            return Err(("no-proxy".to_owned(), problem));
        }
        self.check_certificates()
    }

    fn check_certificates(&self) -> Result<(), (String, String)> {
        let mut seen = Vec::new();
        for (index, one) in self.client_certificates.iter().enumerate() {
            let wrong =
                |key: &str, problem: String| Err((format!("client-certificates[{index}].{key}"), problem));
            let origin = one.endpoint.origin();
            if one.endpoint.scheme() != "https"
                || one.endpoint.as_str() != format!("{}/", origin.ascii_serialization())
            {
                let problem = "expected an origin such as `https://vault.example.test:8200`, saw";
                return wrong("endpoint", format!("{problem} `{}`", one.endpoint));
            }
            if seen.contains(&origin) {
                return wrong(
                    "endpoint",
                    format!("`{}` has a certificate already", origin.ascii_serialization()),
                );
            }
            seen.push(origin);
            for (key, path) in [("certificate", &one.certificate), ("key", &one.key)] {
                if !path.is_absolute() {
                    return wrong(key, format!("expected an absolute path, saw `{}`", path.display()));
                }
            }
        }
        // Its own TLS is set up with the same client: it would be shown every certificate as well.
        match &self.proxy {
            Some(proxy) if !seen.is_empty() && proxy.scheme() == "https" => Err((
                "proxy".into(),
                "expected an `http` proxy where there are client certificates, saw `https`".into(),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> Network {
        Network {
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            direct: self.no_proxy.clone(),
            routes: self.routes.iter().map(|route| (route.from.origin(), route.to.clone())).collect(),
            identities: self.client_certificates.iter().map(ClientCertificate::identity).collect(),
            redirects: Vec::new(),
            unix_socket: None,
        }
    }
}

impl ClientCertificate {
    fn identity(&self) -> Identity {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        Identity { origin: self.endpoint.origin(), certificate, key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(yaml: &str, place: &str, problem: &str) {
        let network: NetworkConfig = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(network.check().unwrap_err(), (place.to_owned(), problem.to_owned()));
    }

    #[test]
    fn a_client_certificate_is_for_one_origin_and_its_files_are_where_they_are_said_to_be() {
        let one = |endpoint: &str, key: &str| {
            format!("{{endpoint: '{endpoint}', certificate: /a.pem, key: {key}}}")
        };
        let all = |items: &str| format!("client-certificates: [{items}]");
        let good = one("https://vault.example.test:8200", "/a.key");
        assert_eq!(serde_yaml::from_str::<NetworkConfig>(&all(&good)).unwrap().check(), Ok(()));
        let origin = "expected an origin such as `https://vault.example.test:8200`, saw";
        for seen in
            ["http://127.0.0.1:8200/", "https://vault.example.test/v1", "https://u@vault.example.test/"]
        {
            refused(
                &all(&one(seen, "/a.key")),
                "client-certificates[0].endpoint",
                &format!("{origin} `{seen}`"),
            );
        }
        refused(
            &all(&format!("{good}, {good}")),
            "client-certificates[1].endpoint",
            "`https://vault.example.test:8200` has a certificate already",
        );
        refused(
            &all(&one("https://vault.example.test", "a.key")),
            "client-certificates[0].key",
            "expected an absolute path, saw `a.key`",
        );
        refused(
            &format!("proxy: 'https://proxy.test'\n{}", all(&good)),
            "proxy",
            "expected an `http` proxy where there are client certificates, saw `https`",
        );
    }
}
