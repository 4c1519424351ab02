// the one test crate
