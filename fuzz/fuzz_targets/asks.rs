//! One credential of each kind, and what a provider that means well answers when it is asked for.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{ANYWHERE, Good, LENT};

/// Providers that have addresses of their own.
pub const ORIGINS: [&str; 13] = [
    "https://api.github.com",
    "https://octo-sts.dev",
    "https://bitbucket.org",
    "https://buildkite.com",
    "https://api.buildkite.com",
    "https://sts.googleapis.com",
    "https://iamcredentials.googleapis.com",
    "https://oauth2.googleapis.com",
    "https://secretmanager.googleapis.com",
    "https://login.microsoftonline.com",
    "https://secretsmanager.eu-west-1.amazonaws.com",
    "https://ssm.eu-west-1.amazonaws.com",
    "https://sts.eu-west-1.amazonaws.com",
];

const ROLE: &str = "arn:aws:iam::123456789012:role/train";
const SESSION: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>lent-hvs.CAESIJ2secret-value</SecretAccessKey><SessionToken>lent-hvs.CAESIJ2secret-value</SessionToken><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/train/s</Arn></AssumedRoleUser><PackedPolicySize>7</PackedPolicySize></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>";
const HOP: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials><AccessKeyId>ASIA2</AccessKeyId><SecretAccessKey>lent-hvs.CAESIJ2secret-value</SecretAccessKey><SessionToken>lent-hvs.CAESIJ2secret-value</SessionToken><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/last/s</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>";

/// The claims of a token of the job.
pub fn claims() -> Value {
    json!({"iss": ANYWHERE, "sub": "job", "aud": "a", "iat": 1_767_225_600, "nbf": 1_767_225_600,
        "exp": 1_767_229_999, "job_id": "job", "organization_slug": "acme"})
}

/// A token with these claims and a signature that nobody made.
pub fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(&json!({"alg": "RS256", "kid": "k"})),
        part(claims),
        URL_SAFE_NO_PAD.encode([7; 256])
    )
}

/// What an issuer says about itself, and its keys.
pub fn discovery() -> Vec<Good> {
    let key = |kid: &str| {
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": URL_SAFE_NO_PAD.encode([201; 256]), "e": "AQAB"})
    };
    let curve = json!({"kty": "EC", "crv": "P-256", "kid": "e", "x": URL_SAFE_NO_PAD.encode([3; 32]),
        "y": URL_SAFE_NO_PAD.encode([4; 32])});
    vec![
        Good::Json(json!({"issuer": ANYWHERE, "jwks_uri": format!("{ANYWHERE}/jwks")})),
        Good::Json(json!({"keys": [key("k"), curve, key("l")]})),
    ]
}

