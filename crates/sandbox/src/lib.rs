//! The sandbox: Agent API, OIDC issuer and STS on loopback, and a Job API for each job.
//!
//! It judges as the real ones do, and is itself judged by their own clients in `tests/it/sandbox.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use dataflow_host::Clock;
use dataflow_host::serve::{Handler, Request, Response, Server, on_loopback};

pub mod agent_api;
mod aws_json;
pub mod azure;
pub mod bitbucket;
pub mod buildkite;
pub mod faults;
pub mod gcp;
pub mod github;
pub mod issuer;
pub mod job_api;
pub mod keys;
mod kms;
pub mod oauth;
mod replacer;
pub mod secrets;
pub mod service;
mod services;
mod shown;
pub mod sts;
pub use dataflow_trust as trust;
pub mod vault;

use agent_api::AgentApi;
use faults::Faults;
use issuer::Issuer;
use service::{Service, Surroundings};
use sts::{Role, Sts};

/// The audience that the sandbox's STS expects, as AWS's does by convention.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// What trust policies call the issuer: Buildkite's own name, so that a policy is rehearsed as it is.
pub const KNOWN_AS: &str = "agent.buildkite.com";

/// A running sandbox; it stops when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    services: Arc<Services>,
    server: Server,
}

#[derive(Debug)]
struct Services {
    issuer: Arc<Issuer>,
    agent: AgentApi,
    sts: Arc<Sts>,
    providers: Vec<Box<dyn Service>>,
    faults: Faults,
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port.
    #[error("the sandbox cannot listen on loopback")]
    Listen(#[source] std::io::Error),
    /// No key.
    #[error("the sandbox's issuer has no key")]
    Issuer(#[source] issuer::Error),
}

/// The services are made when the address is known, for the issuer's name holds it.
#[derive(Debug, Default)]
struct Late(OnceLock<Arc<Services>>);

impl Handler for Late {
    fn answer(&self, request: Request) -> Response {
        match self.0.get() {
            Some(services) => services.answer(&request),
            None => Response::new(503, "text/plain", "starting"),
        }
    }
}

impl Services {
    fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        self.faults.answer(path, request, || {
            if path.starts_with("/v3/") {
                return self.agent.answer(request);
            }
            if let Some((service, path)) = service::find(&self.providers, &request.path) {
                let (method, path) = (request.method.clone(), path.to_owned());
                let (headers, body) = (request.headers.clone(), request.body.clone());
                return service
                    .answer_to(&Request { method, path, headers, body }, &|token| self.knows(token));
            }
            // AWS's JSON services share the STS's address, as they share an endpoint URL of its clients.
            let json = request.headers.contains_key("x-amz-target");
            if let Some(store) = self.providers.iter().find(|one| json && one.provider() == "secrets") {
                return store.answer(request);
            }
            self.issuer.answer(path).unwrap_or_else(|| self.sts.answer(request))
        })
    }
}

impl Services {
    /// Whether one of the providers gave this token and did not take it back.
    fn knows(&self, token: &str) -> bool {
        let issued = self.providers.iter().flat_map(|service| service.issued());
        issued.into_iter().any(|one| one.secret.expose() == token && !one.revoked)
    }
}

impl Sandbox {
    /// Starts a sandbox with these roles, by ARN, and a fresh issuer.
    pub async fn start(clock: Clock, roles: BTreeMap<String, Role>) -> Result<Self, Error> {
        let late = Arc::new(Late::default());
        let server = on_loopback(0, Arc::clone(&late)).await.map_err(Error::Listen)?;
        let url = server.address().map(|address| format!("http://{address}")).unwrap_or_default();
        let issuer = Issuer::sharing(&url).map_err(Error::Issuer)?;
        Ok(Self::with(server, &late, issuer, clock, roles))
    }

    /// Starts a sandbox with an issuer of the caller's, whose name need not be the sandbox's address.
    pub async fn start_with(
        issuer: Issuer,
        port: u16,
        clock: Clock,
        roles: BTreeMap<String, Role>,
    ) -> Result<Self, Error> {
        let late = Arc::new(Late::default());
        let server = on_loopback(port, Arc::clone(&late)).await.map_err(Error::Listen)?;
        Ok(Self::with(server, &late, issuer, clock, roles))
    }

    fn with(
        server: Server,
        late: &Late,
        issuer: Issuer,
        clock: Clock,
        roles: BTreeMap<String, Role>,
    ) -> Self {
        let issuer = Arc::new(issuer);
        let sts = Arc::new(Sts::new(Arc::clone(&issuer), KNOWN_AS, AUDIENCE, clock.clone(), roles));
        let with = Surroundings { issuer: Arc::clone(&issuer), clock: clock.clone(), sts: Arc::clone(&sts) };
        let services = Arc::new(Services {
            providers: services::all(&with),
            agent: AgentApi::new(Arc::clone(&issuer), clock),
            sts,
            issuer,
            faults: Faults::default(),
        });
        let services = late.0.get_or_init(|| services);
        Self { services: Arc::clone(services), server }
    }

    /// Its address: also the STS's.
    pub fn url(&self) -> String {
        self.server.address().map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// The issuer's name.
    pub fn issuer_url(&self) -> &str {
        self.services.issuer.url()
    }

    /// What agents call their endpoint.
    pub fn agent_endpoint(&self) -> String {
        format!("{}/v3", self.url())
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.services.issuer
    }

    /// The Agent API.
    pub fn agent(&self) -> &AgentApi {
        &self.services.agent
    }

    /// The STS.
    pub fn sts(&self) -> &Sts {
        &self.services.sts
    }

    /// The providers beside STS.
    pub fn providers(&self) -> &[Box<dyn Service>] {
        &self.services.providers
    }

    /// One of them, by its name.
    pub fn provider(&self, name: &str) -> Option<&dyn Service> {
        self.providers().iter().find(|service| service.provider() == name).map(AsRef::as_ref)
    }

    /// Where a provider's API is.
    pub fn provider_url(&self, provider: &str) -> String {
        format!("{}/{provider}", self.url())
    }

    /// Faults to order.
    pub fn faults(&self) -> &Faults {
        &self.services.faults
    }
}
