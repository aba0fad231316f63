//! Whatever a provider may answer, tried at each of them: what can be understood is lent, what cannot be used is refused
//! and given back, and no secret is told.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buildkite_dataflow::host::serve::{Request, Response};
use buildkite_dataflow::secret::Secret;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::every_provider::{ALL, plainly, reached, works};
use crate::support::hooks::{Stage, files, is_shown_nowhere};
use crate::support::network::pass_on;
use crate::support::provider::html;

/// Where each provider gives its credential, in which fields, and what says how long it lives.
pub(crate) struct Gives {
    pub(crate) provider: &'static str,
    pub(crate) path: &'static str,
    fields: &'static [&'static str],
    life: Option<&'static str>,
}

pub(crate) const GIVES: [Gives; 9] = {
    const fn gives(
        provider: &'static str,
        path: &'static str,
        fields: &'static [&'static str],
        life: Option<&'static str>,
    ) -> Gives {
        Gives { provider, path, fields, life }
    }
    let token = &["/access_token"];
    let life = Some("/expires_in");
    [
        gives("aws", "/", &["AccessKeyId", "SecretAccessKey", "SessionToken", "Arn"], None),
        gives("gcp", "/v1/token", token, life),
        gives("azure", "/oauth2/v2.0/token", token, life),
        gives("vault", "auth/jwt/login", &["/auth/client_token"], Some("/auth/lease_duration")),
        // A stored value may be any text, and lives on.
        gives("secrets", "/secrets/", &[], None),
        gives("oauth", "/token", token, life),
        gives("github", "/access_tokens", &["/token"], Some("/expires_at")),
        gives("bitbucket", "/site/oauth2/access_token", token, life),
        gives("buildkite", "/buildkite/oauth/token", token, life),
    ]
};

/// Who takes back what it gave.
const TAKES_BACK: [&str; 4] = ["vault", "oauth", "github", "buildkite"];

/// Runs these cells at every provider, each provider by itself.
fn at_each(run: impl Fn(&Gives) + Sync) {
    assert_eq!(GIVES.each_ref().map(|gives| gives.provider), ALL);
    std::thread::scope(|scope| {
        for gives in &GIVES {
            scope.spawn(|| run(gives));
        }
    });
}

/// A job whose provider's answers are changed before they are sent.
fn changed(gives: &Gives, make: impl Fn(&Request, Response) -> Response + Send + Sync + 'static) -> Stage {
    let stage = plainly(gives.provider);
    stage.sandbox.faults().change(gives.path, make);
    stage
}

/// The same where the answer is good JSON.
fn edited(gives: &Gives, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Stage {
    changed(gives, move |_, mut answer| {
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
        edit(&mut body);
        answer.body = body.to_string().into_bytes();
        answer
    })
}

fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
}

/// Says why not, and tells and leaves nothing.
#[track_caller]
fn refuses(gives: &Gives, cell: &str, mut stage: Stage, status: i32, told: &str) -> String {
    let ended = stage.hook("pre-command");
    let text = format!("{} {cell}: {}", gives.provider, ended.text);
    assert_eq!(ended.status, status, "{text}");
    assert!(text.contains(told), "`{told}` is not told: {text}");
    stage.nothing_left();
    text
}

