//! What the tests of peak memory share. Each is the only one of its program: the peak is the
//! process's.

/// What the process has had in memory at most, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib * 1024
}

/// Asserts that there never was more than 32 MiB beside a cache of so many bytes.
pub fn assert_peak(cache: u64) {
    let over = peak().saturating_sub(cache);
    assert!(over <= 32 << 20, "the peak is {} KiB above the cache", over / 1024);
    println!("the peak is {} KiB above the cache", over / 1024);
}

/// The key with a number; they are in no order.
pub fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}
