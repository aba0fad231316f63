//! Signatures of issuers that nobody here wrote, and of nobody.

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use buildkite_dataflow::job::jwk::{ALGORITHMS, Jwk};
use openidconnect::core::CoreJwsSigningAlgorithm as Alg;
use openidconnect::{JsonWebKey as _, SignatureVerificationError};
use serde_json::{Value, json};

use crate::support::components;

/// A token of `PyJWT` for each algorithm that is believed.
fn tokens() -> Option<Vec<(Alg, Value, String)>> {
    let python = components::find("venv/bin/python")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/jwt_signer.py");
    let output = Command::new(python).arg(script).env_clear().output().unwrap();
    let mut made: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let token = |alg: &Alg| {
        let mut of = made[serde_json::to_value(alg).unwrap().as_str().unwrap()].take();
        (alg.clone(), of["jwk"].take(), of["token"].as_str().unwrap().to_owned())
    };
    Some(ALGORITHMS.iter().map(token).collect())
}

fn verify(jwk: &Value, alg: &Alg, token: &str) -> Result<(), SignatureVerificationError> {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    key.verify_signature(alg, message.as_bytes(), &BASE64.decode(signature).unwrap())
}

fn verified(jwk: &Value, alg: &Alg, token: &str) -> bool {
    verify(jwk, alg, token).is_ok()
}

#[test]
fn what_pyjwt_signs_is_verified_with_every_algorithm_and_nothing_else_is() {
    let Some(tokens) = tokens() else { return };
    for (alg, jwk, token) in &tokens {
        assert!(verified(jwk, alg, token), "{alg:?}");
        assert!(!verified(jwk, alg, &format!("x{token}")), "{alg:?}: another message");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = BASE64.decode(signature).unwrap();
        bytes[7] ^= 1;
        assert!(!verified(jwk, alg, &format!("{message}.{}", BASE64.encode(&bytes))), "{alg:?}: torn");
        assert!(!verified(jwk, alg, &format!("{message}.")), "{alg:?}: no signature");
        for (other, key, _) in tokens.iter().filter(|(other, ..)| other != alg) {
            assert!(!verified(jwk, other, token), "{alg:?} as {other:?}");
            assert!(key == jwk || !verified(key, alg, token), "{alg:?} by a key for {other:?}");
        }
    }
}

#[test]
fn a_modulus_with_a_leading_zero_is_the_same_modulus() {
    let Some(tokens) = tokens() else { return };
    let (alg, mut jwk, token) = tokens.into_iter().next().unwrap();
    let modulus = BASE64.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = json!(BASE64.encode([vec![0], modulus].concat()));
    assert!(verified(&jwk, &alg, &token));
}

#[test]
fn an_rsa_key_that_is_too_short_is_told_as_such_and_not_as_a_bad_signature() {
    let Some(tokens) = tokens() else { return };
    let (alg, mut jwk, token) = tokens.into_iter().next().unwrap();
    let modulus = BASE64.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = json!(BASE64.encode(&modulus[..128]));
    let error = verify(&jwk, &alg, &token).unwrap_err().to_string();
    assert!(error.contains("2048 bits or more"), "{error}");
}
