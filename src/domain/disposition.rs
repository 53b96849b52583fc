//! What a failure asks of the loop that met it.

/// What has to happen before it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Somebody has to change something: a commit, a setting, this machine.
    NeedsChange,
    /// Something that is under way has to end first.
    Wait,
    /// Nothing: it may go better the next time, after a pause.
    Retry,
}
