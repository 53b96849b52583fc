//! The loop: source, desired, plan, judge, apply, queue; tenant by tenant.
