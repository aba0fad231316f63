//! The `gcp` block of a credential.

use serde::Deserialize;
use url::Url;

use super::kind::Kind;
use super::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

mod names;

pub use names::{NotThat, ProviderName, ServiceAccount, Universe};

use names::{CREDENTIALS, STS, USUAL};

/// Asks for an identity of a workload identity pool, and for a service account that it may impersonate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gcp {
    /// The provider's full name, `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME`, with
    /// the project's number.
    #[cfg_attr(
        feature = "schema",
        schemars(
            with = "String",
            regex(
                pattern = r"^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+$"
            )
        )
    )]
    pub provider: ProviderName,
    /// The email of the service account to impersonate. Default: the pool's own identity.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub service_account: Option<ServiceAccount>,
    /// Service accounts between the pool's identity and the last one, in order. Not with a credential file, which
    /// cannot name them.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    #[serde(default)]
    pub delegates: Vec<ServiceAccount>,
    /// The project, exported as `CLOUDSDK_CORE_PROJECT`, `CLOUDSDK_PROJECT`, `GCLOUD_PROJECT`, `GCP_PROJECT`,
    /// `GOOGLE_CLOUD_PROJECT`. Without it google-auth asks Cloud Resource Manager.
    pub project: Option<String>,
    /// Whether a credential file for SDKs and gcloud is made. It is an `external_account` file in the private folder,
    /// exported as `GOOGLE_APPLICATION_CREDENTIALS` and `CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE`.
    #[serde(default = "yes")]
    pub credential_file: bool,
    /// Where SDKs find the job's token: in a second file that is [kept fresh](#token-files), or by [calling
    /// back](#callbacks), which needs a `name`, `refresh: true`, and exports
    /// `GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES`. Default: `file`.
    #[serde(default)]
    pub credential_source: Source,
    /// Whether the access token itself is exported, as `CLOUDSDK_AUTH_ACCESS_TOKEN` and `GOOGLE_OAUTH_ACCESS_TOKEN`.
    #[serde(default)]
    pub access_token: bool,
    /// The user of a Google Workspace for whom the access token is, by domain-wide delegation of the service account.
    /// With `access-token: true` and `credential-file: false`, for no credential file can name one.
    pub subject: Option<String>,
    /// An ID token of the service account.
    pub id_token: Option<IdToken>,
    /// How long an access token of the service account lives: `10m` to `12h`, over `1h` where the organization's
    /// policy allows it. A pool's own identity always gets an hour. Default: `1h`, or the host's limit where that is
    /// less.
    pub lifetime: Option<Span>,
    /// The scopes of the access token. Default: `https://www.googleapis.com/auth/cloud-platform`.
    #[serde(default = "cloud_platform")]
    pub scopes: Vec<String>,
    /// Another universe than `googleapis.com`, exported as `CLOUDSDK_CORE_UNIVERSE_DOMAIN` and
    /// `GOOGLE_CLOUD_UNIVERSE_DOMAIN`. The token is sent to `sts` and `iamcredentials` there, so `endpoints` in the
    /// host config must name both. Default: `googleapis.com`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub universe: Option<Universe>,
    /// Why, for Google's audit logs (`X-Goog-Request-Reason`).
    pub request_reason: Option<String>,
    /// Where the subject token comes from and what it is like. Its audience is by default `//iam.googleapis.com/` and
    /// the provider ([the subject token](#the-subject-token)).
    #[serde(default)]
    pub token: Token,
}

/// Where the credential file says that the job's token is (AIP-4117).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In a second file, kept fresh while the step runs: every tool can read it.
    #[default]
    File,
    /// Printed by this program whenever an SDK asks; needs a `name` and `refresh: true`.
    Executable,
}

/// An ID token that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdToken {
    /// Who should believe it.
    pub audience: String,
    /// Whether it names the service account's email.
    #[serde(default)]
    pub include_email: bool,
    /// The variable that it is exported as. Default: `GOOGLE_ID_TOKEN`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub env: Option<EnvName>,
}

