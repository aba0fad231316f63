//! The variables, by what they compete with. Each line is judged by one of its readers, where one is at hand.

use super::{Line, Remedy, When};
use Remedy::{Empty, Same, Set, Warn};
use When::{Always, NamesAnother, ProfileChosen, ProfileNamed, ProfileNotChosen};

const KEYS: &[&str] = &["AWS_ACCESS_KEY_ID"];
const PROFILE: &[&str] = &["AWS_SHARED_CREDENTIALS_FILE"];
const GOOGLE: &[&str] =
    &["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"];
const GOOGLE_FILE: &[&str] = &["GOOGLE_APPLICATION_CREDENTIALS"];
const GOOGLE_TOKEN: &[&str] = &["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"];
const ENTRA: &[&str] = &["AZURE_FEDERATED_TOKEN_FILE"];
const ARM: &[&str] = &["ARM_USE_OIDC"];
const VAULT: &[&str] = &["VAULT_TOKEN"];
const GITHUB: &[&str] = &["GITHUB_TOKEN"];
const GH: &[&str] = &["GITHUB_TOKEN", "GH_TOKEN"];
const GITHUB_SERVER: &[&str] = &["GITHUB_ENTERPRISE_TOKEN"];

/// The only credential that a chain of Azure's may try beside what is lent. Empty secrets would not do: the SDK for
/// Python takes them for set.
const ENTRA_ONLY: Remedy = Set("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential");

macro_rules! lines {
    ($($provider:literal: $beside:ident: $name:literal, $when:ident, $remedy:expr, $because:literal, $judge:expr;)*) => {
        &[$(Line {
            provider: $provider,
            beside: $beside,
            name: $name,
            when: $when,
            remedy: $remedy,
            because: $because,
            judge: $judge,
        }),*]
    };
}

