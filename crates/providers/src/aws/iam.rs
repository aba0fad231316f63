//! The inline policies of a role (IAM API 2010-05-08), and STS's word on who asks: what denying a session needs.

use std::time::SystemTime;

use aws_smithy_xml::decode::{Document, try_data};
use chrono::{DateTime, Utc};
use url::Url;
use url::form_urlencoded;

use crate::call::{CallError, Refusal, Remedy, TIMEOUT};
use crate::sigv4::{Keys, Post, Unsigned};
use dataflow_host::Clock;
use dataflow_host::http::{Http, StatusCode};
use dataflow_host::retry::{Backoff, retry};
use dataflow_types::secret::Mask;

const FORM: &str = "application/x-www-form-urlencoded";

/// The code of what is not there.
const NO_SUCH: &str = "NoSuchEntity";

/// The code where a role holds as much as it can.
pub const FULL: &str = "LimitExceeded";

/// A way to ask services of AWS's older kind: a form goes out, XML comes back.
#[derive(Debug)]
pub struct Query<'a> {
    /// The way out.
    pub http: &'a Http,
    /// What time it is.
    pub clock: &'a Clock,
    /// What no message may show.
    pub mask: &'a Mask,
    /// Who asks.
    pub keys: &'a Keys,
    /// The region that is signed.
    pub region: String,
    /// How tries are spaced.
    pub backoff: Backoff,
    /// Until when they are made.
    pub until: DateTime<Utc>,
}

/// A role, as IAM knows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its unique id: a role made anew under the same name has another.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
}

/// IAM, for roles and their inline policies.
#[derive(Debug)]
pub struct Iam<'a> {
    /// The way to it.
    pub query: Query<'a>,
    /// Where it is.
    pub url: Url,
}

impl Iam<'_> {
    /// The role of this name in the account of whoever asks.
    pub async fn role(&self, name: &str) -> Result<Role, CallError> {
        let answer = self.ask(&[("Action", "GetRole"), ("RoleName", name)]).await?;
        let created = texts(&answer, "CreateDate").pop().and_then(|at| at.parse().ok());
        Ok(Role { id: self.one(&answer, "RoleId")?, arn: self.one(&answer, "Arn")?, created })
    }

    /// The names of a role's inline policies.
    pub async fn policies(&self, role: &str) -> Result<Vec<String>, CallError> {
        let (mut names, mut marker) = (Vec::new(), None::<String>);
        loop {
            let mut asked = vec![("Action", "ListRolePolicies"), ("RoleName", role)];
            asked.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let answer = self.ask(&asked).await?;
            // A list that is not there is no empty one.
            self.one(&answer, "PolicyNames")?;
            names.extend(texts(&answer, "member"));
            let more = texts(&answer, "IsTruncated").iter().any(|text| text == "true");
            let next = texts(&answer, "Marker").pop();
            if !more || next.is_none() || next == marker {
                return Ok(names);
            }
            marker = next;
        }
    }

    /// What one policy says; `None` where it was removed meanwhile.
    pub async fn policy(&self, role: &str, name: &str) -> Result<Option<String>, CallError> {
        let asked = [("Action", "GetRolePolicy"), ("RoleName", role), ("PolicyName", name)];
        let Some(answer) = present(self.ask(&asked).await)? else { return Ok(None) };
        let text = self.one(&answer, "PolicyDocument")?;
        if text.trim_start().starts_with('{') {
            return Ok(Some(text));
        }
        // AWS encodes it once more, as in a URL; then no `+`, `=` or `&` stands for itself.
        let mut decoded = form_urlencoded::parse(text.as_bytes());
        Ok(decoded.next().map(|(text, _)| text.into_owned()))
    }

    /// Writes a policy, over one of the same name.
    pub async fn put(&self, role: &str, name: &str, document: &str) -> Result<(), CallError> {
        let asked = [
            ("Action", "PutRolePolicy"),
            ("RoleName", role),
            ("PolicyName", name),
            ("PolicyDocument", document),
        ];
        self.ask(&asked).await.map(drop)
    }

    /// Removes a policy; one that is not there is fine.
    pub async fn delete(&self, role: &str, name: &str) -> Result<(), CallError> {
        let asked = [("Action", "DeleteRolePolicy"), ("RoleName", role), ("PolicyName", name)];
        present(self.ask(&asked).await).map(drop)
    }

    async fn ask(&self, asked: &[(&str, &str)]) -> Result<String, CallError> {
        self.query.ask("iam", "2010-05-08", &self.url, asked).await
    }

    fn one(&self, answer: &str, name: &str) -> Result<String, CallError> {
        one(answer, name, &self.url)
    }
}

/// The ARN of whoever holds the keys; it needs no permission.
pub async fn caller(query: &Query<'_>, url: &Url) -> Result<String, CallError> {
    let answer = query.ask("sts", "2011-06-15", url, &[("Action", "GetCallerIdentity")]).await?;
    one(&answer, "Arn", url)
}

