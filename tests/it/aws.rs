//! What is lent works: the tools of a step's own, against services that nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use serde_json::json;

use crate::support::agent::{Agent, Ended, Scene, asks_for, until};
use crate::support::components::{self, not_run};
use crate::support::hooks::{JOB, files};

/// The folder of boto3, the aws CLI and moto.
pub(crate) fn tools() -> Option<PathBuf> {
    components::find("venv/bin")
}

/// Runs a step whose tools find AWS's services at `endpoint`. What it was lent is then in neither its
/// log nor any file of its host.
fn step(scene: &mut Scene, tools: &Path, endpoint: &str, command: &str) -> Ended {
    let lent = tempfile::NamedTempFile::new().unwrap();
    let keep = format!("printenv AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN >{}", lent.path().display());
    scene.env.insert("AWS_ENDPOINT_URL".into(), endpoint.to_owned());
    let step = scene.run(&format!("PATH={}:$PATH; {keep}; {command}", tools.display()));
    assert_eq!(step.status, Some(0), "{}", step.log);
    scene.is_as_before();
    let lent = std::fs::read_to_string(lent.path()).unwrap();
    assert_eq!(lent.lines().count(), 2);
    for file in files(scene.folder.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!lent.lines().any(|secret| text.contains(secret)), "a secret is in {}", file.display());
    }
    step
}

#[test]
fn boto3_and_the_aws_command_line_are_known_by_what_was_lent() {
    let Some(tools) = tools() else { return };
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        let endpoint = scene.sandbox.url();
        let command = "aws sts get-caller-identity --query Arn --output text | sed 's/^/cli /'; \
                       python -c 'import boto3; print(\"boto3\", boto3.client(\"sts\").get_caller_identity()[\"Arn\"])'";
        let step = step(&mut scene, &tools, &endpoint, command);
        let [issued] = scene.sandbox.sts().issued().try_into().unwrap();
        for tool in ["cli", "boto3"] {
            assert!(step.log.contains(&format!("{tool} {}", issued.arn)), "{}", step.log);
        }
    }
}

/// A server that does not outlive its test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// moto's services; its port.
pub(crate) fn moto(tools: &Path) -> (Server, u16) {
    serve(Command::new(tools.join("moto_server")))
}

