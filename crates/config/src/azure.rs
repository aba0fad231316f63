//! The `azure` block of a credential.

use super::kind::Kind;
use super::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;
use serde::{Deserialize, Deserializer};

/// Asks for tokens of an application or a user-assigned identity, by a federated credential of Entra.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Azure {
    /// The tenant's id, or one of its domains.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9.-]+$")))]
    pub tenant_id: String,
    /// The client id of the application or the user-assigned identity.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[0-9A-Fa-f-]{36}$")))]
    pub client_id: String,
    /// The subscription, exported as `AZURE_SUBSCRIPTION_ID`, and as `ARM_SUBSCRIPTION_ID` with `arm`.
    pub subscription_id: Option<String>,
    /// Which of Azure's clouds: its authority, and the token's default audience. Default: `public`.
    #[serde(default)]
    pub cloud: Cloud,
    /// Access tokens to export, each for one resource. SDKs need none, they ask for their own.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// Whether Terraform's variables are exported: `ARM_USE_OIDC`, `ARM_CLIENT_ID`, `ARM_TENANT_ID`,
    /// `ARM_OIDC_TOKEN_FILE_PATH`, and `ARM_ENVIRONMENT` outside of the public cloud.
    #[serde(default)]
    pub arm: bool,
    /// Whether a token for Azure DevOps is exported as `AZURE_DEVOPS_EXT_PAT`. With `git`, git is given it.
    #[serde(default)]
    pub devops: bool,
    /// Whether `az` is given a folder of the job's own, as `AZURE_CONFIG_DIR`. It goes when the lease does, with the
    /// log-in in it.
    #[serde(default = "yes")]
    pub config_dir: bool,
    /// Where the subject token comes from and what it is like. Its audience is by default the cloud's,
    /// `api://AzureADTokenExchange` in the public one, and its subject is the claim `pipeline_id` ([the subject
    /// token](#the-subject-token)).
    #[serde(default = "by_pipeline", deserialize_with = "with_subject")]
    pub token: Token,
}

/// An access token for one resource.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scope {
    /// The resource and `/.default`: `https://vault.azure.net/.default`.
    pub scope: String,
    /// The variable that it is exported as.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub env: EnvName,
}

/// One of Azure's separate worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The commercial one.
    #[default]
    Public,
    /// The US government's.
    UsGov,
    /// China, by 21Vianet.
    China,
}

impl Cloud {
    /// Who gives tokens.
    pub const fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com/",
            Self::UsGov => "https://login.microsoftonline.us/",
            Self::China => "https://login.partner.microsoftonline.cn/",
        }
    }

    /// The audience that federated credentials expect by convention.
    const fn audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGov => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }

    /// The scope of Azure Resource Manager.
    pub const fn management(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com/.default",
            Self::UsGov => "https://management.usgovcloudapi.net/.default",
            Self::China => "https://management.chinacloudapi.cn/.default",
        }
    }

    /// What Terraform calls it; nothing for its default.
    pub const fn of_terraform(self) -> Option<&'static str> {
        match self {
            Self::Public => None,
            Self::UsGov => Some("usgovernment"),
            Self::China => Some("china"),
        }
    }
}

/// The scope of Azure DevOps, which is one for all.
pub const DEVOPS: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";

/// What Entra gives: 60 to 90 minutes, as it likes.
const LIFE: Span = Span::seconds(90 * 60);

/// A federated credential matches one subject to the letter, so it must not name a commit.
const SUBJECT: &str = "pipeline_id";

fn yes() -> bool {
    true
}

fn by_pipeline() -> Token {
    Token { subject_claim: Some(SUBJECT.to_owned()), ..Token::default() }
}

fn with_subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
    let token = Token::deserialize(deserializer)?;
    Ok(Token { subject_claim: token.subject_claim.or_else(|| Some(SUBJECT.to_owned())), ..token })
}

impl Kind for Azure {
    fn provider(&self) -> &'static str {
        "azure"
    }

    fn check(&self) -> Result<(), (String, String)> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        let tenant =
            plain(&self.tenant_id) && self.tenant_id.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !tenant {
            let problem = format!("expected a tenant's id or domain, saw `{}`", self.tenant_id);
            return Err(("tenant-id".to_owned(), problem));
        }
        let ids = [("client-id", Some(&self.client_id)), ("subscription-id", self.subscription_id.as_ref())];
        for (key, id) in ids.into_iter().filter_map(|(key, id)| Some((key, id?))) {
            if uuid::Uuid::try_parse(id).is_err() {
                let problem = format!("expected an id such as `{EXAMPLE}`, saw `{id}`");
                return Err((key.to_owned(), problem));
            }
        }
        for (index, scope) in self.scopes.iter().enumerate() {
            if !scope.scope.ends_with("/.default") || scope.scope.contains(char::is_whitespace) {
                let problem = format!("expected a resource and `/.default`, saw `{}`", scope.scope);
                return Err((format!("scopes[{index}].scope"), problem));
            }
        }
        self.token.check().map_err(|(key, problem)| (format!("token.{key}"), problem))
    }

    fn exports(&self) -> Vec<String> {
        let mut names = IDENTITY_VARIABLES.to_vec();
        names.extend(self.subscription_id.iter().map(|_| "AZURE_SUBSCRIPTION_ID"));
        names.extend(self.config_dir.then_some("AZURE_CONFIG_DIR"));
        if self.arm {
            names.extend(ARM_VARIABLES);
            names.extend(self.subscription_id.iter().map(|_| "ARM_SUBSCRIPTION_ID"));
            names.extend(self.cloud.of_terraform().map(|_| "ARM_ENVIRONMENT"));
        }
        names.extend(self.devops.then_some(DEVOPS_VARIABLE));
        let tokens = self.scopes.iter().map(|scope| scope.env.as_str());
        names.into_iter().chain(tokens).map(str::to_owned).collect()
    }

    fn target(&self) -> String {
        format!("{}/{}", self.tenant_id, self.client_id)
    }

    fn token(&self) -> Option<(&Token, String)> {
        Some((&self.token, self.cloud.audience().to_owned()))
    }

    /// Nobody can ask for less than what Entra likes to give.
    fn duration(&self) -> Option<Span> {
        Some(LIFE)
    }

    fn token_file(&self) -> Option<String> {
        Some(TOKEN_FILE.to_owned())
    }
}

