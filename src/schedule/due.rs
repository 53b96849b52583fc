//! Which fire times of a stretch of time are acted on.

use super::{Cron, Zone};
use crate::domain::{CatchUp, Length, Timestamp};

/// Fire times that `catch_up: all` makes up for at most; the oldest beyond it are passed over.
pub const CATCH_UP_MAX: usize = 100;
/// A fire time that is this late counts as missed: a scheduler that is awake looks more often.
const LATE: Length = Length::from_secs(120);

/// What is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The fire times to act on, oldest first.
    pub fires: Vec<Timestamp>,
    /// Whether fire times were passed over, by `catch_up` or by the cap.
    pub passed_over: bool,
    /// The latest fire time in the stretch, acted on or not.
    pub latest: Option<Timestamp>,
}

/// The fire times later than `since`, up to and with `now`, that `catch_up` acts on; `cap` bounds `all`.
///
/// A schedule with jitter passes a `now` that is earlier by it.
#[must_use]
pub fn due(cron: &Cron, zone: &Zone, since: Timestamp, now: Timestamp, catch_up: CatchUp, cap: usize) -> Due {
    let wanted = match catch_up {
        CatchUp::None | CatchUp::One => 1,
        CatchUp::All => cap.clamp(1, CATCH_UP_MAX),
    };
    let mut fires = latest(cron, zone, since, now, wanted + 1);
    let mut passed_over = fires.len() > wanted;
    fires.drain(..fires.len().saturating_sub(wanted));
    let last = fires.last().copied();
    if catch_up == CatchUp::None && last.is_some_and(|fire| now.since(fire) > LATE) {
        passed_over = true;
        fires.clear();
    }
    Due { fires, passed_over, latest: last }
}

/// The last `count` fire times of the stretch. Looks back in windows that grow, so that a schedule of every minute
/// after a year of downtime costs no more than one of every year.
fn latest(cron: &Cron, zone: &Zone, since: Timestamp, now: Timestamp, count: usize) -> Vec<Timestamp> {
    let mut window = Length::from_secs(3_600);
    loop {
        let from = since.max(now - window);
        let mut found = Vec::new();
        let mut at = from;
        while let Some(next) = cron.next_after(zone, at).filter(|next| *next <= now) {
            found.push(next);
            at = next;
        }
        if found.len() >= count || from == since {
            found.drain(..found.len().saturating_sub(count));
            return found;
        }
        window = Length::from_millis(window.as_millis() * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cron: &str, since: &str, now: &str, catch_up: CatchUp, fires: &[&str], passed_over: bool) {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let cron = Cron::parse(cron).expect(cron);
        let got = due(&cron, &Zone::utc(), time(since), time(now), catch_up, 3);
        let shown: Vec<_> = got.fires.iter().map(ToString::to_string).collect();
        assert_eq!(
            (shown.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), got.passed_over),
            (fires, passed_over)
        );
    }

    #[test]
    fn what_was_missed_is_made_up_for_as_the_schedule_says() {
        let (since, now) = ("2026-11-20T02:00:00Z", "2026-11-23T12:00:00Z");
        check("0 2 * * *", since, now, CatchUp::None, &[], true);
        check("0 2 * * *", since, now, CatchUp::One, &["2026-11-23T02:00:00Z"], true);
        let all = ["2026-11-21T02:00:00Z", "2026-11-22T02:00:00Z", "2026-11-23T02:00:00Z"];
        check("0 2 * * *", since, now, CatchUp::All, &all, false);
        check("0 2 * * *", "2026-11-01T00:00:00Z", now, CatchUp::All, &all, true);
    }

    #[test]
    fn a_time_that_has_come_is_due_once() {
        let at = "2026-11-23T02:00:00Z";
        for catch_up in [CatchUp::None, CatchUp::One, CatchUp::All] {
            check("0 2 * * *", "2026-11-22T02:00:00Z", at, catch_up, &[at], false);
            check("0 2 * * *", at, "2026-11-23T02:01:00Z", catch_up, &[], false);
            check("0 2 * * *", at, at, catch_up, &[], false);
            check("0 2 * * *", at, "2026-11-22T00:00:00Z", catch_up, &[], false);
        }
        check("0 2 * * *", "2026-11-22T02:00:00Z", "2026-11-23T02:01:00Z", CatchUp::None, &[at], false);
    }

    #[test]
    fn a_year_of_downtime_is_looked_at_quickly() {
        let (since, now) = ("2025-11-23T00:00:00Z", "2026-11-23T00:00:30Z");
        let all = ["2026-11-22T23:58:00Z", "2026-11-22T23:59:00Z", "2026-11-23T00:00:00Z"];
        check("* * * * *", since, now, CatchUp::All, &all, true);
        check("0 0 1 1 *", since, now, CatchUp::One, &["2026-01-01T00:00:00Z"], false);
    }
}
