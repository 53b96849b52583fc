//! A failed run and its history to a verdict with evidence. Deepened by the observability issue.