/// The same as another command starts it.
pub(crate) fn serve(mut moto: Command) -> (Server, u16) {
    let port = {
        let held = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        held.local_addr().unwrap().port()
    };
    moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(moto.spawn().unwrap());
    until(|| "moto".to_owned(), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

/// From now on moto checks who asks, and whether they may.
const ENFORCE: &str =
    "curl -sf -X POST -H 'Content-Type: text/plain' -d 0 $AWS_ENDPOINT_URL/moto-api/reset-auth";

#[test]
fn moto_lets_the_lent_role_do_what_its_policy_allows() {
    let (Some(tools), Some(agent)) = (tools(), Agent::v3()) else { return };
    let (_server, port) = moto(&tools);
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut setup = Command::new(tools.join("python"));
    setup.args(["-c", MOTO, &endpoint]).env_clear();
    let made = setup.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut scene = Scene::with_plugin(&agent);
    scene.config["aws"]["sts-endpoint"] = json!(endpoint);
    let command = format!(
        "{ENFORCE}; aws s3 ls s3://lake; aws s3 rm s3://lake/raw.csv || echo refused; \
         AWS_SECRET_ACCESS_KEY=forged aws s3 ls s3://lake || echo forged"
    );
    let step = step(&mut scene, &tools, &endpoint, &command);
    for seen in ["raw.csv\r", "AccessDenied", "\nrefused\r", "SignatureDoesNotMatch", "\nforged\r"] {
        assert!(step.log.contains(seen), "{seen}: {}", step.log);
    }
}

const MOTO: &str = r#"
import json, sys, boto3
def client(name):
    return boto3.client(name, endpoint_url=sys.argv[1], region_name="us-east-1",
                        aws_access_key_id="setup", aws_secret_access_key="setup")
client("s3").create_bucket(Bucket="lake")
client("s3").put_object(Bucket="lake", Key="raw.csv", Body=b"x")
iam = client("iam")
iam.create_role(RoleName="deploy", AssumeRolePolicyDocument="{}")
allow = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
iam.put_role_policy(RoleName="deploy", PolicyName="read",
                    PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
"#;

/// An issuer's key and certificate, and the certificate's SHA-1, which a Ceph gateway wants to know.
struct Signer {
    key: Vec<u8>,
    certificate: Vec<u8>,
    thumbprint: String,
}

impl Signer {
    fn new() -> Self {
        use rsa::pkcs8::EncodePrivateKey as _;
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let key = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key.clone().into(), &rcgen::PKCS_RSA_SHA256);
        let certificate = rcgen::CertificateParams::new(vec!["issuer.internal".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&pair.unwrap()).unwrap().der().to_vec();
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let hex: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Self { key, certificate, thumbprint: hex.concat() }
    }
}

fn real(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script)
}

/// A Ceph gateway: S3, IAM and an STS that checks everything.
struct Ceph {
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl Ceph {
    /// The gateway takes no port in an issuer's name, but honours a proxy: the issuer is that proxy.
    fn start(folder: PathBuf, issuer: &str) -> Option<Self> {
        let program = PathBuf::from("/usr/bin/radosgw");
        if !program.exists() {
            not_run("a Ceph gateway is not installed (.ci/components)");
            return None;
        }
        let up = Command::new(real("ceph-up")).arg(&folder).env("http_proxy", issuer).output().unwrap();
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let lines = String::from_utf8(up.stdout).unwrap();
        let pairs = lines.lines().filter_map(|line| line.split_once('='));
        Some(Self { folder, env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() })
    }

    fn get(&self, name: &str) -> &str {
        &self.env.iter().find(|(other, _)| other == name).unwrap().1
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        let down = Command::new(real("ceph-down")).arg(&self.folder).status();
        assert!(down.unwrap().success() || std::thread::panicking());
    }
}

const ISSUER: &str = "http://issuer.internal";

/// Tells a story with a gateway that has the role `extract` for this job alone, the role `publish` that its
/// sessions may assume and `foreign` that they may not, and a bucket.
fn with_gateway(story: impl FnOnce(&mut Scene, &Path, &str)) {
    with_ceph(|scene, tools, ceph| story(scene, tools, ceph.get("CEPH_ENDPOINT")));
}

fn with_ceph(story: impl FnOnce(&mut Scene, &Path, &Ceph)) {
    let (Some(tools), Some(agent)) = (tools(), Agent::all().pop()) else { return };
    let signer = Signer::new();
    let mut scene = Scene::against(&agent, |runtime| {
        let issuer = Issuer::with_key(ISSUER, &signer.key, Some(signer.certificate.clone())).unwrap();
        runtime.block_on(Sandbox::start_with(issuer, 0, Clock::System, [].into())).unwrap()
    });
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(ceph) = Ceph::start(elsewhere.path().join("ceph"), &scene.sandbox.url()) else { return };
    setup(&tools, &ceph, &signer);
    let network = json!({"proxy": scene.sandbox.url()});
    let aws = json!({"sts-endpoint": ceph.get("CEPH_ENDPOINT")});
    let more = [("aws".to_owned(), aws), ("network".to_owned(), network)];
    scene.config.as_object_mut().unwrap().extend(more);
    story(&mut scene, &tools, &ceph);
}

const EXTRACT: &str = "arn:aws:iam::123456789012:role/extract";

#[test]
fn a_step_lists_its_bucket_on_a_real_gateway_with_the_lent_role() {
    with_gateway(|scene, tools, endpoint| {
        scene.plugins = vec![(scene.our_plugin(), asks_for(EXTRACT))];
        let command = "echo x >raw.csv; aws s3 cp --quiet raw.csv s3://lake/raw.csv; aws s3 ls s3://lake; rm raw.csv; \
                   AWS_SECRET_ACCESS_KEY=forged aws s3 ls s3://lake || echo forged";
        let step = step(scene, tools, endpoint, command);
        for seen in [" raw.csv\r", "\nforged\r"] {
            assert!(step.log.contains(seen), "{seen}: {}", step.log);
        }
        let [(start, _)] = scene.accounts().try_into().unwrap();
        let principal = &start.leases[0].principal;
        assert!(
            principal.starts_with("arn:aws:sts::123456789012:assumed-role/extract/buildkite-job-"),
            "{principal}"
        );
    });
}

#[test]
fn a_real_gateway_keeps_to_a_deadline_a_session_policy_and_a_chain() {
    with_gateway(|scene, tools, endpoint| {
        let read = json!({"Version": "2012-10-17", "Statement":
            [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/*"}]});
        let publish = json!([{"role": "arn:aws:iam::123456789012:role/publish"}]);
        let bounded = json!({"aws": {"role": EXTRACT, "region": "us-east-1", "deadline": "30s"}});
        let reader = json!({"aws": {"role": EXTRACT, "profile": "reader", "session-policy": read, "session-tags": ["pipeline_slug"]}});
        let chained = json!({"aws": {"role": EXTRACT, "profile": "publish", "chain": publish}});
        // Two blocks: the gateway answers 409 to one of two requests that would both make it know this job first.
        let blocks = [json!({ "credentials": [bounded] }), json!({"credentials": [reader, chained]})];
        let plugin = scene.our_plugin();
        scene.plugins = blocks.map(|block| (plugin.clone(), block)).into();
        let step = step(scene, tools, endpoint, BOUNDED);
        for seen in ["before", "x", "narrowed", "chained", "after", "others go on"] {
            assert!(step.log.contains(&format!("\n{seen}\r")), "{seen}: {}", step.log);
        }
        let [(_, first), (start, end)] = scene.accounts().try_into().unwrap();
        let last = &start.leases[1];
        assert!(last.principal.contains(":assumed-role/publish/"), "{last:?}");
        assert!(last.facts["through"].contains(":assumed-role/extract/"), "{last:?}");
        let settled = first.settlements.iter().chain(&end.settlements);
        let words: Vec<_> = settled.map(|one| one.settlement.word()).collect();
        assert_eq!(words, ["bounded", "expires", "expires"]);
    });
}

const BOUNDED: &str = "echo x >raw.csv; aws s3 cp --quiet raw.csv s3://lake/raw.csv && echo before; \
    aws s3 cp --profile reader s3://lake/raw.csv -; \
    aws s3 cp --quiet --profile reader raw.csv s3://lake/b || echo narrowed; rm raw.csv; \
    aws s3 ls s3://lake --profile publish && echo chained; \
    for second in $(seq 90); do aws s3 ls s3://lake >/dev/null 2>&1 || break; sleep 1; done; \
    aws s3 ls s3://lake || echo after; aws s3 ls s3://lake --profile publish && echo others go on";

#[test]
fn a_real_gateway_denies_exactly_the_session_that_an_operator_denies() {
    with_ceph(|scene, tools, ceph| {
        let endpoint = ceph.get("CEPH_ENDPOINT");
        let lent = |profile: &str, duration: &str| {
            let aws =
                json!({"role": EXTRACT, "region": "us-east-1", "profile": profile, "duration": duration});
            json!({"credentials": [{"aws": aws}]})
        };
        let plugin = scene.our_plugin();
        // Two blocks: see above. Both sessions are of one role, and one lives too short to be denied.
        scene.plugins = vec![(plugin.clone(), lent("long", "1h")), (plugin, lent("short", "15m"))];
        let leaked = tempfile::tempdir().unwrap();
        let keys = leaked.path().join("keys");
        scene.env.insert("AWS_ENDPOINT_URL".into(), endpoint.to_owned());
        // The second block's file has the profiles of both.
        let ended = scene.run(&format!("cat $AWS_SHARED_CREDENTIALS_FILE >{}", keys.display()));
        assert_eq!(ended.status, Some(0), "{}", ended.log);
        let lists = |profile: &str| {
            let mut python = Command::new(tools.join("python"));
            python.args(["-c", LISTS, endpoint, profile]).env_clear();
            let output = python.env("AWS_SHARED_CREDENTIALS_FILE", &keys).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!([lists("long"), lists("short")], ["200", "200"], "copies outlive the step");
        let operator = format!("arn:aws:iam::{}:user/operator", ceph.get("CEPH_ACCOUNT"));
        let mut deny = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
        deny.args(["deny", "--job", JOB, "--least", "30m", "--endpoint", endpoint, "--operator", &operator]);
        deny.arg("--records").arg(scene.path("records")).env_clear();
        deny.env("AWS_ACCESS_KEY_ID", ceph.get("CEPH_ACCESS_KEY_ID"));
        let denied = deny.env("AWS_SECRET_ACCESS_KEY", ceph.get("CEPH_SECRET_ACCESS_KEY")).output().unwrap();
        let text = String::from_utf8_lossy(&[denied.stdout, denied.stderr].concat()).into_owned();
        assert!(denied.status.success() && text.contains("is denied, by `"), "{text}");
        assert_eq!(lists("long"), "403", "a denied session goes on: {text}");
        assert_eq!(lists("short"), "200", "another session of the role is denied: {text}");
        let late: Vec<_> = scene.links().into_iter().filter_map(|link| link.late).collect();
        let [late] = late.try_into().unwrap();
        assert_eq!(late.settlements[0].settlement.word(), "denied");
    });
}

/// Prints the status of the answer: the gateway's refusals have no words that the command line can read.
const LISTS: &str = "import boto3, sys\n\
    from botocore.exceptions import ClientError\n\
    s3 = boto3.Session(profile_name=sys.argv[2], region_name='us-east-1').client('s3', endpoint_url=sys.argv[1])\n\
    try: answer = s3.list_objects_v2(Bucket='lake')\n\
    except ClientError as error: answer = error.response\n\
    print(answer['ResponseMetadata']['HTTPStatusCode'])";

#[test]
fn a_real_gateway_refuses_a_chain_to_a_role_that_trusts_another() {
    with_gateway(|scene, _, _| {
        let chain = json!([{"role": "arn:aws:iam::123456789012:role/foreign"}]);
        let asked = json!({"role": EXTRACT, "region": "us-east-1", "chain": chain});
        scene.plugins = vec![(scene.our_plugin(), json!({"credentials": [{"aws": asked}]}))];
        let step = scene.run("echo never");
        assert!(step.status == Some(105) && !step.log.contains("\nnever"), "{}", step.log);
        // It says so in S3's words, which are none of STS's: what became of the request is not believed.
        let said = "answered 403 and nothing that STS would say";
        assert!(
            step.log.contains("`chain[0]` was not assumed by") && step.log.contains(said),
            "{}",
            step.log
        );
        let [(_, end)] = scene.accounts().try_into().unwrap();
        assert_eq!(end.settlements[0].settlement.word(), "unknown");
    });
}

/// The provider, a role for this job's subject alone, two to be assumed by others, and a bucket.
fn setup(tools: &Path, ceph: &Ceph, signer: &Signer) {
    let mut setup = Command::new(tools.join("python"));
    setup.arg(real("rgw_setup.py")).args(["--issuer", ISSUER, "--role", "extract", "--bucket", "lake"]);
    setup.args(["--thumbprint", &signer.thumbprint]).args(["--condition", SUBJECT]);
    setup.args(["--chained", "publish=extract", "--chained", "foreign=publish"]);
    let made = setup.env_clear().envs(ceph.env.iter().cloned()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const SUBJECT: &str = "sub=organization:acme:pipeline:web:ref:refs/heads/main:commit:4f1c:step:deploy";