/// The answer in the content encoding `gzip` or `deflate`.
fn encoded(mut answer: Response, encoding: &'static str) -> Response {
    let plain = std::mem::take(&mut answer.body);
    answer.body = if encoding == "gzip" {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    answer.headers.push(("content-encoding", encoding.to_owned()));
    answer
}

#[test]
fn an_answer_that_is_encoded_unasked_or_begins_with_a_byte_order_mark_is_understood_at_every_provider() {
    at_each(|gives| {
        works(
            gives.provider,
            changed(gives, |request, answer| {
                assert_eq!(request.headers["accept-encoding"], "identity");
                encoded(answer, "gzip")
            }),
        );
        works(
            gives.provider,
            changed(gives, |_, mut answer| {
                answer.body.splice(..0, *b"\xef\xbb\xbf");
                encoded(answer, "deflate")
            }),
        );
    });
}

#[test]
fn what_grows_past_all_bounds_is_refused_at_every_provider() {
    at_each(|gives| {
        let long = |answer: &mut Response| answer.body = vec![b' '; (1 << 20) + 1];
        let bomb = changed(gives, move |_, mut answer| {
            long(&mut answer);
            encoded(answer, "gzip")
        });
        refuses(gives, "bomb", bomb, 105, "answered more than 1048576 bytes");
        let huge = changed(gives, move |_, mut answer| {
            long(&mut answer);
            answer
        });
        refuses(gives, "huge body", huge, 105, "answered more than 1048576 bytes");
        let foreign = changed(gives, |_, mut answer| {
            answer.headers.push(("content-encoding", "br".to_owned()));
            answer
        });
        refuses(gives, "br", foreign, 105, "the content encoding `br`");
    });
}

#[test]
fn what_is_no_answer_is_believed_at_no_provider() {
    let fault = |gives: &Gives, answer: Response| {
        let stage = plainly(gives.provider);
        stage.fault(gives.path, 999, answer);
        stage
    };
    at_each(|gives| {
        refuses(gives, "page", fault(gives, html(200)), 105, "provider-malformed");
        refuses(gives, "empty", fault(gives, Response::json(200, &json!({}))), 105, "provider-malformed");
        refuses(gives, "cut", fault(gives, Response { cut: true, ..html(200) }), 106, "provider-unreachable");
        for (status, to) in
            [(302, "https://evil.test/"), (307, "https://evil.test/"), (307, "http://evil.test/x")]
        {
            let redirect = Response { headers: vec![("location", to.into())], ..html(status) };
            let told = "a redirect to `evil.test`, which is not followed";
            refuses(gives, "redirect", fault(gives, redirect), 105, told);
        }
    });
}

#[test]
fn a_request_is_sent_on_to_where_the_host_config_allows_it_by_every_provider() {
    at_each(|gives| {
        let mut to = String::new();
        let mut stage = reached(gives.provider, |stage| {
            let back = stage.behind();
            let port = stage.listen("127.0.0.1", |front| pass_on(front, back)).unwrap();
            to = format!("http://127.0.0.1:{port}");
            stage.sandbox.url()
        });
        stage.config["endpoints"].as_array_mut().unwrap().push(json!(to));
        stage.fault(gives.path, 1, Response::new(307, "text/plain", ""));
        stage.sandbox.faults().change(gives.path, move |request, mut answer| {
            if answer.status == 307 {
                answer.headers.push(("location", format!("{to}{}", request.path)));
            }
            answer
        });
        works(gives.provider, stage);
    });
}

#[test]
fn what_a_provider_adds_repeats_or_leaves_empty_loses_nothing() {
    at_each(|gives| {
        if gives.provider == "aws" {
            return;
        }
        let more = r#""scope":null,"scopes":["x"],"scope":7,"refresh_token":null,"token_type":null,"error":null,"expires_on":{},"warnings":null,"wrap_info":null,"accessor":null,"permissions":"all","#;
        works(
            gives.provider,
            changed(gives, move |_, mut answer| {
                let text = String::from_utf8(answer.body).unwrap();
                answer.body = text.replacen('{', &format!("{{{more}"), 1).into_bytes();
                answer.body.extend(b"\r\n\0");
                answer
            }),
        );
    });
}

#[test]
fn a_lifetime_is_understood_however_it_is_written() {
    at_each(|gives| {
        let Some(life) = gives.life else { return };
        let time = gives.provider == "github";
        let next_year = "2099-01-01T00:00:00.123+02:00";
        let written = if time {
            vec![
                json!(next_year),
                json!(4_070_908_800_i64),
                json!("4070908800"),
                json!(1e300),
                Value::Null,
                json!({}),
            ]
        } else {
            vec![json!(3600.0), json!("3599"), json!("3600s"), json!(1e300), Value::Null, json!([])]
        };
        for value in written {
            works(gives.provider, unlimited(edited(gives, move |body| set(body, life, value.clone()))));
        }
    });
}

/// On a host that names no limit.
fn unlimited(mut stage: Stage) -> Stage {
    stage.config.as_object_mut().unwrap().remove("limits");
    stage
}

/// A job whose provider answers with a credential that lives ten days.
fn living_on(gives: &Gives) -> Stage {
    const DAYS: i64 = 10;
    let later = (chrono::Utc::now() + chrono::TimeDelta::days(DAYS)).to_rfc3339();
    match gives.life {
        Some(life) => edited(gives, move |body| {
            let value = if life == "/expires_at" { json!(later) } else { json!(DAYS * 86_400) };
            set(body, life, value);
        }),
        None => changed(gives, move |_, mut answer| {
            let text = String::from_utf8(answer.body).unwrap();
            let (before, rest) = text.split_once("<Expiration>").unwrap();
            let after = rest.split_once('<').unwrap().1;
            answer.body = format!("{before}<Expiration>{later}<{after}").into_bytes();
            answer
        }),
    }
}

#[test]
fn what_lives_beyond_the_hosts_limit_is_lent_by_no_provider_and_given_back() {
    at_each(|gives| {
        if gives.provider == "secrets" {
            return;
        }
        works(gives.provider, unlimited(living_on(gives)));
        let mut limited = living_on(gives);
        limited.config["limits"] = json!({"duration": "25h"});
        let text = refuses(gives, "life", limited, 103, "error[lifetime-over-limit]");
        assert!(text.contains("lends nothing for longer than 25h"), "{text}");
        if TAKES_BACK.contains(&gives.provider) {
            assert!(text.contains("given back"), "{text}");
        }
        let mut observed = living_on(gives);
        observed.config["limits"] = json!({"duration": "25h"});
        observed.config["mode"] = json!("observe");
        let ended = observed.hook("pre-command");
        assert!(ended.status == 0 && ended.text.contains("of this host is 25h"), "{}", ended.text);
    });
}

#[test]
fn what_has_ended_or_ends_at_no_time_is_refused_and_given_back() {
    at_each(|gives| {
        let Some(life) = gives.life else { return };
        let written = if gives.provider == "github" {
            [(json!("2001-01-01T00:00:00Z"), "ended"), (json!(0), "ended"), (json!("soon"), "no time")]
        } else {
            [(json!(0), "ended"), (json!("-1"), "ended"), (json!("soon"), "no time")]
        };
        for (value, told) in written {
            let cell = value.to_string();
            let mut stage = edited(gives, move |body| set(body, life, value.clone()));
            let ended = stage.hook("pre-command");
            let text = format!("{} {cell}: {}", gives.provider, ended.text);
            assert_eq!(ended.status, 105, "{text}");
            assert!(text.contains("error[provider-malformed]") && text.contains(told), "{text}");
            stage.nothing_left();
            if TAKES_BACK.contains(&gives.provider) {
                let given = stage.issued(gives.provider).pop().unwrap();
                assert!(given.revoked, "{text}");
            }
        }
    });
}

#[test]
fn a_control_character_in_a_credential_is_refused_by_its_fields_name_at_every_provider() {
    let evil =
        ["\ncredential_process = touch /tmp/owned", "\r\nhost=evil.test", "\u{1b}[2J", "\u{7f}", " x", "é"];
    at_each(|gives| {
        for field in gives.fields {
            for (number, evil) in evil.into_iter().enumerate() {
                // A name may have a blank, and any letter.
                if *field == "Arn" && number > 3 {
                    continue;
                }
                let stage = if gives.provider == "aws" {
                    let end = format!("</{field}>");
                    changed(gives, move |_, mut answer| {
                        let text = String::from_utf8(answer.body).unwrap();
                        let evil = evil.replace('\r', "&#13;").replace('\u{1b}', "&#x85;");
                        answer.body = text.replace(&end, &format!("{evil}{end}")).into_bytes();
                        answer
                    })
                } else {
                    edited(gives, move |body| {
                        let token = body.pointer(field).unwrap().as_str().unwrap().to_owned() + evil;
                        set(body, field, json!(token));
                    })
                };
                let name = field.trim_start_matches('/').replace('/', ".");
                let text = refuses(gives, &format!("number {number}"), stage, 105, &format!("`{name}`"));
                assert!(text.contains("error[provider-malformed]"), "{text}");
                assert!(!text.contains("owned") && !text.contains("evil.test"), "{text}");
            }
        }
    });
}

#[test]
fn a_refusal_that_says_null_is_known_by_its_status_at_every_provider() {
    at_each(|gives| {
        let null = json!({"error": null, "error_description": null, "message": null, "Message": null,
            "errors": null, "warnings": null, "__type": null, "error_uri": 7});
        let stage = changed(gives, move |_, _| Response::json(400, &null));
        refuses(gives, "null", stage, 105, "400");
        let odd = json!({"error": {"code": null, "status": null, "message": null, "details": null}, "errors": [null, 7]});
        let stage = changed(gives, move |_, _| Response::json(503, &odd));
        refuses(gives, "null", stage, 106, "503");
    });
}

#[test]
fn the_words_of_a_refusal_are_told_wherever_a_server_writes_them() {
    at_each(|gives| {
        // STS speaks XML, and has one place for them.
        if gives.provider == "aws" {
            return;
        }
        let problem = json!({"type": "about:blank", "title": "Forbidden", "detail": "closed on sundays"});
        let stage = changed(gives, move |_, _| Response::json(403, &problem));
        refuses(gives, "words", stage, 105, "closed on sundays");
    });
}

#[test]
fn a_secret_that_a_refusal_repeats_is_told_by_no_provider() {
    at_each(|gives| {
        let stage = changed(gives, |request, _| {
            let sent = request.headers.values().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
            let said = format!("{} {}", sent.join(" "), String::from_utf8_lossy(&request.body));
            let body = json!({"error": "invalid_client", "error_description": said, "message": said,
                "Message": said, "errors": [said.clone(), {"message": said}], "__type": "AccessDeniedException"});
            Response::json(403, &body)
        });
        refuses(gives, "echo", stage, 105, "403");
    });
}

/// What a request shows of secrets: the header that says who asks, and the long texts of its body.
fn shown(request: &Request) -> Vec<Secret> {
    let mut shown = Vec::new();
    for name in ["authorization", "x-vault-token"] {
        let value = request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A signature of AWS is no secret.
        if !value.starts_with("AWS4-") {
            shown.push(value.rsplit(' ').next().unwrap_or_default().to_owned());
        }
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(members)) => {
            shown.extend(members.values().filter_map(Value::as_str).map(str::to_owned));
        }
        _ => shown.extend(
            url::form_urlencoded::parse(&request.body)
                .map(|(_, value)| value.into_owned())
                .collect::<Vec<_>>(),
        ),
    }
    // Google's `audience` is long, and no secret.
    let secret =
        |text: &String| text.len() > 60 && !["urn:", "http", "//"].iter().any(|of| text.starts_with(of));
    shown.into_iter().filter(secret).map(Secret::new).collect()
}

