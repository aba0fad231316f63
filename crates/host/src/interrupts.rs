//! Signals that ask this process to end, counted, so that it can end what it began.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What came so far.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    times: u32,
    first: Option<i32>,
}

/// SIGINT, SIGTERM, SIGHUP and SIGQUIT, as they come.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<Asked>);

impl Interrupts {
    /// Listens from now on, in place of the default that would end this process. Must be called inside a runtime.
    pub fn listen() -> io::Result<Self> {
        let (told, asked) = watch::channel(Asked::default());
        for kind in
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
        {
            let (mut signals, told) = (signal(kind)?, told.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    told.send_modify(|asked| {
                        asked.times += 1;
                        asked.first.get_or_insert(kind.as_raw_value());
                    });
                }
            });
        }
        Ok(Self(asked))
    }

    /// Of a process that nobody interrupts.
    pub fn none() -> Self {
        Self(watch::channel(Asked::default()).1)
    }

    /// How many came.
    pub fn times(&self) -> u32 {
        self.0.borrow().times
    }

    /// The exit code of a process that the first of them ended; `None` where none came.
    pub fn exit_code(&self) -> Option<u8> {
        self.0.borrow().first.and_then(|number| u8::try_from(128 + number).ok())
    }

    /// Comes back when more than `times` came.
    pub async fn more_than(&self, times: u32) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| asked.times > times).await.is_err() {
            // Nobody listens any more: then none comes.
            std::future::pending::<()>().await;
        }
    }
}
