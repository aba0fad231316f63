//! Git itself, over HTTP, with a token that a step was lent: the outermost client of the git providers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buildkite_dataflow::host::serve::{Handler, Request, Response, Server, on_loopback};
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::hooks::Stage;
use crate::support::lent::{held, of_held, settles, stage};

/// Git's own server, behind a check of who asks.
struct Remote {
    runtime: Runtime,
    folder: tempfile::TempDir,
    asked: Arc<Asked>,
    server: Server,
}

/// Who asked, and whom the remote does not know any more.
#[derive(Default)]
struct Asked {
    projects: PathBuf,
    shown: Mutex<Vec<(String, String)>>,
    paths: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("work");
        let bare = folder.path().join("acme/web.git");
        let git = |arguments: &[&str]| {
            let ended = Command::new("git")
                .args([
                    "-c",
                    "user.name=test",
                    "-c",
                    "user.email=test@example.test",
                    "-c",
                    "init.defaultBranch=main",
                ])
                .args(arguments)
                .env("HOME", folder.path())
                .output()
                .unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        };
        let (from, to) = (work.to_str().unwrap(), bare.to_str().unwrap());
        git(&["init", "-q", from]);
        std::fs::write(work.join("README"), "pulled with a lent token\n").unwrap();
        git(&["-C", from, "add", "README"]);
        git(&["-C", from, "commit", "-q", "-m", "first"]);
        git(&["clone", "-q", "--bare", from, to]);
        let asked = Arc::new(Asked { projects: folder.path().to_owned(), ..Asked::default() });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(on_loopback(0, Arc::clone(&asked))).unwrap();
        Self { runtime, folder, asked, server }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address().unwrap())
    }

    /// Clones as the step does, into a folder of this name.
    fn clone(&self, stage: &Stage, name: &str) -> (Output, PathBuf) {
        self.clone_of(stage, "acme/web.git", name)
    }

    fn clone_of(&self, stage: &Stage, path: &str, name: &str) -> (Output, PathBuf) {
        let to = self.folder.path().join(name);
        let from = format!("{}/{path}", self.url());
        (self.git(stage, &["clone", "-q", &from, to.to_str().unwrap()]), to)
    }

    /// Git as a process of the step starts it.
    fn git(&self, stage: &Stage, arguments: &[&str]) -> Output {
        let _inside = self.runtime.enter();
        let mut git = Command::new("git");
        git.args(arguments).env_clear();
        for (name, value) in stage.api.env() {
            git.env(name, value.expose());
        }
        git.env("GIT_TERMINAL_PROMPT", "0").output().unwrap()
    }

    /// The same repository under another path.
    fn copy(&self, path: &str) {
        let to = self.folder.path().join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let web = self.folder.path().join("acme/web.git");
        let copied = Command::new("cp").arg("-r").args([&web, &to]).status().unwrap();
        assert!(copied.success());
    }

    /// How often something below this path was asked for.
    fn asked_of(&self, path: &str) -> usize {
        self.asked.paths.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).count()
    }

    fn shown(&self) -> Vec<(String, String)> {
        self.asked.shown.lock().unwrap().clone()
    }
}

impl Handler for Asked {
    fn answer(&self, request: Request) -> Response {
        self.paths.lock().unwrap().push(request.path.clone());
        let header = request.headers.get("authorization").and_then(|header| header.to_str().ok());
        let both = header.and_then(|header| STANDARD.decode(header.strip_prefix("Basic ")?).ok());
        let both = both.and_then(|both| String::from_utf8(both).ok());
        let refused = Response {
            headers: vec![("www-authenticate", "Basic realm=\"git\"".into())],
            ..Response::new(401, "text/plain", "who are you?")
        };
        let Some((user, password)) = both.as_deref().and_then(|both| both.split_once(':')) else {
            return refused;
        };
        self.shown.lock().unwrap().push((user.to_owned(), password.to_owned()));
        if self.refused.lock().unwrap().iter().any(|gone| gone == password) {
            return refused;
        }
        if let Some(object) = lfs(&request) {
            return object;
        }
        http_backend(&self.projects, &request)
    }
}

/// What a file in git-lfs holds.
const LARGE: &str = "large, and pulled with a lent token\n";

/// Git LFS's own API ("Batch", "Basic Transfer"), with one object.
fn lfs(request: &Request) -> Option<Response> {
    if request.path.ends_with("/large-object") {
        return Some(Response::new(200, "application/octet-stream", LARGE));
    }
    let host = request.headers.get("host")?.to_str().ok()?;
    let base = request.path.strip_suffix("/objects/batch")?;
    let asked: Value = serde_json::from_slice(&request.body).ok()?;
    let mut object = asked["objects"][0].clone();
    object["actions"] = json!({"download": {"href": format!("http://{host}{base}/large-object")}});
    let answer = json!({"transfer": "basic", "objects": [object]}).to_string();
    Some(Response::new(200, "application/vnd.git-lfs+json", answer))
}

