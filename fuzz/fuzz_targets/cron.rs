//! A cron line is refused, or fires: each time later than the one before, in any zone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantry::domain::{CatchUp, Length, Timestamp};
use tenantry::schedule::{Cron, Zone, due};

fuzz_target!(|input: (&str, &str, u32)| {
    let (line, zone, seconds) = input;
    let _ = Zone::parse(zone);
    let Ok(cron) = Cron::parse(line) else { return };
    assert_eq!(Cron::parse(cron.text()).map(|again| again.text().to_owned()).ok().as_deref(), Some(cron.text()));
    let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"];
    let Ok(zone) = Zone::parse(zones[seconds as usize % zones.len()]) else { panic!("a zone of the database") };
    let from = Timestamp::from_millis(i64::from(seconds) * 1_000);
    let mut at = from;
    for _ in 0..5 {
        let Some(next) = cron.next_after(&zone, at) else { break };
        assert!(next > at, "{} fires at {next}, not later than {at}", cron.text());
        at = next;
    }
    let _ = (cron.shortest_interval(), cron.saving_clash(&zone, from), cron.jitter("seed"));
    let until = from + Length::from_secs(86_400);
    let fires = due(&cron, &zone, from, until, CatchUp::All, 100).fires;
    assert!(fires.len() <= 100 && fires.iter().all(|fire| *fire > from && *fire <= until));
});
