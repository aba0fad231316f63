//! The forms that the log hides, held against what shells, encoders and languages really print.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use buildkite_dataflow::lease::forms::forms;
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::secret::Secret;

use crate::support::components;

/// What stands between two prints.
const MARK: &str = "=====";

/// Prints `S`, and a longer text with it, in every way that bash has. Where a program is missing nothing is printed.
const BASH: &str = r#"
mark() { printf '\n=====%s\n' "$1"; }
mark declare; declare -p S
mark export; export -p | sed -n '/declare -x S=/,/^declare -x [^S]/p' | sed '/^declare -x [^S]/d'
mark quoted; printf '%q\n' "$S"
mark at-q; printf '%s\n' "${S@Q}"
mark plain; printf '%s' "$S"
mark unquoted; set -f; echo $S
mark trace; (set -x; : "$S") 2>&1
mark trace-word; (set -x; : --token="$S") 2>&1
mark base64; base64 <<< "$S"
mark base64-one-line; printf %s "$S" | base64 -w0
mark base64-after-one; printf 'x%s' "$S" | base64
mark base64-after-two; printf 'xy%s\n' "$S" | base64 -w64
mark openssl; printf %s "$S" | openssl base64 2>/dev/null
mark openssl-one-line; printf 'x%s' "$S" | openssl base64 -A 2>/dev/null
mark xxd; printf %s "$S" | xxd -p 2>/dev/null
mark xxd-upper; printf %s "$S" | xxd -p -u -c 100000 2>/dev/null
mark dash; dash -c 'export -p' 2>/dev/null | sed -n "/^export S=/,/^export [^S]/p" | sed '/^export [^S]/d'
mark env; env -0 | tr '\0' '\n' | sed -n '/^S=/,/^[A-RT-Z_]*=/p' | sed '/^[A-RT-Z_]*=/d'
for how in '.' '@json' '@sh' '@uri' '@html' '@base64'; do
    mark "jq-$how"; jq -nr "env.S | $how" 2>/dev/null
done
mark jq-ascii; jq -na 'env.S' 2>/dev/null
mark jq-object; jq -nc '{s: env.S}' 2>/dev/null
"#;

const PYTHON: &str = r#"
import base64, html, json, os, shlex, urllib.parse
s = os.environ["S"]
def mark(name, text): print("\n=====" + name); print(text)
mark("repr", repr(s)); mark("ascii", ascii(s)); mark("bytes", os.environb[b"S"]); mark("list", [s])
mark("json", json.dumps(s)); mark("json-unicode", json.dumps(s, ensure_ascii=False)); mark("json-in-json", json.dumps({"a": s}))
mark("quote", urllib.parse.quote(s)); mark("quote-all", urllib.parse.quote(s, safe="")); mark("form", urllib.parse.urlencode({"s": s}))
mark("html", html.escape(s)); mark("shlex", shlex.quote(s)); mark("hex", s.encode().hex())
mark("mime", base64.encodebytes(s.encode()).decode()); mark("url-safe", base64.urlsafe_b64encode(b"ab" + s.encode()).decode())
"#;

const NODE: &str = r#"
const s = process.env.S, mark = (name, text) => console.log("\n=====" + name + "\n" + text);
mark("json", JSON.stringify(s)); mark("component", encodeURIComponent(s)); mark("uri", encodeURI(s));
mark("params", new URLSearchParams({s}).toString()); mark("base64", Buffer.from("x" + s).toString("base64"));
mark("base64url", Buffer.from(s).toString("base64url"));
"#;

/// A number after the other, always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn secret(&mut self) -> String {
        const ODD: &[char] = &[
            '"', '\'', '\\', '$', '`', '!', ' ', '*', '?', '[', ']', '{', '}', '(', ')', '<', '>', '&', ';',
            '|', '#', '~', '%', '+', '/', '=', ',', ':', '@', '^', 'ü', 'é', '🔑', '日', '\n', '\t', '\u{1}',
            '\u{1b}', '\u{7f}', '\u{2028}', '\u{ad}',
        ];
        let (length, odd) = (12 + self.below(400), self.below(4));
        let mut secret = String::new();
        for _ in 0..length {
            if self.below(8) < odd {
                secret.push(ODD[self.below(ODD.len())]);
            } else {
                secret.push(char::from(
                    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[self.below(62)],
                ));
            }
        }
        // A shell takes line ends off, and the agent white space around a line.
        format!("a{secret}z")
    }
}

fn log_that_hides(secret: &str) -> JobApi {
    let api = JobApi::new(Secret::new("token"), [].into());
    for form in forms(&Secret::new(secret)).texts {
        api.hide(&form);
    }
    api
}

