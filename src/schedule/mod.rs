//! Cron, zones and catch-up to fire times.
