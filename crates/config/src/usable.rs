//! What of a host config can never work, though every value is of the right kind: it is refused when it is loaded, and
//! not when the first job needs it.

use std::collections::BTreeMap;

use url::Url;

use super::address::is_safe;
use super::aws::Partition;
use super::claim_names;
use super::host::{AwsHost, BUILDKITE, Grant, HostConfig, Sink};
use super::place::Error;
use dataflow_types::span::Span;

type Wrong = (String, String);

const BUILDKITE_HOST: &str = "agent.buildkite.com";

/// The first thing that can never work.
pub(super) fn check(file: &str, config: &HostConfig) -> Result<(), Error> {
    let wrong = |(place, problem): Wrong| Error::at(file, place, problem);
    issuers(&config.issuers).map_err(wrong)?;
    for (index, url) in config.endpoints.iter().enumerate() {
        plain_url(&format!("endpoints[{index}]"), url).map_err(wrong)?;
    }
    network(config).map_err(wrong)?;
    times(config).map_err(wrong)?;
    sinks(&config.sinks).map_err(wrong)?;
    if config.required.survive_reboot && config.survive_reboot.is_none() {
        let problem = "saw `true` without a `survive-reboot`, expected one: every lease would be refused";
        return Err(wrong(("required.survive-reboot".to_owned(), problem.to_owned())));
    }
    aws(&config.aws).map_err(wrong)?;
    config.grants.iter().enumerate().try_for_each(|(index, one)| grant(file, index, one))
}

fn fail<T>(place: impl Into<String>, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((place.into(), problem.into()))
}

fn issuers(issuers: &[String]) -> Result<(), Wrong> {
    if issuers.is_empty() {
        return fail(
            "issuers",
            "saw an empty list, expected at least one issuer: no token would be believed",
        );
    }
    for (index, issuer) in issuers.iter().enumerate() {
        let place = format!("issuers[{index}]");
        // Whom a host believes without https is for the host to say.
        let fits = |url: &Url| ["https", "http"].contains(&url.scheme()) && url.has_host();
        let Some(url) = Url::parse(issuer).ok().filter(fits) else {
            return fail(place, format!("saw `{issuer}`, expected an https URL such as `{BUILDKITE}`"));
        };
        address(&place, &url)?;
        // An `iss` is compared letter by letter.
        if issuer != BUILDKITE && url.host_str() == Some(BUILDKITE_HOST) {
            return fail(place, format!("saw `{issuer}`, expected `{BUILDKITE}`, as the tokens have it"));
        }
    }
    Ok(())
}

/// Where tokens may go: no one on the way reads them, and nothing is in the URL that is not sent.
fn plain_url(place: &str, url: &Url) -> Result<(), Wrong> {
    if !is_safe(url) {
        let seen = without_user(url);
        return fail(place, format!("expected an https URL, saw `{seen}`"));
    }
    address(place, url)
}

/// An address, and nothing else that a URL can hold.
fn address(place: &str, url: &Url) -> Result<(), Wrong> {
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return fail(place, format!("saw more than an address, expected `{}`", without_user(url)));
    }
    Ok(())
}

fn without_user(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{}{path}", url.scheme(), url.host_str().unwrap_or_default(), port(url))
}

fn port(url: &Url) -> String {
    url.port().map(|port| format!(":{port}")).unwrap_or_default()
}

fn network(config: &HostConfig) -> Result<(), Wrong> {
    if let Some(proxy) = &config.network.proxy {
        let known = matches!(proxy.scheme(), "http" | "https") && proxy.host().is_some();
        if !known {
            let seen = without_user(proxy);
            return fail(
                "network.proxy",
                format!("saw `{seen}`, expected a URL such as `http://proxy.example.test:3128`"),
            );
        }
    }
    for (index, route) in config.network.routes.iter().enumerate() {
        if !matches!(route.from.scheme(), "http" | "https") {
            let seen = without_user(&route.from);
            let problem = format!("saw `{seen}`, expected an origin such as `https://sts.googleapis.com`");
            return fail(format!("network.routes[{index}].from"), problem);
        }
    }
    Ok(())
}

fn aws(aws: &AwsHost) -> Result<(), Wrong> {
    if let Some(url) = &aws.sts_endpoint {
        plain_url("aws.sts-endpoint", url)?;
    }
    match aws.sts_region.as_ref().map(Partition::check_region) {
        Some(Err(problem)) => fail("aws.sts-region", problem),
        _ => Ok(()),
    }
}

fn times(config: &HostConfig) -> Result<(), Wrong> {
    let all = [
        ("deadlines.grant", config.deadlines.grant),
        ("deadlines.release", config.deadlines.release),
        ("deadlines.retry", config.deadlines.retry),
        ("limits.duration", config.limits.asked()),
        ("limits.token-lifetime", config.limits.token_lifetime),
    ];
    match all.into_iter().find(|(_, span)| *span == Span::seconds(0)) {
        Some((place, span)) => {
            fail(place, format!("saw `{span}`, expected more: nothing is done in no time"))
        }
        None => Ok(()),
    }
}

