//! Programs of a rehearsed job: each in a process group of its own, and none of them outlives the job.

use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::{Either, select};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Split};
use tokio::net::unix::pipe::Receiver;

use super::interrupts::Interrupts;
use super::process::Command;
use super::{Clock, closed};

/// How long after the first signal a program may go on: the agent's own `signal-grace-period`.
const GRACE: Duration = Duration::from_secs(10);
/// How long what a program left in the background may go on printing.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// What a program is told of a signal that this process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The first of them; it is killed at the next, or when its grace is over.
    First,
    /// None: it gives back what was lent. It is killed at the next after the first.
    Nothing,
}

/// The same, however much it prints.
const AT_MOST: Duration = Duration::from_secs(1);

type Lines = Split<BufReader<Receiver>>;

impl Command {
    /// Runs the program to its end and hands over each line of its output, both streams in one order, as
    /// a terminal would show them. Its exit status; `None` when a signal ended it.
    ///
    /// When it has ended its whole process group is ended.
    pub async fn run_lines(
        &self,
        clock: &Clock,
        (interrupts, told): (&Interrupts, Told),
        mut on_line: impl FnMut(&str),
    ) -> io::Result<Option<i32>> {
        let (reader, writer) = io::pipe()?;
        let before = interrupts.times();
        let mut child = {
            let mut command = self.build();
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
            closed::with_cores_of_before(|| command.spawn())?
            // The command, and with it our ends of the pipe, is dropped here: the last writer is the child.
        };
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let mut lines = BufReader::new(Receiver::from_owned_fd(reader.into())?).split(b'\n');
        let mut show = |line: Vec<u8>| on_line(&String::from_utf8_lossy(&line));
        let stop = pin!(group.stop(clock, interrupts, before, told));
        let status = {
            let run = pin!(async {
                let mut ended = pin!(child.wait());
                loop {
                    let line = pin!(lines.next_segment());
                    match select(ended.as_mut(), line).await {
                        Either::Left((status, _)) => break status,
                        Either::Right((Ok(Some(line)), _)) => show(line),
                        // It closed its output, or broke it, and goes on.
                        Either::Right(_) => break ended.await,
                    }
                }
            });
            match select(run, stop).await {
                Either::Left((status, _)) => status?,
                Either::Right(((), run)) => run.await?,
            }
        };
        clock.within(AT_MOST, rest(clock, &mut lines, &mut show)).await.unwrap_or(Ok(()))?;
        group.signal(Signal::SIGKILL);
        Ok(status.code())
    }
}

/// What is in the pipe still: what others hold open is waited for no longer.
async fn rest(clock: &Clock, lines: &mut Lines, show: &mut impl FnMut(Vec<u8>)) -> io::Result<()> {
    while let Some(line) = clock.within(AFTERWARDS, lines.next_segment()).await {
        match line? {
            Some(line) => show(line),
            None => break,
        }
    }
    Ok(())
}

/// A process group, by its leader.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // Nobody is left in it: as it should be.
            let _gone = killpg(leader, signal);
        }
    }

    /// Ends the group as signals come; comes back when it was killed.
    async fn stop(&self, clock: &Clock, interrupts: &Interrupts, before: u32, told: Told) {
        if told == Told::First && before == 0 {
            interrupts.more_than(0).await;
            self.signal(Signal::SIGTERM);
            clock.within(GRACE, interrupts.more_than(1)).await;
        } else {
            interrupts.more_than(before.max(1)).await;
        }
        self.signal(Signal::SIGKILL);
    }
}
