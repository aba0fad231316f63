//! Faults, for the harness in tests/it/harness.rs: whatever reaches outside passes a point here, and points
//! are numbered as they are passed. Without the feature `faults`, with which nothing is shipped, they are
//! nothing at all.
//!
//! `DATAFLOW_FAULT` says what happens: `kill:N` ends the process at point N, and so does `reboot:N`, after which
//! the harness takes away what a reboot does; `full:N` lets every write from N on find the disk full, `unsent:N`
//! and `unheard:N` lose a request before and after it was sent, `twice:N` sends it twice, `jump:N:SECONDS` moves
//! the clock. `DATAFLOW_POINTS` names a file that is told each point, `DATAFLOW_BOOT` is the boot's name after a
//! reboot. What begins `DATAFLOW_KEEPER_` is handed to a keeper as `DATAFLOW_`.

#[cfg(not(feature = "faults"))]
mod none {
    use std::io;

    /// Something outside is about to be changed.
    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "with faults it can fail")]
    pub(crate) fn act(_: &'static str) -> io::Result<()> {
        Ok(())
    }

    /// Something outside is about to be looked at.
    #[inline]
    pub(crate) fn look(_: &'static str) {}

    /// Sends a request.
    #[inline]
    pub(crate) fn request<F: Future<Output = Result<T, E>>, T, E>(
        send: impl Fn() -> F,
        _: impl Fn() -> E,
    ) -> F {
        send()
    }
}

#[cfg(not(feature = "faults"))]
pub(crate) use none::{act, look, request};

#[cfg(feature = "faults")]
pub(crate) use planned::{act, boot, look, of_keeper, offset, request};

#[cfg(feature = "faults")]
mod planned {
    use std::io::{self, Write as _};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        kind: String,
        at: u64,
        seconds: i64,
        points: Option<std::fs::File>,
    }

    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[expect(clippy::disallowed_methods, reason = "the harness speaks through the environment")]
    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var("DATAFLOW_FAULT").unwrap_or_default();
            let mut parts = text.split(':');
            let kind = parts.next().unwrap_or_default().to_owned();
            let at = parts.next().and_then(|at| at.parse().ok()).unwrap_or(u64::MAX);
            let seconds = parts.next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
            let points = std::env::var_os("DATAFLOW_POINTS");
            let open = |path| std::fs::OpenOptions::new().create(true).append(true).open(path).ok();
            Plan { kind, at, seconds, points: points.and_then(open) }
        })
    }

    fn pass(what: &'static str) -> u64 {
        let (plan, number) = (plan(), PASSED.fetch_add(1, Ordering::Relaxed));
        if let Some(mut points) = plan.points.as_ref() {
            drop(writeln!(points, "{number} {what}"));
        }
        if matches!(plan.kind.as_str(), "kill" | "reboot") && number == plan.at {
            let _dead = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        number
    }

    /// Something outside is about to be changed.
    pub(crate) fn act(what: &'static str) -> io::Result<()> {
        let number = pass(what);
        if plan().kind == "full" && number >= plan().at {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    /// Something outside is about to be looked at.
    pub(crate) fn look(what: &'static str) {
        pass(what);
    }

    /// Sends a request, or loses it, or its answer, or sends it twice.
    pub(crate) async fn request<F: Future<Output = Result<T, E>>, T, E>(
        send: impl Fn() -> F,
        lost: impl Fn() -> E,
    ) -> Result<T, E> {
        let number = pass("request");
        match plan().kind.as_str() {
            "unsent" if number == plan().at => return Err(lost()),
            "unheard" if number == plan().at => return send().await.and(Err(lost())),
            "twice" if number == plan().at => drop(send().await),
            _ => {}
        }
        let answer = send().await;
        pass("answer");
        answer
    }

    /// What this boot is called since a reboot.
    #[expect(clippy::disallowed_methods, reason = "the harness speaks through the environment")]
    pub(crate) fn boot() -> Option<String> {
        std::env::var("DATAFLOW_BOOT").ok()
    }

    /// What a keeper is told of its own faults: the hook's value, and the keeper's name for it.
    pub(crate) fn of_keeper(name: &str) -> Option<String> {
        name.strip_prefix("DATAFLOW_KEEPER_").map(|rest| format!("DATAFLOW_{rest}"))
    }

    /// How far the clock is off, in seconds.
    pub(crate) fn offset() -> i64 {
        let jumped = plan().kind == "jump" && PASSED.load(Ordering::Relaxed) > plan().at;
        if jumped { plan().seconds } else { 0 }
    }
}
