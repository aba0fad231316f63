//! The one door through which every credential of every provider passes before it is used, exported or written.
//!
//! What a provider answers is text of somebody else's: a line break in it would be a line of ours in a profile, in
//! git's protocol or in a header. Grammars: tokens are visible ASCII (RFC 6749, appendix A; RFC 6750, section 2.1; RFC
//! 7515), names of AWS's keys are `[\w]{16,128}` (STS API, `Credentials`).

use chrono::{DateTime, TimeDelta, Utc};

use super::call_error::CallError;
use super::provider::Provider;
use super::{Context, Error, SettleContext};
use dataflow_config::credential::{Kind, ProviderRequest};
use dataflow_config::host::Mode;
use dataflow_policy::{self as policy, Request};
use dataflow_types::credential::{Credential, Flaw, Material, PrivateFile, SettleWith, Value};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Secret;
use dataflow_types::settlement::Settlement;
use dataflow_types::span::Span;

/// The longest token that is taken, in bytes: no header, and no variable of Linux, holds more.
const LONGEST: usize = 100_000;

/// What is wrong with a token, a key or an assertion, without showing it.
pub(super) fn of_token(text: &str) -> Option<&'static str> {
    let first = |is: fn(char) -> bool| text.contains(is);
    Some(match text {
        "" => "that is empty",
        _ if first(|c| c == '\n' || c == '\r') => "with a line break",
        _ if first(char::is_control) => "with a control character",
        _ if first(char::is_whitespace) => "with a blank",
        _ if !text.is_ascii() => "with a character outside of ASCII",
        _ if text.len() > LONGEST => "that is too long",
        _ => return None,
    })
}

/// What is wrong with the name of a key of AWS.
pub(super) fn of_key_id(text: &str) -> Option<&'static str> {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    of_token(text).or_else(|| {
        (!word || !(16..=128).contains(&text.len())).then_some("that is not 16 to 128 letters and digits")
    })
}

/// What people overlook at the ends of a secret that was stored by hand.
pub(super) fn edge(text: &str) -> Option<&'static str> {
    match text {
        _ if text.ends_with(['\n', '\r']) => Some("ends in a line break"),
        _ if text.trim() != text => Some("begins or ends with a blank"),
        _ if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']) => {
            Some("stands in quotes")
        }
        _ => None,
    }
}

/// What is wrong with a name that is told: it may be any text of one line.
pub(super) fn of_name(text: &str) -> Option<&'static str> {
    text.contains(char::is_control).then_some("with a control character")
}

impl Provider {
    /// A credential, after every check that each credential passes. One that may not be used is given back at once.
    pub async fn lend(
        &self,
        request: &Request,
        session: &str,
        context: &Context<'_>,
    ) -> Result<Credential, Error> {
        let met = context.mask.part();
        let context = &Context { mask: &met, ..*context };
        let made = (self.exchange)(request, session, context).await?;
        take(made, self, request, context).await
    }
}

/// Takes a credential in. One that may not be used is given back at once, where its provider can.
async fn take(
    mut credential: Credential,
    provider: &Provider,
    request: &Request,
    context: &Context<'_>,
) -> Result<Credential, Error> {
    hide(&mut credential, request.ask.kind(), context);
    let flaw = credential.flaw.clone().or_else(|| {
        let (what, problem) = wrong(&credential)?;
        Some(Flaw { host: provider.name.to_owned(), problem: format!("answered {what} {problem}") })
    });
    let error = match flaw {
        Some(Flaw { host, problem }) => Error::Call(CallError::Malformed { host, problem }),
        None => match outlives(&credential, request, context) {
            Some(error) => error,
            None => return Ok(credential),
        },
    };
    credential.secrets().iter().for_each(|secret| context.mask.add(secret));
    let SettleWith::Handle { secret, detail } = credential.settle_with else { return Err(error) };
    let terms = RevocationTarget {
        provider: provider.name.to_owned(),
        expires_at: credential.expires_at,
        handle: Some(secret),
        detail,
        tried: false,
    };
    let settling = SettleContext { host: context.host, http: context.http, clock: context.clock };
    let release = context.host.deadlines.release.0;
    match context.clock.within(release, provider.give_back(&terms, &settling)).await {
        Some(
            Settlement::Revoked { .. }
            | Settlement::RevokedInferred { .. }
            | Settlement::RevokedInPart { .. },
        ) => Err(Error::GivenBack(Box::new(error))),
        // Its end is known, and the record tells it.
        _ if matches!(error, Error::Outlives { .. }) => Err(error),
        // It was told to the server, which does not say whether that had an effect.
        Some(Settlement::RevokeAccepted { .. }) => Err(error),
        _ => Err(Error::NotGivenBack(Box::new(error))),
    }
}

/// Hides what the provider repeats, in the names that the record tells, of what it was sent and of what it gives. What
/// else this process knows is not looked for: a stored value may be a word of any name.
fn hide(credential: &mut Credential, kind: &dyn Kind, context: &Context<'_>) {
    let mask = context.mask;
    for minted in context.subject.iter().flat_map(|subject| subject.all()) {
        mask.add(minted.token.secret());
    }
    for secret in kind.sources().into_iter().flat_map(|(_, source)| context.sources.sent(source)) {
        mask.add(&secret);
    }
    if let Material::Token(token) = &credential.material {
        mask.add(token);
    }
    if let SettleWith::Handle { secret, .. } = &credential.settle_with {
        mask.add(secret);
    }
    for name in [&mut credential.principal, &mut credential.handle] {
        *name = mask.apply_part(name);
    }
    if let SettleWith::Detail(detail) | SettleWith::Facts(detail) | SettleWith::Handle { detail, .. } =
        &mut credential.settle_with
    {
        for value in detail.values_mut() {
            *value = mask.apply_part(value);
        }
    }
}

