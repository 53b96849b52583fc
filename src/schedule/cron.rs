//! Five fields of cron and the instants they mean in a zone.

use std::fmt;
use std::str::FromStr;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;
use jiff::{SignedDuration, ToSpan};
use sha2::{Digest, Sha256};

use super::Zone;
use crate::domain::{Length, Timestamp};

/// Characters of the longest cron text.
const TEXT_CHARS_MAX: usize = 256;
/// Fire times that are looked at to find the shortest time between two.
const SAMPLE: usize = 400;
/// The years in which schedules fire. Named, because the parser notes each year one by one, and all ten thousand of them
/// took a tenth of the time of `validate`.
const YEARS: &str = "1970-2499";
/// The longest jitter.
const JITTER_MAX: Length = Length::from_secs(300);

/// When a schedule fires: minute, hour, day of month, month, day of week, as Vixie cron reads them.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
    every_hour: bool,
}

/// Why a text is no cron.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Nothing, or too much.
    #[error("a schedule has five fields: minute, hour, day of month, month, day of week; this one has {0}")]
    Fields(usize),
    /// `@daily` and the like.
    #[error("`{name}` is not read; write its five fields")]
    Nickname {
        /// As written.
        name: String,
        /// The five fields that it stands for, where it is known.
        fields: Option<&'static str>,
    },
    /// One field is wrong.
    #[error("{field}: `{found}` {problem}")]
    Field {
        /// `minute`, `hour`, …
        field: &'static str,
        /// The part of the field.
        found: String,
        /// For instance `is not between 0 and 59`.
        problem: String,
    },
    /// Every field can be read, and no day has them all: `0 0 30 2 *`.
    #[error("`{0}` never fires: no date has this day and month")]
    Never(String),
}

/// A change of the clock that moves or doubles a fire time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavingClash {
    /// The instant at which the clock changes.
    pub at: Timestamp,
    /// True if the time is skipped and fires late; false if it comes twice and fires once.
    pub skipped: bool,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
    /// `L`, `W`, `#`: left to the parser, which knows which of them may stand where.
    special: &'static str,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[], special: "" },
    Field { name: "hour", least: 0, most: 23, names: &[], special: "" },
    Field { name: "day of month", least: 1, most: 31, names: &[], special: "LW" },
    Field { name: "month", least: 1, most: 12, names: &MONTHS, special: "" },
    Field { name: "day of week", least: 0, most: 7, names: &DAYS, special: "L#" },
];

