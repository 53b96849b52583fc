//! The loop itself: a pass, then sleep until something wakes it.

use tokio::sync::watch;

use super::{Failure, Pass, Ports, pass};
use crate::domain::Length;
use crate::source::Watch;

/// The wait after a pass that failed as a whole, for instance without a store.
const AFTER_FAILURE: Length = Length::from_secs(5);

/// Reconciles until `stop` says so. `seen` is told of each pass.
///
/// Stopping in the middle of a pass is safe: what has not landed is done by the next one.
pub async fn serve(
    ports: &Ports,
    mut wake: Watch,
    mut stop: watch::Receiver<bool>,
    mut seen: impl FnMut(&Result<Pass, Failure>) + Send,
) {
    while !*stop.borrow() {
        let passed = tokio::select! {
            passed = pass(ports) => passed,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        seen(&passed);
        let sooner = match &passed {
            Ok(pass) => {
                let now = (ports.clock)();
                pass.next.map(|next| next.since(now).to_std())
            }
            Err(failure) => {
                tracing::error!(%failure, "the pass failed");
                Some(AFTER_FAILURE.to_std())
            }
        };
        tokio::select! {
            () = wake.sleep(sooner) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
