//! What wakes the loop: a change of a local ref, the poll interval, and whoever asks. They only wake it; it
//! reads the head itself.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::watch;

/// Wakes the loop; cheap to clone, never blocks. Wakes that come while it is awake count as one.
#[derive(Clone, Debug)]
pub struct Waker(watch::Sender<u64>);

/// What the loop sleeps on.
pub struct Watch {
    wakes: watch::Receiver<u64>,
    waker: Waker,
    poll: Duration,
    /// Held for its effect: dropped, it stops watching.
    _refs: Option<notify::RecommendedWatcher>,
}

impl Waker {
    /// Wakes the loop now.
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Watch {
    /// Watches the refs of a repository on this machine, if one is given, beside the poll.
    ///
    /// Where the system gives no watch (a network file system, no watches left) the poll alone serves.
    #[must_use]
    pub fn new(directory: Option<&Path>, poll: Duration) -> Self {
        let (sender, wakes) = watch::channel(0);
        let waker = Waker(sender);
        let refs = directory.and_then(|directory| watch_refs(directory, waker.clone()));
        Self { wakes, waker, poll, _refs: refs }
    }

    /// What wakes this loop.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Sleeps until something wakes it, at most the poll interval or `sooner`.
    ///
    /// A wake that came since the last sleep ends this one at once.
    pub async fn sleep(&mut self, sooner: Option<Duration>) {
        let time = sooner.map_or(self.poll, |sooner| sooner.min(self.poll));
        // The sender lives in `self`, so a closed channel cannot happen; the time passing is a wake too.
        let _ = tokio::time::timeout(time, self.wakes.changed()).await;
        self.wakes.mark_unchanged();
    }
}

fn watch_refs(directory: &Path, waker: Waker) -> Option<notify::RecommendedWatcher> {
    let git = if directory.join(".git").is_dir() { directory.join(".git") } else { directory.to_owned() };
    let refs = git.join("refs");
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        // Reading the refs, as the fetch does, must not wake the loop again; nor does `git status`.
        Ok(event) if event.kind.is_access() => {}
        Ok(event) if !event.paths.iter().any(|path| moves_a_ref(path, &refs)) => {}
        Ok(_) | Err(_) => waker.wake(),
    })
    .ok()?;
    // `packed-refs` lies beside `refs/`; the directory itself is watched flat, objects are not.
    watcher.watch(&git, RecursiveMode::NonRecursive).ok()?;
    watcher.watch(&git.join("refs"), RecursiveMode::Recursive).ok()?;
    Some(watcher)
}

fn moves_a_ref(path: &Path, refs: &Path) -> bool {
    let lock = path.extension().is_some_and(|end| end == "lock");
    !lock && (path.starts_with(refs) || path.file_name().is_some_and(|name| name == "packed-refs"))
}