/// Every variable that is known to compete.
#[rustfmt::skip]
pub const TABLE: &[Line] = lines! {
    "aws": KEYS: "AWS_SECURITY_TOKEN", Always, Empty, "boto3 and the AWS command line send it in place of `AWS_SESSION_TOKEN`", Some("boto3");
    "aws": KEYS: "AWS_SESSION_TOKEN", Always, Empty, "SDKs would send it with keys that have none", Some("boto3");
    "aws": KEYS: "AWS_CREDENTIAL_EXPIRATION", Always, Empty, "SDKs take the lent keys for expired then", Some("boto3");
    "aws": KEYS: "AWS_CREDENTIAL_SCOPE", Always, Empty, "the SDK for JavaScript takes the lent keys for ones of that region", None;
    "aws": KEYS: "AWS_WEB_IDENTITY_TOKEN_FILE", Always, Empty, "the SDK for .NET prefers that role to keys", None;
    "aws": KEYS: "AWS_ACCOUNT_ID", Always, Empty, "SDKs send what the lent keys sign to endpoints of that account", Some("boto3");
    "aws": KEYS: "AWS_PROFILE", Always, Warn, "the SDKs for JavaScript and .NET use that profile instead of the lent keys, and boto3 fails where there is none of that name", Some("boto3");
    "aws": KEYS: "AWS_DEFAULT_PROFILE", Always, Warn, "boto3 and the AWS command line take settings of that profile, and fail where there is none of that name", Some("boto3");
    "aws": KEYS: "AWS_BEARER_TOKEN_BEDROCK", Always, Warn, "SDKs send it to Bedrock instead of signing with the lent keys", Some("boto3");
    "aws": KEYS: "AWS_ENDPOINT_URL", Always, Warn, "SDKs send there what the lent keys sign, for every service", None;
    "aws": PROFILE: "AWS_ACCESS_KEY_ID", ProfileChosen, Empty, "SDKs prefer keys to the profile that is lent", Some("boto3");
    "aws": PROFILE: "AWS_ACCESS_KEY_ID", ProfileNotChosen, Warn, "SDKs prefer keys to a lent profile that is named by `AWS_PROFILE`; one that is named on a command line is used", Some("boto3");
    "aws": PROFILE: "AWS_SECRET_ACCESS_KEY", ProfileChosen, Empty, "it belongs to keys that compete with the profile that is lent", None;
    "aws": PROFILE: "AWS_SESSION_TOKEN", ProfileChosen, Empty, "it belongs to keys that compete with the profile that is lent", None;
    "aws": PROFILE: "AWS_SECURITY_TOKEN", ProfileChosen, Empty, "it belongs to keys that compete with the profile that is lent", None;
    "aws": PROFILE: "AWS_ACCOUNT_ID", ProfileChosen, Empty, "it belongs to keys that compete with the profile that is lent", None;
    "aws": PROFILE: "AWS_ACCESS_KEY", ProfileChosen, Empty, "the SDK for Go prefers keys to the profile that is lent", None;
    "aws": PROFILE: "AWS_SECRET_KEY", ProfileChosen, Empty, "the SDK for Go prefers keys to the profile that is lent", None;
    "aws": PROFILE: "AWS_WEB_IDENTITY_TOKEN_FILE", ProfileChosen, Empty, "SDKs prefer that role to the profile that is lent", Some("boto3");
    "aws": PROFILE: "AWS_WEB_IDENTITY_TOKEN_FILE", ProfileNotChosen, Warn, "SDKs prefer that role to a lent profile that is named by `AWS_PROFILE`", Some("boto3");
    "aws": PROFILE: "AWS_DEFAULT_PROFILE", ProfileNamed, Same("AWS_PROFILE"), "boto3 and the AWS command line prefer it to `AWS_PROFILE`", Some("boto3");
    "aws": PROFILE: "AWS_PROFILE", NamesAnother, Warn, "it names none of the lent profiles, and those of the host are out of sight: tools fail, or go without", Some("boto3");
    "aws": PROFILE: "AWS_DEFAULT_PROFILE", NamesAnother, Warn, "it names none of the lent profiles, and those of the host are out of sight: boto3 and the AWS command line fail", Some("boto3");
    "aws": PROFILE: "AWS_BEARER_TOKEN_BEDROCK", Always, Warn, "SDKs send it to Bedrock instead of signing with the lent keys", Some("boto3");
    "aws": PROFILE: "AWS_ENDPOINT_URL", Always, Warn, "SDKs send there what the lent profile signs, for every service", None;
    "gcp": GOOGLE: "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", Always, Empty, "gcloud prefers the token in that file", None;
    "gcp": GOOGLE: "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", Always, Empty, "gcloud acts as that service account instead", None;
    "gcp": GOOGLE: "CLOUDSDK_AUTH_DISABLE_CREDENTIALS", Always, Empty, "gcloud sends no credential at all", None;
    "gcp": GOOGLE: "CLOUDSDK_CORE_ACCOUNT", Always, Empty, "gcloud looks for the credentials of that account", None;
    "gcp": GOOGLE: "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", Always, Empty, "Terraform acts as that service account instead", Some("terraform-gcs");
    "gcp": GOOGLE: "GOOGLE_BACKEND_IMPERSONATE_SERVICE_ACCOUNT", Always, Empty, "Terraform reads its state as that service account instead", Some("terraform-gcs");
    "gcp": GOOGLE: "GOOGLE_CREDENTIALS", Always, Empty, "Terraform prefers that key", Some("terraform-gcs");
    "gcp": GOOGLE: "GOOGLE_CLOUD_KEYFILE_JSON", Always, Empty, "Terraform prefers that key", None;
    "gcp": GOOGLE: "GCLOUD_KEYFILE_JSON", Always, Empty, "Terraform prefers that key", None;
    "gcp": GOOGLE: "GOOGLE_BACKEND_CREDENTIALS", Always, Empty, "Terraform reads its state with that key instead", Some("terraform-gcs");
    "gcp": GOOGLE_FILE: "CLOUDSDK_AUTH_ACCESS_TOKEN", Always, Empty, "gcloud prefers that token to the credential file", None;
    "gcp": GOOGLE_FILE: "GOOGLE_OAUTH_ACCESS_TOKEN", Always, Empty, "Terraform prefers that token to the credential file", Some("terraform-gcs");
    "gcp": GOOGLE_FILE: "GOOGLE_CLOUD_QUOTA_PROJECT", Always, Warn, "SDKs bill that project, which the lent identity may not use", Some("google-auth");
    "gcp": GOOGLE_FILE: "GOOGLE_CLOUD_UNIVERSE_DOMAIN", Always, Set("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "googleapis.com"), "the lent identity is of another universe", None;
    "gcp": GOOGLE: "CLOUDSDK_CORE_UNIVERSE_DOMAIN", Always, Set("CLOUDSDK_CORE_UNIVERSE_DOMAIN", "googleapis.com"), "the lent identity is of another universe", None;
    "gcp": GOOGLE: "GOOGLE_UNIVERSE_DOMAIN", Always, Set("GOOGLE_UNIVERSE_DOMAIN", "googleapis.com"), "Terraform sends the lent identity to another universe", None;
    "gcp": GOOGLE: "GOOGLE_BILLING_PROJECT", Always, Warn, "Terraform may bill that project, which the lent identity may not use", None;
    "gcp": GOOGLE_TOKEN: "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", Always, Empty, "gcloud takes the credential in that file", None;
    "gcp": GOOGLE_TOKEN: "GOOGLE_APPLICATION_CREDENTIALS", Always, Warn, "SDKs read that file and not the lent token", None;
    "azure": ENTRA: "AZURE_CLIENT_SECRET", Always, ENTRA_ONLY, "SDKs prefer that secret to the federated token", Some("azure-identity");
    "azure": ENTRA: "AZURE_CLIENT_CERTIFICATE_PATH", Always, ENTRA_ONLY, "SDKs prefer that certificate to the federated token", Some("azure-identity");
    "azure": ENTRA: "AZURE_USERNAME", Always, ENTRA_ONLY, "SDKs prefer that user to the federated token", Some("azure-identity");
    "azure": ENTRA: "AZURE_TOKEN_CREDENTIALS", Always, ENTRA_ONLY, "SDKs may leave the federated token out", Some("azure-identity");
    "azure": ENTRA: "AZURE_REGIONAL_AUTHORITY_NAME", Always, Empty, "SDKs send the federated token to that region's authority", None;
    "azure": ENTRA: "AZURE_KUBERNETES_TOKEN_PROXY", Always, Empty, "SDKs may send the federated token through that proxy of a cluster", None;
    "azure": ARM: "ARM_ENVIRONMENT", Always, Set("ARM_ENVIRONMENT", "public"), "Terraform sends the federated token to the authority of that cloud", None;
    "azure": ARM: "ARM_METADATA_HOSTNAME", Always, Empty, "Terraform learns there to which authority it sends the federated token", None;
    "azure": ARM: "ARM_METADATA_HOST", Always, Empty, "Terraform learns there to which authority it sends the federated token", None;
    "azure": ARM: "ARM_USE_AKS_WORKLOAD_IDENTITY", Always, Empty, "Terraform may take the token of a cluster instead", None;
    "azure": ARM: "ARM_CLIENT_SECRET", Always, Empty, "Terraform prefers that secret to the federated token", None;
    "azure": ARM: "ARM_CLIENT_SECRET_FILE_PATH", Always, Empty, "Terraform prefers that secret to the federated token", Some("terraform-azurerm");
    "azure": ARM: "ARM_CLIENT_CERTIFICATE", Always, Empty, "Terraform prefers that certificate to the federated token", Some("terraform-azurerm");
    "azure": ARM: "ARM_CLIENT_CERTIFICATE_PATH", Always, Empty, "Terraform prefers that certificate to the federated token", Some("terraform-azurerm");
    "azure": ARM: "ARM_CLIENT_ID_FILE_PATH", Always, Empty, "Terraform refuses two names of one application that differ", Some("terraform-azurerm");
    "azure": ARM: "ARM_OIDC_TOKEN", Always, Empty, "Terraform prefers that token, or refuses two that differ", Some("terraform-azurerm");
    "azure": ARM: "ARM_USE_MSI", Always, Empty, "Terraform may act as the machine's own identity", None;
    "azure": ARM: "ARM_ACCESS_KEY", Always, Empty, "Terraform reads its state with that key instead", Some("terraform-azurerm");
    "azure": ARM: "ARM_SAS_TOKEN", Always, Empty, "Terraform reads its state with that token instead", Some("terraform-azurerm");
    "vault": VAULT: "VAULT_AGENT_ADDR", Always, Empty, "the vault command line sends the lent token there, and not to `VAULT_ADDR`", Some("vault");
    "vault": VAULT: "VAULT_NAMESPACE", Always, Empty, "the lent token is of another namespace", Some("vault");
    "vault": VAULT: "VAULT_WRAP_TTL", Always, Empty, "the vault command line is answered with wrapped values", None;
    "vault": VAULT: "VAULT_PROXY_ADDR", Always, Warn, "the vault command line sends the lent token by that proxy", None;
    "vault": VAULT: "VAULT_SKIP_VERIFY", Always, Warn, "the vault command line sends the lent token to any server that answers", Some("vault");
    "vault": VAULT: "BAO_ADDR", Always, Empty, "OpenBao's command line sends the lent token there, and not to `VAULT_ADDR`", None;
    "vault": VAULT: "BAO_AGENT_ADDR", Always, Empty, "OpenBao's command line sends the lent token there, and not to `VAULT_ADDR`", None;
    "vault": VAULT: "BAO_TOKEN", Always, Empty, "OpenBao's command line prefers that token", None;
    "vault": VAULT: "BAO_NAMESPACE", Always, Empty, "the lent token is of another namespace", None;
    "vault": VAULT: "BAO_WRAP_TTL", Always, Empty, "OpenBao's command line is answered with wrapped values", None;
    "vault": VAULT: "BAO_PROXY_ADDR", Always, Warn, "OpenBao's command line sends the lent token by that proxy", None;
    "vault": VAULT: "BAO_SKIP_VERIFY", Always, Warn, "OpenBao's command line sends the lent token to any server that answers", None;
    "github": GITHUB: "GH_TOKEN", Always, Empty, "gh prefers that token to `GITHUB_TOKEN`", None;
    "github": GITHUB_SERVER: "GH_ENTERPRISE_TOKEN", Always, Empty, "gh prefers that token to `GITHUB_ENTERPRISE_TOKEN`", None;
    "github": GH: "GH_HOST", Always, Warn, "gh asks that host, for which the lent token may be none", None;
    "github": GITHUB: "GITHUB_BASE_URL", Always, Warn, "Terraform sends the lent token there", None;
    "github": GITHUB: "GITHUB_API_URL", Always, Warn, "tools written for GitHub's actions send the lent token there", None;
};