/// The name of the file that holds the job's token, in the block's folder.
pub const TOKEN_FILE: &str = "azure-federated-token";

const EXAMPLE: &str = "00000000-0000-4000-8000-000000000000";

/// What SDKs know a federated identity by.
pub const IDENTITY_VARIABLES: [&str; 4] =
    ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE"];
/// What Terraform's providers know it by.
pub const ARM_VARIABLES: [&str; 4] =
    ["ARM_USE_OIDC", "ARM_CLIENT_ID", "ARM_TENANT_ID", "ARM_OIDC_TOKEN_FILE_PATH"];
/// What the Azure DevOps extension of `az` reads.
pub const DEVOPS_VARIABLE: &str = "AZURE_DEVOPS_EXT_PAT";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Azure, serde_yaml::Error> {
        serde_yaml::from_str(&format!("tenant-id: acme.onmicrosoft.com\nclient-id: {EXAMPLE}\n{yaml}"))
    }

    fn azure(yaml: &str) -> Azure {
        read(yaml).unwrap()
    }

    #[test]
    fn the_subject_is_the_pipeline_unless_another_claim_is_named() {
        let subject = |yaml: &str| azure(yaml).token.subject_claim.unwrap();
        assert_eq!(subject(""), "pipeline_id");
        assert_eq!(subject("token: {lifetime: 2h}"), "pipeline_id");
        assert_eq!(subject("token: {subject-claim: cluster_id}"), "cluster_id");
    }

    #[test]
    fn each_cloud_has_an_authority_an_audience_and_a_management_of_its_own() {
        let check = |cloud: &str, host: &str, audience: &str, management: &str| {
            let azure = azure(&format!("cloud: {cloud}"));
            assert!(azure.cloud.authority().ends_with(host) && azure.cloud.management().contains(management));
            assert_eq!(azure.token().unwrap().1, audience);
        };
        check("public", "microsoftonline.com/", "api://AzureADTokenExchange", "azure.com");
        check("us-gov", "microsoftonline.us/", "api://AzureADTokenExchangeUSGov", "usgovcloudapi.net");
        check("china", "microsoftonline.cn/", "api://AzureADTokenExchangeChina", "chinacloudapi.cn");
        assert!(read("cloud: germany").is_err());
    }

    #[test]
    fn what_entra_would_refuse_is_refused_before() {
        for (yaml, key) in [
            ("subscription-id: mine", "subscription-id"),
            ("scopes: [{scope: 'https://vault.azure.net', env: T}]", "scopes[0].scope"),
            ("scopes: [{scope: 'a b/.default', env: T}]", "scopes[0].scope"),
            ("token: {lifetime: 3h}", "token.lifetime"),
        ] {
            assert_eq!(azure(yaml).check().unwrap_err().0, key, "{yaml}");
        }
        let with = |tenant: &str, client: &str| Azure {
            tenant_id: tenant.to_owned(),
            client_id: client.to_owned(),
            ..azure("")
        };
        for tenant in ["", "..", "a/b", "a?b", "a b"] {
            assert_eq!(with(tenant, EXAMPLE).check().unwrap_err().0, "tenant-id", "{tenant}");
        }
        assert_eq!(with("t", "my-app").check().unwrap_err().0, "client-id");
        assert!(azure("").check().is_ok());
    }

    #[test]
    fn the_variables_follow_from_what_is_asked_for() {
        let names = |yaml: &str| azure(yaml).exports().join(" ");
        let identity = IDENTITY_VARIABLES.join(" ");
        assert_eq!(names(""), format!("{identity} AZURE_CONFIG_DIR"));
        assert_eq!(names("config-dir: false\ndevops: true"), format!("{identity} {DEVOPS_VARIABLE}"));
        let yaml = format!("config-dir: false\narm: true\ncloud: us-gov\nsubscription-id: {EXAMPLE}");
        let arm = ARM_VARIABLES.join(" ");
        let expected = format!("{identity} AZURE_SUBSCRIPTION_ID {arm} ARM_SUBSCRIPTION_ID ARM_ENVIRONMENT");
        assert_eq!(names(&yaml), expected);
        let yaml = "config-dir: false\nscopes: [{scope: 'https://vault.azure.net/.default', env: KEYS}]";
        assert_eq!(names(yaml), format!("{identity} KEYS"));
    }
}
