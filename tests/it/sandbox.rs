//! The sandbox judged by the real ones' own clients: before it may judge us it must satisfy them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use buildkite_dataflow::rehearse::sandbox::AUDIENCE;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Scene};
use crate::support::components;
use crate::support::hooks::{JOB, ROLE, Stage, claims};

fn token(stage: &Stage, audience: &str) -> String {
    let asked = json!({ "audience": audience });
    stage.sandbox.issuer().mint(&claims(), asked.as_object().unwrap(), chrono::Utc::now()).unwrap()
}

/// A program of the Python components, which finds the sandbox and nothing else.
fn client(stage: &Stage, program: &str) -> Option<Command> {
    let mut command = Command::new(components::find(&format!("venv/bin/{program}"))?);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", stage.folder.path());
    command.env("AWS_ENDPOINT_URL", stage.sandbox.url()).env("AWS_DEFAULT_REGION", "eu-west-1");
    command.env("ISSUER", stage.sandbox.issuer_url()).env("ROLE", ROLE).env("TOKEN", token(stage, AUDIENCE));
    Some(command)
}

#[track_caller]
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

const BOTO3: &str = r#"
import json, os, boto3, botocore.exceptions
token = dict(RoleArn=os.environ["ROLE"], RoleSessionName="boto3", WebIdentityToken=os.environ["TOKEN"])
lent = boto3.client("sts").assume_role_with_web_identity(**token)
keys = lent["Credentials"]
def caller(secret):
    sts = boto3.client("sts", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=secret,
                       aws_session_token=keys["SessionToken"])
    try:
        return sts.get_caller_identity()["Arn"]
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
def refused(**changed):
    try:
        boto3.client("sts").assume_role_with_web_identity(**(token | changed))
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
head, body, signature = token["WebIdentityToken"].split(".")
print(json.dumps({
    "audience": lent["Audience"], "arn": lent["AssumedRoleUser"]["Arn"],
    "seconds": round(keys["Expiration"].timestamp() - __import__("time").time(), -1),
    "right": caller(keys["SecretAccessKey"]), "wrong": caller(keys["SecretAccessKey"][::-1]),
    "tampered": refused(WebIdentityToken=f"{head}.{body}.{signature[::-1]}"),
    "untrusted": refused(RoleArn=os.environ["ROLE"] + "-strict"),
    "long": refused(DurationSeconds=43200),
}))
"#;

#[test]
fn boto3_assumes_a_role_and_is_known_by_its_keys() {
    let stage = Stage::new();
    let Some(mut python) = client(&stage, "python") else { return };
    let answer: Value = serde_json::from_str(&said(&python.args(["-c", BOTO3]).output().unwrap())).unwrap();
    let arn = "arn:aws:sts::123456789012:assumed-role/deploy/boto3";
    let expected = json!({
        "audience": AUDIENCE, "arn": arn, "seconds": 3600.0, "right": arn, "wrong": "SignatureDoesNotMatch",
        "tampered": "InvalidIdentityToken", "untrusted": "AccessDenied", "long": "ValidationError",
    });
    assert_eq!(answer, expected);
}

#[test]
fn the_aws_command_line_assumes_a_role_and_is_known_by_its_keys() {
    let stage = Stage::new();
    let Some(mut aws) = client(&stage, "aws") else { return };
    let assume = ["sts", "assume-role-with-web-identity", "--role-session-name", "aws", "--role-arn", ROLE];
    let answer = aws.args(assume).args(["--web-identity-token", &token(&stage, AUDIENCE)]).output().unwrap();
    let answer: Value = serde_json::from_str(&said(&answer)).unwrap();
    let key = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
    let caller = |secret: &str| {
        let mut aws = client(&stage, "aws").unwrap();
        aws.env("AWS_ACCESS_KEY_ID", key("AccessKeyId")).env("AWS_SECRET_ACCESS_KEY", secret);
        aws.env("AWS_SESSION_TOKEN", key("SessionToken"));
        aws.args(["sts", "get-caller-identity", "--query", "Arn", "--output", "text"]).output().unwrap()
    };
    let arn = "arn:aws:sts::123456789012:assumed-role/deploy/aws";
    assert_eq!(said(&caller(&key("SecretAccessKey"))), arn);
    let wrong = caller("wrong");
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("SignatureDoesNotMatch"), "{wrong:?}");
}

