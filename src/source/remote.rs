//! Where the repository lies and how its objects come here: the system `git`, told to do nothing else.
//!
//! `git` knows every way people reach their hosts (ssh agents, proxies, certificates); libgit2 does not.
//! It is given one branch and the approval refs, writes only below `refs/tenantry/source/`, asks nobody
//! anything, runs no hook, and is killed with all it started when its time is over.
#![expect(clippy::disallowed_methods, reason = "an adapter: starts the system `git`")]

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::SourceError;

/// The branch's head in the mirror.
pub(super) const HEAD_REF: &str = "refs/tenantry/source/head";
/// Bytes of `git`'s own words that are kept for a message.
const WORDS_BYTES_MAX: usize = 16 * 1024;
/// Branches that a message names at most.
const BRANCHES_NAMED_MAX: usize = 10;

/// The address of a repository: a directory, `file://`, `ssh://`, `user@host:path` or `https://`.
///
/// Never holds a password or a token, so that it can be shown and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    text: String,
    directory: Option<PathBuf>,
}

/// Why a text is no address that tenantry fetches from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Nothing, a leading `-`, or characters that no address has.
    #[error("this is no address of a repository: give a directory or a file, ssh or https URL")]
    Malformed,
    /// A password or token stands in the address.
    #[error(
        "the address holds a user name or password: write it without, and put the credential into `credentials/git` of the data directory"
    )]
    Credential,
    /// A way of fetching that is not supported.
    #[error("`{0}` is no way to reach a repository: use a directory, file, ssh or https")]
    Scheme(String),
    /// Plain HTTP to another machine.
    #[error("plain http is accepted on loopback only: use https")]
    Plain,
}

impl Remote {
    /// The address as `git` takes it and as people may see it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// The directory, where the repository lies on this machine.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Remote {
    type Err = RemoteError;
    fn from_str(text: &str) -> Result<Self, RemoteError> {
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(RemoteError::Malformed);
        }
        let other = || Self { text: text.to_owned(), directory: None };
        if let Some((scheme, rest)) = text.split_once("://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            return match scheme {
                "file" if rest.starts_with('/') => Ok(Self::at(PathBuf::from(rest))),
                "ssh" if user.contains(':') => Err(RemoteError::Credential),
                "ssh" | "https" | "http" if host.is_empty() || host.starts_with('-') => {
                    Err(RemoteError::Malformed)
                }
                "ssh" => Ok(other()),
                // A token often stands where the user's name does.
                "https" | "http" if authority.contains('@') => Err(RemoteError::Credential),
                "https" => Ok(other()),
                "http" if is_loopback(host) => Ok(other()),
                "http" => Err(RemoteError::Plain),
                scheme => Err(RemoteError::Scheme(scheme.to_owned())),
            };
        }
        // `helper::address` would run a program of that name.
        let before_slash = text.split('/').next().unwrap_or_default();
        if let Some((helper, _)) = before_slash.split_once("::") {
            return Err(RemoteError::Scheme(helper.to_owned()));
        }
        match before_slash.split_once(':') {
            Some((host, _)) if host.is_empty() || host.contains("@-") => Err(RemoteError::Malformed),
            Some(_) => Ok(other()),
            None => std::path::absolute(text).map(Self::at).map_err(|_| RemoteError::Malformed),
        }
    }
}

