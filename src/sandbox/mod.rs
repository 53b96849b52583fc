//! One attempt under limits: start, stop, output.
