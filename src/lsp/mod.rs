//! The language server. Built by the pull-request issue.
