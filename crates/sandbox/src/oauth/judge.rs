//! Who asks, with what, and whether that is enough for a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Form, LIFE, Refusal, Server, first, refuse};
use crate::keys;
use dataflow_host::serve::Request;
use dataflow_types::claims::Claims;
use dataflow_types::secret::Secret;

/// What a token may be asked for with.
pub(super) const GRANTS: [&str; 3] = [EXCHANGE, BEARER, "client_credentials"];
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TYPES: &str = "urn:ietf:params:oauth:token-type:";
/// Who asks for this audience is given a private key instead of a token.
const PRIVATE_KEY: &str = "urn:rehearsal:private-key";

/// How a client showed who it is.
enum Shown {
    Nothing,
    Secret,
    Assertion,
}

/// Answers a request for a token; `names` are what this server is called.
pub(super) fn token(
    server: &Server,
    form: &Form,
    request: &Request,
    names: &[String],
) -> Result<Value, Refusal> {
    let (client, shown) = client(server, form, request, names)?;
    let kind = match first(form, "grant_type") {
        EXCHANGE => {
            let kind = first(form, "subject_token_type");
            if !["jwt", "id_token"].iter().any(|known| kind.strip_prefix(TYPES) == Some(known)) {
                return refuse(400, "invalid_request", "subject_token_type is missing or not supported");
            }
            let told = |message: String| Refusal { status: 400, code: "invalid_request", message };
            subject(server, first(form, "subject_token"), form, names).map_err(told)?;
            Some(format!("{TYPES}access_token"))
        }
        BEARER => {
            let told = |message: String| Refusal { status: 400, code: "invalid_grant", message };
            subject(server, first(form, "assertion"), form, names).map_err(told)?;
            None
        }
        "client_credentials" if matches!(shown, Shown::Nothing) => {
            return refuse(401, "invalid_client", "client authentication is missing");
        }
        "client_credentials" => None,
        "" => return refuse(400, "invalid_request", "grant_type is missing"),
        _ => return refuse(400, "unsupported_grant_type", "this grant is not known"),
    };
    let wants_key = first(form, "audience") == PRIVATE_KEY;
    let random = uuid::Uuid::new_v4().simple().to_string();
    // A token has no line breaks: the key comes in base64.
    let key = || Secret::new(STANDARD.encode(keys::pem().expose()));
    let secret = if wants_key { key() } else { Secret::new(format!("at_{random}")) };
    let given = server.give(secret, &client, first(form, "scope"));
    let mut answer = json!({
        "access_token": given.secret.expose(), "token_type": "Bearer", "expires_in": LIFE, "scope": given.scope,
    });
    if let (Some(kind), Some(answer)) = (kind, answer.as_object_mut()) {
        answer.insert("issued_token_type".into(), json!(kind));
    }
    Ok(answer)
}

/// Who asks about a token.
pub(super) fn known_client(server: &Server, form: &Form, request: &Request) -> Result<String, Refusal> {
    client(server, form, request, &[]).map(|(client, _)| client)
}

fn client(
    server: &Server,
    form: &Form,
    request: &Request,
    names: &[String],
) -> Result<(String, Shown), Refusal> {
    let invalid = |message: &str| refuse(401, "invalid_client", message);
    let id = first(form, "client_id").to_owned();
    if let Some(header) = request.headers.get("authorization") {
        let both = header.to_str().ok().and_then(|header| header.strip_prefix("Basic "));
        let both = both.and_then(|both| String::from_utf8(STANDARD.decode(both).ok()?).ok());
        return match both.as_deref().and_then(|both| both.split_once(':')) {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok((decoded(id), Shown::Secret)),
            _ => invalid("the authorization header is no client's"),
        };
    }
    if !first(form, "client_secret").is_empty() {
        return if id.is_empty() { invalid("client_id is missing") } else { Ok((id, Shown::Secret)) };
    }
    let assertion = first(form, "client_assertion");
    if assertion.is_empty() {
        return Ok((id, Shown::Nothing));
    }
    if first(form, "client_assertion_type") != ASSERTION {
        return refuse(400, "invalid_request", "client_assertion_type is not the one of RFC 7523");
    }
    match keys::verify(assertion) {
        Some(claims) => {
            let subject = claims.text("sub").unwrap_or_default();
            if claims.text("iss").as_ref() != Some(&subject) || (!id.is_empty() && id != subject) {
                return invalid("iss and sub of the assertion must be the client");
            }
            match in_time(server, &claims) {
                Ok(()) => Ok((subject, Shown::Assertion)),
                Err(message) => invalid(&message),
            }
        }
        None => match subject(server, assertion, form, names) {
            Ok(claims) => Ok((claims.text("sub").unwrap_or_default(), Shown::Assertion)),
            Err(message) => invalid(&message),
        },
    }
}

fn decoded(text: &str) -> String {
    let pair = format!("x={text}");
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// The claims of the job's token: signature, time and audience. A server is set up to expect an audience; this
/// one takes its own names, a client's, the audience that is asked for, and any URN.
fn subject(server: &Server, token: &str, form: &Form, names: &[String]) -> Result<Claims, String> {
    let claims = server.issuer.verify(token).ok_or("the signature of the token is wrong")?;
    in_time(server, &claims)?;
    let fits = |audience: &String| {
        names.contains(audience)
            || audience.starts_with("urn:")
            || [first(form, "client_id"), first(form, "audience")].contains(&audience.as_str())
    };
    let audiences = claims.audiences();
    if audiences.iter().any(fits) {
        Ok(claims)
    } else {
        Err(format!("the audience of the token is {}, not this server", audiences.join(", ")))
    }
}

fn in_time(server: &Server, claims: &Claims) -> Result<(), String> {
    let now = server.clock.now().timestamp();
    match (claims.seconds("exp"), claims.seconds("nbf").or(claims.seconds("iat"))) {
        (Some(end), _) if end <= now => Err("the token is expired".to_owned()),
        (_, Some(start)) if start > now + 60 => Err("the token is not yet valid".to_owned()),
        (None, _) => Err("the token has no exp".to_owned()),
        _ => Ok(()),
    }
}
