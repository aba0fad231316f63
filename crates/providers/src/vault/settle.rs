//! Giving a login back, and saying what became of it.

use std::time::Duration;

use super::place::Place;
use super::refusal;
use crate::SettleContext;
use dataflow_host::http::{Http, Method, Response};
use dataflow_host::retry::{Backoff, Verdict, retry};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::{Mask, Secret};
use dataflow_types::settlement::Settlement;

const REVOKE: &str = "auth/token/revoke-self";

/// How one try to give a login back was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Vault took it back.
    Gone,
    /// It was gone.
    Unknown,
    /// It does not work, or may not give itself back: Vault does not say which.
    Forbidden,
    /// A batch token, which nobody can revoke.
    Batch,
    /// Not now.
    Busy(String),
    /// Not at all.
    Refused(String),
}

impl Answer {
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone | Self::Unknown)
    }

    /// 403 means both "no such token" and "no such permission"; since 1.16 a second line says which.
    fn of(response: &Response, token: &Secret) -> Self {
        let status = response.status;
        // It stands in the record: what repeats the token is hidden, before anybody cuts it short.
        let mask = Mask::default();
        mask.add(token);
        let said = refusal::words(mask.apply_to_answer(response.body.bytes()).as_bytes());
        let words = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
        match status.as_u16() {
            200 | 204 => Self::Gone,
            403 if said.contains("invalid token") || said.contains("bad token") => Self::Unknown,
            403 => Self::Forbidden,
            400 if said.contains("batch token") => Self::Batch,
            _ if refusal::is_busy(status) => Self::Busy(words),
            _ => Self::Refused(words),
        }
    }
}

/// One try to give a login back.
pub(super) async fn now(place: &Place, token: &Secret, http: &Http) -> Answer {
    let request = place.request(Method::POST, place.url(REVOKE));
    let request = request.and_then(|request| request.secret_header("x-vault-token", "", token));
    let answered = match request {
        Ok(request) => http.send(request).await,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    match answered {
        Ok(response) => Answer::of(&response, token),
        Err(error) if error.is_transient() => Answer::Busy(error.to_string()),
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Gives the login of a lease back.
pub(super) async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    let (clock, until) = (context.clock, lease.expires_at);
    let detail = |name: &str| lease.detail.get(name).cloned();
    let living: Vec<String> =
        detail(super::LIVING).iter().flat_map(|paths| paths.lines()).map(str::to_owned).collect();
    if until <= clock.now() {
        return ended(Settlement::AlreadyExpired { at: until }, living);
    }
    if detail("batch").is_some() {
        return Settlement::Expires { at: until };
    }
    let failed = |reason: &str| Settlement::Failed { reason: reason.to_owned(), until };
    let address = detail(super::ADDRESS).and_then(|text| text.parse().ok());
    let (Some(token), Some(address)) = (&lease.handle, address) else {
        return lease.without_a_way_back();
    };
    let place = Place { address, namespace: detail(super::NAMESPACE) };
    // The caller's deadline is the one that counts; a try more or less makes no difference to it.
    let backoff = Backoff { attempts: 4, base: Duration::from_millis(200), jitter: true };
    let lost = std::cell::Cell::new(lease.tried);
    let judge = |answer: &Answer| match answer {
        Answer::Busy(_) => Verdict::Again,
        _ => Verdict::Stop,
    };
    let attempt = |_| async {
        match now(&place, token, context.http).await {
            Answer::Gone => Ok(()),
            busy @ Answer::Busy(_) => {
                lost.set(true);
                Err(busy)
            }
            other => Err(other),
        }
    };
    let answer = retry(clock, backoff, until, judge, attempt).await;
    let at = clock.now();
    match answer.err().unwrap_or(Answer::Gone) {
        Answer::Gone if living.is_empty() => Settlement::Revoked { at },
        Answer::Gone => Settlement::RevokedInPart { at, living },
        // Whoever has it can use it: that is more than what was read with it.
        Answer::Batch => Settlement::Expires { at: until },
        Answer::Forbidden | Answer::Unknown if lost.get() => {
            ended(Settlement::RevokedInferred { at }, living)
        }
        Answer::Unknown => ended(Settlement::AlreadyExpired { at }, living),
        Answer::Forbidden => failed("403: the login's policies do not let it revoke itself, or it is gone"),
        Answer::Busy(reason) | Answer::Refused(reason) => failed(&reason),
    }
}

/// What became of a login that is gone, unless a stored value was read with it: that is what a reader must know.
fn ended(settlement: Settlement, living: Vec<String>) -> Settlement {
    if living.is_empty() { settlement } else { Settlement::Stored { living } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_host::http::{HeaderMap, StatusCode};

    fn answer(status: u16, body: &str) -> Answer {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.as_bytes().to_vec().into());
        Answer::of(&Response { status, headers: HeaderMap::new(), body }, &Secret::new("hvs.the-login"))
    }

    #[test]
    fn a_token_that_vault_repeats_does_not_reach_the_record() {
        let said = format!(r#"{{"errors":["{} hvs.the-login"]}}"#, "x".repeat(290));
        assert!(!format!("{:?}", answer(400, &said)).contains("hvs."));
    }

    #[test]
    fn each_answer_to_a_revocation_is_read_for_what_it_says() {
        assert_eq!(answer(204, ""), Answer::Gone);
        let two = r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
        assert_eq!(answer(403, two), Answer::Unknown);
        assert_eq!(answer(403, r#"{"errors":["bad token"]}"#), Answer::Unknown);
        assert_eq!(answer(403, r#"{"errors":["permission denied"]}"#), Answer::Forbidden);
        assert_eq!(answer(400, r#"{"errors":["batch tokens cannot be revoked"]}"#), Answer::Batch);
        assert!(matches!(answer(503, r#"{"errors":["Vault is sealed"]}"#), Answer::Busy(_)));
        assert!(matches!(answer(473, ""), Answer::Busy(_)));
        assert!(matches!(answer(404, "<html>"), Answer::Refused(_)));
    }
}
