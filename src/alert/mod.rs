//! Results to episodes and whom to tell. Built by the observability issue; only the words live here now.
