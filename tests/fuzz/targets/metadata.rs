#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| runsd::fuzz::metadata(data));
