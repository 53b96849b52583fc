//! What the thread that judges is to look at next. Only the latest counts, so it cannot grow.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::text::Text;

/// How long nothing may come before what was typed is judged.
const QUIET: Duration = Duration::from_millis(50);
/// How long somebody who goes on typing waits at most.
const PATIENCE: Duration = Duration::from_millis(250);

/// A text that the editor holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The text.
    pub text: Text,
    /// As the editor counts.
    pub version: i32,
}

/// Open texts by path from the repository's root.
pub type Buffers = BTreeMap<String, Arc<Buffer>>;

/// What has changed since the last look.
#[derive(Debug, Default)]
pub struct Mail {
    /// The open texts, and the number of their last change.
    pub buffers: Option<(u64, Buffers)>,
    /// Whether files may have changed beside the editor.
    pub disk: bool,
    /// Whether it was a key and not an opening: more may follow at once.
    typing: bool,
    closed: bool,
}

/// A place for one [`Mail`].
#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    came: Condvar,
}

impl Mailbox {
    /// Gives the open texts.
    pub fn buffers(&self, revision: u64, buffers: Buffers, typing: bool) {
        self.change(|mail| {
            // An opening among keys is not to wait for them.
            mail.typing = typing && (mail.typing || mail.buffers.is_none());
            mail.buffers = Some((revision, buffers));
        });
    }

    /// Says that files may have changed.
    pub fn disk(&self) {
        self.change(|mail| mail.disk = true);
    }

    /// Says that nothing will come any more.
    pub fn close(&self) {
        self.change(|mail| mail.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner));
        self.came.notify_all();
    }

    /// Whether something waits.
    pub fn waits(&self) -> bool {
        let mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        mail.closed || mail.disk || mail.buffers.is_some()
    }

    /// Takes what has come; waits for it, and for a pause in typing. `None` once it is closed.
    #[expect(clippy::disallowed_methods, reason = "waits for a pause of the one who types")]
    pub fn take(&self) -> Option<Mail> {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        while !mail.closed && !mail.disk && mail.buffers.is_none() {
            mail = self.came.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
        let since = Instant::now();
        while !mail.closed && mail.typing && since.elapsed() < PATIENCE {
            let seen = mail.buffers.as_ref().map(|(revision, _)| *revision);
            let (next, pause) = self.came.wait_timeout(mail, QUIET).unwrap_or_else(PoisonError::into_inner);
            mail = next;
            if pause.timed_out() && mail.buffers.as_ref().map(|(revision, _)| *revision) == seen {
                break;
            }
        }
        (!mail.closed).then(|| std::mem::take(&mut *mail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_counts() {
        let mailbox = Mailbox::default();
        for revision in 1..=3 {
            mailbox.buffers(revision, Buffers::new(), true);
        }
        mailbox.disk();
        assert!(mailbox.waits());
        let mail = mailbox.take().unwrap();
        assert_eq!(mail.buffers.map(|(revision, _)| revision), Some(3));
        assert!(mail.disk);
        assert!(!mailbox.waits());
        mailbox.close();
        assert!(mailbox.take().is_none());
    }
}
