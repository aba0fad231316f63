//! The place that a claim is put into, and its grammar. Whoever names a branch chooses a claim's text: it must not change
//! the host, the shape of a path, the query, or how much is reached.

use super::fit;

/// No claim of use is longer, in bytes.
const LONGEST: usize = 1024;

/// A piece of a text with claims.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// As the author wrote it.
    Text(&'a str),
    /// A claim's value.
    Claim {
        /// The claim.
        name: &'a str,
        /// Its value.
        value: &'a str,
        /// Whether the author asked for a text that fits anywhere.
        fit: bool,
    },
}

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// A URL: a claim is one segment of the path, or part of one, or of a value of the query.
    Url,
    /// What becomes part of a host's name.
    Host,
    /// A name, or a path of names: a claim is one of them, or part of one. These stand in it beside `[A-Za-z0-9_-]`.
    Name(&'static str),
    /// A text that no part of ours takes apart: these stand in it too, except where the author wrote one as a divider.
    Text(&'static str),
    /// A session's name or a source identity of AWS.
    Session,
    /// The value of a session tag of AWS.
    Tag,
}

/// What stands in names of most providers.
const NAME: Grammar = Grammar::Name(".");
/// What stands in names of AWS.
const OF_AWS: Grammar = Grammar::Name(".+=@");
/// A JSON string inside a policy: no wildcard, no policy variable, no divider of an ARN.
const POLICY: Grammar = Grammar::Name(".+=@~");
/// A value of a form, of a parameter or of a header.
const FREE: Grammar = Grammar::Text(".+=@~:/#");

/// The grammar of a place, by the keys that lead to it and what the author wrote there.
pub(super) fn of(path: &[String], text: &str) -> Grammar {
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    let last = keys.iter().rev().find(|key| key.parse::<usize>().is_err()).copied().unwrap_or_default();
    match (keys.as_slice(), last) {
        (["git" | "git-ssh", ..], _)
        | (
            _,
            "address"
            | "endpoint"
            | "url"
            | "api-url"
            | "issuer"
            | "token-endpoint"
            | "revocation-endpoint"
            | "introspection-endpoint",
        ) => Grammar::Url,
        (_, "region" | "universe" | "domain") => Grammar::Host,
        (["aws", "session-policy", _, ..] | ["aws", "chain", _, "session-policy", _, ..], _) => POLICY,
        (["aws", "session-name"] | ["aws", "chain", _, "session-name" | "source-identity"], _) => {
            Grammar::Session
        }
        (["aws", "chain", _, "session-tags", _], _) => Grammar::Tag,
        (["aws", ..] | ["buildkite" | "gcp", "subject"], _) => OF_AWS,
        (["gcp", "service-account"] | ["gcp", "delegates", _], _) => Grammar::Name(""),
        (["vault", "secrets", _, "data", ..], _) => Grammar::Text("."),
        (["oauth", "form", _], _) | (_, "audience" | "resource" | "scopes" | "request-reason")
            if text.contains("://") =>
        {
            Grammar::Url
        }
        // A URI without a host, such as a URN: its parts are the author's.
        (["oauth", "form", _], _) | (_, "audience" | "resource" | "request-reason") if text.contains(':') => {
            Grammar::Text(".+=@~")
        }
        (["oauth", "form", _], _) | (_, "audience" | "resource" | "request-reason") => FREE,
        _ => NAME,
    }
}

impl Grammar {
    /// What a person calls the place.
    fn noun(self) -> &'static str {
        match self {
            Self::Url => "a URL",
            Self::Host => "the name of a host",
            Self::Name(_) => "a name or a path's segment",
            Self::Text(_) => "this text",
            Self::Session => "a session's name",
            Self::Tag => "a session tag",
        }
    }

    /// The whole text, each claim as the place has it; or what is wrong with one.
    pub(super) fn put(self, parts: &[Part<'_>]) -> Result<String, String> {
        let mut whole = String::new();
        for part in parts {
            match *part {
                Part::Text(text) => whole.push_str(text),
                Part::Claim { value, fit: true, .. } if self != Self::Host => {
                    let fitted = fit::name(value);
                    whole.push_str(&fitted);
                }
                Part::Claim { name, value, .. } => {
                    let put = self.one(&whole, value, parts);
                    whole.push_str(&put.map_err(|problem| {
                        let seen: String = value.chars().take(80).collect();
                        let seen = seen.escape_debug();
                        format!(
                            "the claim `{name}` is `{seen}`, which cannot stand in {}: {problem}",
                            self.noun()
                        )
                    })?);
                }
            }
        }
        let literals = |allowed: fn(char) -> bool| {
            parts.iter().all(|part| match part {
                Part::Text(text) => text.chars().all(allowed),
                Part::Claim { .. } => true,
            })
        };
        match self {
            Self::Session if literals(fit::in_session) => Ok(fit::session(&whole)),
            Self::Tag if literals(fit::in_tag) => Ok(fit::tag(&whole)),
            Self::Url | Self::Name(_) | Self::Text(_) => leads_nowhere_else(&whole, parts),
            Self::Session | Self::Tag | Self::Host => Ok(whole),
        }
    }

    /// One claim's text after what stands before it.
    fn one(self, before: &str, value: &str, parts: &[Part<'_>]) -> Result<String, String> {
        let (extra, free) = match self {
            Self::Session | Self::Tag => return Ok(value.to_owned()),
            Self::Host => return Err("who names a branch would choose where tokens go".to_owned()),
            // The policy judges the host that it makes; in a grant of the host config it is refused.
            Self::Url if in_host(before) => ("", false),
            Self::Url => {
                no_detour(value)?;
                return Ok(encoded(value));
            }
            Self::Name(extra) => (extra, false),
            Self::Text(extra) => (extra, true),
        };
        no_detour(value)?;
        let literal = |c: char| parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(c)));
        let stands = |c: &char| {
            c.is_ascii_alphanumeric() || "_-".contains(*c) || (extra.contains(*c) && !(free && literal(*c)))
        };
        match value.chars().find(|c| !stands(c)) {
            Some(c) => Err(format!("saw `{}`", c.escape_debug())),
            None => Ok(value.to_owned()),
        }
    }
}