/// What Google gives a federated token, whoever asks.
const FEDERATED: Span = Span::seconds(3600);
/// The shortest life that a credential file may ask for.
const MIN_LIFETIME: Span = Span::seconds(600);
const MAX_LIFETIME: Span = Span::seconds(12 * 3600);

/// Reaches every API that the identity's roles allow.
pub const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

fn yes() -> bool {
    true
}

fn cloud_platform() -> Vec<String> {
    vec![CLOUD_PLATFORM.to_owned()]
}

impl Kind for Gcp {
    fn provider(&self) -> &'static str {
        "gcp"
    }

    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((key.to_owned(), problem));
        if self.service_account.is_none() {
            let needy = [
                ("delegates", !self.delegates.is_empty()),
                ("id-token", self.id_token.is_some()),
                ("lifetime", self.lifetime.is_some()),
                ("subject", self.subject.is_some()),
            ];
            if let Some((key, _)) = needy.iter().find(|(_, there)| *there) {
                return wrong(key, "needs a `service-account`: a pool's own identity has none".to_owned());
            }
        }
        if !self.delegates.is_empty() && self.credential_file {
            let problem =
                "no credential file can name them: write `credential-file: false`, and `access-token: true`";
            return wrong("delegates", problem.to_owned());
        }
        self.check_subject()?;
        if let Some(lifetime) = self.lifetime.filter(|span| !(MIN_LIFETIME..=MAX_LIFETIME).contains(span)) {
            return wrong("lifetime", format!("expected {MIN_LIFETIME} to {MAX_LIFETIME}, saw `{lifetime}`"));
        }
        self.check_texts()?;
        self.token.check().map_err(|(key, problem)| (format!("token.{key}"), problem))
    }

    fn exports(&self) -> Vec<String> {
        let mut names: Vec<&str> = Vec::new();
        let mut add = |wanted: bool, some: &[&'static str]| names.extend(some.iter().filter(|_| wanted));
        add(self.credential_file, &FILE_VARIABLES);
        add(self.calls_back(), &EXECUTABLE_VARIABLES);
        add(self.access_token, &TOKEN_VARIABLES);
        add(self.project.is_some(), &PROJECT_VARIABLES);
        add(self.elsewhere().is_some(), &UNIVERSE_VARIABLES);
        names.extend(self.id_token.iter().map(IdToken::env));
        names.into_iter().map(str::to_owned).collect()
    }

    fn target(&self) -> String {
        let account = self.service_account.as_ref().map(ToString::to_string);
        match (&self.subject, account) {
            (Some(subject), Some(account)) => format!("{subject} by {account}"),
            (_, account) => account.unwrap_or_else(|| self.provider.to_string()),
        }
    }

    fn token(&self) -> Option<(&Token, String)> {
        Some((&self.token, self.audience()))
    }

    /// A pool's own identity is lent for an hour: nobody can ask for less.
    fn duration(&self) -> Option<Span> {
        self.lifetime.or(self.service_account.is_none().then_some(FEDERATED))
    }

    fn token_file(&self) -> Option<String> {
        let kept = self.credential_file && self.credential_source == Source::File;
        kept.then(|| TOKEN_FILE.to_owned())
    }

    fn calls_back(&self) -> bool {
        self.credential_file && self.credential_source == Source::Executable
    }

    fn endpoints(&self) -> Vec<&Url> {
        self.elsewhere().map_or_else(Vec::new, |universe| vec![&universe.sts, &universe.credentials])
    }
}

/// What SDKs and gcloud find the credential file by.
pub const FILE_VARIABLES: [&str; 2] =
    ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"];
/// Without it, SDKs start no command that a credential file names.
pub const EXECUTABLE_VARIABLES: [&str; 1] = ["GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"];
/// The name of the file, beside the credential file, that holds the job's token.
pub const TOKEN_FILE: &str = "gcp-subject-token";
/// What gcloud and Terraform read an access token from.
pub const TOKEN_VARIABLES: [&str; 2] = ["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"];
/// What tools read the project from.
pub const PROJECT_VARIABLES: [&str; 5] =
    ["CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT", "GOOGLE_CLOUD_PROJECT"];
