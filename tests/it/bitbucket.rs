//! The `bitbucket` provider: Cloud by a consumer, Data Center by a token that is made for the step.

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::hooks::Stage;
use crate::support::lent::{Bad, held, is_revoked, lends, no_answers, of_held, refuses_each, settles, stage};

const VARIABLE: &str = "BITBUCKET_TOKEN";
const CLOUD: &str = "/site/oauth2/access_token";
const PROJECT: &str = "/projects/DATA";

fn asks(bitbucket: impl Fn(&Stage) -> Value) -> Stage {
    let mut stage = stage("bitbucket");
    stage.block = json!({"credentials": [held(&stage, false), {"bitbucket": bitbucket(&stage)}]});
    stage
}

fn cloud() -> Stage {
    asks(|_| json!({"consumer": {"key": "consumer-key", "secret": of_held()}}))
}

fn center(more: &Value) -> Stage {
    asks(|stage| {
        let url = stage.sandbox.provider_url("bitbucket");
        let mut center = json!({"url": url, "project": "DATA", "admin": of_held()});
        center.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "data-center": center })
    })
}

fn center_error(status: u16, exception: &str, message: &str) -> Response {
    let name = format!("com.atlassian.bitbucket.{exception}");
    let error = json!({"context": null, "message": message, "exceptionName": name});
    Response::json(status, &json!({ "errors": [error] }))
}

#[test]
fn a_consumer_is_given_a_token_that_nobody_can_take_back() {
    let mut stage = cloud();
    assert!(lends(&mut stage, VARIABLE).starts_with("bbc_"));
    let lease = stage.records()[0].start.clone().unwrap().leases.pop().unwrap();
    // Its life is counted from the request on, and the lease from the answer on.
    let left = (lease.expires_at - lease.issued_at).num_seconds();
    assert!((7100..=7200).contains(&left), "{left}");
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Expires { .. }));
}

#[test]
fn either_word_for_the_scopes_is_read() {
    for word in ["scope", "scopes"] {
        let mut stage = cloud();
        let answer = json!({"access_token": "bbc_of-this-answer", "token_type": "bearer", "expires_in": 7200, word: "repository"});
        stage.fault(CLOUD, 1, Response::json(200, &answer));
        assert_eq!(lends(&mut stage, VARIABLE), "bbc_of-this-answer");
        settles(&mut stage, VARIABLE);
    }
}

#[test]
fn data_center_makes_a_token_for_the_step_and_deletes_it_after() {
    for more in [
        json!({}),
        json!({"admin-user": "ci-admin"}),
        json!({"repository": "web", "permissions": ["REPO_READ", "REPO_WRITE"]}),
    ] {
        let mut stage = center(&more);
        assert!(lends(&mut stage, VARIABLE).starts_with("BBDC-"));
        assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
        assert!(is_revoked(&stage, "bitbucket"));
    }
}

#[test]
fn data_center_counts_in_days_and_a_host_that_allows_less_allows_none() {
    let mut stage = center(&json!({"expiry-days": 2}));
    let text = stage.refuses(103, "denied");
    assert!(text.contains("this host allows 1d") || text.contains("this host allows 24h"), "{text}");
}

#[test]
fn a_data_center_that_the_host_does_not_allow_is_never_asked() {
    let mut stage = center(&json!({"url": "https://bitbucket.evil.test"}));
    let text = stage.refuses(103, "denied");
    assert!(text.contains("https://bitbucket.evil.test"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(PROJECT) + stage.sandbox.faults().asked("/token"), 0);
}

#[test]
fn each_refusal_of_cloud_is_told_with_what_to_do() {
    let told = |code: &str, message: &str| {
        Response::json(400, &json!({"error": code, "error_description": message}))
    };
    let token = |life: i64| json!({"access_token": "bbc_not-a-token", "expires_in": life});
    let table: Vec<Bad> = vec![
        (
            told("unauthorized_client", "Invalid OAuth client credentials"),
            105,
            "provider-refused",
            "the consumer must be private",
        ),
        (told("invalid_grant", "No"), 105, "provider-refused", "must belong together"),
        (told("unsupported_grant_type", "No"), 105, "provider-refused", "`grant`"),
        (Response::json(429, &json!({})), 106, "provider-busy", "429"),
        (Response::json(200, &json!({"access_token": ""})), 105, "provider-malformed", "an empty token"),
        (Response::json(200, &token(0)), 105, "provider-malformed", "that ended"),
    ];
    refuses_each(CLOUD, cloud, table.into_iter().chain(no_answers()).collect());
}

#[test]
fn each_refusal_of_data_center_is_told_with_what_to_do() {
    let refused = |status, exception: &str, told| -> Bad {
        (center_error(status, exception, "No such luck"), 105, "provider-refused", told)
    };
    let made = |id: &str, token: &str| Response::json(200, &json!({"id": id, "token": token}));
    let table = vec![
        refused(401, "AuthenticationException", "an HTTP access token makes no tokens"),
        refused(403, "AuthorisationException", "`admin` must administer"),
        refused(404, "project.NoSuchProjectException", "`NoSuchProjectException`: No such luck"),
        refused(400, "ConstraintViolationException", "`ConstraintViolationException`"),
        (center_error(503, "Busy", "maintenance"), 106, "provider-busy", "maintenance"),
        (made("12", ""), 105, "provider-malformed", "an empty token"),
        (made("../../x", "BBDC-not-a-token"), 105, "provider-malformed", "without an id"),
    ];
    refuses_each(PROJECT, || center(&json!({})), table.into_iter().chain(no_answers()).collect());
}

#[test]
fn what_becomes_of_a_token_is_told_as_data_center_tells_it() {
    let check = |times, answer| {
        let mut stage = center(&json!({}));
        lends(&mut stage, VARIABLE);
        let id = stage.records()[0].start.clone().unwrap().leases.pop().unwrap().handle;
        stage.fault(&id, times, answer);
        settles(&mut stage, VARIABLE)
    };
    let gone = || center_error(404, "NoSuchEntityException", "No access token");
    assert!(matches!(check(9, gone()), Settlement::AlreadyExpired { .. }));
    assert!(matches!(check(9, center_error(401, "AuthenticationException", "")), Settlement::Failed { .. }));
    let cut = Response { cut: true, ..gone() };
    assert!(matches!(check(1, cut.clone()), Settlement::Revoked { .. }));
    assert!(matches!(check(9, cut), Settlement::Failed { .. }));
}
