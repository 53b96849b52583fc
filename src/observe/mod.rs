//! Log fields, metrics, traces, alert delivery.
