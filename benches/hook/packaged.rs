//! The second floor: the same requests with the packages that this program stands on, and nothing of its own.

use std::path::Path;
use std::sync::Arc;

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{
    BehaviorVersion, IdentityCache, Region, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet};
use openidconnect::{ClientId, IssuerUrl, Nonce};
use rustls::RootCertStore;
use serde_json::{Value, json};

use crate::arena::ROLE;
use crate::floor::authorities;

const AUDIENCE: &str = "sts.amazonaws.com";

/// Reads the host config, verifies the token with keys that are there already, and asks as the first floor does.
pub(crate) fn packaged(folder: &Path, port: u16, redactions: usize, job: &str, system: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = std::fs::read(folder.join("agent/buildkite-dataflow.yml")).unwrap();
    let config: Value = serde_yaml::from_slice(&config).unwrap();
    let authority = Path::new(config["network"]["ca-file"].as_str().unwrap());
    let client = over(authorities([system, authority])).build().unwrap();
    runtime.block_on(async {
        let url = format!("https://localhost:{port}/v3/jobs/{job}/oidc/tokens");
        let asked = client.post(url).header("authorization", "Token bench-token");
        let answer: Value = said(asked.json(&json!({ "audience": AUDIENCE }))).await;
        let token = answer["token"].as_str().unwrap();
        verified(token, config["issuers"][0].as_str().unwrap(), &folder.join("state/cache"));
        exchanged(token, config["aws"]["sts-endpoint"].as_str().unwrap(), client.clone()).await;
        let job = over(RootCertStore::empty()).unix_socket(folder.join("job.sock")).build().unwrap();
        let at = |path: &str| format!("http://job/api/current-job/v0/{path}");
        for number in 0..redactions {
            let secret = json!({"redact": format!("a-secret-of-some-length-{number}")});
            let asked = job.post(at("redactions")).header("authorization", "Bearer bench-api-token");
            said(asked.json(&secret)).await;
        }
        let asked = job.patch(at("env")).header("authorization", "Bearer bench-api-token");
        said(asked.json(&json!({"env": {"FLOOR": "1"}}))).await;
    });
}

fn over(roots: RootCertStore) -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder().no_proxy().http1_only().tls_backend_preconfigured(config)
}

async fn said(asked: reqwest::RequestBuilder) -> Value {
    asked.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

fn verified(token: &str, issuer: &str, cache: &Path) {
    let files = std::fs::read_dir(cache).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let mut documents = files.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let kept = documents.find(|document| document.get("keys").is_some()).unwrap();
    let keys: CoreJsonWebKeySet = serde_json::from_value(kept["keys"].clone()).unwrap();
    let (audience, issuer) = (ClientId::new(AUDIENCE.into()), IssuerUrl::new(issuer.into()).unwrap());
    let verifier = CoreIdTokenVerifier::new_public_client(audience, issuer, keys);
    let token: CoreIdToken = token.parse().unwrap();
    token.claims(&verifier, |_: Option<&Nonce>| Ok(())).unwrap();
}

async fn exchanged(token: &str, endpoint: &str, client: reqwest::Client) {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .http_client(SharedHttpClient::new(Transport(client)))
        .region(Region::new("eu-west-1"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let asked = aws_sdk_sts::Client::from_conf(config.build()).assume_role_with_web_identity();
    let asked = asked.role_arn(ROLE).role_session_name("floor").web_identity_token(token);
    asked.send().await.unwrap().credentials.unwrap();
}

/// The AWS SDK over reqwest, as this program has it too.
#[derive(Clone, Debug)]
struct Transport(reqwest::Client);

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap().to_vec();
        let asked = self.0.post(request.uri()).body(body);
        let asked = asked.header("content-type", "application/x-www-form-urlencoded");
        HttpConnectorFuture::new(async move {
            let answer = asked.send().await.unwrap();
            let status = answer.status().as_u16().try_into().unwrap();
            Ok(HttpResponse::new(status, SdkBody::from(answer.bytes().await.unwrap().to_vec())))
        })
    }
}
