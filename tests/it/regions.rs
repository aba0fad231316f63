//! Regions, partitions and endpoints of AWS; the way past a proxy; how long what is busy is tried.

use std::time::{Duration, Instant};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use serde_json::{Value, json};

use crate::faults::sts_error;
use crate::support::components::told;
use crate::support::hooks::{ROLE, Stage, aws, trust};

const NEXT: &str = "arn:aws:iam::210987654321:role/next";

/// A step with a chain, whose second request is signed.
fn chained(more: &Value) -> Stage {
    let mut stage = Stage::new();
    stage.block = aws(more);
    stage.block["credentials"][0]["aws"]["chain"] = json!([{"role": NEXT}]);
    let statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ROLE}});
    stage.sandbox.sts().add(NEXT, Role { trust: json!({"Statement": [statement]}), max_duration: 43200 });
    stage
}

#[test]
fn a_chain_is_signed_for_the_region_of_the_sts_that_is_asked() {
    let gateway = "https://vpce-1-2.sts.eu-west-1.vpce.amazonaws.com";
    let route = |stage: &mut Stage, from: &str| {
        stage.config["network"] = json!({"routes": [{"from": from, "to": stage.sandbox.url()}]});
    };
    // By the name of the host's endpoint, by the block's own, and where the host or the block says it.
    let by_name = |stage: &mut Stage| {
        stage.config["aws"] = json!({"sts-endpoint": gateway});
        route(stage, gateway);
    };
    let of_the_block = |stage: &mut Stage| {
        stage.config["aws"] = json!({});
        stage.config["endpoints"] = json!([gateway]);
        stage.block["credentials"][0]["aws"]["endpoint"] = json!(gateway);
        route(stage, gateway);
    };
    let said = |stage: &mut Stage| stage.config["aws"]["sts-region"] = json!("eu-west-1");
    let by_the_step = |stage: &mut Stage| {
        stage.config["aws"] = json!({});
        stage.block["credentials"][0]["aws"]["sts-region"] = json!("eu-west-1");
        route(stage, "https://sts.eu-west-1.amazonaws.com");
    };
    let ways: [&dyn Fn(&mut Stage); 4] = [&by_name, &of_the_block, &said, &by_the_step];
    for (at, way) in ways.into_iter().enumerate() {
        let mut stage = chained(&json!({"region": "us-east-1"}));
        stage.sandbox.sts().place_in("eu-west-1");
        way(&mut stage);
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{at}: {}", ended.text);
        assert_eq!(stage.variable("AWS_REGION").as_deref(), Some("us-east-1"), "{at}");
    }
}

#[test]
fn a_signature_for_another_region_is_refused_as_aws_refuses_it() {
    let mut stage = chained(&json!({"region": "us-east-1"}));
    stage.sandbox.sts().place_in("eu-west-1");
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("Credential should be scoped to a valid region"), "{text}");
}

#[test]
fn a_region_that_no_partition_knows_is_refused_before_anybody_is_asked() {
    let source = json!({"name": "role", "export": false, "aws": {"role": ROLE}});
    let secrets = json!({"secrets": {"source": "role", "store": "aws-ssm", "region": "eu-wets-1",
        "values": [{"name": "/x", "env": "X"}]}});
    let kms = json!({"github": {"app-id": "1", "owner": "acme",
        "private-key": {"source": "role", "kms": {"key": "alias/app", "region": "us-esat-1"}}}});
    for (block, near) in [
        (aws(&json!({"region": "us-east1"})), "us-east-1"),
        (aws(&json!({"sts-region": "eu-west1"})), "eu-west-1"),
        (json!({"credentials": [source.clone(), secrets]}), "eu-west-1"),
        (json!({"credentials": [source, kms]}), "us-east-1"),
    ] {
        let mut stage = Stage::new();
        stage.block = block;
        let text = stage.refuses(102, "bad-configuration");
        assert!(text.contains(&format!("did you mean `{near}`?")), "{text}");
        assert_eq!(stage.sandbox.faults().asked("/oidc/tokens"), 0);
    }
    let mut stage = Stage::new();
    stage.block = aws(&json!({"region": "eusc-de-east-1"}));
    let text = stage.refuses(102, "bad-configuration");
    assert!(text.contains("one of the partition of"), "{text}");
}

