//! Wiring: settings to adapters to services; start order, shutdown order.