/// Runs a program with the secret as `S`; what it printed in each way.
fn prints(
    program: &str,
    argument: &str,
    script: &str,
    secret: &str,
    locale: &str,
) -> Option<Vec<(String, String)>> {
    let mut command = Command::new(program);
    command
        .args([argument, script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", locale)
        .env("S", secret);
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mark = format!("\n{MARK}");
    let parts = text.split(&mark).skip(1).filter_map(|part| part.split_once('\n'));
    Some(parts.map(|(name, printed)| (name.to_owned(), printed.to_owned())).collect())
}

#[test]
fn whatever_bash_base64_jq_python_and_node_print_of_a_secret_is_hidden() {
    let python = components::find("venv/bin/python");
    let python = python.as_deref().unwrap_or(Path::new("/usr/bin/python3")).display().to_string();
    let mut numbers = Numbers(7);
    let mut printed = 0;
    for _ in 0..25 {
        let secret = numbers.secret();
        let log = Arc::new(log_that_hides(&secret));
        let programs = [
            ("/bin/bash", "-c", BASH, "C.UTF-8"),
            ("/bin/bash", "-c", BASH, "C"),
            (&python, "-c", PYTHON, "C.UTF-8"),
            ("/usr/bin/node", "-e", NODE, "C.UTF-8"),
        ];
        for (program, argument, script, locale) in programs {
            for (name, text) in prints(program, argument, script, &secret, locale).unwrap_or_default() {
                if text.trim().is_empty() {
                    continue;
                }
                printed += 1;
                let shown = log.redacted(&text);
                let rest = shown.replace("[REDACTED]", "");
                assert!(
                    shown.contains("[REDACTED]") && rest.trim().len() <= 40,
                    "{program} {locale} {name}: {rest:?} is left of {text:?} for {secret:?}"
                );
            }
        }
    }
    assert!(printed > 1000, "{printed}");
}

#[test]
fn a_text_inside_of_a_structured_secret_is_hidden_wherever_jq_finds_it() {
    let secret = r#"{"user":"loader","password":"p\"w'$x/+ ü","key":"-----BEGIN K-----\nMIIEfirstline\nMIIEsecond\n-----END K-----\n",
        "deep":[{"token":"hunter2hunter2"}],"json":"{\"inner\":\"within-within\"}"}"#;
    let log = log_that_hides(secret);
    let script = r#"
mark() { printf '\n=====%s\n' "$1"; }
for path in .user .password .key '.deep[0].token' '.json|fromjson.inner' .deep .; do
    for as in '' '|@json' '|@sh' '|@uri' '|@base64'; do
        mark "$path$as"; printf %s "$S" | jq -r "$path$as" 2>/dev/null
    done
done
mark line; printf %s "$S" | jq -r .key | sed -n 2p
mark pretty; printf %s "$S" | jq .
"#;
    let mut seen = 0;
    for (name, text) in prints("/bin/bash", "-c", script, secret, "C.UTF-8").unwrap() {
        seen += usize::from(!text.trim().is_empty());
        let shown = log.redacted(&text);
        for part in ["loader", "ü", "MIIE", "TUlJR", "1JSUV", "NSUlF", "hunter", "within-", "p\\\"w", "p\"w"]
        {
            assert!(!shown.contains(part), "{name}: {shown}");
        }
        // What base64 shows of it is not readable either.
        let rest = shown.replace("[REDACTED]", "");
        let whole = name.starts_with(".|") || name.starts_with(".deep|");
        assert!(whole || !name.ends_with("@base64") || rest.trim().len() <= 64, "{name}: {shown}");
    }
    assert!(seen == 0 || seen > 25, "{seen}");
}

/// What a step reads out of a secret of this grammar, with what it reads it; the second is what it finds.
const READ: &[(&str, &str, &str)] = &[
    (r#"{"password":"hunter2222xyz","x":1e999}"#, "jq -r .password", "hunter2222xyz"),
    (r#"{"password":"hunter2222xyz","x":NaN}"#, "jq -r .password", "hunter2222xyz"),
    (r#"{"password":"hunter2222xyz","x":"\ud83d"}"#, "jq -r .password", "hunter2222xyz"),
    ("\u{feff}{\"password\":\"hunter2222xyz\"}", "jq -r .password", "hunter2222xyz"),
    ("{\"password\":\"hu\\u006eter\\n22\\\"22\",\"x\":1e999}", "jq -r .password", "hunter\n22\"22"),
    ("{\"password\":\"first22pw\"}\n{\"password\":\"other22pw\"}", "jq -r .password", "first22pw\nother22pw"),
    ("{\"auth\":\"bWU6aHVudGVyMjIyMnh5eg==\"}", "jq -r .auth | base64 -d", "me:hunter2222xyz"),
    ("{\"auth\":\"bWU6aHVudGVyMjIyMnh5eg==\"}", "jq -r .auth | base64 -d | cut -d: -f2", "hunter2222xyz"),
    ("eyJwYXNzd29yZCI6ICJodW50ZXIyMjIyeHl6In0=", "base64 -d | jq -r .password", "hunter2222xyz"),
    (r#""{\"password\":\"hunter2222xyz\"}""#, "jq -r 'fromjson.password'", "hunter2222xyz"),
    ("users:\n- token: hunter2222xyz\n", "sed -n 's/.*token: //p'", "hunter2222xyz"),
    ("- hunterpw\n- other22pw\n", "sed -n 's/^- //p'", "hunterpw\nother22pw"),
    ("password:\thunter2222xyz\n", "awk '{print $2}'", "hunter2222xyz"),
    ("{user: me, password: correct horse}", "sed 's/.*password: //;s/}//'", "correct horse"),
    ("[db]\npassword = \"hunterpw\" # note\n", r#"sed -n 's/.*"\(.*\)".*/\1/p'"#, "hunterpw"),
    ("machine h login me password hunterpw", "awk '{print $6}'", "hunterpw"),
    ("h:5432:db:me:hunterpw", "cut -d: -f5", "hunterpw"),
    ("host=localhost user=me password=hunterpw dbname=x", "sed 's/.*word=//;s/ .*//'", "hunterpw"),
    ("h.test:6380,password=hunt=er:22,ssl=True", "sed 's/.*word=//;s/,.*//'", "hunt=er:22"),
    ("<s><password>hunterpw</password></s>", "sed 's/<[^>]*>//g'", "hunterpw"),
    ("<s password=\"hunt&amp;er22\"/>", "sed 's/.*=.//;s/.\\/>//;s/&amp;/\\&/'", "hunt&er22"),
    ("redis://:first22pw@h\nredis://:other22pw@h", r"sed 's/.*:\(.*\)@.*/\1/'", "first22pw\nother22pw"),
    ("PASSWORD=hunterpw # the password", "eval \"$S\"; echo \"$PASSWORD\"", "hunterpw"),
    ("export A=first22pw PASSWORD=other22pw", "eval \"$S\"; echo \"$PASSWORD$A\"", "other22pwfirst22pw"),
    ("PASSWORD=\"hunt\\\"er\\$22\"", "eval \"$S\"; echo \"$PASSWORD\"", "hunt\"er$22"),
    ("PASSWORD='hunt'\"'\"'er22'", "eval \"$S\"; echo \"$PASSWORD\"", "hunt'er22"),
    ("declare -x PASSWORD=$'hunt\\ner\\x4122'", "eval \"$S\"; echo \"$PASSWORD\"", "hunt\nerA22"),
    ("PASSWORD=hunt\\ er\\$22", "eval \"$S\"; echo \"$PASSWORD\"", "hunt er$22"),
    ("pa\"ss/hunter22", "jq -Rr '[.]|@csv'", "\"pa\"\"ss/hunter22\""),
    ("pa\\ss\thunter22", "jq -Rr '[.]|@tsv'", "pa\\\\ss\\thunter22"),
    ("pa\"ss\\hunter22", "jq -Rr '.|@json|@json'", "\"\\\"\\\"pa"),
];

#[test]
fn what_a_step_reads_out_of_a_secret_of_any_grammar_is_hidden() {
    let mut seen = 0;
    for (secret, read, expected) in READ {
        let script = format!("printf '\n{MARK}read\n'; (printf '%s\n' \"$S\") | ({read}) 2>/dev/null");
        let (_, text) = prints("/bin/bash", "-c", &script, secret, "C.UTF-8").unwrap().remove(0);
        if text.trim().is_empty() && read.contains("jq") {
            continue;
        }
        seen += 1;
        let shown = log_that_hides(secret).redacted(&text).replace("[REDACTED]", "");
        let part = if expected.contains("\"\"") { "ss" } else { expected };
        assert!(text.contains(expected) || read.contains("@json"), "{secret}: {text:?}");
        assert!(
            !["hunt", "22pw", part].iter().any(|part| shown.contains(part)),
            "{secret} {read}: {shown:?}"
        );
    }
    assert!(seen > 15, "{seen}");
}

/// So deep that a strict reader gives up, and jq does not.
#[test]
fn a_text_is_hidden_however_deep_it_lies() {
    let deep = |depth: usize| format!("{}\"hunter2222xyz\"{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [100, 127, 128, 140, 5000] {
        let shown = log_that_hides(&format!("{{\"d\":{}}}", deep(depth))).redacted("is hunter2222xyz");
        assert_eq!(shown, "is [REDACTED]", "{depth}");
    }
}

#[test]
fn ordinary_words_and_keys_beside_a_secret_stay_readable() {
    let secrets = [
        "# please rotate this password weekly, ask ops@example.com or https://api.example.com/x since 2024-01-01\nPASSWORD=hunter22\n",
        "host=localhost user=me password=hunter22 dbname=production sslmode=prefer",
        "machine api.example.com login me password hunter22",
        "{\"password\":\"hunter22\",\"enabled\":true,\"port\":543210,\"x\":1e999}",
        "<plist><key>password</key><string>hunter22</string></plist>",
        "Authorization: Bearer hunter22",
    ];
    let log = "please rotate password weekly example https 2024-01-01 localhost production prefer machine login api.example.com \
        enabled true 543210 plist string Authorization Bearer PASSWORD sslmode";
    for secret in secrets {
        assert_eq!(log_that_hides(secret).redacted(log), log, "{secret}");
    }
}
