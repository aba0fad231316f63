//! Revoking a login that somebody else holds, by the accessor that its record names.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use url::Url;

use super::place::Place;
use super::{JSON, refusal};
use crate::SettleContext;
use crate::giving_back::send;
use crate::json::Tree;
use dataflow_host::http::{Method, Response, StatusCode};
use dataflow_types::secret::{Mask, Secret};

/// The paths that an operator's policy must allow `update` on: this one,
pub const PATH: &str = "auth/token/revoke-accessor";
/// and this one, which tells whose login it is before it is revoked.
pub const LOOKUP: &str = "auth/token/lookup-accessor";

/// How far the time of a login may lie from its record's: two clocks, and what was read in between.
const APART: TimeDelta = TimeDelta::minutes(5);

/// A login as its record tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// What it is revoked by.
    pub accessor: &'a str,
    /// The role's address, method and name.
    pub principal: &'a str,
    /// When it was made, by the host's clock.
    pub issued_at: DateTime<Utc>,
}

/// What became of a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Vault revoked it, and what came of it.
    Revoked,
    /// Vault does not know it after a try whose answer was lost.
    Inferred,
    /// Vault knows no login by this accessor: it has ended, or is of another namespace or server.
    Unknown(String),
    /// It is of another login than the record tells: this one.
    Another(String),
    /// It lives on, for this reason.
    Not(String),
}

/// Has the Vault at `address` revoke a login, if it is the one that the record tells of: whoever can write records
/// could otherwise have anybody's login revoked.
pub async fn revoke(
    (address, namespace): (&Url, Option<&str>),
    login: Recorded<'_>,
    operator: &Secret,
    context: &SettleContext<'_>,
) -> Outcome {
    let place = Place { address: address.clone(), namespace: namespace.map(str::to_owned) };
    let body = json!({ "accessor": login.accessor }).to_string();
    let ask = async |path: &str| {
        let make = || {
            let request = place.request(Method::POST, place.url(path))?;
            let request = request.secret_header("x-vault-token", "", operator)?;
            Ok(request.body(JSON, body.clone().into_bytes()))
        };
        send(context, make).await
    };
    let about = match ask(LOOKUP).await {
        Ok(given) => about(&given.response, operator),
        Err(reason) => Err(Outcome::Not(reason)),
    };
    match about {
        Err(outcome) => return outcome,
        Ok(about) if !about.is(login) => return Outcome::Another(about.told()),
        Ok(_) => {}
    }
    match ask(PATH).await {
        Ok(given) => match read(&given.response, operator) {
            Outcome::Unknown(_) if given.lost => Outcome::Inferred,
            outcome => outcome,
        },
        Err(reason) => Outcome::Not(reason),
    }
}

/// What Vault tells of a login.
#[derive(Debug)]
struct About {
    path: String,
    role: String,
    creation_time: i64,
}

impl About {
    fn of(answer: &Tree) -> Option<Self> {
        Some(Self {
            path: answer.text(&["/data/path"])?.to_owned(),
            role: answer.text(&["/data/meta/role"]).unwrap_or_default().to_owned(),
            creation_time: i64::try_from(answer.number("/data/creation_time")?).ok()?,
        })
    }

    fn made(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.creation_time, 0).unwrap_or_default()
    }

    /// A login of the same method and role, at the same time. Other methods and `auth/token/create` have no role
    /// in a path that ends so.
    fn is(&self, login: Recorded<'_>) -> bool {
        let mount = self.path.strip_suffix("/login").filter(|mount| mount.starts_with("auth/"));
        let principal = mount.map(|mount| format!("/{mount}/role/{}", self.role));
        principal.is_some_and(|principal| login.principal.ends_with(&principal))
            && (self.made() - login.issued_at).abs() <= APART
    }

    fn told(&self) -> String {
        let role = Some(&self.role).filter(|role| !role.is_empty());
        let role = role.map(|role| format!(", role `{role}`")).unwrap_or_default();
        format!("`{}`{role}, of {}", self.path, self.made())
    }
}

