//! Under the limits that a host or sandbox puts on the agent's user: what cannot be done is reported; nothing dies.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::components;
use crate::support::hooks::{Ended, Stage};

/// What the hook does under a limit of `prlimit`.
fn under(stage: &mut Stage, limit: &str) -> Ended {
    let hook = stage.command("pre-command");
    let mut limited = Command::new("prlimit");
    limited.arg(limit).arg(hook.get_program()).args(hook.get_args()).env_clear().stdin(Stdio::null());
    limited.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    assert!(output.status.code().is_some(), "{limit}: {:?}", output.status);
    stage.ended(&output)
}

#[test]
fn a_file_that_may_grow_no_further_is_reported_as_a_full_disk_is() {
    for limit in ["--fsize=0", "--fsize=100", "--fsize=1000"] {
        let mut stage = Stage::new();
        stage.write_config();
        let ended = under(&mut stage, limit);
        assert!(ended.status > 100 && ended.text.contains("error["), "{limit}: {}", ended.text);
        assert!(ended.text.contains("File too large"), "{limit}: {}", ended.text);
    }
}

#[test]
fn a_small_stack_ends_no_hook() {
    for limit in ["--stack=65536", "--stack=131072", "--stack=524288"] {
        let mut stage = Stage::new();
        stage.write_config();
        let ended = under(&mut stage, limit);
        assert_eq!(ended.status, 0, "{limit}: {}", ended.text);
    }
}

/// Starts a program under a filter that refuses `prlimit64`, as systemd before version 239 does with `~@resources`.
const FILTER: &str = r#"
import ctypes, os, platform, struct, sys
calls = {"x86_64": (302, (97, 160)), "aarch64": (261, (163, 164))}
number, others = calls[platform.machine()]
def op(code, yes, no, k): return struct.pack("HBBI", code, yes, no, k)
refused = [number, *others]
program = op(0x20, 0, 0, 0)
for at, call in enumerate(refused): program += op(0x15, len(refused) - at, 0, call)
program += op(0x06, 0, 0, 0x7fff0000) + op(0x06, 0, 0, 0x00050000 | 1)
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, ctypes.addressof(buffer)))) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn where_limits_can_be_neither_read_nor_set_a_process_is_closed_and_works() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = Stage::new();
    stage.write_config();
    let hook = stage.command("pre-command");
    let mut filtered = Command::new(python);
    filtered.args(["-c", FILTER]).arg(hook.get_program()).args(hook.get_args()).env_clear();
    filtered.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = filtered.stdin(Stdio::null()).output().unwrap();
    let ended = stage.ended(&output);
    assert!(Path::new("/proc").exists() && ended.status == 0, "{}", ended.text);
    assert!(!ended.text.contains("can be read by others"), "{}", ended.text);
}
