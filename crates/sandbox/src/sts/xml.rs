//! Answers in the shape of AWS's query protocol.

use chrono::SecondsFormat;

use super::{Issued, Refusal};
use dataflow_types::claims::Claims;

/// What an answer says of the token that was exchanged.
pub(super) struct OfToken<'a> {
    pub(super) claims: &'a Claims,
    pub(super) audience: &'a str,
}

pub(super) fn assumed(action: &str, issued: &Issued, token: Option<&OfToken<'_>>) -> String {
    let of_token = token.map(|token| {
        format!(
            "<SubjectFromWebIdentityToken>{}</SubjectFromWebIdentityToken><Audience>{}</Audience><Provider>{}</Provider>",
            escape(&token.claims.text("sub").unwrap_or_default()),
            escape(token.audience),
            escape(&token.claims.text("iss").unwrap_or_default()),
        )
    });
    let result = format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
         <AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
         <PackedPolicySize>{}</PackedPolicySize>{}",
        issued.access_key_id,
        escape(issued.secret_access_key.expose()),
        escape(issued.session_token.expose()),
        issued.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        escape(&issued.user_id),
        escape(&issued.arn),
        issued.packed,
        of_token.unwrap_or_default(),
    );
    response(action, &result)
}

pub(super) fn caller(issued: &Issued) -> String {
    let result = format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        escape(&issued.arn),
        escape(&issued.user_id),
        escape(issued.arn.split(':').nth(4).unwrap_or_default()),
    );
    response("GetCallerIdentity", &result)
}

fn response(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        uuid::Uuid::new_v4()
    )
}

pub(super) fn error(refusal: &Refusal) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{}</Code>\
         <Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        refusal.code,
        escape(&refusal.message),
        uuid::Uuid::new_v4()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