impl Remote {
    fn at(directory: PathBuf) -> Self {
        Self { text: directory.to_string_lossy().into_owned(), directory: Some(directory) }
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How to fetch: what a settings file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSettings {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// A private SSH key, or one line `TOKEN` or `USER:TOKEN` for https; mode 0400 is the caller's to check.
    pub credential: Option<PathBuf>,
    /// After this long the fetch is killed with all it started. 60 s by default.
    pub time_max: Duration,
}

impl FetchSettings {
    /// Settings for one branch, without a credential, with 60 s.
    #[must_use]
    pub fn branch(name: &str) -> Self {
        Self { branch: name.to_owned(), credential: None, time_max: Duration::from_secs(60) }
    }
}

/// Brings the branch's head and the approval refs into `mirror`.
///
/// Moves `refs/tenantry/source/…` only, all of it or nothing.
///
/// # Errors
/// One variant for each thing that people can do something about; the mirror is as before.
pub(super) async fn fetch(
    remote: &Remote,
    settings: &FetchSettings,
    mirror: &Path,
) -> Result<(), SourceError> {
    let branch = &settings.branch;
    let mut command = git(remote, settings).await?;
    command.arg("--git-dir").arg(mirror).args([
        "fetch",
        "--quiet",
        "--atomic",
        "--force",
        "--prune",
        "--no-tags",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--end-of-options",
        remote.as_str(),
        &format!("+refs/heads/{branch}:{HEAD_REF}"),
        "+refs/tenantry/approvals/*:refs/tenantry/source/approvals/*",
    ]);
    let answer = run(command, remote, settings.time_max).await?;
    // A shallow source is passed over with a warning and success, its branch not moved.
    if answer.success && !answer.words.contains("shallow roots are not allowed") {
        return Ok(());
    }
    if answer.words.contains("couldn't find remote ref") {
        let present = branches(remote, settings).await?;
        return Err(if present.is_empty() {
            SourceError::Empty { remote: remote.to_string() }
        } else {
            SourceError::BranchMissing {
                remote: remote.to_string(),
                branch: branch.clone(),
                present: present.into_iter().take(BRANCHES_NAMED_MAX).collect(),
            }
        });
    }
    Err(classify(remote, &answer.words))
}

/// Puts the objects of a pack into `mirror`, checked as those of a fetch are; moves no ref.
///
/// # Errors
/// As [`fetch`]; some of the objects may lie there then, named by nothing.
pub(super) async fn unpack(
    remote: &Remote,
    settings: &FetchSettings,
    mirror: &Path,
    pack: Vec<u8>,
) -> Result<(), SourceError> {
    let mut command = git(remote, settings).await?;
    command.arg("--git-dir").arg(mirror).args(["unpack-objects", "-q", "--strict"]);
    let answer = run_with(command, remote, settings.time_max, pack).await?;
    if answer.success { Ok(()) } else { Err(classify(remote, &answer.words)) }
}

/// The names of the branches that the remote has, sorted.
///
/// # Errors
/// As [`fetch`].
pub(super) async fn branches(remote: &Remote, settings: &FetchSettings) -> Result<Vec<String>, SourceError> {
    let mut command = git(remote, settings).await?;
    command.args(["ls-remote", "--heads", "--end-of-options", remote.as_str()]);
    let answer = run(command, remote, settings.time_max).await?;
    if !answer.success {
        return Err(classify(remote, &answer.words));
    }
    Ok(answer
        .output
        .lines()
        .filter_map(|line| line.split_once('\t')?.1.strip_prefix("refs/heads/"))
        .map(str::to_owned)
        .collect())
}

/// The branch that the remote's `HEAD` names; `None` where it names none.
///
/// # Errors
/// As the fetch itself.
pub async fn default_branch(
    remote: &Remote,
    settings: &FetchSettings,
) -> Result<Option<String>, SourceError> {
    let mut command = git(remote, settings).await?;
    command.args(["ls-remote", "--symref", "--end-of-options", remote.as_str(), "HEAD"]);
    let answer = run(command, remote, settings.time_max).await?;
    if !answer.success {
        return Err(classify(remote, &answer.words));
    }
    Ok(answer
        .output
        .lines()
        .find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"))
        .map(str::to_owned))
}

/// What of the daemon's environment `git` may see: how to find itself, its user and its way out.
///
/// Not the rest: a `GIT_DIR` of a surrounding hook would send the objects elsewhere, and a key of the
/// daemon has no business in another process.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
];

/// What `git` is told whatever the configuration of its user says.
const CONFIGURATION: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "transfer.bundleURI=false",
    "maintenance.auto=false",
    "gc.auto=0",
    "advice.defaultBranchName=false",
];

/// Reads the credential's file inside git's helper, so that its value is in no argument and no environment.
const TOKEN_HELPER: &str = r#"!f() { test "$1" = get || exit 0; IFS= read -r line <"$TENANTRY_CREDENTIAL"
case "$line" in *:*) user=${line%%:*} token=${line#*:};; *) user=x-access-token token=$line;; esac
printf 'username=%s\npassword=%s\n' "$user" "$token"; }; f"#;

