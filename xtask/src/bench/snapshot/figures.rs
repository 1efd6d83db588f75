//! What each way took beside one crowd, and how often its time goes into the peer's of the same round.

use std::time::Duration;

use workload::snapshot::Said;

use crate::bench::sample::Spread;

/// One way beside one crowd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    /// Nanoseconds.
    pub(super) took: Spread,
    /// The fewest of the crowd's listeners that it told in a round, where that could be counted.
    pub(super) told: Option<u16>,
}

/// What a way took. Nothing where it never could be taken.
pub(super) fn figure(said: &[Said], crowd: usize, way: &str) -> Option<Figure> {
    let rounds = || rounds(said, crowd, way);
    Some(Figure {
        took: Spread::of(rounds().map(|(_, took, _)| took))?,
        told: rounds().filter_map(|(_, _, told)| told).min(),
    })
}

/// How many times as fast a way is as another: of each round in which both were taken.
pub(super) fn times_as_fast(said: &[Said], crowd: usize, way: &str, peer: &str) -> Option<Spread> {
    let pairs = rounds(said, crowd, way).filter_map(|(round, took, _)| {
        let (_, peers, _) = rounds(said, crowd, peer).find(|(other, ..)| *other == round)?;
        (took > 0.0).then(|| peers / took)
    });
    Spread::of(pairs)
}

/// Round, nanoseconds and listeners.
fn rounds<'a>(said: &'a [Said], of: usize, named: &'a str) -> impl Iterator<Item = (u32, f64, Option<u16>)> {
    said.iter().filter_map(move |said| match said {
        Said::Took {
            crowd,
            round,
            way,
            nanoseconds,
            listeners,
        } if *crowd == of && way == named => Some((
            *round,
            Duration::from_nanos(*nanoseconds).as_secs_f64() * 1e9,
            *listeners,
        )),
        _ => None,
    })
}

/// Why a way could not be taken, or not to the end.
pub(super) fn refusal<'a>(said: &'a [Said], of: usize, named: &str) -> Option<&'a str> {
    said.iter().find_map(|said| match said {
        Said::Refused { crowd, way, why } if *crowd == of && way == named => Some(why.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use workload::snapshot::Said;

    use super::{figure, refusal, times_as_fast};

    fn took(crowd: usize, round: u32, way: &str, nanoseconds: u64, listeners: u16) -> Said {
        Said::Took {
            crowd,
            round,
            way: way.to_owned(),
            nanoseconds,
            listeners: Some(listeners),
        }
    }

    #[test]
    fn a_way_is_compared_with_the_peer_of_the_same_round_and_crowd() {
        let said = [
            took(0, 0, "ours", 100, 200),
            took(0, 0, "peer", 3_000, 200),
            took(0, 1, "peer", 5_000, 200),
            took(0, 1, "ours", 100, 199),
            took(0, 2, "ours", 200, 200),
            took(1, 2, "peer", 9_000, 200),
            Said::Refused {
                crowd: 0,
                way: "peer".to_owned(),
                why: "it ended".to_owned(),
            },
        ];
        let ratio = times_as_fast(&said, 0, "ours", "peer").unwrap();
        assert_eq!((ratio.least, ratio.greatest, ratio.times), (30.0, 50.0, 2));
        let ours = figure(&said, 0, "ours").unwrap();
        assert_eq!((ours.took.median, ours.took.times, ours.told), (100.0, 3, Some(199)));
        assert_eq!(times_as_fast(&said, 1, "ours", "peer"), None);
        assert_eq!(figure(&said, 1, "ours"), None);
        assert_eq!(refusal(&said, 0, "peer"), Some("it ended"));
        assert_eq!(refusal(&said, 1, "peer"), None);
    }
}
