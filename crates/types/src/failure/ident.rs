//! The identifiers of failures.

use super::Class;
use crate::identifiers::identifiers;

identifiers! {
    /// What went wrong: stable, and the same in the log, the record and `docs/errors.md`, where it is the anchor too.
    ///
    /// Where the cause decides the class, two variants have one text.
    enum Ident;
    /// The class, which decides the exit code.
    fn class -> Class;

    BadConfiguration = "bad-configuration", Class::Configuration,
        "the step config or the host config says something wrong";
    UntrustedConfiguration = "untrusted-configuration", Class::Configuration,
        "another user could have written the host config";
    StateUnusable = "state-unusable", Class::Configuration,
        "leases cannot be written down";
    NotEncryptedAtRest = "not-encrypted-at-rest", Class::Configuration,
        "a secret would be written to a disk unencrypted, and the host config requires that none is";
    SurvivorNotKept = "survivor-not-kept", Class::Configuration,
        "a lease would not survive a restart of the host, and the host config requires it";
    SurvivorsUnusable = "survivors-unusable", Class::Configuration,
        "`sweep --key` cannot work: its user, key, folder or host config does not fit";
    RehearsalImpossible = "rehearsal-impossible", Class::Configuration,
        "the pipeline or another file of the rehearsal is missing or wrong";
    DenialImpossible = "denial-impossible", Class::Configuration,
        "`deny` has no record of the job, no keys of an operator, or no usable endpoint";
    RevocationImpossible = "revocation-impossible", Class::Configuration,
        "`revoke` has no record of the job, no address of Vault, or no token of an operator";
    RecordsUnreadable = "records-unreadable", Class::Configuration,
        "`records` found no record in the folder";
    NotInThisBuild = "not-in-this-build", Class::Configuration,
        "the build for hosts lacks this command";
    NoToken = "no-token", Class::Configuration,
        "there is no OIDC token to exchange";
    NoTokenFromAgent = "no-token", Class::Agent,
        "there is no OIDC token to exchange";
    Denied = "denied", Class::Denied,
        "this host's policy does not lend it";
    LifetimeOverLimit = "lifetime-over-limit", Class::Denied,
        "what was lent would live longer than this host allows";
    IssuerNotAllowed = "issuer-not-allowed", Class::Denied,
        "the token's issuer is not among those this host believes";
    NotAHook = "not-a-hook", Class::Denied,
        "a process that the agent did not start called a hook after the command";
    OperatorUnfit = "operator-unfit", Class::Denied,
        "`deny` runs with credentials of a job that it is to deny";
    JobApi = "job-api", Class::Agent,
        "the Job API is missing, or did not do what was asked";
    TokenInvalid = "token-invalid", Class::Agent,
        "the agent's token does not stand up to its checks";
    TokenUnverified = "token-unverified", Class::Agent,
        "the issuer's keys cannot be read, so the job's token is not verified";
    TokenRejected = "token-rejected", Class::Refused,
        "the provider did not accept this job's token";
    NotRenewed = "not-renewed", Class::Configuration,
        "a callback of a step was not handed a credential";
    ProviderRefused = "provider-refused", Class::Refused,
        "the provider refused for another reason";
    ProviderMalformed = "provider-malformed", Class::Refused,
        "the answer is not the provider's, or holds no usable credential";
    ProviderBusy = "provider-busy", Class::Unreachable,
        "the provider is busy or at fault, also after retries";
    ProviderUnreachable = "provider-unreachable", Class::Unreachable,
        "no answer of the provider came";
    HostExhausted = "host-exhausted", Class::Unreachable,
        "the host lacks what a process starts with";
    ClientCertificateUnusable = "client-certificate-unusable", Class::Configuration,
        "a client certificate that the host config names cannot be used";
    ClientCertificateRefused = "client-certificate-refused", Class::Refused,
        "a server wants another client certificate, or one at all";
    SourceUnusable = "source-unusable", Class::Configuration,
        "a credential is made with another one, which was not lent or is of no use for it";
    ValueMissing = "value-missing", Class::Refused,
        "what was read does not hold the value that was asked for";
    ExportFailed = "export-failed", Class::Export,
        "the variables could not be handed to the step";
    LeaseUnsettled = "lease-unsettled", Class::Unsettled,
        "a lease could not be settled, and the host config requires it";
    SessionNotDenied = "session-not-denied", Class::Unsettled,
        "a session that `deny` was to deny goes on";
    LoginNotRevoked = "login-not-revoked", Class::Unsettled,
        "a login that `revoke` was to revoke lives on, or may live on";
    RecordsBroken = "records-broken", Class::Unrecorded,
        "a record cannot be believed";
    RecordNotStored = "record-not-stored", Class::Unrecorded,
        "the record could not be stored, and the host config requires it";
    Bug = "bug", Class::Bug,
        "a fault of this program";
}