/// Where `git` lies, as the PATH finds it.
///
/// Started by its own path, it is spawned; a program that has yet to be found is started by a fork, which copies the
/// page tables of the whole daemon.
fn program() -> OsString {
    let executable = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        path.is_absolute() && found.is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
    };
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|directory| directory.join("git")).find(executable);
    found.map_or_else(|| "git".into(), PathBuf::into_os_string)
}

async fn git(remote: &Remote, settings: &FetchSettings) -> Result<Command, SourceError> {
    let mut command = Command::new(program());
    command.env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GCM_INTERACTIVE", "never")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "file:ssh:https:http")
        .current_dir("/");
    for pair in CONFIGURATION {
        command.args(["-c", pair]);
    }
    let mut ssh = OsString::from("ssh -o BatchMode=yes -o ConnectTimeout=20");
    if let Some(path) = &settings.credential {
        if is_private_key(path).await? {
            ssh.push(" -o IdentitiesOnly=yes -i ");
            ssh.push(shell_quoted(path));
        } else if remote.as_str().starts_with("http") {
            command
                .args(["-c", "credential.helper=", "-c"])
                .arg(format!("credential.helper={TOKEN_HELPER}"))
                .env("TENANTRY_CREDENTIAL", path);
        }
    }
    command.env("GIT_SSH_COMMAND", ssh);
    Ok(command)
}

