//! What a worker counts: verdicts, drops by reason, rules, devices.
