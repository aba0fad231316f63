//! What somebody can put in the place of a file, and programs that must not wait for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::child::run;

/// More than any hook here needs, and far less than for ever.
const DEADLINE: Duration = Duration::from_secs(30);

/// What can stand in the place of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Odd {
    Pipe,
    Socket,
    Device,
    LinkToPipe,
    LinkToNothing,
    LinkToItself,
    Folder,
    Sparse,
}

pub(crate) const ALL: [Odd; 8] = [
    Odd::Pipe,
    Odd::Socket,
    Odd::Device,
    Odd::LinkToPipe,
    Odd::LinkToNothing,
    Odd::LinkToItself,
    Odd::Folder,
    Odd::Sparse,
];

impl Odd {
    /// Puts it there, in place of what was there.
    pub(crate) fn put(self, path: &Path) {
        drop(fs::remove_file(path));
        drop(fs::remove_dir_all(path));
        let link = |to: &Path| std::os::unix::fs::symlink(to, path).unwrap();
        match self {
            Self::Pipe => pipe(path),
            Self::Socket => socket(path),
            // Only root can make a device; whoever follows links meets one all the same.
            Self::Device => link(Path::new("/dev/zero")),
            Self::LinkToPipe => {
                let to = path.with_extension("pipe");
                drop(fs::remove_file(&to));
                pipe(&to);
                link(&to);
            }
            Self::LinkToNothing => link(Path::new("/nonexistent/file")),
            Self::LinkToItself => link(path),
            Self::Folder => fs::create_dir(path).unwrap(),
            Self::Sparse => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        }
    }
}

/// Bound where the path is short enough for one.
fn socket(path: &Path) {
    let folder =
        tempfile::tempdir_in(path.ancestors().skip(1).find(|above| above.as_os_str().len() < 60).unwrap())
            .unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap());
    fs::rename(folder.path().join("s"), path).unwrap();
}

fn pipe(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// How a program ended that must end soon: its status, and all that it printed.
#[track_caller]
pub(crate) fn soon(command: Command) -> (Option<i32>, String) {
    let told = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = run(async { tokio::time::timeout(DEADLINE, command.output()).await });
    let output = output.unwrap_or_else(|_| panic!("waits for ever: {told}")).unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
