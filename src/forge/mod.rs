//! Reviews in, commit statuses out. Built by the forge issue.
