//! What says that files of a work tree may have changed. It only wakes; whoever sleeps on it reads the files himself.

use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::watch;

/// How often files are looked at where the system gives no watch (a network file system, no watches left).
const POLL: Duration = Duration::from_secs(2);
/// The longest wait for quiet: something that never stops writing is looked at all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// A place that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A directory and everything below it.
    Below(PathBuf),
    /// One file or name in a directory, whether or not it is there yet.
    Name(PathBuf),
}

/// Wakes after changes of some places, made before these are read, so that no change falls between.
pub struct Changes {
    wakes: watch::Receiver<u64>,
    /// Kept for its effect: dropped, it stops watching. `None` where the system gives no watch.
    watcher: Option<notify::RecommendedWatcher>,
    /// Keeps the channel open where there is no watcher.
    _sender: watch::Sender<u64>,
}

impl Changes {
    /// Watches places.
    #[must_use]
    pub fn of(places: &[Watched]) -> Self {
        let (sender, wakes) = watch::channel(0);
        let watcher = watcher(places, sender.clone());
        Self { wakes, watcher, _sender: sender }
    }

    /// Sleeps until something may have changed and nothing more has for `quiet`, so that what an editor or `git` does
    /// in several steps counts as one.
    pub async fn next(&mut self, quiet: Duration) {
        if self.watcher.is_none() {
            tokio::time::sleep(POLL).await;
            return;
        }
        // The sender lives in `self`, so a closed channel cannot happen.
        let _ = self.wakes.changed().await;
        let end = tokio::time::Instant::now() + QUIET_WAIT_MAX;
        while tokio::time::Instant::now() < end
            && tokio::time::timeout(quiet, self.wakes.changed()).await.is_ok()
        {}
        self.wakes.mark_unchanged();
    }
}

fn watcher(places: &[Watched], sender: watch::Sender<u64>) -> Option<notify::RecommendedWatcher> {
    let wanted = places.to_vec();
    let concerns = move |path: &PathBuf| {
        wanted.iter().any(|place| match place {
            Watched::Below(directory) => path.starts_with(directory),
            Watched::Name(name) => path == name,
        })
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        // Reading the files must not wake who reads them.
        Ok(event) if event.kind.is_access() => {}
        Ok(event) if !event.paths.iter().any(&concerns) => {}
        Ok(_) | Err(_) => sender.send_modify(|count| *count = count.wrapping_add(1)),
    })
    .ok()?;
    for place in places {
        match place {
            Watched::Below(directory) if directory.is_dir() => {
                watcher.watch(directory, RecursiveMode::Recursive).ok()?;
            }
            // It may come: its parent says so.
            Watched::Below(path) | Watched::Name(path) => {
                let parent = path.parent().filter(|parent| parent.is_dir())?;
                watcher.watch(parent, RecursiveMode::NonRecursive).ok()?;
            }
        }
    }
    Some(watcher)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests change files")]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(30);

    async fn wakes(changes: &mut Changes) -> bool {
        tokio::time::timeout(Duration::from_millis(1500), changes.next(QUIET)).await.is_ok()
    }

    #[tokio::test]
    async fn a_change_wakes_once_and_reading_does_not() {
        let home = tempfile::tempdir().unwrap();
        let below = home.path().join("tenants/acme");
        std::fs::create_dir_all(&below).unwrap();
        let file = below.join("a.yaml");
        std::fs::write(&file, "1").unwrap();
        let named = home.path().join("tenantry.toml");
        let mut changes = Changes::of(&[Watched::Below(below.clone()), Watched::Name(named.clone())]);
        assert!(changes.watcher.is_some(), "this machine gives watches");
        let _ = std::fs::read(&file).unwrap();
        std::fs::write(home.path().join("other"), "1").unwrap();
        assert!(!wakes(&mut changes).await, "reading, or another file, wakes nobody");
        for text in ["2", "3", "4"] {
            std::fs::write(&file, text).unwrap();
        }
        assert!(wakes(&mut changes).await);
        assert!(!wakes(&mut changes).await, "several writes are one change");
        std::fs::write(&named, "format = 1").unwrap();
        assert!(wakes(&mut changes).await, "a file that was not there yet");
        std::fs::create_dir(below.join("scripts")).unwrap();
        assert!(wakes(&mut changes).await);
    }
}
