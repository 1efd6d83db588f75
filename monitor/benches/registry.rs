//! What a look-up in the registry takes: one JSON object a line, with nanoseconds for each look-up (the median of many
//! batches). `cargo xtask bench registry` runs this.

use std::{hint::black_box, time::Instant};

use portreeve::registry::{Registry, Transport};

/// Look-ups in a batch: enough that reading the clock does not count.
const BATCH: usize = 1_024;
const BATCHES: usize = 1_001;

fn main() {
    let registry = Registry::embedded();
    let is_registered = |port: &u16| registry.names(Transport::Tcp, *port).next().is_some();
    let (hits, misses): (Vec<u16>, Vec<u16>) = (0..=u16::MAX).partition(is_registered);
    let names: Vec<&str> = registry.named().filter_map(|row| row.service()).collect();
    let unknown: Vec<String> = names.iter().map(|name| format!("{name}~")).collect();
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    // All names of a port are read, as the agent reads them.
    let of_port = |port: &u16| registry.names(Transport::Tcp, *port).map(str::len).sum();
    let of_name = |name: &&str| registry.by_name(name).count();
    report("a random port", &all, of_port);
    report("a port that is registered", &hits, of_port);
    report("a port that is not", &misses, of_port);
    report("a name that is registered", &names, of_name);
    report("a name that is not", &unknown, of_name);
}

fn report<T>(what: &str, among: &[T], look_up: impl Fn(&T) -> usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut times: Vec<u128> = (0..BATCHES)
        .map(|_| {
            // Chosen before the clock starts.
            let chosen: Vec<&T> = (0..BATCH)
                .filter_map(|_| among.get(random.below(among.len())))
                .collect();
            let start = Instant::now();
            for item in &chosen {
                black_box(look_up(black_box(item)));
            }
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    let per_look_up = |nanoseconds: Option<&u128>| nanoseconds.map_or(0, |total| total * 10 / 1_024);
    let (median, least) = (per_look_up(times.get(BATCHES / 2)), per_look_up(times.first()));
    println!(r#"{{"what":"{what}","tenths_of_ns":{median},"least_tenths_of_ns":{least}}}"#);
}

/// Xorshift: the order of the look-ups must not be one that caches know.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }
}