/// What gcloud and SDKs read the universe from.
pub const UNIVERSE_VARIABLES: [&str; 2] = ["CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"];

impl Gcp {
    /// The provider's name as an audience: the default of the job's token, and whom STS is asked for.
    pub fn audience(&self) -> String {
        format!("//iam.{}/{}", self.universe(), self.provider)
    }

    /// The universe's name.
    pub fn universe(&self) -> &str {
        self.universe.as_ref().map_or(USUAL, |universe| universe.as_str())
    }

    /// The universe, where it is not Google's own.
    pub fn elsewhere(&self) -> Option<&Universe> {
        self.universe.as_ref().filter(|universe| universe.as_str() != USUAL)
    }

    /// Where tokens are exchanged.
    pub fn sts(&self) -> Result<Url, url::ParseError> {
        self.universe.as_ref().map_or_else(|| Url::parse(STS), |universe| Ok(universe.sts.clone()))
    }

    /// Where service accounts are lent.
    pub fn credentials(&self) -> Result<Url, url::ParseError> {
        self.universe
            .as_ref()
            .map_or_else(|| Url::parse(CREDENTIALS), |universe| Ok(universe.credentials.clone()))
    }

    /// What a user's token cannot have.
    fn check_subject(&self) -> Result<(), (String, String)> {
        if self.subject.is_none() {
            return Ok(());
        }
        let problem = if self.credential_file || !self.access_token {
            "no credential file can name a user: write `credential-file: false` and `access-token: true`"
        } else if self.elsewhere().is_some() {
            "a Google Workspace is in no other universe than `googleapis.com`"
        } else if self.lifetime.is_some_and(|lifetime| lifetime > FEDERATED) {
            "a user's token lives for an hour at most: ask for a shorter `lifetime`"
        } else {
            return Ok(());
        };
        Err(("subject".to_owned(), problem.to_owned()))
    }

    fn check_texts(&self) -> Result<(), (String, String)> {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if self.scopes.is_empty() || !self.scopes.iter().all(|scope| word(scope)) {
            return Err(("scopes".to_owned(), "expected at least one, none of them with a space".to_owned()));
        }
        let line = |text: &str| !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b));
        let texts = [
            ("project", self.project.as_deref(), word as fn(&str) -> bool),
            ("subject", self.subject.as_deref(), word),
            ("id-token.audience", self.id_token.as_ref().map(|wanted| wanted.audience.as_str()), word),
            ("request-reason", self.request_reason.as_deref(), line),
        ];
        match texts.into_iter().find(|(_, text, right)| text.is_some_and(|text| !right(text))) {
            Some((key, text, _)) => {
                let seen = text.unwrap_or_default();
                Err((key.to_owned(), format!("expected plain text on one line, saw `{seen}`")))
            }
            None => Ok(()),
        }
    }
}

