//! Pages for people. Built by the UI issue.