/// What some of the others are made with.
pub fn sources() -> Vec<Value> {
    let token = |name: &str| json!({"name": name, "export": false, "oauth": {"issuer": ANYWHERE, "grant": "token-exchange"}});
    let keys = json!({"name": "keys", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    vec![token("held"), token("pem"), keys]
}

/// A private key on P-256 that nobody could take for a secret: the number 1, whose public half is the curve's generator.
pub fn pem() -> String {
    const AROUND: [&[u8]; 3] = [
        b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20",
        b"\xa1\x44\x03\x42\x00\x04\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96",
        b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5",
    ];
    let mut one = [0; 32];
    one[31] = 1;
    let [before, x, y] = AROUND;
    let der = STANDARD.encode([before, &one, x, y].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// Each credential with its answers, those to its settlement last; the token of the job is in a file.
pub fn all(file: &Path) -> Vec<(Value, Vec<Good>)> {
    let from = json!({"from": {"file": file}});
    let mut all = cloud(&from);
    all.extend(code(&from));
    all.extend(values(&from));
    all
}

fn answers(good: impl IntoIterator<Item = Value>) -> Vec<Good> {
    good.into_iter().map(Good::Json).collect()
}

fn end_of(token: &str) -> Value {
    json!({"access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer", "expires_in": 3600, "scope": "a b"})
}

fn cloud(from: &Value) -> Vec<(Value, Vec<Good>)> {
    let account = "train@proj.iam.gserviceaccount.com";
    let provider = "projects/1/locations/global/workloadIdentityPools/p/providers/b";
    let gcp = json!({"gcp": {"token": from, "provider": provider, "service-account": account, "access-token": true,
        "id-token": {"audience": "https://run.example.test", "env": "ID_TOKEN"}}});
    let user = json!({"gcp": {"token": from, "provider": provider, "service-account": account, "access-token": true,
        "credential-file": false, "subject": "a@example.test"}});
    let impersonated = json!({"accessToken": LENT, "expireTime": "2026-01-01T01:00:00Z"});
    vec![
        (json!({"aws": {"token": from, "role": ROLE, "region": "eu-west-1"}}), vec![Good::Text(SESSION)]),
        (
            json!({"aws": {"token": from, "role": ROLE, "region": "eu-west-1", "chain": [{"role": "arn:aws:iam::123456789012:role/last"}]}}),
            vec![Good::Text(SESSION), Good::Text(HOP)],
        ),
        (gcp, answers([end_of(LENT), impersonated, json!({ "token": token(&claims()) })])),
        (user, answers([end_of(LENT), json!({"keyId": "k", "signedJwt": LENT}), end_of(LENT)])),
        (
            json!({"azure": {"token": from, "tenant-id": "99999999-8888-4777-8666-555555555555",
                "client-id": "11111111-2222-4333-8444-555555555555", "devops": true}}),
            answers([end_of(LENT)]),
        ),
    ]
}

fn code(from: &Value) -> Vec<(Value, Vec<Good>)> {
    let installation =
        json!({"token": LENT, "expires_at": "2026-01-01T01:00:00Z", "permissions": {"metadata": "read"}});
    let held = json!({"source": "held", "field": "token"});
    let pem = json!({"source": "pem", "field": "token"});
    vec![
        (
            json!({"github": {"app-id": 7, "private-key": pem, "repositories": ["acme/web"]}}),
            answers([json!({"id": 1, "account": {"login": "acme"}}), installation.clone(), json!({})]),
        ),
        (
            json!({"github": {"token": from, "via": "octo-sts", "scope": "acme/web", "identity": "ci"}}),
            answers([json!({"token": LENT, "expiry": null}), json!({})]),
        ),
        (
            json!({"github": {"token": from, "via": "chinmina", "url": ANYWHERE, "profile": "org:read"}}),
            answers([json!({"token": LENT, "expiry": "2026-01-01T01:00:00Z"})]),
        ),
        (
            json!({"bitbucket": {"consumer": {"key": "consumer-key", "secret": held}}}),
            answers([json!({"access_token": LENT, "scopes": "repository", "expires_in": 7200})]),
        ),
        (
            json!({"bitbucket": {"data-center": {"url": ANYWHERE, "project": "DATA", "admin": held}}}),
            answers([json!({"id": "1234567890", "token": LENT, "name": "n"}), json!({})]),
        ),
        (
            json!({"buildkite": {"organization": "acme", "client-id": "app-1", "key-id": "k1", "private-key": pem,
                "subject": "bot@acme.test", "scopes": ["read_builds"]}}),
            answers([end_of(LENT), json!({})]),
        ),
        (
            json!({"oauth": {"token": from, "issuer": ANYWHERE, "grant": "token-exchange", "env": "API_TOKEN"}}),
            answers([
                json!({"issuer": ANYWHERE, "token_endpoint": format!("{ANYWHERE}/t"), "revocation_endpoint": format!("{ANYWHERE}/r"),
                    "introspection_endpoint": format!("{ANYWHERE}/i")}),
                end_of(LENT),
                json!({}),
                json!({"active": false}),
            ]),
        ),
    ]
}

fn values(from: &Value) -> Vec<(Value, Vec<Good>)> {
    let login = json!({"auth": {"client_token": LENT, "accessor": "a", "lease_duration": 3600, "token_type": "service"}});
    let kv =
        json!({"lease_id": "", "data": {"data": {"api_key": "value-of-key"}, "metadata": {"version": 1}}});
    let read = json!([{"path": "secret/data/train", "key": "api_key", "env": "KEY"}]);
    let of = |source: &str, store: &str, address: Value, name: &str, key: Value| {
        let mut one = json!({"name": name, "env": "KEY"});
        let mut secrets = json!({"source": source, "store": store});
        for (into, name, value) in [(&mut one, "key", key), (&mut secrets, "address", address)] {
            if !value.is_null() {
                into[name] = value;
            }
        }
        if source == "keys" {
            secrets["region"] = json!("eu-west-1");
        }
        secrets["values"] = json!([one]);
        json!({ "secrets": secrets })
    };
    vec![
        (
            json!({"vault": {"token": from, "address": ANYWHERE, "role": "train", "secrets": read}}),
            answers([login.clone(), kv.clone(), json!({})]),
        ),
        (
            json!({"vault": {"token": from, "address": ANYWHERE, "role": "train", "export-token": true}}),
            answers([login, json!({})]),
        ),
        (
            of("keys", "aws-secrets-manager", Value::Null, "prod/db", json!("/a")),
            answers([json!({"SecretString": "{\"a\":\"value-of-a\"}"})]),
        ),
        (
            of("keys", "aws-ssm", Value::Null, "/prod/key", Value::Null),
            answers([json!({"Parameter": {"Value": "value-of-it"}})]),
        ),
        (
            of("held", "gcp-secret-manager", Value::Null, "projects/p/secrets/db", json!("a")),
            answers([json!({"name": "n", "payload": {"data": "eyJhIjoidmFsdWUtb2YtYSJ9"}})]),
        ),
        (
            of("held", "azure-key-vault", json!(ANYWHERE), "api-key", Value::Null),
            answers([json!({"value": "value-of-it"})]),
        ),
        (of("held", "vault", json!(ANYWHERE), "secret/data/train", json!("api_key")), answers([kv])),
    ]
}
