//! No form of a secret can be read in a job's log.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::support::agent::{Agent, Scene};
use crate::support::components;

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
