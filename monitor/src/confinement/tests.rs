use std::{fs, thread};

use super::*;

/// Does this on a thread of its own, since there is no way back.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn line_of(name: &str) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}

#[test]
fn a_thread_keeps_the_capabilities_of_its_part_and_cannot_take_others_again() {
    for part in [
        Part::Events { enters: false },
        Part::Events { enters: true },
        Part::Looks,
        Part::Http,
        Part::Receivers,
        Part::Output,
        Part::History,
    ] {
        apart(|| {
            let before = capabilities(None).unwrap().permitted;
            give_up(part);
            let left = before & part.needs();
            for set in ["CapPrm:", "CapEff:"] {
                assert_eq!(line_of(set), format!("{:016x}", left.bits()), "{part:?}");
            }
            let again = CapabilitySets {
                effective: before,
                permitted: before,
                inheritable: CapabilitySet::empty(),
            };
            assert_eq!(set_capabilities(None, again).is_err(), before != left, "{part:?}");
        });
    }
}