fn sinks(sinks: &[Sink]) -> Result<(), Wrong> {
    let mut folders = Vec::new();
    for (index, Sink::File(sink)) in sinks.iter().enumerate() {
        if folders.contains(&&sink.directory) {
            let seen = sink.directory.display();
            return fail(
                format!("sinks[{index}].file.directory"),
                format!("saw `{seen}` a second time, expected another folder"),
            );
        }
        folders.push(&sink.directory);
    }
    Ok(())
}

fn grant(file: &str, index: usize, grant: &Grant) -> Result<(), Error> {
    let at = |key: &str, problem: String| Err(Error::at(file, format!("grants[{index}].{key}"), problem));
    if grant.name.trim().is_empty() {
        return at("name", "saw an empty string, expected a name that steps can write".to_owned());
    }
    if grant.credentials.is_empty() {
        return at("credentials", "saw an empty list, expected at least one credential".to_owned());
    }
    claims(file, &format!("grants[{index}].claims"), &grant.claims)
}

/// A slip in a claim's name, or a value that no claim has, would never match.
fn claims(file: &str, place: &str, claims: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in claims {
        let place = format!("{place}.{name}");
        if let Some(near) = claim_names::meant(name) {
            let problem = format!("the tokens of Buildkite have no claim `{name}`");
            return Err(Error::at(file, place, problem).hinted(format!("did you mean `{near}`?")));
        }
        if value.is_empty() || value.trim() != value {
            let problem = format!("saw `{value}`, expected a text as tokens have it, or `*` for any");
            return Err(Error::at(file, place, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::host_parse::parse;

    #[track_caller]
    fn refused(yaml: &str, place: &str, problem: &str) {
        let error = parse("config.yml", yaml).unwrap_err();
        let lines = error.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_eq!(error.place, place, "{error}");
        assert!(error.problem.contains(problem), "{error}");
        assert!(error.file.split(':').count() == 3, "{error}");
    }

    #[test]
    fn what_can_never_work_is_refused_when_it_is_loaded() {
        refused("issuers: []", "issuers", "at least one");
        refused("issuers: [agent.buildkite.com]", "issuers[0]", "expected an https URL");
        refused("issuers: ['https://u:p@x']", "issuers[0]", "expected `https://x`");
        refused(
            "issuers: ['https://agent.buildkite.com/']",
            "issuers[0]",
            "expected `https://agent.buildkite.com`,",
        );
        refused("aws: {sts-region: us-east1}", "aws.sts-region", "did you mean `us-east-1`?");
        refused("endpoints: ['ftp://x']", "endpoints[0]", "expected an https URL");
        refused("endpoints: ['https://u:p@x']", "endpoints[0]", "expected `https://x`");
        refused("network: {proxy: 'ftp://x'}", "network.proxy", "saw `ftp://x`");
        refused("network: {proxy: 'proxy:3128'}", "network.proxy", "expected a URL");
        refused(
            "network: {routes: [{from: 'ftp://x', to: 'https://y'}]}",
            "network.routes[0].from",
            "saw `ftp://x`",
        );
        refused("required: {survive-reboot: true}", "required.survive-reboot", "without a `survive-reboot`");
        refused("aws: {sts-endpoint: 'https://x/?a=b'}", "aws.sts-endpoint", "more than an address");
    }

    #[test]
    fn a_grant_that_can_match_no_job_is_refused() {
        let grant = |claims: &str, credentials: &str| {
            format!("grants: [{{name: a, claims: {{{claims}}}, credentials: [{credentials}]}}]")
        };
        let vault = "{vault: {address: 'https://v.example.test', role: x, export-token: true}}";
        refused(
            &grant("organisation_slug: acme", vault),
            "grants[0].claims.organisation_slug",
            "have no claim",
        );
        refused(&grant("build_branch: ''", vault), "grants[0].claims.build_branch", "`*` for any");
        refused(&grant("build_branch: main", ""), "grants[0].credentials", "at least one credential");
        assert!(parse("c", &grant("'agent_tag:queue': deploy, build_branch: 'rel/*'", vault)).is_ok());
        let elsewhere =
            |claims| format!("issuers: ['https://gitlab.example.test']\n{}", grant(claims, vault));
        assert!(parse("c", &elsewhere("project_path: acme/web")).is_ok());
        refused(&elsewhere("pipline_slug: web"), "grants[0].claims.pipline_slug", "have no claim");
        // Buildkite may have more claims than this program knows.
        assert!(parse("c", &grant("zebra: acme", vault)).is_ok());
    }
}
