//! The `oauth` provider against Ory Hydra: what it gives, what it says of it afterwards, and what it refuses.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::keys;
use buildkite_dataflow::settlement::Settlement;
use ring::rsa::{KeyPair, PublicKeyComponents};
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::lent::{held, lends, of_held, settles, stage};
use crate::support::server::{Server, ask, free_port};

const SECRET: &str = "the-secret-of-the-client-of-the-test";

struct Hydra {
    _server: Server,
    /// Where clients ask.
    public: String,
    /// Where administrators do, and where introspection is.
    admin: String,
}

impl Hydra {
    /// One that believes the jobs of this issuer, and that knows a client for each way to say who it is.
    fn start(jobs: &str) -> Option<Self> {
        let program = components::server("hydra", "DATAFLOW_HYDRA")?;
        let ports = [free_port(), free_port()];
        let [public, admin] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(program);
        command.args(["serve", "all", "--dev", "--sqa-opt-out"]).env_clear().envs([
            ("DSN", "memory"),
            ("SECRETS_SYSTEM", "a-secret-of-the-tests-that-is-long-enough"),
            ("SERVE_PUBLIC_HOST", "127.0.0.1"),
            ("SERVE_ADMIN_HOST", "127.0.0.1"),
            ("URLS_SELF_ISSUER", &public),
            ("SERVE_PUBLIC_PORT", &ports[0].to_string()),
            ("SERVE_ADMIN_PORT", &ports[1].to_string()),
        ]);
        let server = Server::start(command, &format!("{admin}/health/ready"));
        let hydra = Self { _server: server, public, admin };
        for (id, how) in [("svc", "client_secret_basic"), ("svc-post", "client_secret_post")] {
            let grants = json!(["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]);
            hydra.make(
                "clients",
                &json!({"client_id": id, "client_secret": SECRET, "grant_types": grants,
                "scope": "read write", "token_endpoint_auth_method": how}),
            );
        }
        hydra.make(
            "clients",
            &json!({"client_id": "keyed", "grant_types": ["client_credentials"], "scope": "read",
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [jwk()]}}),
        );
        let (_, keys) = ask("GET", &format!("{jobs}/.well-known/jwks"), None, &Value::Null);
        hydra.make(
            "trust/grants/jwt-bearer/issuers",
            &json!({"issuer": jobs, "allow_any_subject": true,
            "scope": ["read"], "jwk": keys["keys"][0], "expires_at": "2100-01-01T00:00:00Z"}),
        );
        Some(hydra)
    }

    fn make(&self, what: &str, body: &Value) {
        let (status, answer) = ask("POST", &format!("{}/admin/{what}", self.admin), None, body);
        assert_eq!(status, 201, "{what}: {answer}");
    }

    fn at(&self, path: &str) -> String {
        format!("{}/oauth2/{path}", self.public)
    }

    fn introspection(&self) -> String {
        format!("{}/admin/oauth2/introspect", self.admin)
    }
}

/// The public half of the key that the sandbox hands out.
fn jwk() -> Value {
    let pem = keys::pem();
    let body: String = pem.expose().lines().filter(|line| !line.starts_with("-----")).collect();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": number(&public.n), "e": number(&public.e)})
}

/// A job whose block is what `oauth` makes of the server: the client's secret or key comes from another credential.
fn asks(private_key: bool, oauth: impl FnOnce(&Hydra) -> Vec<Value>) -> Option<(Stage, Hydra)> {
    let mut stage = stage("oauth");
    let hydra = Hydra::start(stage.sandbox.issuer_url())?;
    stage.config["endpoints"] = json!([stage.sandbox.url(), hydra.public, hydra.admin]);
    // Its hashes of secrets are slow on purpose.
    stage.config["deadlines"]["grant"] = json!("30s");
    let asked = oauth(&hydra).into_iter().map(|oauth| json!({ "oauth": oauth }));
    let block: Vec<Value> = [held(&stage, private_key)].into_iter().chain(asked).collect();
    stage.block = json!({ "credentials": block });
    if !private_key {
        let answer = json!({"access_token": SECRET, "expires_in": 3600, "issued_token_type": "x"});
        stage.fault("/oauth/token", 1, Response::json(200, &answer));
    }
    Some((stage, hydra))
}

fn secret(hydra: &Hydra, more: &Value) -> Value {
    let mut oauth = json!({"issuer": hydra.public, "introspection-endpoint": hydra.introspection(),
        "client-id": "svc", "client-secret": of_held(), "scope": "read", "env": "API_TOKEN"});
    oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    oauth
}

/// The grant with the job's token, which Hydra takes at its token endpoint's name only.
fn bearer(hydra: &Hydra, more: &Value) -> Value {
    let mut oauth = secret(hydra, &json!({"grant": "jwt-bearer", "token": {"audience": hydra.at("token")}}));
    oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    oauth
}

fn keyed(hydra: &Hydra) -> Value {
    json!({"token-endpoint": hydra.at("token"), "revocation-endpoint": hydra.at("revoke"),
        "introspection-endpoint": hydra.introspection(), "grant": "private-key-jwt", "client-id": "keyed",
        "key-id": "k1", "private-key": of_held(), "scope": "read", "env": "API_TOKEN"})
}

/// What makes a credential of a server.
type Make<'a> = dyn Fn(&Hydra) -> Value + 'a;

#[test]
fn each_grant_that_it_knows_gives_a_token_that_it_says_is_gone_at_the_end() {
    let post = json!({"grant": "client-credentials", "client-id": "svc-post", "client-auth": "post"});
    let asked: [(bool, &Make); 4] = [
        (false, &|hydra| secret(hydra, &json!({"grant": "client-credentials"}))),
        (false, &|hydra| secret(hydra, &post)),
        (false, &|hydra| bearer(hydra, &json!({}))),
        (true, &keyed),
    ];
    for (private_key, oauth) in asked {
        let Some((mut stage, _hydra)) = asks(private_key, |hydra| vec![oauth(hydra)]) else { return };
        assert!(lends(&mut stage, "API_TOKEN").starts_with("ory_at_"));
        let settled = settles(&mut stage, "API_TOKEN");
        assert!(matches!(settled, Settlement::Revoked { .. }), "{}: {settled:?}", stage.block);
    }
}

#[test]
fn what_its_metadata_does_not_name_is_not_asked() {
    let oauth = |hydra: &Hydra| {
        let mut oauth = bearer(hydra, &json!({}));
        oauth.as_object_mut().unwrap().remove("introspection-endpoint");
        vec![oauth]
    };
    let Some((mut stage, _hydra)) = asks(false, oauth) else { return };
    lends(&mut stage, "API_TOKEN");
    let settled = settles(&mut stage, "API_TOKEN");
    assert!(matches!(settled, Settlement::RevokeAccepted { .. }), "{settled:?}");
}

/// It takes each token of a job once, and the block has one token for both.
#[test]
fn two_credentials_that_are_made_with_the_jobs_token_are_both_lent() {
    let both = |hydra: &Hydra| vec![bearer(hydra, &json!({})), bearer(hydra, &json!({"env": "OTHER_TOKEN"}))];
    let Some((mut stage, _hydra)) = asks(false, both) else { return };
    let token = lends(&mut stage, "API_TOKEN");
    assert_ne!(Some(token), stage.variable("OTHER_TOKEN"));
    assert!(matches!(settles(&mut stage, "API_TOKEN"), Settlement::Revoked { .. }));
}

#[test]
fn its_refusals_are_told_with_what_to_do() {
    let check = |private_key, oauth: &Make, ident: &str, told: &str| {
        let Some((mut stage, _hydra)) = asks(private_key, |hydra| vec![oauth(hydra)]) else { return };
        let text = stage.refuses(105, ident);
        assert!(text.contains(told), "{text}");
    };
    let nobody = json!({"grant": "client-credentials", "client-id": "nobody"});
    check(false, &|hydra| secret(hydra, &nobody), "provider-refused", "`invalid_client`");
    let posted = json!({"grant": "client-credentials", "client-auth": "post"});
    check(false, &|hydra| secret(hydra, &posted), "provider-refused", "the other `client-auth`");
    check(false, &|hydra| bearer(hydra, &json!({"token": {}})), "token-rejected", "must match this `aud`");
    check(false, &|hydra| bearer(hydra, &json!({"scope": "write"})), "provider-refused", "this `scope`");
    let exchange = json!({"grant": "token-exchange"});
    check(false, &|hydra| secret(hydra, &exchange), "token-rejected", "`invalid_request`");
    let by_issuer = |hydra: &Hydra| {
        let mut oauth = keyed(hydra);
        oauth.as_object_mut().unwrap().remove("token-endpoint");
        oauth["issuer"] = json!(hydra.public);
        oauth
    };
    check(true, &by_issuer, "provider-refused", "must be for the `token-endpoint`");
}
