//! Cron, zones and catch-up to fire times.
//!
//! Daylight saving, in one rule for each kind of schedule. One that names its hours (`30 2 * * *`) fires once a
//! day whatever the clock does: at the first minute after a gap for a time that was skipped, at the first of two for a
//! time that is repeated. One that fires in every hour (`*/10 * * * *`) follows the passing of time: it fires in both
//! of two repeated hours and in none that is skipped. Zone rules come from the crate, not from the host.
//!
//! Deliberately absent: what a fire time starts (queue), whether its last run is active (store), and the clock.

mod cron;
mod due;
mod zone;

pub use cron::{Cron, CronError, SavingClash};
pub use due::{CATCH_UP_MAX, Due, due};
pub use zone::{Zone, ZoneError};
