//! Triggers and schedules to queued runs; whose turn it is among tenants.