impl Cron {
    /// Reads five fields separated by space.
    ///
    /// # Errors
    /// Says which part of which field is wrong; `Never` if no date fits.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if let [name] = fields.as_slice()
            && name.starts_with('@')
        {
            return Err(CronError::Nickname { name: (*name).to_owned(), fields: nickname(name) });
        }
        if fields.len() != 5 || text.len() > TEXT_CHARS_MAX {
            return Err(CronError::Fields(fields.len()));
        }
        for (field, written) in FIELDS.iter().zip(&fields) {
            check_field(field, written)?;
        }
        let text = fields.join(" ");
        let pattern = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Required)
            .build()
            .parse(&format!("0 {text} {YEARS}"))
            .map_err(|cause| CronError::Field {
                field: "schedule",
                found: text.clone(),
                problem: format!(
                    "is not understood: {}",
                    cause.to_string().trim_end_matches('.').to_lowercase()
                ),
            })?;
        let every_hour = (0..24).all(|hour| pattern.pattern.hour_match(hour).unwrap_or(false));
        let cron = Self { text, pattern, every_hour };
        // Leap years and weekdays repeat every 28 years within a century, and every 400 for certain.
        match cron.next_civil(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(cron.text)),
        }
    }

    /// The five fields, separated by single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first fire time later than `after`; `None` past the year 2499.
    #[must_use]
    pub fn next_after(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?;
        let local = zone.rules().to_datetime(after);
        let minute = local.with().second(0).subsec_nanosecond(0).build().ok()?;
        let next = if self.every_hour {
            self.next_passing(zone, after, minute)
        } else {
            self.next_named(zone, after, minute)
        }?;
        Some(Timestamp::from_millis(next.as_millisecond()))
    }

    /// Fires once for each local time: instants rise with local times, so the first one that is later is the next.
    fn next_named(&self, zone: &Zone, after: jiff::Timestamp, from: DateTime) -> Option<jiff::Timestamp> {
        let mut local = self.next_civil(from)?;
        loop {
            let (first, _) = instants(zone, local, true)?;
            match first {
                Some(instant) if instant > after => return Some(instant),
                _ => local = self.next_civil(local.checked_add(1.minute()).ok()?)?,
            }
        }
    }

    /// Fires whenever the clock shows a fitting time. In the first of two repeated hours, the second comes before any
    /// later local time: so the search starts before the repetition and takes the least.
    fn next_passing(&self, zone: &Zone, after: jiff::Timestamp, from: DateTime) -> Option<jiff::Timestamp> {
        let repeated = matches!(zone.rules().to_ambiguous_zoned(from).offset(), AmbiguousOffset::Fold { .. });
        let from = if repeated { from.checked_sub(3.hours()).ok()? } else { from };
        let mut local = self.next_civil(from)?;
        let mut least: Option<jiff::Timestamp> = None;
        loop {
            let (first, second) = instants(zone, local, false)?;
            for instant in [first, second].into_iter().flatten().filter(|instant| *instant > after) {
                least = Some(least.map_or(instant, |least| least.min(instant)));
            }
            if first.is_some_and(|first| first > after) {
                return least;
            }
            local = self.next_civil(local.checked_add(1.minute()).ok()?)?;
        }
    }

    /// The first fitting local time at or after `from`.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&from, true).ok()
    }

    /// The shortest time between two fire times, clock changes aside: what "too often" is measured by.
    #[must_use]
    pub fn shortest_interval(&self) -> Length {
        let mut shortest = SignedDuration::MAX;
        let mut last = self.next_civil(DateTime::constant(2024, 1, 1, 0, 0, 0, 0));
        for _ in 0..SAMPLE {
            let Some(from) = last else { break };
            let next = from.checked_add(1.minute()).ok().and_then(|after| self.next_civil(after));
            if let Some(next) = next {
                shortest = shortest.min(next.duration_since(from));
            }
            last = next;
        }
        Length::from_millis(u64::try_from(shortest.as_millis()).unwrap_or(u64::MAX)).min(Length::MAX)
    }

    /// The first change of the clock within 400 days after `from` that moves or doubles a fire time.
    ///
    /// `None` for a schedule that fires in every hour, and where no change touches it.
    #[must_use]
    pub fn saving_clash(&self, zone: &Zone, from: Timestamp) -> Option<SavingClash> {
        if self.every_hour {
            return None;
        }
        let start = jiff::Timestamp::from_millisecond(from.as_millis()).ok()?;
        let end = start.checked_add(SignedDuration::from_hours(400 * 24)).ok()?;
        zone.rules().following(start).take_while(|change| change.timestamp() < end).find_map(|change| {
            let at = change.timestamp();
            let before = zone.rules().to_offset(at.checked_sub(1.second()).ok()?).to_datetime(at);
            let after = change.offset().to_datetime(at);
            let (low, high) = if before < after { (before, after) } else { (after, before) };
            let touched = self.next_civil(low).is_some_and(|local| local < high);
            let clash =
                SavingClash { at: Timestamp::from_millis(at.as_millisecond()), skipped: before < after };
            touched.then_some(clash)
        })
    }

    /// How much later than its time a schedule fires, so that a thousand tenants do not start at the full hour: always
    /// the same for the same `seed`, less than a tenth of the shortest interval and less than five minutes.
    #[must_use]
    pub fn jitter(&self, seed: &str) -> Length {
        // One minute of the hour leaves an hour between any two times: nothing has to be looked for, which would take
        // milliseconds for a schedule of leap days.
        let one_minute = self.text.split(' ').next().is_some_and(|minute| minute.parse::<u32>().is_ok());
        let span = if one_minute {
            JITTER_MAX.as_millis()
        } else {
            JITTER_MAX.as_millis().min(self.shortest_interval().as_millis() / 10)
        };
        let digest = Sha256::digest(seed.as_bytes());
        let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Length::from_millis(number % span.max(1))
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Cron {}
impl FromStr for Cron {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The instants at which the clock shows `local`: one, the two of a repeated time, or for a skipped one the end of the
/// gap if `late`, else none. `None` past the calendar.
fn instants(
    zone: &Zone,
    local: DateTime,
    late: bool,
) -> Option<(Option<jiff::Timestamp>, Option<jiff::Timestamp>)> {
    let ambiguous = zone.rules().to_ambiguous_zoned(local);
    Some(match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => (Some(offset.to_timestamp(local).ok()?), None),
        AmbiguousOffset::Fold { before, after } => {
            (Some(before.to_timestamp(local).ok()?), Some(after.to_timestamp(local).ok()?))
        }
        AmbiguousOffset::Gap { before, .. } if late => {
            // Read with the offset before the gap, the local time lies after the change, by less than the gap.
            let inside = before.to_timestamp(local).ok()?;
            let change = zone.rules().preceding(inside.checked_add(1.second()).ok()?).next()?;
            (Some(change.timestamp()), None)
        }
        AmbiguousOffset::Gap { .. } => (None, None),
    })
}

fn nickname(name: &str) -> Option<&'static str> {
    match name {
        "@hourly" => Some("0 * * * *"),
        "@daily" | "@midnight" => Some("0 0 * * *"),
        "@weekly" => Some("0 0 * * 0"),
        "@monthly" => Some("0 0 1 * *"),
        "@yearly" | "@annually" => Some("0 0 1 1 *"),
        _ => None,
    }
}