#[test]
fn a_role_of_the_european_partition_is_lent_there() {
    let role = "arn:aws-eusc:iam::123456789012:role/deploy";
    let mut stage = Stage::new();
    let known =
        serde_json::from_str(&trust("sts.amazonaws.eu").to_string().replace("arn:aws:", "arn:aws-eusc:"));
    stage.sandbox.sts().add(role, Role { trust: known.unwrap(), max_duration: 43200 });
    let sts = "https://sts.eusc-de-east-1.amazonaws.eu";
    stage.config["aws"] = json!({});
    stage.config["network"] = json!({"routes": [{"from": sts, "to": stage.sandbox.url()}]});
    stage.block = aws(&json!({"role": role, "region": "eusc-de-east-1"}));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
}

/// An address of this machine that is no loopback.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

#[test]
fn who_is_named_in_no_proxy_is_asked_past_the_proxy() {
    let Some(ip) = own_address() else { return told("this machine has no address but loopback") };
    for (rules, direct) in [
        (json!([format!("{ip}/8")]), true),
        (json!(format!("internal.test, {ip}")), true),
        (json!(["*"]), true),
        (json!([format!("{ip}:1")]), false),
        (json!(["203.0.113.0/24"]), false),
    ] {
        let mut stage = Stage::new();
        let back = stage.behind();
        let port =
            stage.listen(&ip.to_string(), |front| crate::support::network::pass_on(front, back)).unwrap();
        stage.set("BUILDKITE_AGENT_ENDPOINT", &format!("http://{ip}:{port}/v3"));
        stage.config["network"] = json!({"proxy": "http://127.0.0.1:1", "no-proxy": rules});
        stage.config["deadlines"] = json!({"grant": "5s", "retry": "1ms"});
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status == 0, direct, "{rules}: {}", ended.text);
    }
    for bad in ["10.0.0.0/33", "https://internal.test"] {
        let mut stage = Stage::new();
        stage.config["network"] = json!({"proxy": "http://127.0.0.1:1", "no-proxy": [bad]});
        let text = stage.refuses(102, "bad-configuration");
        assert!(text.contains("no-proxy") && text.contains(bad), "{text}");
    }
}

#[test]
fn what_is_busy_is_tried_until_the_deadline() {
    let answers: [fn() -> Response; 2] =
        [|| Response::new(503, "text/plain", "later"), || sts_error(400, "Throttling", "Rate exceeded")];
    for answer in answers {
        let mut stage = Stage::new();
        stage.fault("/", 8, answer());
        let ended = stage.hook("pre-command");
        assert_eq!((ended.status, stage.sandbox.faults().asked("/")), (0, 9), "{}", ended.text);
    }
}

#[test]
fn a_server_that_says_when_to_come_again_is_left_alone_until_then() {
    let mut stage = Stage::new();
    let mut answer = sts_error(429, "Throttling", "Rate exceeded");
    answer.headers.push(("retry-after", "1".into()));
    stage.fault("/", 1, answer);
    let began = Instant::now();
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Longer than the step has: it is told at once.
    let mut stage = Stage::new();
    let mut answer = sts_error(429, "Throttling", "Rate exceeded");
    answer.headers.push(("retry-after", "3600".into()));
    stage.fault("/", 1, answer);
    stage.refuses(106, "provider-busy");
    assert_eq!(stage.sandbox.faults().asked("/"), 1);
}

#[test]
fn a_role_that_was_made_a_moment_ago_is_waited_for_where_the_step_asks_for_it() {
    let denied = || sts_error(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let mut stage = Stage::new();
    stage.block = aws(&json!({"retry-access-denied": "5s"}));
    stage.fault("/", 8, denied());
    let ended = stage.hook("pre-command");
    assert_eq!((ended.status, stage.sandbox.faults().asked("/")), (0, 9), "{}", ended.text);
    let mut stage = Stage::new();
    stage.block = aws(&json!({"retry-access-denied": "1s"}));
    stage.fault("/", 999, denied());
    stage.refuses(105, "token-rejected");
    assert!(stage.sandbox.faults().asked("/") > 5);
    let mut stage = Stage::new();
    stage.fault("/", 999, denied());
    stage.refuses(105, "token-rejected");
    assert_eq!(stage.sandbox.faults().asked("/"), 1);
    // A further role is as new as the first one.
    let mut stage = chained(&json!({"retry-access-denied": "2s"}));
    stage.sandbox.sts().add(NEXT, Role { trust: json!({"Statement": []}), max_duration: 43200 });
    stage.refuses(105, "provider-refused");
    assert!(stage.sandbox.faults().asked("/") > 5);
}