async fn is_private_key(path: &Path) -> Result<bool, SourceError> {
    let refused = |source| SourceError::Credential { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(refused)?;
    let mut start = Vec::new();
    file.take(10).read_to_end(&mut start).await.map_err(refused)?;
    Ok(start == b"-----BEGIN")
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// How a `git` ended.
struct Answer {
    success: bool,
    output: String,
    words: String,
}

/// Kills a process group that was not waited for, with all that it started.
struct Group(Option<Pid>);
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails only where the group is gone already, which is what is wanted.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

async fn run(command: Command, remote: &Remote, time_max: Duration) -> Result<Answer, SourceError> {
    run_with(command, remote, time_max, Vec::new()).await
}

async fn run_with(
    mut command: Command,
    remote: &Remote,
    time_max: Duration,
    input: Vec<u8>,
) -> Result<Answer, SourceError> {
    let mut child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(SourceError::NoGit)?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut group = Group(leader);
    let (given, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async move {
        if let Some(mut given) = given {
            // One that does not listen says why, and ends badly.
            let _ = given.write_all(&input).await;
        }
    };
    let ended = tokio::time::timeout(time_max, async {
        // The pipes close when the last process that holds them ends, so waiting comes last.
        let ((), output, words) = tokio::join!(give, bounded(out), bounded(err));
        (child.wait().await, output, words)
    })
    .await;
    let Ok((status, output, words)) = ended else {
        return Err(SourceError::TimedOut { remote: remote.to_string(), after: time_max });
    };
    group.0 = None;
    Ok(Answer { success: status.map_err(SourceError::NoGit)?.success(), output, words })
}

/// Reads to the end, keeps the first bytes, drops the rest.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let room = WORDS_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Says what `git`'s own words mean. They are English, since it runs with `LC_ALL=C`.
fn classify(remote: &Remote, words: &str) -> SourceError {
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let detail = first_words(words);
    let remote_text = remote.to_string();
    if has(&["dubious ownership"]) {
        let path = remote.directory().map(Path::to_owned).unwrap_or_default();
        return SourceError::NotOwned { owner: owner(&path), path };
    }
    if has(&["shallow roots are not allowed", "shallow update not allowed", "source repository is shallow"]) {
        return SourceError::Shallow { remote: remote_text };
    }
    if has(&["mismatched algorithms", "unsupported object format"]) {
        return SourceError::ObjectFormat { remote: remote_text };
    }
    if has(&["fsck error", "fsck failed", "invalid object", "missing blob", "bad object", "did not send all"])
        || (words.contains("error in object") || words.contains("index-pack"))
            && !has(&["Could not read from remote", "early EOF", "hung up"])
    {
        return SourceError::Damaged { remote: remote_text, detail };
    }
    if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return SourceError::HostKey { remote: remote_text };
    }
    if has(&[
        "Permission denied",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Access denied",
        "error: 403",
        "error: 401",
    ]) {
        return SourceError::Refused { remote: remote_text, detail };
    }
    if has(&[
        "does not appear to be a git repository",
        "not a git repository",
        "Repository not found",
        "repository not found",
        "not found",
        "does not exist",
    ]) && !has(&["command not found"])
    {
        return SourceError::NotARepository { remote: remote_text };
    }
    SourceError::Unreachable { remote: remote_text, detail }
}

/// The first line that says what is wrong, without control characters.
fn first_words(words: &str) -> String {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines()
        .find(|line| line.starts_with("fatal:") || line.starts_with("error:") || line.starts_with("ERROR:"))
        .or_else(|| lines().next())
        .unwrap_or("git said nothing");
    said.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(300).collect()
}

/// The name of the directory's owner, or the number where no name is known.
pub(super) fn owner(path: &Path) -> String {
    let git = path.join(".git");
    let looked = std::fs::metadata(&git).or_else(|_| std::fs::metadata(path));
    let Ok(uid) = looked.map(|found| found.uid()) else { return "somebody else".to_owned() };
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<&str, RemoteError>) {
        assert_eq!(text.parse::<Remote>().map(|r| r.to_string()), want.map(str::to_owned), "{text}");
    }

    #[test]
    fn an_address_never_holds_a_credential() {
        check("https://git.example/acme/repo.git", Ok("https://git.example/acme/repo.git"));
        check("https://alice:pw@git.example/repo", Err(RemoteError::Credential));
        check("https://token@git.example/repo", Err(RemoteError::Credential));
        check("ssh://git@git.example:22/repo", Ok("ssh://git@git.example:22/repo"));
        check("ssh://git:pw@git.example/repo", Err(RemoteError::Credential));
        check("https://git.example/a@b", Ok("https://git.example/a@b"));
    }

    #[test]
    fn an_address_runs_nothing() {
        check("ext::sh -c id", Err(RemoteError::Scheme("ext".into())));
        check("fd::17", Err(RemoteError::Scheme("fd".into())));
        check("git://git.example/repo", Err(RemoteError::Scheme("git".into())));
        check("--upload-pack=id", Err(RemoteError::Malformed));
        check("ssh://-oProxyCommand=id/repo", Err(RemoteError::Malformed));
        check("git@-oProxyCommand=id:repo", Err(RemoteError::Malformed));
        check("", Err(RemoteError::Malformed));
        check("/srv/re\npo", Err(RemoteError::Malformed));
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        check("http://127.0.0.1:8080/repo", Ok("http://127.0.0.1:8080/repo"));
        check("http://[::1]:8080/repo", Ok("http://[::1]:8080/repo"));
        check("http://localhost/repo", Ok("http://localhost/repo"));
        check("http://git.example/repo", Err(RemoteError::Plain));
        check("http://127.0.0.1.git.example/repo", Err(RemoteError::Plain));
    }

    #[test]
    fn a_directory_is_absolute() {
        check("/srv/repo", Ok("/srv/repo"));
        check("file:///srv/repo", Ok("/srv/repo"));
        check("git@git.example:acme/repo.git", Ok("git@git.example:acme/repo.git"));
        let relative: Remote = "repo".parse().unwrap();
        assert!(relative.directory().unwrap().is_absolute());
    }

    #[test]
    fn the_words_of_git_become_errors_with_a_cure() {
        #[track_caller]
        fn says(words: &str, want: &str) {
            let remote: Remote = "https://git.example/repo".parse().unwrap();
            let got = classify(&remote, words).to_string();
            assert!(got.contains(want), "{words:?} became {got:?}");
        }
        says("fatal: unable to access 'x': Could not resolve host: git.example", "cannot reach");
        says("fatal: could not read Username for 'x': terminal prompts disabled", "credentials/git");
        says("remote: Repository not found.\nfatal: repository 'x' not found", "no repository");
        says("Host key verification failed.\nfatal: Could not read from remote", "known_hosts");
        says("error: object 1234: nullSha1\nfatal: fsck error in packed object", "damaged");
        says("! [rejected] main -> x (shallow update not allowed)", "unshallow");
        says("fatal: \u{1b}[31mred", "\u{fffd}[31mred");
    }
}
