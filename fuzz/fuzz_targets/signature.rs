#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| actix_webhooks::fuzzing::signature(data));