/// Whether what comes next belongs to the host, or to what stands before it.
fn in_host(before: &str) -> bool {
    before.split_once("://").is_none_or(|(_, rest)| !rest.contains(['/', '?', '#', '\\']))
}

/// Nothing that a server could take for `..`, however often it decodes.
fn no_detour(value: &str) -> Result<(), String> {
    match value {
        "" => return Err("saw nothing".to_owned()),
        value if value.len() > LONGEST => return Err(format!("saw more than {LONGEST} bytes")),
        value if value.chars().any(char::is_control) => return Err("saw a control character".to_owned()),
        _ => {}
    }
    if decoded(value).split(['/', '\\']).any(is_dots) {
        return Err("saw a segment of dots".to_owned());
    }
    Ok(())
}

/// `.` and `..`, and what looks like them.
fn is_dots(segment: &str) -> bool {
    let dot = |c| matches!(c, '.' | '\u{2024}' | '\u{ff0e}' | '\u{3002}' | '\u{fe52}');
    !segment.is_empty() && segment.trim().chars().all(dot)
}

/// The text without percent-encoding, however deep it is.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains('%') {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(&text).collect();
        let next = String::from_utf8_lossy(&bytes).into_owned();
        if next.len() >= text.len() {
            break;
        }
        text = next;
    }
    text
}

/// All but RFC 3986's unreserved characters in their percent form.
fn encoded(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}

