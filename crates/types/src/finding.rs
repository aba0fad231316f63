//! The identifiers of findings: what a reader of a record should look at, and what stops nothing.

use crate::identifiers::identifiers;

identifiers! {
    /// What was found: stable, and the same in the journal, the record and `docs/errors.md`.
    enum Ident;
    /// The links of a record in which it can stand, or the log alone.
    fn links -> &'static str;

    KeeperNotStarted = "keeper-not-started", "log",
        "the job's companion could not be started: token files end with their tokens, and after a kill leases wait for the next sweep";
    NotEncryptedAtRest = "not-encrypted-at-rest", "START",
        "there is no memory-backed storage for this user: handles, previous values or files of credentials lie on the disk as they are while the job runs";
    SurvivorNotKept = "survivor-not-kept", "START",
        "what a sweep after a restart of the host would need could not be left: the lease would end by expiry then";
    NotAskedFor = "not-asked-for", "START",
        "the `if` of a credential is false, so nothing was asked; it is named with its condition, and nothing is wrong";
    AnswerLost = "answer-lost", "START, END",
        "an earlier try's answer was lost: a second session of the same name may live until the time that is named";
    PolicyNearlyFull = "policy-nearly-full", "START",
        "session policy, `policy-arns` and session tags take 80 % or more of what STS packs: it refuses at more than 100 %";
    TextsNotHidden = "texts-not-hidden", "START",
        "a structured secret has more texts, in all their forms, than the log can hide (512 a secret, 4,096 a block); the first of them are hidden";
    SecretTakenOff = "secret-taken-off", "START",
        "a variable such as `BUILDKITE_REPO` holds a user, a query or a fragment, which can carry a secret: the record has it without; `(unreadable)` is what is no repository at all";
    NotSecret = "not-secret", "START",
        "`secret: false` hands a value over that the log shows";
    ClockSkew = "clock-skew", "START",
        "the host's clock is more than 30 s off the issuer's: set it";
    IdentityUnverified = "identity-unverified", "START",
        "the token's signature was not checked (`verify: when-available`)";
    WouldBeDenied = "would-be-denied", "START",
        "`mode: observe` lent what the policy denies";
    VariableCovered = "variable-covered", "START",
        "a variable was set already, perhaps with a static key, and is lent anew, or competes with what is lent and is empty or right for this step; it comes back after the step";
    VariableCompetes = "variable-competes", "START",
        "a variable is set that some tools prefer to what is lent, such as `AWS_PROFILE` beside keys; it stays, for nothing could be put in its place that suits them all";
    Unsettled = "unsettled", "END",
        "a lease ended as `unknown` or `failed`";
    NotRestored = "not-restored", "END",
        "variables could not be put back, for the Job API was gone or refused";
    JournalDamaged = "journal-damaged", "END",
        "lines of the journal could not be read: what they recorded, a lease perhaps, is missing";
    JournalNotBelieved = "journal-not-believed", "END, LATE",
        "the journal said of a lease what cannot be: an end that its provider cannot give, or of something that was not lent. It was not recorded; a process that is not of this program wrote there";
    NoStart = "no-start", "END",
        "the job died before its START was sealed";
    LoginRevoked = "login-revoked", "LATE",
        "an operator revoked a login of Vault: by which accessor";
    SessionDenied = "session-denied", "LATE",
        "an operator denied a session: by which policy, on which role, and who it was";
}
