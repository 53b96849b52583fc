//! A commit comes in: watch, fetch, read its tree.