fn about(response: &Response, operator: &Secret) -> Result<About, Outcome> {
    if response.status == StatusCode::OK
        && let Some(about) = About::of(&Tree::of(response.body.bytes()))
    {
        return Ok(about);
    }
    Err(match read(response, operator) {
        // It told nothing of the login, in words that nobody knows.
        Outcome::Revoked => Outcome::Not(format!("{} to the question whose login it is", response.status)),
        outcome => outcome,
    })
}

/// Vault and OpenBao answer 200 and a warning where they know no such accessor, older servers 400.
fn read(response: &Response, operator: &Secret) -> Outcome {
    let status = response.status;
    let mask = Mask::default();
    mask.add(operator);
    let said = refusal::words(mask.apply_to_answer(response.body.bytes()).as_bytes());
    let told = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let said = said.to_lowercase();
    let unknown = ["no token found", "invalid accessor", "token not found", "accessor not found"];
    match status {
        StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
            if unknown.iter().any(|words| said.contains(words)) =>
        {
            Outcome::Unknown(told)
        }
        StatusCode::NO_CONTENT => Outcome::Revoked,
        // Whoever is no Vault answers 200 as well.
        StatusCode::OK if said.is_empty() && Tree::read(response.body.bytes()).is_ok() => Outcome::Revoked,
        _ => Outcome::Not(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_host::http::HeaderMap;

    #[test]
    fn a_login_is_known_by_method_role_and_time() {
        let issued_at = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let principal = "https://vault.example.test/v1/team/auth/jwt/role/train";
        let login = Recorded { accessor: "a", principal, issued_at };
        let is = |path: &str, role: Option<&str>, after: i64| {
            let role = role.unwrap_or_default().to_owned();
            About { path: path.to_owned(), role, creation_time: 1_000_000 + after }.is(login)
        };
        assert!(is("auth/jwt/login", Some("train"), 0) && is("auth/jwt/login", Some("train"), -299));
        for (path, role, after) in [
            ("auth/jwt/login", Some("train"), 301),
            ("auth/jwt/login", Some("rain"), 0),
            ("auth/jwt/login", None, 0),
            ("auth/ci/login", Some("train"), 0),
            ("auth/userpass/login/train", None, 0),
            ("auth/token/create", None, 0),
            ("auth/token/root", Some("train"), 0),
        ] {
            assert!(!is(path, role, after), "{path} {role:?} {after}");
        }
    }

    #[test]
    fn each_answer_is_read_for_what_it_says() {
        let read = |status: u16, body: &str| {
            let (status, body) = (StatusCode::from_u16(status).unwrap(), body.as_bytes().to_vec().into());
            read(&Response { status, headers: HeaderMap::new(), body }, &Secret::new("hvs.the-operator"))
        };
        let unknown = |outcome| assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        let not = |outcome| assert!(matches!(outcome, Outcome::Not(_)), "{outcome:?}");
        assert_eq!(read(204, ""), Outcome::Revoked);
        assert_eq!(read(200, r#"{"data":null,"warnings":null}"#), Outcome::Revoked);
        unknown(read(200, r#"{"data":null,"warnings":["No token found with this accessor"]}"#));
        unknown(read(400, r#"{"errors":["invalid accessor"]}"#));
        unknown(read(404, r#"{"errors":["invalid accessor"]}"#));
        unknown(read(403, r#"{"errors":["invalid accessor"]}"#));
        not(read(404, r#"{"errors":["no handler for route"]}"#));
        not(read(400, r#"{"errors":["missing accessor"]}"#));
        not(read(403, r#"{"errors":["permission denied"]}"#));
        not(read(200, "<html>"));
        not(read(503, r#"{"errors":["Vault is sealed"]}"#));
        let repeated = read(400, r#"{"errors":["hvs.the-operator is no good"]}"#);
        assert!(!format!("{repeated:?}").contains("hvs."));
    }
}