/// That a credential lives longer than the host config allows, whatever was asked for. A stored secret has no end of its
/// own, and none is lent: its owner ends it.
fn outlives(credential: &Credential, request: &Request, context: &Context<'_>) -> Option<Error> {
    if context.host.mode == Mode::Observe || matches!(request.ask, ProviderRequest::Secrets(_)) {
        return None;
    }
    let limit = policy::outlived(credential.expires_at - context.clock.now(), context.host)?;
    let (principal, until) = (credential.principal.clone(), credential.expires_at);
    Some(Error::Outlives { principal, until, limit })
}

/// What is wrong with a credential in the places that it will be put into, whatever its provider read of it.
fn wrong(credential: &Credential) -> Option<(String, &'static str)> {
    let named = |what: &str, problem: Option<&'static str>| Some((what.to_owned(), problem?));
    let stored = matches!(credential.material, Material::Fields(_));
    let of_material = match &credential.material {
        Material::Token(token) => named("a token", of_token(token.expose())),
        Material::AwsKeys { access_key_id, secret_access_key, session_token } => {
            named("an `AccessKeyId`", of_key_id(access_key_id))
                .or_else(|| named("a `SecretAccessKey`", of_token(secret_access_key.expose())))
                .or_else(|| named("a `SessionToken`", of_token(session_token.expose())))
        }
        Material::Nothing | Material::Fields(_) => None,
    };
    let variable = |value: &Value| match value {
        // A stored value is anything that a variable can hold.
        Value::Secret(secret) if stored => secret.expose().contains('\0').then_some("with a NUL"),
        Value::Secret(secret) => of_token(secret.expose()),
        Value::Plain(text) if stored => text.contains('\0').then_some("with a NUL"),
        Value::Plain(text) => of_name(text),
    };
    let file = |file: &PrivateFile| {
        let text = file.content.text().map(Secret::expose);
        if stored || !file.secret { None } else { text.map_or(Some("that is no text"), of_token) }
    };
    of_material
        .or_else(|| named("a principal", of_name(&credential.principal)))
        .or_else(|| named("a handle", of_name(&credential.handle)))
        .or_else(|| {
            credential
                .variables
                .iter()
                .find_map(|one| named(&format!("a `{}`", one.name), variable(&one.value)))
        })
        .or_else(|| credential.files.iter().find_map(|one| named(&format!("a `{}`", one.name), file(one))))
}

/// A token as it was read, and why it may not be used.
#[derive(Debug)]
pub struct Token {
    /// The token: whoever is to give it back needs it all the same.
    pub secret: Secret,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

impl Token {
    /// The token, where it may be used at once.
    pub(super) fn usable(self) -> Result<Secret, Error> {
        match self.flaw {
            None => Ok(self.secret),
            Some(Flaw { host, problem }) => Err(Error::Call(CallError::Malformed { host, problem })),
        }
    }
}

/// When a credential ends, and what is wrong with what was said about that.
#[derive(Debug)]
pub struct Ends {
    /// The end; where the answer's own is of no use, the latest that is likely.
    pub at: DateTime<Utc>,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

impl Ends {
    /// The end `at`, which must be to come; otherwise it is wrong, and the credential may live for its `usual` time.
    pub(super) fn checked(at: DateTime<Utc>, usual: Span, now: DateTime<Utc>, host: &str) -> Self {
        if at > now {
            return Self { at, flaw: None };
        }
        let problem = format!("answered a credential that ended at {at}");
        let usual = now.checked_add_signed(delta(usual)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Self { at: usual, flaw: Some(Flaw { host: host.to_owned(), problem }) }
    }

    /// The end, where the credential may be used.
    pub(super) fn usable(self) -> Result<DateTime<Utc>, Error> {
        match self.flaw {
            None => Ok(self.at),
            Some(Flaw { host, problem }) => Err(Error::Call(CallError::Malformed { host, problem })),
        }
    }
}

/// A span as a difference of times.
pub(super) fn delta(span: Span) -> TimeDelta {
    TimeDelta::from_std(span.0).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_visible_ascii() {
        for good in ["ghs_aB3", "a.b-c~d+e/f==", "hvs.CAESI", "v1:!#$%&'()*,;<>?@[]^`{|}"] {
            assert_eq!(of_token(good), None, "{good}");
        }
        for bad in [
            "",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\tb",
            "a b",
            "a\u{7f}b",
            "a\u{1b}[31m",
            "a\u{85}",
            "é",
            "\u{feff}a",
        ] {
            assert!(of_token(bad).is_some(), "{bad:?}");
        }
        assert!(of_token(&"x".repeat(LONGEST + 1)).is_some());
    }

    #[test]
    fn what_stands_at_the_ends_of_a_secret_is_seen() {
        assert_eq!(edge("hunter2"), None);
        for (odd, what) in [
            ("hunter2\n", "line break"),
            ("hunter2\r\n", "line break"),
            (" hunter2", "blank"),
            ("\"hunter2\"", "quotes"),
        ] {
            assert!(edge(odd).unwrap().contains(what), "{odd:?}");
        }
    }

    #[test]
    fn a_key_of_aws_is_named_by_letters_and_digits() {
        assert_eq!(of_key_id("ASIAIOSFODNN7EXAMPLE"), None);
        for bad in
            ["ASIA", "ASIAIOSFODNN7EXAMPLE\ncredential_process = x", "ASIAIOSFODNN7EX-MPLE", &"A".repeat(129)]
        {
            assert!(of_key_id(bad).is_some(), "{bad:?}");
        }
    }
}