/// Runs `git http-backend` as a web server does (RFC 3875).
fn http_backend(projects: &Path, request: &Request) -> Response {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let header = |name: &str| {
        request.headers.get(name).and_then(|header| header.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_PROJECT_ROOT", projects)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&request.body).unwrap();
    let output = backend.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let field = |name: &str| {
        head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    };
    let status = field("Status").map_or(200, |status| status[..3].parse().unwrap());
    let kind = field("Content-Type").unwrap_or_default();
    Response::new(status, Box::leak(kind.into_boxed_str()), &output[end + 4..])
}

/// A step whose one token is for this remote.
fn step(provider: &str, remote: &Remote, asked: &Value) -> Stage {
    let mut stage = stage(provider);
    let mut credential = json!({"name": "repository", "git": [remote.url()]});
    credential[provider] = asked.clone();
    stage.block = json!({"credentials": [held(&stage, false), credential]});
    // Git starts helpers through a shell, by the path of this program.
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage
}

fn given(stage: &Stage, provider: &str) -> Vec<String> {
    let service = stage.sandbox.providers().iter().find(|service| service.provider() == provider).unwrap();
    service.issued().iter().map(|issued| issued.secret.expose().to_owned()).collect()
}

#[test]
fn git_clones_with_a_lent_token_that_stands_nowhere_in_the_clone() {
    let octo = json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci"});
    let consumer = json!({"consumer": {"key": "consumer-key", "secret": of_held()}});
    for (provider, asked, user, variable) in [
        ("github", octo, "x-access-token", "GITHUB_TOKEN"),
        ("bitbucket", consumer, "x-token-auth", "BITBUCKET_TOKEN"),
    ] {
        let remote = Remote::new();
        let mut stage = step(provider, &remote, &asked);
        let (ended, clone) = remote.clone(&stage, "clone");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let pulled = std::fs::read_to_string(clone.join("README")).unwrap();
        assert_eq!(pulled, "pulled with a lent token\n");
        let [token] = given(&stage, provider).try_into().unwrap();
        assert!(remote.shown().iter().all(|shown| *shown == (user.to_owned(), token.clone())));
        let config = std::fs::read_to_string(clone.join(".git/config")).unwrap();
        assert!(!config.contains(&token), "{config}");
        settles(&mut stage, variable);
        let (after, _) = remote.clone(&stage, "after");
        assert!(!after.status.success());
        assert_eq!(stage.variable("GIT_CONFIG_COUNT"), None);
    }
}

/// A step with a credential for each of these remotes, given as paths.
fn step_for(remote: &Remote, remotes: &[(&str, &str)], more: &Value) -> Stage {
    let mut stage = stage("github");
    let mut credentials = vec![held(&stage, false)];
    for (name, path) in remotes {
        let octo =
            json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci", "env": name.to_uppercase()});
        let mut one = json!({"name": name, "git": [format!("{}{path}", remote.url())], "github": octo});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        credentials.push(one);
    }
    stage.block = json!({"credentials": credentials});
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage
}

#[track_caller]
fn went_well(ended: &Output) {
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

impl Remote {
    /// The password that the last request showed.
    fn last(&self) -> String {
        self.shown().pop().unwrap().1
    }
}

#[test]
fn of_two_credentials_the_one_for_less_is_used_where_it_fits_however_they_stand() {
    let remote = Remote::new();
    remote.copy("other/web.git");
    for order in [[("narrow", "/acme"), ("wide", "")], [("wide", ""), ("narrow", "/acme")]] {
        let stage = step_for(&remote, &order, &json!({}));
        for (path, name) in [("acme/web.git", "NARROW"), ("other/web.git", "WIDE")] {
            let (ended, to) = remote.clone_of(&stage, path, name);
            went_well(&ended);
            assert_eq!(remote.last(), stage.variable(name).unwrap(), "{order:?} {path}");
            std::fs::remove_dir_all(to).unwrap();
        }
    }
}

#[test]
fn a_wide_credential_of_a_later_block_leaves_the_narrow_one_of_an_earlier_its_own() {
    let remote = Remote::new();
    let mut stage = step_for(&remote, &[("narrow", "/acme")], &json!({}));
    let narrow = stage.variable("NARROW").unwrap();
    let octo = json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci", "env": "WIDE"});
    stage.block = json!({"credentials": [{"name": "wide", "git": [remote.url()], "github": octo}]});
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let (ended, _) = remote.clone(&stage, "clone");
    went_well(&ended);
    assert_eq!(remote.last(), narrow);
}

#[test]
fn a_repository_is_found_with_and_without_its_ending() {
    let remote = Remote::new();
    remote.copy("acme/plain");
    for (named, cloned) in [
        ("/acme/web", "acme/web.git"),
        ("/acme/web.git", "acme/web.git"),
        ("/acme/plain.git", "acme/plain"),
        ("/acme/plain/", "acme/plain"),
    ] {
        let stage = step_for(&remote, &[("one", named)], &json!({}));
        let (ended, to) = remote.clone_of(&stage, cloned, "clone");
        went_well(&ended);
        assert_eq!(remote.last(), stage.variable("ONE").unwrap(), "{named}");
        std::fs::remove_dir_all(to).unwrap();
    }
}

/// Clones what is written for SSH, whose own client would fail.
fn clone_by_ssh(remote: &Remote, stage: &Stage, ssh: &str) -> Output {
    let to = remote.folder.path().join("clone");
    drop(std::fs::remove_dir_all(&to));
    stage.set("GIT_SSH_COMMAND", "false");
    remote.git(stage, &["clone", "-q", ssh, to.to_str().unwrap()])
}

#[test]
fn what_is_written_for_ssh_is_pulled_by_https_where_that_is_asked_for() {
    let remote = Remote::new();
    for named in ["", "/acme", "/acme/web"] {
        let stage = step_for(&remote, &[("one", named)], &json!({"git-ssh": true}));
        for ssh in [
            "git@127.0.0.1:acme/web.git",
            "git@127.0.0.1:/acme/web.git",
            "127.0.0.1:acme/web.git",
            "127.0.0.1:/acme/web.git",
            "ssh://git@127.0.0.1/acme/web.git",
            "ssh://git@127.0.0.1:22/acme/web.git",
            "ssh://127.0.0.1/acme/web.git",
            "ssh://127.0.0.1:22/acme/web.git",
        ] {
            went_well(&clone_by_ssh(&remote, &stage, ssh));
            assert_eq!(remote.last(), stage.variable("ONE").unwrap(), "{named} {ssh}");
        }
    }
}

#[test]
fn a_further_user_or_port_of_ssh_is_pulled_by_https_where_it_is_named() {
    let remote = Remote::new();
    let of_an_organization = "org-123@127.0.0.1:acme/web.git";
    let at_a_port = "ssh://git@git.example.test:7999/acme/web.git";
    let other_port = "ssh://git@127.0.0.1:7999/acme/web.git";
    for named in ["", "/acme", "/acme/web"] {
        let plain = step_for(&remote, &[("one", named)], &json!({"git-ssh": true}));
        for ssh in [of_an_organization, at_a_port, other_port] {
            assert!(!clone_by_ssh(&remote, &plain, ssh).status.success(), "{ssh} is another's");
        }
        let both = json!({"git-ssh": ["org-123@127.0.0.1", "git@git.example.test:7999"]});
        let stage = step_for(&remote, &[("one", named)], &both);
        for ssh in [
            of_an_organization,
            at_a_port,
            "ssh://org-123@127.0.0.1/acme/web.git",
            "git@127.0.0.1:acme/web.git",
        ] {
            went_well(&clone_by_ssh(&remote, &stage, ssh));
            assert_eq!(remote.last(), stage.variable("ONE").unwrap(), "{named} {ssh}");
        }
        assert!(!clone_by_ssh(&remote, &stage, other_port).status.success());
    }
}

#[test]
fn a_repository_of_another_organization_or_name_stays_with_ssh() {
    let remote = Remote::new();
    remote.copy("acme/web-two.git");
    remote.copy("acme-two/web.git");
    let narrow = step_for(&remote, &[("one", "/acme/web")], &json!({"git-ssh": true}));
    assert!(!clone_by_ssh(&remote, &narrow, "git@127.0.0.1:acme/web-two.git").status.success());
    let wide = step_for(&remote, &[("one", "/acme")], &json!({"git-ssh": "org-1@127.0.0.1"}));
    assert!(!clone_by_ssh(&remote, &wide, "ssh://git@127.0.0.1/acme-two/web.git").status.success());
    went_well(&clone_by_ssh(&remote, &wide, "org-1@127.0.0.1:acme/web-two.git"));
}

#[test]
fn a_repository_of_bitbucket_data_center_is_below_scm_by_https_and_not_by_ssh() {
    let remote = Remote::new();
    remote.copy("scm/acme/web.git");
    for named in ["/scm", "/scm/acme", "/scm/acme/web"] {
        let mut stage = stage("bitbucket");
        let center =
            json!({"url": stage.sandbox.provider_url("bitbucket"), "project": "acme", "admin": of_held()});
        let git = [format!("{}{named}", remote.url())];
        let asked = json!({"name": "center", "git": git, "git-ssh": "git@127.0.0.1:7999",
            "bitbucket": {"data-center": center}});
        stage.block = json!({"credentials": [held(&stage, false), asked]});
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        // The remote of this test has no token of a Data Center's kind to compare: that it was asked is enough.
        let asked = remote.asked_of("/scm/acme/web.git/");
        drop(clone_by_ssh(&remote, &stage, "ssh://git@127.0.0.1:7999/acme/web.git"));
        assert!(remote.asked_of("/scm/acme/web.git/") > asked, "{named}");
    }
}

#[test]
fn git_lfs_pulls_with_a_token_for_less_than_the_host() {
    if !Command::new("git-lfs").arg("version").output().is_ok_and(|ended| ended.status.success()) {
        crate::support::components::not_run("`git-lfs` is not on the PATH");
        return;
    }
    let remote = Remote::new();
    for named in ["/acme", "/acme/web", "/acme/web.git", ""] {
        let stage = step_for(&remote, &[("one", named)], &json!({}));
        let (ended, to) = remote.clone(&stage, "clone");
        went_well(&ended);
        // A new folder knows no object; the pointer is git-lfs's own form, version 1.
        let digest = buildkite_dataflow::secret::Fingerprint::of(LARGE.as_bytes());
        let digest = digest.short(64);
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {}\n",
            LARGE.len()
        );
        let fetched = {
            let _inside = remote.runtime.enter();
            let mut smudge = Command::new("git-lfs");
            smudge.args(["smudge", "large.bin"]).current_dir(&to).env_clear();
            for (name, value) in stage.api.env() {
                smudge.env(name, value.expose());
            }
            let mut child = smudge
                .env("GIT_TERMINAL_PROMPT", "0")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(pointer.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        went_well(&fetched);
        assert_eq!(String::from_utf8_lossy(&fetched.stdout), LARGE, "{named}");
        assert_eq!(remote.last(), stage.variable("ONE").unwrap(), "{named}");
        std::fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn a_token_that_the_remote_refuses_is_erased_and_the_next_pull_has_a_fresh_one() {
    let remote = Remote::new();
    let octo = json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci"});
    let mut stage = step("github", &remote, &octo);
    let [first] = given(&stage, "github").try_into().unwrap();
    remote.asked.refused.lock().unwrap().push(first.clone());
    let (refused, _) = remote.clone(&stage, "refused");
    assert!(!refused.status.success());
    let (ended, _) = remote.clone(&stage, "renewed");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let [_, second] = given(&stage, "github").try_into().unwrap();
    assert_eq!(remote.shown().last().unwrap().1, second);
    assert!(stage.api.redacted(&second).contains("[REDACTED]"));
    assert!(matches!(settles(&mut stage, "GITHUB_TOKEN"), Settlement::Revoked { .. }));
    let end = stage.records().pop().unwrap().end.unwrap();
    assert_eq!(end.renewals.len(), 1, "{:?}", end.renewals);
}

#[test]
fn a_token_that_data_center_takes_as_bearer_alone_is_handed_to_a_git_that_can_send_it() {
    let mut stage = stage("bitbucket");
    let center =
        json!({"url": stage.sandbox.provider_url("bitbucket"), "project": "DATA", "admin": of_held()});
    let git = [stage.sandbox.url()];
    let asked = json!({"name": "center", "git": git, "bitbucket": {"data-center": center}});
    stage.block = json!({"credentials": [held(&stage, false), asked]});
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let ask = |request: &str| {
        let mut program = stage.program(&["git-credential", "center", "get"]);
        let mut child =
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let [token] = given(&stage, "bitbucket").try_into().unwrap();
    let new = ask("capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=x\n\n");
    let answer = String::from_utf8(new.stdout).unwrap();
    let expected = format!("capability[]=authtype\nauthtype=Bearer\ncredential={token}\n");
    assert!(answer.starts_with(&expected), "an unexpected answer");
    let old = ask("protocol=https\nhost=x\n\n");
    assert_eq!((old.status.code(), old.stdout.len()), (Some(102), 0));
    assert!(String::from_utf8_lossy(&old.stderr).contains("git 2.46 can"));
    assert!(matches!(settles(&mut stage, "BITBUCKET_TOKEN"), Settlement::Revoked { .. }));
}