/// Checks one field, so that a mistake is named in the words of its writer.
fn check_field(field: &Field, written: &str) -> Result<(), CronError> {
    for part in written.split(',') {
        let wrong = |problem: String| CronError::Field { field: field.name, found: part.to_owned(), problem };
        if part.is_empty() {
            return Err(wrong("is an empty part of a list".into()));
        }
        if part.contains(|letter: char| field.special.contains(letter.to_ascii_uppercase()))
            && !is_name(field, part)
        {
            continue;
        }
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        if let Some(step) = step {
            match step.parse::<u32>() {
                Ok(0) => return Err(wrong("has a step of 0".into())),
                Ok(step) if step > field.most => {
                    return Err(wrong(format!("has a step above {}", field.most)));
                }
                Ok(_) => {}
                Err(_) => return Err(wrong("has a step that is no number".into())),
            }
        }
        if range == "*" {
            continue;
        }
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (value(field, low), Some(value(field, high))),
            None => (value(field, range), None),
        };
        match (low, high) {
            (Some(_), None) if step.is_some() => {
                return Err(wrong("has a step without a range; write for instance `*/5` or `0-30/5`".into()));
            }
            (Some(low), Some(Some(high))) if low > high => {
                return Err(wrong("is a range that runs backwards".into()));
            }
            (Some(_), None | Some(Some(_))) => {}
            (None, _) | (_, Some(None)) => {
                return Err(wrong(format!("is not between {} and {}", field.least, field.most)));
            }
        }
    }
    Ok(())
}

fn is_name(field: &Field, part: &str) -> bool {
    part.split(['-', '/']).all(|word| field.names.iter().any(|name| name.eq_ignore_ascii_case(word)))
}

