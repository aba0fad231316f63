//! The parts of a record that tell how it ended.

use serde::{Deserialize, Serialize};

use super::macros::{part, words};
use super::parts::{DataUse, Finding, Lent};
use dataflow_types::settlement::Settlement;

part! {
    /// Leases settled while the job went on.
    pub struct SettledPart {
        /// Which, and how.
        settlements: Vec<SettledLease>,
    }
}

part! {
    /// The job's end.
    pub struct End {
        /// How the command ended, as the agent reported it.
        result: JobResult,
        /// What was lent and no START tells of: to callbacks while the command ran, or by a hook that died.
        renewals: Vec<Lent>,
        /// Every lease and every lost exchange, and what became of it.
        settlements: Vec<SettledLease>,
        /// Every variable that was set, and what became of it.
        variables: Vec<Restored>,
        /// Data the step read, as far as it said so.
        inputs: Vec<DataUse>,
        /// Data the step wrote, as far as it said so.
        outputs: Vec<DataUse>,
        /// Who sealed this link.
        sealed_by: SealedBy,
        /// What a reader should look at.
        findings: Vec<Finding>,
    }
}

part! {
    /// What became of one lease.
    pub struct SettledLease {
        /// The request that the lease answered.
        request: String,
        /// What became of it.
        settlement: Settlement,
        /// Who says so; absent in links of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed_by: Option<ClaimedBy>,
    }
}

words! {
    /// Who says what became of a lease.
    pub enum ClaimedBy {
        /// The process that sealed this link: its provider answered it, or the lease cannot be taken back.
        ThisProcess,
        /// An earlier process, as the journal says, which any process of the agent's user can change.
        Journal,
        /// The sweeper of `survive-reboot`, which is another user.
        Sweeper,
        /// An operator, by a command away from the job.
        Operator,
    }
}

part! {
    /// What became of one variable.
    pub struct Restored {
        /// Its name.
        name: String,
        /// `restored`, `removed`, `left-changed`, or `not-restored`.
        outcome: String,
    }
}

part! {
    /// How the command ended, by `BUILDKITE_COMMAND_EXIT_STATUS` and `BUILDKITE_JOB_CANCELLED`.
    pub struct JobResult {
        /// In a word.
        outcome: JobOutcome,
        /// As the agent wrote it: a number, -1 for a signal.
        exit_status: Option<String>,
        /// A step's process could have written it.
        trust: ResultTrust,
    }
}

words! {
    /// How a job's command ended.
    pub enum JobOutcome {
        /// With status 0.
        Passed,
        /// With another status.
        Failed,
        /// It was cancelled.
        Cancelled,
        /// It ran out of time.
        TimedOut,
        /// It never ran: an earlier hook failed.
        NotRun,
        /// This program refused to lend, and the step did not run.
        Refused,
        /// The bootstrap died without telling anybody.
        Abort,
    }
}

words! {
    /// Who says how a job ended.
    pub enum ResultTrust {
        /// The agent's environment.
        Reported,
        /// This program itself: it refused, or found the bootstrap gone.
        Observed,
    }
}

words! {
    /// Who sealed an END.
    pub enum SealedBy {
        /// The hook that refused to lend.
        PreCommand,
        /// The hook after the command.
        PostCommand,
        /// The last hook.
        PreExit,
        /// The job's companion process.
        Keeper,
        /// A later job of the host, or `buildkite-dataflow sweep`.
        Sweep,
    }
}

part! {
    /// What came after the end.
    pub struct Late {
        /// Leases whose settlement was not final at the end.
        settlements: Vec<SettledLease>,
        /// Data that was published after the end.
        outputs: Vec<DataUse>,
        /// What a reader should look at.
        findings: Vec<Finding>,
    }
}
