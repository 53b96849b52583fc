//! Steps that are killed at any moment, in every way there is: nothing of them stays.

use std::time::Duration;

use tenantry::domain::Tier;
use tenantry::sandbox::{Executor as _, LocalExecutor, Settings, Stop};

use super::crash::{alive, groups_of, wait_until_dead};
use super::egress::reaching;
use super::harness::{block_on, can_sandbox, settings, spec};

#[test]
fn steps_that_are_killed_at_any_moment_leave_nothing() {
    killed_at_any_moment(Tier::Sandbox);
}

#[test]
fn steps_in_bubblewrap_that_are_killed_at_any_moment_leave_nothing() {
    killed_at_any_moment(Tier::Bubblewrap);
}

fn killed_at_any_moment(tier: Tier) {
    let count: u32 =
        std::env::var("TENANTRY_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let mark = format!("6{}.{}", 6 + tier as u8, std::process::id());
    let instance = format!("kills-{}-{}", tier as u8, std::process::id());
    let can = block_on(async {
        let settings = Settings { instance: instance.clone(), ..settings(tier) };
        let executor = LocalExecutor::open(settings).await.unwrap();
        if !can_sandbox(&executor) {
            return false;
        }
        let mut random = 2_463_534_242_u32;
        for number in 0..count {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let script = format!("trap '' TERM; (setsid sleep {mark} &); sleep {mark}; sleep {mark}");
            let step = reaching(spec(&script), &[("api.example:443", false)]);
            let mut started = executor.start(step).await.unwrap();
            tokio::time::sleep(Duration::from_millis(u64::from(random % 40))).await;
            match number % 3 {
                0 => drop(started),
                1 => {
                    started.step.stop(Stop::Cancelled, Duration::ZERO).await;
                    started.step.wait().await;
                }
                _ => {
                    started.step.stop(Stop::Lost, Duration::from_millis(u64::from(random % 7))).await;
                    // Nobody waits for the end of it.
                    drop(tokio::time::timeout(Duration::from_millis(5), started.step.wait()).await);
                }
            }
        }
        true
    });
    if can {
        wait_until_dead(&mark);
        assert_eq!(alive(&mark), 0);
        assert_eq!(groups_of(&instance), "");
    }
}
