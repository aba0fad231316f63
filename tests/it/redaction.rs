//! No form of a secret can be read in a job's log.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use buildkite_dataflow::secret::Fingerprint;
use serde_json::json;

use crate::support::agent::{Agent, Scene};
use crate::support::components;
use crate::support::hooks::ROLE;

/// Prints a variable in a form, between two marks; `{}` stands for the expression of the form.
const PRINT: &str = r#"
import base64, json, os, re, urllib.parse
for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
    secret = os.environ[name]
    print("plain:", secret)
    print("json:", json.dumps(secret))
    # PHP's way, Python's own default, JavaScript's encodeURI, Go's PathEscape, and lower case as curl's.
    print("json:", json.dumps(secret).replace("/", "\\/"))
    for kept in ("", "/", ";,/?:@&=+$#!~*'()", "$&+:=@"):
        encoded = urllib.parse.quote(secret, safe=kept)
        print("percent:", encoded)
        print("percent:", re.sub("%..", lambda found: found.group().lower(), encoded))
    for before in ("", "a", "ab"):
        text = (before + secret).encode()
        print("base64:", base64.b64encode(text).decode())
        print("url-safe:", base64.urlsafe_b64encode(text).decode())
"#;

/// Every way in which [`PRINT`] shows a secret.
fn forms(secret: &str) -> Vec<String> {
    let percent = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut forms = vec![secret.to_owned(), percent];
    for before in ["", "a", "ab"] {
        let text = format!("{before}{secret}");
        forms.extend([STANDARD.encode(&text), URL_SAFE.encode(&text)]);
    }
    forms
}

#[test]
fn no_form_of_a_secret_can_be_read_in_the_log() {
    let Some(python) = components::find("venv/bin/python") else { return };
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        let script = scene.path("print.py");
        std::fs::write(&script, PRINT).unwrap();
        let step = scene.run(&format!("{} {}", python.display(), script.display()));
        assert_eq!(step.status, Some(0), "{}", step.log);
        // Everything was printed, and each time something was hidden.
        for (form, times) in
            [("plain: ", 2), ("json: \"", 4), ("percent: ", 16), ("base64: ", 6), ("url-safe: ", 6)]
        {
            let lines = step.log.lines().filter(|line| line.starts_with(form) && line.contains("[REDACTED]"));
            assert_eq!(lines.count(), times, "{form}{}", step.log);
        }
        let [issued] = scene.sandbox.sts().issued().try_into().unwrap();
        for secret in [issued.secret_access_key, issued.session_token] {
            for form in forms(secret.expose()) {
                // Not even a part of it that is long enough to search a log for.
                for part in form.as_bytes().windows(8) {
                    let part = std::str::from_utf8(part).unwrap();
                    assert!(!step.log.contains(part), "`{part}` of a secret in {}", step.log);
                }
            }
        }
        scene.is_as_before();
    }
}

/// What shells, quoting, JSON and line ends have been known to change.
const ODD: &str = "  first line $HOME ${X:-y} $(id) `id` $$\r\n\tsecond \"line\" 'of' \\n \\ %s !! * ? # ~ = ; & | < >\n\
    third: Gr\u{fc}\u{df}e \u{1f511} {{x}} [y] \u{7f}\u{1}\u{2028}\n\n";

#[test]
fn a_value_with_special_characters_reaches_the_command_byte_for_byte_and_no_line_of_it_the_log() {
    let aws = json!({"name": "reader", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    let secrets = json!({"source": "reader", "store": "aws-secrets-manager", "region": "eu-west-1",
        "values": [{"name": "odd", "env": "ODD"}, {"name": "odd", "file": "odd", "env": "ODD_FILE"}]});
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.plugins[0].1 = json!({"credentials": [aws, {"secrets": secrets}]});
        let to = scene.sandbox.provider_url("secrets");
        scene.config["network"] =
            json!({"routes": [{"from": "https://secretsmanager.eu-west-1.amazonaws.com", "to": to}]});
        let answer = Response::json(200, &json!({"Name": "odd", "SecretString": ODD}));
        scene.sandbox.faults().order(Fault {
            path: "/secrets/".into(),
            times: 9,
            answer,
            after_acting: false,
        });
        // A variable of the job's own that is as odd comes back as odd.
        scene.env.insert("ODD".into(), format!("before {ODD}"));
        let digest = scene.path("digest").display().to_string();
        let step = scene.run(&format!(
            r#"printf %s "$ODD" | sha256sum > {digest}; sha256sum < "$ODD_FILE" >> {digest}; printf %s "$ODD""#
        ));
        assert_eq!(step.status, Some(0), "{}", step.log);
        let expected = Fingerprint::of(ODD.as_bytes()).to_string();
        let expected = expected.trim_start_matches("sha256:");
        let seen = std::fs::read_to_string(&digest).unwrap();
        assert_eq!(seen, format!("{expected}  -\n{expected}  -\n"));
        assert!(step.log.contains("[REDACTED]"), "{}", step.log);
        for line in ODD.lines().filter(|line| !line.is_empty()) {
            assert!(!step.log.contains(line), "`{line}` in {}", step.log);
        }
        scene.is_as_before();
    }
}