fn value(field: &Field, word: &str) -> Option<u32> {
    if let Some(place) = field.names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
        return u32::try_from(place).ok().map(|place| place + field.least);
    }
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = if digits { word.parse().ok()? } else { return None };
    (field.least..=field.most).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron).expect(cron);
        let zone = Zone::parse(zone).expect(zone);
        let mut at: Timestamp = after.parse().expect(after);
        (0..count)
            .map(|_| {
                at = cron.next_after(&zone, at).expect("a next time");
                let shown = jiff::Timestamp::from_millisecond(at.as_millis()).expect("in range");
                shown.to_zoned(zone.rules().clone()).strftime("%m-%dT%H:%M%:z").to_string()
            })
            .collect()
    }

    #[track_caller]
    fn check(cron: &str, zone: &str, after: &str, want: &[&str]) {
        assert_eq!(times(cron, zone, after, want.len()), want, "{cron} in {zone} after {after}");
    }

    #[test]
    fn a_schedule_fires_at_its_local_time() {
        check("0 2 * * *", "UTC", "2026-11-23T02:00:00Z", &["11-24T02:00+00:00", "11-25T02:00+00:00"]);
        check("0 2 * * *", "UTC", "2026-11-23T01:59:59.999Z", &["11-23T02:00+00:00"]);
        check("30 9 * * MON-FRI", "Asia/Kolkata", "2026-11-27T04:00:00Z", &["11-30T09:30+05:30"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["02-29T00:00+00:00"]);
        check("0 12 L * *", "UTC", "2027-02-01T00:00:00Z", &["02-28T12:00+00:00", "03-31T12:00+00:00"]);
        check("0 12 13 * FRI", "UTC", "2026-11-12T00:00:00Z", &["11-13T12:00+00:00", "11-20T12:00+00:00"]);
        check("0 0 * * 7", "UTC", "2026-11-23T00:00:00Z", &["11-29T00:00+00:00"]);
    }

    #[test]
    fn a_skipped_time_fires_once_after_the_gap() {
        let berlin = ["03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", &berlin);
        check(
            "15,45 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T03:00+02:00", "03-30T02:15+02:00"],
        );
        check(
            "30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T03:00+02:00", "03-29T03:30+02:00"],
        );
        check(
            "0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["03-29T03:00+02:00", "03-30T02:00+02:00"],
        );
        check(
            "30 2 * * *",
            "America/New_York",
            "2027-03-14T00:00:00Z",
            &["03-14T03:00-04:00", "03-15T02:30-04:00"],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-27T12:00:00Z",
            &["03-28T03:00+02:00", "03-29T02:30+02:00"],
        );
        // Half an hour, on Lord Howe; midnight itself, in Santiago.
        check(
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["10-04T02:30+11:00", "10-05T02:10+11:00"],
        );
        check(
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00:00Z",
            &["09-06T01:00-03:00", "09-07T00:00-03:00"],
        );
    }

    #[test]
    fn a_repeated_time_fires_once() {
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["10-25T02:30+02:00", "10-26T02:30+01:00"],
        );
        check(
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00:00Z",
            &["11-01T01:30-04:00", "11-02T01:30-05:00"],
        );
        check(
            "30 1 * * *",
            "Europe/London",
            "2027-10-30T12:00:00Z",
            &["10-31T01:30+01:00", "11-01T01:30+00:00"],
        );
        check(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T00:00:00Z",
            &["04-04T01:45+11:00", "04-05T01:45+10:30"],
        );
        // From within the second of the two hours.
        check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["10-26T02:30+01:00"]);
        check("0,30 1-3 * * *", "Europe/Berlin", "2026-10-25T00:40:00Z", &["10-25T03:00+01:00"]);
    }

    /// Both changes of five zones in two years: a skipped time fires once, when the gap ends; a repeated one fires once,
    /// the first time; the days around have their own.
    #[test]
    fn daylight_saving_of_five_zones_in_2026_and_2027() {
        // zone, a time of day that is skipped, the days around it, when it fires instead
        for (zone, cron, day, want) in [
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2026-03-28",
                ["03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"],
            ),
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2027-03-27",
                ["03-27T02:30+01:00", "03-28T03:00+02:00", "03-29T02:30+02:00"],
            ),
            (
                "America/New_York",
                "0 2 * * *",
                "2026-03-07",
                ["03-07T02:00-05:00", "03-08T03:00-04:00", "03-09T02:00-04:00"],
            ),
            (
                "America/New_York",
                "59 2 * * *",
                "2027-03-13",
                ["03-13T02:59-05:00", "03-14T03:00-04:00", "03-15T02:59-04:00"],
            ),
            (
                "Australia/Lord_Howe",
                "15 2 * * *",
                "2026-10-03",
                ["10-03T02:15+10:30", "10-04T02:30+11:00", "10-05T02:15+11:00"],
            ),
            (
                "Australia/Lord_Howe",
                "0 2 * * *",
                "2027-10-02",
                ["10-02T02:00+10:30", "10-03T02:30+11:00", "10-04T02:00+11:00"],
            ),
            (
                "America/Santiago",
                "0 0 * * *",
                "2026-09-05",
                ["09-05T00:00-04:00", "09-06T01:00-03:00", "09-07T00:00-03:00"],
            ),
            (
                "America/Santiago",
                "20 0 * * *",
                "2027-09-04",
                ["09-04T00:20-04:00", "09-05T01:00-03:00", "09-06T00:20-03:00"],
            ),
            (
                "Pacific/Auckland",
                "30 2 * * *",
                "2026-09-26",
                ["09-26T02:30+12:00", "09-27T03:00+13:00", "09-28T02:30+13:00"],
            ),
            (
                "Pacific/Auckland",
                "30 2 * * *",
                "2027-09-25",
                ["09-25T02:30+12:00", "09-26T03:00+13:00", "09-27T02:30+13:00"],
            ),
            // A time of day that comes twice.
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2026-10-24",
                ["10-24T02:30+02:00", "10-25T02:30+02:00", "10-26T02:30+01:00"],
            ),
            (
                "Europe/Berlin",
                "0 2 * * *",
                "2027-10-30",
                ["10-30T02:00+02:00", "10-31T02:00+02:00", "11-01T02:00+01:00"],
            ),
            (
                "America/New_York",
                "30 1 * * *",
                "2026-10-31",
                ["10-31T01:30-04:00", "11-01T01:30-04:00", "11-02T01:30-05:00"],
            ),
            (
                "America/New_York",
                "0 1 * * *",
                "2027-11-06",
                ["11-06T01:00-04:00", "11-07T01:00-04:00", "11-08T01:00-05:00"],
            ),
            (
                "Australia/Lord_Howe",
                "45 1 * * *",
                "2026-04-04",
                ["04-04T01:45+11:00", "04-05T01:45+11:00", "04-06T01:45+10:30"],
            ),
            (
                "Australia/Lord_Howe",
                "30 1 * * *",
                "2027-04-03",
                ["04-03T01:30+11:00", "04-04T01:30+11:00", "04-05T01:30+10:30"],
            ),
            (
                "America/Santiago",
                "30 23 * * *",
                "2026-04-03",
                ["04-03T23:30-03:00", "04-04T23:30-03:00", "04-05T23:30-04:00"],
            ),
            (
                "America/Santiago",
                "0 23 * * *",
                "2027-04-02",
                ["04-02T23:00-03:00", "04-03T23:00-03:00", "04-04T23:00-04:00"],
            ),
            (
                "Pacific/Auckland",
                "30 2 * * *",
                "2026-04-04",
                ["04-04T02:30+13:00", "04-05T02:30+13:00", "04-06T02:30+12:00"],
            ),
            (
                "Pacific/Auckland",
                "59 2 * * *",
                "2027-04-03",
                ["04-03T02:59+13:00", "04-04T02:59+13:00", "04-05T02:59+12:00"],
            ),
        ] {
            let begin = day.parse::<jiff::civil::Date>().expect(day).at(0, 0, 0, 0);
            let rules = Zone::parse(zone).expect(zone);
            let begin = begin.to_zoned(rules.rules().clone()).expect(day).timestamp();
            let after = begin.checked_sub(1.millisecond()).expect("in range").to_string();
            check(cron, zone, &after, &want);
            // `validate` tells of it, a year ahead at most.
            let clash = Cron::parse(cron).expect(cron).saving_clash(&rules, after.parse().expect(&after));
            assert!(clash.is_some(), "{cron} in {zone} after {after} clashes with nothing");
        }
    }

    #[test]
    fn a_schedule_of_every_hour_follows_the_passing_of_time() {
        let twice = [
            "10-25T02:00+02:00",
            "10-25T02:30+02:00",
            "10-25T02:00+01:00",
            "10-25T02:30+01:00",
            "10-25T03:00+01:00",
        ];
        check("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", &twice);
        check(
            "15 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:20:00Z",
            &["10-25T02:15+01:00", "10-25T03:15+01:00"],
        );
        let none = ["03-29T01:30+01:00", "03-29T03:30+02:00", "03-29T04:30+02:00"];
        check("30 * * * *", "Europe/Berlin", "2026-03-28T23:40:00Z", &none);
    }

    #[track_caller]
    fn check_error(text: &str, want: &str) {
        assert_eq!(Cron::parse(text).expect_err(text).to_string(), want, "{text}");
    }

    #[test]
    fn a_mistake_names_its_field() {
        let five =
            "a schedule has five fields: minute, hour, day of month, month, day of week; this one has ";
        check_error("", &format!("{five}0"));
        check_error("0 2 * *", &format!("{five}4"));
        check_error("0 0 2 * * *", &format!("{five}6"));
        check_error("@daily", "`@daily` is not read; write its five fields");
        check_error("60 2 * * *", "minute: `60` is not between 0 and 59");
        check_error("0 24 * * *", "hour: `24` is not between 0 and 23");
        check_error("0 2 0 * *", "day of month: `0` is not between 1 and 31");
        check_error("0 2 * FOO *", "month: `FOO` is not between 1 and 12");
        check_error("0 2 * * 8", "day of week: `8` is not between 0 and 7");
        check_error("*/0 * * * *", "minute: `*/0` has a step of 0");
        check_error("*/90 * * * *", "minute: `*/90` has a step above 59");
        check_error(
            "5/10 * * * *",
            "minute: `5/10` has a step without a range; write for instance `*/5` or `0-30/5`",
        );
        check_error("30-10 * * * *", "minute: `30-10` is a range that runs backwards");
        check_error("1,,2 * * * *", "minute: `` is an empty part of a list");
        check_error("-5 * * * *", "minute: `-5` is not between 0 and 59");
        check_error("0 0 30 2 *", "`0 0 30 2 *` never fires: no date has this day and month");
        check_error("0 0 31 4,6,9,11 *", "`0 0 31 4,6,9,11 *` never fires: no date has this day and month");
    }

    #[test]
    fn the_shortest_interval_and_the_jitter_are_bounded() {
        for (text, minutes) in [
            ("* * * * *", 1),
            ("*/5 * * * *", 5),
            ("0,2 3 * * *", 2),
            ("0 2 * * *", 1440),
            ("59 23 1 1 *", 525_600),
        ] {
            let cron = Cron::parse(text).expect(text);
            assert_eq!(cron.shortest_interval(), Length::from_secs(minutes * 60), "{text}");
            let jitter = cron.jitter("acme/sync");
            assert_eq!(jitter, cron.jitter("acme/sync"));
            assert!(jitter < Length::from_secs((minutes * 6).min(300)), "{text} {jitter}");
        }
        let cron = Cron::parse("0 2 * * *").expect("parses");
        let all: std::collections::BTreeSet<_> =
            (0..100).map(|seed| cron.jitter(&seed.to_string())).collect();
        assert!(all.len() > 95, "a hundred seeds are spread");
    }

    #[track_caller]
    fn check_clash(cron: &str, zone: &str, want: Option<(&str, bool)>) {
        let from: Timestamp = "2026-11-23T00:00:00Z".parse().expect("a time");
        let got = Cron::parse(cron).expect(cron).saving_clash(&Zone::parse(zone).expect(zone), from);
        assert_eq!(
            got.map(|clash| (clash.at.to_string(), clash.skipped)),
            want.map(|(at, skipped)| (at.to_owned(), skipped))
        );
    }

    #[test]
    fn a_clash_with_daylight_saving_is_found() {
        check_clash("30 2 * * *", "Europe/Berlin", Some(("2027-03-28T01:00:00Z", true)));
        check_clash("30 1 * * *", "America/New_York", Some(("2027-11-07T06:00:00Z", false)));
        check_clash("0 3 * * *", "Europe/Berlin", None);
        check_clash("30 2 * * 1", "Europe/Berlin", None);
        check_clash("*/10 * * * *", "Europe/Berlin", None);
        check_clash("30 2 * * *", "UTC", None);
        check_clash("30 2 * * *", "Asia/Tokyo", None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9*/,LW#A-Z@ -]{0,30}") {
            let _ = Cron::parse(&text).map(|cron| (cron.shortest_interval(), cron.jitter("x")));
        }

        /// Stepping from fire time to fire time finds what asking every minute finds.
        #[test]
        fn stepping_misses_nothing(minute in 0..60_u32, hour in 0..24_u32, day in 0..360_i64,
                zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
                pattern in 0..4) {
            let text = match pattern {
                0 => format!("{minute} {hour} * * *"),
                1 => format!("{minute} * * * *"),
                2 => format!("*/{} 1-3 * * *", minute / 2 + 1),
                _ => format!("*/{} * * * *", minute / 2 + 1),
            };
            let cron = Cron::parse(&text).expect("parses");
            let zone = Zone::parse(zone).expect("a zone");
            let start = Timestamp::from_millis(1_767_225_600_000 + day * 86_400_000);
            let end = start + Length::from_secs(36 * 3600);
            let mut stepped = Vec::new();
            let mut at = start;
            while let Some(next) = cron.next_after(&zone, at).filter(|next| *next <= end) {
                prop_assert!(next > at);
                stepped.push(next);
                at = next;
            }
            let mut asked = std::collections::BTreeSet::new();
            for minutes in 0..36 * 60 {
                let from = start + Length::from_secs(minutes * 60);
                asked.extend(cron.next_after(&zone, from).filter(|next| *next <= end));
            }
            prop_assert_eq!(stepped, asked.into_iter().collect::<Vec<_>>());
        }
    }
}