/// Where texts stand in an answer, but for what it gives, how long that lives, and of which type it is.
fn places(gives: &Gives, value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, inner)| places(gives, inner, &format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(key, inner)| places(gives, inner, &format!("{at}/{key}"), found));
        }
        Value::String(_) if !gives.fields.contains(&at) && gives.life != Some(at) => {
            found.push(at.to_owned());
        }
        _ => {}
    }
}

/// In which forms an answer repeats what it was shown: each test says all of them, the fuzz target `answers` any mixture.
fn echo(secret: &str, form: usize) -> String {
    match form {
        0 => secret.to_owned(),
        1 => STANDARD.encode(format!("x:{secret}")),
        _ => secret.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}")),
    }
}

/// Every place of a provider's good answer at which it could repeat something.
fn all_places(gives: &Gives) -> BTreeSet<String> {
    if gives.provider == "aws" {
        return ["Arn", "AssumedRoleId", "SubjectFromWebIdentityToken"].map(str::to_owned).into();
    }
    let all = Arc::new(Mutex::new(Vec::new()));
    let (found, at) =
        (Arc::clone(&all), GIVES.iter().position(|one| one.provider == gives.provider).unwrap());
    let stage = changed(gives, move |_, answer| {
        let body = serde_json::from_slice(&answer.body).unwrap();
        places(&GIVES[at], &body, "", &mut found.lock().unwrap());
        answer
    });
    works(gives.provider, stage);
    all.lock().unwrap().drain(..).collect()
}