/// Text and claims together must not make a `..` that neither has alone.
fn leads_nowhere_else(whole: &str, parts: &[Part<'_>]) -> Result<String, String> {
    let claims = parts.iter().any(|part| matches!(part, Part::Claim { .. }));
    let path = whole.split(['?', '#']).next().unwrap_or_default();
    if claims && path.split(['/', '\\']).any(|segment| is_dots(&decoded(segment))) {
        return Err(format!("saw `{}`, where a segment of dots leads elsewhere", whole.escape_debug()));
    }
    Ok(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(keys: &str) -> Vec<String> {
        keys.split('.').map(str::to_owned).collect()
    }

    fn put(keys: &str, before: &str, value: &str, after: &str) -> Result<String, String> {
        let parts = [Part::Text(before), Part::Claim { name: "c", value, fit: false }, Part::Text(after)];
        of(&path(keys), &format!("{before}{after}")).put(&parts)
    }

    /// Places of every provider, with what stands around the claim.
    const PLACES: [(&str, &str, &str); 33] = [
        ("git.0", "https://git.test/acme/", "/x"),
        ("aws.role", "arn:aws:iam::123456789012:role/ci/", "-x"),
        ("aws.policy-arns.0", "arn:aws:iam::123456789012:policy/", ""),
        ("aws.endpoint", "https://sts.test/", "/x?a=b"),
        ("aws.session-policy", "file:/etc/", ".json"),
        ("aws.session-policy.Statement.0.Resource.0", "arn:aws:s3:::bucket/", "/*"),
        ("aws.chain.0.session-policy.Statement.Action", "s3:", ""),
        ("aws.chain.0.role", "arn:aws:iam::123456789012:role/", ""),
        ("aws.chain.0.external-id", "id-", ""),
        ("aws.profile", "p-", ""),
        ("gcp.provider", "projects/1/locations/global/workloadIdentityPools/p/providers/", ""),
        ("gcp.service-account", "ci-", "@p.iam.gserviceaccount.com"),
        ("gcp.project", "p-", ""),
        ("gcp.id-token.audience", "https://run.test/", "/x"),
        ("gcp.scopes.0", "https://www.googleapis.com/auth/", ""),
        ("azure.tenant-id", "", ""),
        ("azure.scopes.0.scope", "api://", "/.default"),
        ("oauth.token-endpoint", "https://login.test/tenants/ci-", "/token?a=b"),
        ("oauth.issuer", "https://login.test/", ""),
        ("oauth.scope", "read:", " write"),
        ("oauth.audience.0", "https://api.test/", ""),
        ("oauth.resource.0", "urn:acme:", ""),
        ("oauth.form.branch", "", ""),
        ("oauth.client-id", "ci-", ""),
        ("github.repositories.0", "acme/", ""),
        ("github.url", "https://bridge.test/", "/x"),
        ("github.scope", "acme/", ""),
        ("bitbucket.data-center.repository", "r-", ""),
        ("buildkite.organization", "", ""),
        ("vault.mount", "jwt/", ""),
        ("vault.secrets.0.path", "kv/data/", "/db"),
        ("vault.secrets.0.data.common_name", "", ".ci.acme.test"),
        ("secrets.values.0.name", "/ci/", "/db"),
    ];

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ -~]{1,3}",
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                "..",
                ".",
                "%2e",
                "%2E%2e",
                "%252e%252e",
                "%2f",
                "/",
                "//",
                "?",
                "#",
                "@",
                "\\",
                "\0",
                "\n",
                "\t",
                "\u{ff0e}\u{ff0e}",
                "\u{2024}",
                "\u{3002}",
                "*",
                "\"",
                "${aws:username}",
                "${*}",
                "$",
                "{",
                ":",
                ",",
                " ",
                ";",
                "&",
                "=",
                "x",
                "main",
            ])
            .prop_map(str::to_owned),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    /// How often each divider and wildcard of any grammar stands in a text.
    fn shape(text: &str) -> Vec<usize> {
        "/\\?#:*$\"{}, ;&|<>'\n\r\t\0".chars().map(|c| text.matches(c).count()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_claim_changes_host_path_shape_query_or_breadth(at in 0..PLACES.len(), value in hostile()) {
            let (keys, before, after) = PLACES[at];
            let harmless = put(keys, before, "x", after).unwrap();
            let Ok(text) = put(keys, before, &value, after) else { return Ok(()) };
            let free = keys == "oauth.form.branch";
            prop_assert!(free || shape(&text) == shape(&harmless), "{keys}: {text:?}");
            prop_assert!(text.starts_with(before) && text.ends_with(after) && text.len() > before.len() + after.len());
            if let (Ok(one), Ok(other)) = (url::Url::parse(&harmless), url::Url::parse(&text)) {
                prop_assert_eq!(one.origin().ascii_serialization(), other.origin().ascii_serialization());
                prop_assert_eq!((one.query(), one.fragment()), (other.query(), other.fragment()));
                let segments = |url: &url::Url| url.path().split('/').count();
                prop_assert_eq!(segments(&one), segments(&other), "{}", text);
            }
        }

        #[test]
        fn a_claim_in_a_query_is_one_value(value in hostile()) {
            let Ok(text) = put("oauth.issuer", "https://login.test/a?b=", &value, "&c=d") else { return Ok(()) };
            let pairs: Vec<_> = url::Url::parse(&text).unwrap().query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [("b".to_owned(), value), ("c".to_owned(), "d".to_owned())]);
        }

        #[test]
        fn a_session_and_its_tags_take_any_text(value in any::<String>()) {
            let name = put("aws.session-name", "bk-", &value, "").unwrap();
            prop_assert!(name.parse::<crate::aws::SessionName>().is_ok(), "{name}");
            prop_assert!(put("aws.chain.0.session-tags.branch", "", &value, "").unwrap().chars().all(fit::in_tag));
        }
    }

    #[test]
    fn a_branch_with_slashes_is_one_segment_of_a_url_and_refused_in_other_paths() {
        let url = put("oauth.token-endpoint", "https://login.test/tenants/", "feature/JIRA-1", "/token");
        assert_eq!(url.unwrap(), "https://login.test/tenants/feature%2FJIRA-1/token");
        let refused = put("vault.secrets.0.path", "kv/", "feature/JIRA-1", "").unwrap_err();
        assert!(
            refused.contains("the claim `c` is `feature/JIRA-1`") && refused.contains("saw `/`"),
            "{refused}"
        );
        for value in ["%2e%2e/%2e%2e/admin", "%252e%252e", "..", "a/../b", "..\\x", ""] {
            assert!(
                put("oauth.token-endpoint", "https://login.test/t/", value, "/token").is_err(),
                "{value}"
            );
        }
        assert!(put("oauth.token-endpoint", "https://login.test/t/.", ".", "/token").is_err());
    }

    #[test]
    fn a_text_that_was_made_to_fit_stands_anywhere() {
        for (keys, before, after) in PLACES {
            for value in ["feature/JIRA-1", "../..", "*", "${aws:username}", ""] {
                let parts =
                    [Part::Text(before), Part::Claim { name: "c", value, fit: true }, Part::Text(after)];
                let text = of(&path(keys), &format!("{before}{after}")).put(&parts);
                assert!(text.is_ok(), "{keys}: {text:?}");
            }
        }
    }

    #[test]
    fn nobody_who_names_a_branch_chooses_a_host() {
        for keys in ["aws.region", "secrets.region", "gcp.universe", "github.domain"] {
            assert!(put(keys, "", "eu-west-1", "").unwrap_err().contains("who names a branch"), "{keys}");
        }
        assert!(put("aws.endpoint", "https://sts-", "x.evil.test/", ".test").is_err());
    }
}
