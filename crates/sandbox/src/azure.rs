//! Entra's token endpoint, as far as a federated credential uses it.
//!
//! Any tenant and application is there, with a federated credential for any subject: who may is said in no file
//! of a rehearsal. Subjects that Entra could never match twice are refused, for they name a commit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use serde_json::json;

use super::service::{Issued, Life, Service, Surroundings};
use dataflow_host::serve::{Request, Response};
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What federated credentials expect, by the cloud.
const AUDIENCES: [&str; 3] =
    ["api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina"];

/// As long as Entra's tokens live on average, in seconds.
const LIFE: i64 = 4499;

/// How far a token's time may be off, in seconds.
const LEEWAY: i64 = 300;

/// The endpoint.
#[derive(Debug)]
pub struct Entra {
    with: Surroundings,
    issued: Mutex<Vec<(Issued, Life)>>,
}

struct Refused {
    status: u16,
    error: &'static str,
    number: &'static str,
    text: String,
}

fn refuse(status: u16, error: &'static str, number: &'static str, text: impl Into<String>) -> Refused {
    Refused { status, error, number, text: text.into() }
}

impl Refused {
    fn response(&self, id: &str) -> Response {
        let said = format!("AADSTS{}: {} Trace ID: {id} Correlation ID: {id}", self.number, self.text);
        let body = json!({
            "error": self.error, "error_description": said, "error_codes": [self.number.parse::<u32>().unwrap_or_default()],
            "trace_id": id, "correlation_id": id,
        });
        Response::json(self.status, &body)
    }
}

impl Entra {
    /// An endpoint that believes the surroundings' issuer.
    pub fn new(with: Surroundings) -> Self {
        Self { with, issued: Mutex::default() }
    }

    fn token(&self, request: &Request, id: &str) -> Result<serde_json::Value, Refused> {
        let path = request.path.split('?').next().unwrap_or_default();
        let tenant = path.strip_prefix('/').and_then(|rest| rest.strip_suffix("/oauth2/v2.0/token"));
        let tenant = tenant.filter(|tenant| uuid::Uuid::try_parse(tenant).is_ok() || tenant.contains('.'));
        let tenant = tenant.ok_or_else(|| refuse(400, "invalid_request", "90002", "Tenant not found."))?;
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let client = field("client_id");
        if uuid::Uuid::try_parse(client).is_err() {
            let text =
                format!("Application with identifier '{client}' was not found in the directory '{tenant}'.");
            return Err(refuse(400, "unauthorized_client", "700016", text));
        }
        if field("grant_type") != "client_credentials" || field("client_assertion_type") != ASSERTION {
            let text = "The request body must contain 'client_assertion' or 'client_secret'.";
            return Err(refuse(401, "invalid_client", "7000218", text));
        }
        let scope = field("scope");
        if !scope.ends_with("/.default") || scope.contains(' ') {
            let text = format!("The provided value for scope {scope} is not valid.");
            return Err(refuse(400, "invalid_scope", "1002012", text));
        }
        self.assertion(field("client_assertion"))?;
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let token = format!("eyJ0eXAi.{}{}.{}", random(), random(), random());
        let what = format!("a token of {client} for {scope}");
        let issued = Issued { what, secret: Secret::new(token.clone()), revoked: false };
        let ends = self.with.clock.now() + TimeDelta::seconds(LIFE);
        let life = Life { handle: id.to_owned(), ends, revoked: false };
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).push((issued, life));
        Ok(json!({"token_type": "Bearer", "expires_in": LIFE, "ext_expires_in": LIFE, "access_token": token}))
    }

    fn assertion(&self, token: &str) -> Result<(), Refused> {
        let client = |number: &'static str, text: String| refuse(401, "invalid_client", number, text);
        let unverified = SubjectToken::new(Secret::new(token)).unverified_claims();
        let unverified =
            unverified.map_err(|_| client("50027", "JWT token is invalid or malformed.".into()))?;
        let text = |name: &str| unverified.text(name).unwrap_or_default();
        let none = |what: &str, seen: &str| {
            format!(
                "No matching federated identity record found for presented assertion {what} '{seen}'. Check your \
                 federated identity credential Subject, Audience and Issuer against the presented assertion."
            )
        };
        if text("iss") != self.with.issuer.url() {
            return Err(client("700211", none("issuer", &text("iss"))));
        }
        let audience = unverified.audiences().join(", ");
        if !AUDIENCES.contains(&audience.as_str()) {
            return Err(client("700212", none("audience", &audience)));
        }
        let subject = text("sub");
        if subject.is_empty() || subject.contains(":commit:") {
            return Err(client("700213", none("subject", &subject)));
        }
        let claims = self.with.issuer.verify(token);
        let claims =
            claims.ok_or_else(|| client("50013", "Assertion failed signature validation.".into()))?;
        self.timely(&claims)
    }

    fn timely(&self, claims: &Claims) -> Result<(), Refused> {
        let now = self.with.clock.now().timestamp();
        let (from, until) = (claims.seconds("nbf").unwrap_or(now), claims.seconds("exp").unwrap_or_default());
        if from - LEEWAY <= now && now < until + LEEWAY {
            return Ok(());
        }
        let text = "Client assertion is not within its valid time range.";
        Err(refuse(401, "invalid_client", "700024", text))
    }
}

impl Service for Entra {
    fn provider(&self) -> &'static str {
        "azure"
    }

    fn origins(&self) -> Vec<&'static str> {
        vec![
            "https://login.microsoftonline.com",
            "https://login.microsoftonline.us",
            "https://login.partner.microsoftonline.cn",
        ]
    }

    fn answer(&self, request: &Request) -> Response {
        let id = uuid::Uuid::new_v4().to_string();
        let mut response = match self.token(request, &id) {
            Ok(body) => Response::json(200, &body),
            Err(refused) => refused.response(&id),
        };
        response.headers.push(("x-ms-request-id", id));
        response
    }

    fn issued(&self) -> Vec<Issued> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.iter().map(|(issued, _)| issued.clone()).collect()
    }

    fn lives(&self) -> Vec<Life> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.iter().map(|(_, life)| life.clone()).collect()
    }
}