impl IdToken {
    /// The variable that it is exported as.
    pub fn env(&self) -> &str {
        self.env.as_ref().map_or("GOOGLE_ID_TOKEN", EnvName::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDER: &str = "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite";
    const ACCOUNT: &str = "service-account: train@proj.iam.gserviceaccount.com";

    fn read(yaml: &str) -> Result<Gcp, serde_yaml::Error> {
        serde_yaml::from_str(&format!("provider: {PROVIDER}\n{yaml}"))
    }

    fn gcp(yaml: &str) -> Gcp {
        read(yaml).unwrap()
    }

    #[test]
    fn a_provider_is_named_by_its_projects_number() {
        assert_eq!(gcp("").audience(), format!("//iam.googleapis.com/{PROVIDER}"));
        for bad in [
            "projects/acme/locations/global/workloadIdentityPools/ci/providers/buildkite",
            "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/b",
            "projects/1/locations/global/workloadIdentityPools/ci/providers/b/../c",
            "projects/1/locations/global/workloadIdentityPools/ci",
        ] {
            assert!(ProviderName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_account_cannot_leave_its_place_in_a_url() {
        for bad in
            ["train", "a/b@p.iam.gserviceaccount.com", "a@evil.test", "a@b@p.iam.gserviceaccount.com", ""]
        {
            assert!(ServiceAccount::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_universe_has_endpoints_of_its_own_which_the_host_must_allow() {
        let other = gcp("universe: apis.example.test");
        let named: Vec<&str> = other.endpoints().into_iter().map(Url::as_str).collect();
        assert_eq!(named, ["https://sts.apis.example.test/", "https://iamcredentials.apis.example.test/"]);
        assert_eq!(other.audience(), format!("//iam.apis.example.test/{PROVIDER}"));
        assert!(gcp("").endpoints().is_empty());
        for bad in ["evil.test/x", "Evil.test", "a..b", "localhost", "a.b:1", "@a.b"] {
            assert!(bad.parse::<Universe>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_only_a_service_account_has_is_refused_without_one() {
        for (yaml, key) in [
            ("lifetime: 30m", "lifetime"),
            ("id-token: {audience: x}", "id-token"),
            ("subject: ada@example.test", "subject"),
            ("delegates: [a@p.iam.gserviceaccount.com]", "delegates"),
        ] {
            assert_eq!(gcp(yaml).check().unwrap_err().0, key);
        }
        assert!(gcp(&format!("{ACCOUNT}\nlifetime: 30m")).check().is_ok());
    }

    #[test]
    fn what_google_would_refuse_is_refused_before() {
        for (yaml, key) in [
            ("lifetime: 5m", "lifetime"),
            ("lifetime: 13h", "lifetime"),
            ("subject: ada@example.test", "subject"),
            ("subject: ada@example.test\naccess-token: true", "subject"),
            (
                "subject: ada@example.test\naccess-token: true\ncredential-file: false\nuniverse: a.test",
                "subject",
            ),
            (
                "subject: ada@example.test\naccess-token: true\ncredential-file: false\nlifetime: 2h",
                "subject",
            ),
            ("scopes: []", "scopes"),
            ("scopes: ['a b']", "scopes"),
            ("delegates: [a@p.iam.gserviceaccount.com]", "delegates"),
            ("request-reason: \"a\\nb\"", "request-reason"),
            ("id-token: {audience: ''}", "id-token.audience"),
            ("token: {lifetime: 3h}", "token.lifetime"),
        ] {
            assert_eq!(gcp(&format!("{ACCOUNT}\n{yaml}")).check().unwrap_err().0, key, "{yaml}");
        }
    }

    #[test]
    fn the_variables_follow_from_what_is_asked_for() {
        assert_eq!(gcp("").exports(), FILE_VARIABLES);
        let whole = format!(
            "{ACCOUNT}\ncredential-file: false\naccess-token: true\nproject: p\nid-token: {{audience: x, env: ID}}"
        );
        let expected: Vec<&str> =
            TOKEN_VARIABLES.into_iter().chain(PROJECT_VARIABLES).chain(["ID"]).collect();
        assert_eq!(gcp(&whole).exports(), expected);
    }

    #[test]
    fn the_jobs_token_is_in_a_file_that_is_kept_or_printed_on_demand() {
        let source = |yaml: &str| (gcp(yaml).token_file().is_some(), gcp(yaml).calls_back());
        assert_eq!(source(""), (true, false));
        assert_eq!(source("credential-source: executable"), (false, true));
        assert_eq!(source("credential-source: executable\ncredential-file: false"), (false, false));
        assert_eq!(source("credential-file: false\naccess-token: true"), (false, false));
        let names = gcp("credential-source: executable").exports();
        assert_eq!(names, [&FILE_VARIABLES[..], &EXECUTABLE_VARIABLES].concat());
    }

    #[test]
    fn a_pools_own_identity_lives_an_hour_and_an_impersonated_one_as_asked() {
        assert_eq!(gcp("").duration(), Some(FEDERATED));
        assert_eq!(gcp(ACCOUNT).duration(), None);
        assert_eq!(gcp(&format!("{ACCOUNT}\nlifetime: 30m")).duration(), Some(Span::seconds(1800)));
    }
}
