//! The providers beside STS: each a service below a path of its own, to which the stage routes the
//! origins that the real one is known by.

use std::fmt::Debug;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::issuer::Issuer;
use super::sts::Sts;
use dataflow_config::credential::ProviderRequest;
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// What a service is given.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Whose tokens it believes.
    pub issuer: Arc<Issuer>,
    /// What time it is.
    pub clock: Clock,
    /// Whose keys sign requests to AWS.
    pub sts: Arc<Sts>,
}

/// A credential that a service gave.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What it is, for people.
    pub what: String,
    /// The credential.
    pub secret: Secret,
    /// Whether it was given back.
    pub revoked: bool,
}

/// How long a credential that a service gave lives.
#[derive(Clone, Debug)]
pub struct Life {
    /// The name by which a lease knows it.
    pub handle: String,
    /// When it ends by itself.
    pub ends: DateTime<Utc>,
    /// Whether it was given back.
    pub revoked: bool,
}

/// One provider's API, as far as the hooks and the provider's own client use it.
pub trait Service: Debug + Send + Sync {
    /// The provider's name, and the first part of its path in the sandbox.
    fn provider(&self) -> &'static str;

    /// The origins that the real one is known by, without those that a step names itself.
    fn origins(&self) -> Vec<&'static str>;

    /// What stands before the paths of an origin that a step names, where the service must know which it is.
    fn below(&self, _origin: &str) -> String {
        String::new()
    }

    /// Answers a request, whose path is as at the real one.
    fn answer(&self, request: &Request) -> Response;

    /// The same, told whether a token is one that a provider of this sandbox gave and did not take back.
    fn answer_to(&self, request: &Request, _known: &dyn Fn(&str) -> bool) -> Response {
        self.answer(request)
    }

    /// Every credential it gave.
    fn issued(&self) -> Vec<Issued>;

    /// The lives of those that end by themselves or are given back, for whoever holds a record against them.
    fn lives(&self) -> Vec<Life> {
        Vec::new()
    }

    /// Sets up what these requests take for granted, as an operator of the real one would have.
    fn prepare(&self, _asked: &[ProviderRequest]) {}
}

/// The service that a path belongs to, and the path as the service knows it.
pub(super) fn find<'a>(
    services: &'a [Box<dyn Service>],
    path: &'a str,
) -> Option<(&'a dyn Service, &'a str)> {
    let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
    let service = services.iter().find(|service| service.provider() == first)?;
    Some((service.as_ref(), path.get(path.len() - rest.len() - 1..)?))
}