const PYJWT: &str = r#"
import json, os, urllib.request, jwt
issuer, token = os.environ["ISSUER"], os.environ["TOKEN"]
discovery = json.load(urllib.request.urlopen(issuer + "/.well-known/openid-configuration"))
assert discovery["issuer"] == issuer
key = jwt.PyJWKClient(discovery["jwks_uri"]).get_signing_key_from_jwt(token)
algorithms = discovery["id_token_signing_alg_values_supported"]
required = {"require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]}
print(jwt.decode(token, key, algorithms=algorithms, audience="sts.amazonaws.com", issuer=issuer, options=required)["sub"])
try:
    jwt.decode(token, key, algorithms=algorithms, audience="elsewhere", issuer=issuer)
except jwt.InvalidAudienceError:
    print("another audience")
"#;

#[test]
fn pyjwt_verifies_a_token_by_discovery() {
    let stage = Stage::new();
    let Some(mut python) = client(&stage, "python") else { return };
    let subject = "organization:acme:pipeline:web:ref:refs/heads/main:commit:4f1c:step:deploy";
    let answer = said(&python.args(["-c", PYJWT]).output().unwrap());
    assert_eq!(answer, format!("{subject}\nanother audience"));
}

/// One of the agent's own commands, as a step calls it.
fn agent_says(agent: &Agent, stage: &Stage, arguments: &[&str], input: &str) -> Output {
    let mut command = agent.command();
    let env = stage.api.env();
    command.env_clear().envs(env.iter().map(|(name, value)| (name, value.expose()))).args(arguments);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_agents_commands_change_the_jobs_environment() {
    for agent in Agent::all() {
        let stage = Stage::new();
        let says = |arguments: &[&str]| agent_says(&agent, &stage, arguments, "");
        said(&says(&["env", "set", "COLOUR=green", "SIZE=3"]));
        assert_eq!(stage.variable("SIZE").as_deref(), Some("3"));
        assert_eq!(said(&says(&["env", "get", "COLOUR"])), "green");
        said(&says(&["env", "unset", "COLOUR"]));
        assert_eq!(stage.variable("COLOUR"), None);
        let protected = says(&["env", "set", "BUILDKITE_SHELL=/bin/false"]);
        assert!(
            !protected.status.success() && String::from_utf8_lossy(&protected.stderr).contains("protected")
        );
    }
}

#[test]
fn the_agents_commands_hide_texts_and_get_tokens() {
    for agent in Agent::all() {
        let stage = Stage::new();
        said(&agent_says(&agent, &stage, &["redactor", "add"], "hunter2"));
        assert_eq!(stage.api.redacted("it is hunter2"), "it is [REDACTED]");
        let request = [
            "oidc",
            "request-token",
            "--audience",
            AUDIENCE,
            "--claim",
            "pipeline_id",
            "--subject-claim",
            "job_id",
        ];
        let token = said(&agent_says(&agent, &stage, &request, ""));
        let claims = stage.sandbox.issuer().verify(&token).unwrap();
        let text = |name: &str| claims.text(name).unwrap();
        assert_eq!(
            (text("aud").as_str(), text("sub").as_str(), text("pipeline_id").as_str()),
            (AUDIENCE, JOB, "p-1")
        );
        assert_eq!(stage.api.redacted(&token), "[REDACTED]");
        let long = agent_says(&agent, &stage, &["oidc", "request-token", "--lifetime", "14400"], "");
        let refusal = "Requested lifetime too high (requested: 14400 max: 7200)";
        assert!(String::from_utf8_lossy(&long.stderr).contains(refusal), "{long:?}");
    }
}

#[test]
fn the_agents_commands_keep_meta_data() {
    for agent in Agent::all() {
        let stage = Stage::new();
        let says = |arguments: &[&str]| agent_says(&agent, &stage, arguments, "");
        assert_eq!(says(&["meta-data", "exists", "colour"]).status.code(), Some(100));
        said(&says(&["meta-data", "set", "colour", "green"]));
        assert_eq!(said(&says(&["meta-data", "get", "colour"])), "green");
        assert_eq!(said(&says(&["meta-data", "get", "size", "--default", "3"])), "3");
    }
}

#[test]
fn a_real_agent_takes_a_job_runs_it_and_reports_its_end() {
    for agent in Agent::all() {
        let scene = Scene::new(&agent);
        let child = scene.start("echo it is $((40 + 2)); exit 4", &["--disconnect-after-job"]);
        let step = scene.finished(child);
        assert!(step.log.contains("it is 42"), "{}", step.log);
        let progress = scene.sandbox.agent().progress(JOB).unwrap();
        let finish = progress.finish.unwrap();
        assert_eq!((&finish["exit_status"], &finish["chunks_failed_count"]), (&json!("4"), &json!(0)));
        assert_eq!(progress.state, "finished");
        scene.is_as_before();
    }
}