impl Query<'_> {
    async fn ask(
        &self,
        service: &str,
        version: &str,
        url: &Url,
        asked: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(asked).append_pair("Version", version);
        let body = form.finish();
        let post = Post {
            service,
            region: &self.region,
            url,
            content_type: FORM,
            headers: &[],
            body: &body,
            timeout: TIMEOUT,
        };
        let once = |_| self.once(&post);
        retry(self.clock, self.backoff, self.until, CallError::verdict, once).await
    }

    async fn once(&self, post: &Post<'_>) -> Result<String, CallError> {
        let host = post.url.host_str().unwrap_or_default().to_owned();
        let request = match post.signed(self.keys, SystemTime::from(self.clock.now())) {
            Ok(request) => request,
            Err(Unsigned::Http(error)) => return Err(error.into()),
            Err(Unsigned::Unfit) => {
                return Err(CallError::Malformed { host, problem: "cannot be signed for".into() });
            }
        };
        let answer = self.http.send(request).await?;
        let text = String::from_utf8_lossy(answer.body.bytes());
        if answer.status.is_success() {
            return Ok(text.into_owned());
        }
        // Before it is cut short: half a secret would not be known for one.
        let refusal = refusal(answer.status, &self.mask.apply(&text));
        Err(CallError::Refused { host, status: answer.status, refusal })
    }
}

/// What is not there is no error for whoever only wants it gone, or read as it stands.
fn present(answer: Result<String, CallError>) -> Result<Option<String>, CallError> {
    match answer {
        Err(CallError::Refused { refusal, .. }) if refusal.code == NO_SUCH => Ok(None),
        answer => answer.map(Some),
    }
}

fn refusal(status: StatusCode, body: &str) -> Refusal {
    let mut refusal = Refusal::by_status(status);
    // A gateway may have begun another document before it.
    let body = body.split_once("<Error").map(|(_, rest)| format!("<Error{rest}")).unwrap_or_default();
    let body = body.as_str();
    if let Some(code) = texts(body, "Code").pop().filter(|code| !code.is_empty() && code.len() <= 100) {
        refusal.code = code;
    }
    let message = texts(body, "Message").pop().unwrap_or_default();
    refusal.message = message.chars().filter(|c| !c.is_control()).take(300).collect();
    refusal.remedy = match refusal.code.as_str() {
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "ConcurrentModification" => {
            Remedy::Wait
        }
        // A token of the job has no part in this: nothing is said about one.
        _ if refusal.remedy == Remedy::OtherToken => Remedy::Stop,
        _ => refusal.remedy,
    };
    refusal.hint = hint(&refusal.code).map(str::to_owned);
    refusal
}

fn hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDenied" | "AccessDeniedException" => Some(
            "the operator needs iam:GetRole, iam:ListRolePolicies, iam:GetRolePolicy, iam:PutRolePolicy and \
             iam:DeleteRolePolicy on the roles that jobs are lent",
        ),
        NO_SUCH => Some("the role is gone, or of another account than the operator's keys"),
        "SignatureDoesNotMatch" | "InvalidClientTokenId" | "ExpiredToken" => Some(
            "the keys in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN have ended or do not belong together",
        ),
        _ => None,
    }
}

fn one(answer: &str, name: &str, url: &Url) -> Result<String, CallError> {
    let host = || url.host_str().unwrap_or_default().to_owned();
    let first = texts(answer, name).into_iter().next();
    first.ok_or_else(|| CallError::Malformed { host: host(), problem: format!("answered no `{name}`") })
}

/// What stands in every element of this name, as far as the document can be read.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let mut document = Document::new(xml);
    let mut found = Vec::new();
    while let Some(element) = document.next_start_element() {
        if element.local() == name {
            // An element that holds others has no text: that it is there is all.
            let text = try_data(&mut document.scoped_to(element));
            found.push(text.unwrap_or_default().into_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_wherever_they_stand() {
        let check =
            |xml: &str, name: &str, expected: &[&str]| assert_eq!(texts(xml, name), expected, "{xml}");
        let list = "<R><PolicyNames> <member>a</member><member>b &amp; c</member></PolicyNames><IsTruncated>false</IsTruncated></R>";
        check(list, "member", &["a", "b & c"]);
        check(list, "IsTruncated", &["false"]);
        assert_eq!(texts(list, "PolicyNames").len(), 1);
        check("<R><PolicyNames></PolicyNames><A>x</A></R>", "PolicyNames", &[""]);
        check("<R><PolicyNames/><member>x</member></R>", "PolicyNames", &[""]);
        check("<R><Message></Message><Code>No</Code></R>", "Message", &[""]);
        for torn in ["", "no XML", "<R><Co", "<R><Code", "{\"Code\": 1}"] {
            check(torn, "Code", &[]);
        }
    }

    #[test]
    fn a_refusal_is_known_in_the_words_of_iam_and_of_a_gateway() {
        let said = "<ErrorResponse><Error><Type>Sender</Type><Code>LimitExceeded</Code><Message>Maximum policy size of \
                    10240 bytes exceeded</Message></Error></ErrorResponse>";
        let full = refusal(StatusCode::CONFLICT, said);
        assert_eq!((full.code.as_str(), full.remedy), (FULL, Remedy::Stop));
        assert!(full.message.starts_with("Maximum policy size"));
        let twice =
            "<R></R><?xml version=\"1.0\"?><Error><Code>NoSuchEntity</Code><Message></Message></Error>";
        assert_eq!(refusal(StatusCode::NOT_FOUND, twice).code, NO_SUCH);
        let busy = refusal(StatusCode::BAD_REQUEST, "<Error><Code>Throttling</Code></Error>");
        assert_eq!(busy.remedy, Remedy::Wait);
        assert_eq!(refusal(StatusCode::UNAUTHORIZED, "").remedy, Remedy::Stop);
    }
}
