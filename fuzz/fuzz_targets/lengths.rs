//! Lengths of time, sizes and times: what is read is written so that it reads the same again.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tenantry::domain::{ByteSize, Length, Timestamp};

fn check<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert_eq!(written.parse::<T>().ok(), Some(value), "{text:?} as {written:?}");
    }
}

fuzz_target!(|text: &str| {
    check::<Length>(text);
    check::<ByteSize>(text);
    check::<Timestamp>(text);
});
