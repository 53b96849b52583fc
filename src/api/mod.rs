//! HTTP for programs.