/// The answer, with this text behind what stands at a place of it.
fn and_says(mut answer: Response, place: &str, said: &str) -> Response {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) {
        if let Some(Value::String(text)) = body.pointer_mut(place) {
            text.push_str(said);
        }
        answer.body = body.to_string().into_bytes();
    } else {
        let text = String::from_utf8(answer.body).unwrap();
        answer.body = text.replace(&format!("</{place}>"), &format!("{said}</{place}>")).into_bytes();
    }
    answer
}

fn repeats_at(gives: &Gives, place: &str, form: usize) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (known, field) = (Arc::clone(&sent), place.to_owned());
    let mut stage = changed(gives, move |request, answer| {
        let shown = shown(request);
        let said = shown.iter().map(|one| echo(one.expose(), form)).collect::<Vec<_>>().join(" ");
        known.lock().unwrap().extend(shown);
        and_says(answer, &field, &said)
    });
    let lent = stage.hook("pre-command");
    assert!([0, 105].contains(&lent.status), "{} {place}: {}", gives.provider, lent.text);
    let read = |path: PathBuf| (format!("is in {} ({place})", path.display()), std::fs::read(path).unwrap());
    let mut kept: Vec<_> = files(&stage.folder.path().join("records")).into_iter().map(read).collect();
    kept.push((format!("was printed ({place})"), lent.text.into_bytes()));
    is_shown_nowhere(&sent.lock().unwrap(), &kept);
    stage.command_ended(0);
    stage.hook("post-command");
    stage.no_secret_anywhere();
}

#[test]
fn a_secret_that_a_good_answer_repeats_in_any_of_its_fields_is_shown_and_recorded_nowhere() {
    at_each(|gives| {
        for (number, place) in all_places(gives).into_iter().enumerate() {
            repeats_at(gives, &place, number % 3);
        }
    });
}

#[test]
fn an_answer_of_a_provider_is_read_in_one_place() {
    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/providers/src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    // A policy of the host's own, and what a journal kept.
    let others = ["json.rs", "aws/narrowed.rs", "oauth/settle.rs"];
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        // What tests read is no answer.
        let code = text.split("#[cfg(test)]").next().unwrap();
        let reads = code.matches("serde_json::from_").count();
        assert!(
            reads == 0 || others.contains(&name.as_str()),
            "{name} reads JSON around `Answer::fields` and `Tree`"
        );
    }
}
