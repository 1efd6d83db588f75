//! How many series there may be whose labels strangers choose: names of processes, and ports.
//!
//! Two budgets of the same size, so that neither can use up the other: a flood of names and ports elsewhere never
//! hides a watched port, and a flood of names on a watched port leaves the others theirs. Within a budget, gauges of
//! what is open, counters and descriptions of ports have a share each: what is over never takes the room of what is there.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use crate::event::Protocol;

/// What stands for a process once the budget is spent.
pub(super) const OTHER: &str = "other";

/// What one budget is divided into. A listener has two gauges, and for each there is most often one counter and one
/// description.
#[derive(Clone, Copy)]
enum Share {
    /// Half: series that go with the last of their listeners.
    Open,
    /// A quarter.
    Counters,
    /// What is left.
    Ports,
}

impl Share {
    fn of(self, max: usize) -> usize {
        let (half, quarter) = (max / 2, max / 4);
        match self {
            Self::Open => half,
            Self::Counters => quarter,
            Self::Ports => max - half - quarter,
        }
    }
}

/// One part in so many of a share is kept for [`OTHER`], which must find room when names no longer do.
const KEPT_FOR_OTHER: usize = 4;

/// One part in so many of a share must be in use before stale series go: a counter that goes takes its past with it.
const CROWDED: usize = 2;

/// Where ports that listen need the room, one part in so many of the share goes at once, so that a flood does not look
/// through all of them for each.
const ROOM_AT_ONCE: usize = 8;

/// A counter that has not counted for so many seconds, and has no open listener, is stale.
pub(super) const STALE_AFTER: u64 = 3_600;

/// The labels of `portreeve_listeners` for one listener, fixed when it opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSeries {
    pub(super) labels: [String; 7],
    pub(super) watched: bool,
}

impl ListenerSeries {
    pub(super) fn refs(&self) -> [&str; 7] {
        self.labels.each_ref().map(String::as_str)
    }

    /// Whether this is the one for processes without a series of their own.
    pub fn is_other(&self) -> bool {
        self.labels[5] == OTHER
    }

    /// The labels of `portreeve_listener_opened_timestamp_seconds`: protocol, port, netns, process.
    pub(super) fn opened(&self) -> [String; 4] {
        let [protocol, port, _, _, netns, process, _] = self.labels.clone();
        [protocol, port, netns, process]
    }
}

/// What became of a series that asked for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<T> {
    /// It has room of its own.
    Own(T),
    /// It goes into the one for [`OTHER`].
    Folded(T),
    /// There is not even room for that.
    LeftOut,
}

/// The series in use.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    /// Seconds on the agent's clock, which only goes forward.
    now: u64,
    watched: Pool,
    others: Pool,
}

/// The series that count against one budget.
#[derive(Debug, Default)]
struct Pool {
    /// How many listeners stand behind each series. Shared with each of them: there may be ten thousand behind one.
    open: HashMap<Arc<ListenerSeries>, u64>,
    /// The same for each of their timestamps, and when the newest of them opened.
    newest: HashMap<[String; 4], (u64, f64)>,
    /// Series that outlive what they count, and when each counted last. They begin with protocol, port and process.
    counters: HashMap<&'static str, HashMap<Vec<String>, u64>>,
    /// The ports that are described, and when each began to listen last.
    ports: HashMap<(Protocol, u16), u64>,
}

impl Budget {
    /// A budget of `max` series for all ports that are not watched, and as many again for names on watched ones.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            now: 0,
            watched: Pool::default(),
            others: Pool::default(),
        }
    }

    /// Forgets all listeners, which are taken in again, and has another maximum from now on.
    pub(super) fn begin_anew(&mut self, max: usize) {
        self.max = max;
        for pool in [&mut self.watched, &mut self.others] {
            pool.open.clear();
            pool.newest.clear();
        }
    }

    /// So late it is.
    pub(super) fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// Takes out stale counters where there are many, and gives them by metric.
    pub(super) fn forget_counters(&mut self) -> Vec<(&'static str, Vec<String>)> {
        let (max, since) = (Share::Counters.of(self.max), self.now.saturating_sub(STALE_AFTER));
        let pools = [&mut self.watched, &mut self.others].into_iter();
        pools.flat_map(|pool| pool.forget_counters(max, since)).collect()
    }

    /// Takes out the descriptions of stale ports where there are many, and gives these ports.
    pub(super) fn forget_ports(&mut self) -> Vec<(Protocol, u16)> {
        let since = self.now.saturating_sub(STALE_AFTER);
        let pool = &mut self.others;
        if pool.ports.len() <= Share::Ports.of(self.max) / CROWDED {
            return Vec::new();
        }
        let open = pool.open_ports();
        let gone = pool
            .ports
            .extract_if(|port, last| *last < since && !open.contains(port));
        gone.map(|(port, _)| port).collect()
    }

    /// Takes a listener in, as `own` or as `folded`, which opened so many seconds after the epoch.
    pub(super) fn open(
        &mut self,
        own: ListenerSeries,
        folded: ListenerSeries,
        seconds: f64,
    ) -> Place<Arc<ListenerSeries>> {
        let (max, watched) = (Share::Open.of(self.max), own.watched);
        let pool = self.pool(watched);
        let used = pool.open.len() + pool.newest.len();
        let place = place(max, used, watched, own, folded, |series| {
            usize::from(!pool.open.contains_key(series)) + usize::from(!pool.newest.contains_key(&series.opened()))
        });
        match place {
            Place::Own(series) => Place::Own(pool.take(series, seconds)),
            Place::Folded(series) => Place::Folded(pool.take(series, seconds)),
            Place::LeftOut => Place::LeftOut,
        }
    }

    /// Takes a listener out.
    pub(super) fn close(&mut self, series: &ListenerSeries) {
        let pool = self.pool(series.watched);
        take_one(&mut pool.open, series, |count| count);
        take_one(&mut pool.newest, &series.opened(), |(count, _)| count);
    }

    /// Each series of listeners, and how many stand behind it.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (Arc<ListenerSeries>, u64)> {
        self.watched
            .open
            .iter()
            .chain(&self.others.open)
            .map(|(series, count)| (Arc::clone(series), *count))
    }

    /// The ports that have a description from the budget.
    pub(super) fn described(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.others.ports.keys().copied()
    }

    /// Each series of timestamps, and the newest.
    pub(super) fn newest(&self) -> impl Iterator<Item = ([String; 4], f64)> {
        self.watched
            .newest
            .iter()
            .chain(&self.others.newest)
            .map(|(labels, (_, newest))| (labels.clone(), *newest))
    }

    /// Makes room for a series that outlives what it counts, and counts now.
    pub(super) fn count(
        &mut self,
        metric: &'static str,
        watched: bool,
        own: Vec<String>,
        folded: Vec<String>,
    ) -> Place<Vec<String>> {
        let (max, now) = (Share::Counters.of(self.max), self.now);
        let pool = self.pool(watched);
        let used = pool.counters.values().map(HashMap::len).sum();
        let known = pool.counters.get(metric);
        let place = place(max, used, watched, own, folded, |series| {
            usize::from(known.is_none_or(|known| !known.contains_key(series)))
        });
        if let Place::Own(series) | Place::Folded(series) = &place {
            pool.counters.entry(metric).or_default().insert(series.clone(), now);
        }
        place
    }

    /// Makes room for the description of a port that listens now; `None` where so many listen that there is none. Gives
    /// the ports whose descriptions had to go: of those where nothing listens, the ones that did longest ago.
    pub(super) fn describe(&mut self, port: (Protocol, u16)) -> Option<Vec<(Protocol, u16)>> {
        let max = Share::Ports.of(self.max);
        let pool = &mut self.others;
        let mut gone = Vec::new();
        if !pool.ports.contains_key(&port) && pool.ports.len() >= max {
            let open = pool.open_ports();
            let over = pool.ports.iter().filter(|(port, _)| !open.contains(port));
            let mut over: Vec<_> = over.map(|(port, last)| (*last, *port)).collect();
            over.sort_unstable_by_key(|(last, _)| *last);
            gone.extend(over.into_iter().map(|(_, port)| port).take((max / ROOM_AT_ONCE).max(1)));
            gone.iter().for_each(|port| {
                pool.ports.remove(port);
            });
        }
        if pool.ports.len() >= max && !pool.ports.contains_key(&port) {
            return None;
        }
        pool.ports.insert(port, self.now);
        Some(gone)
    }

    fn pool(&mut self, watched: bool) -> &mut Pool {
        if watched { &mut self.watched } else { &mut self.others }
    }
}

impl Pool {
    /// Counts a listener behind a series.
    fn take(&mut self, series: ListenerSeries, seconds: f64) -> Arc<ListenerSeries> {
        let (count, newest) = self.newest.entry(series.opened()).or_default();
        *count += 1;
        // One that waited for its result comes in behind younger ones.
        *newest = newest.max(seconds);
        let known = self.open.get_key_value(&series).map(|(known, _)| Arc::clone(known));
        let series = known.unwrap_or_else(|| Arc::new(series));
        *self.open.entry(Arc::clone(&series)).or_default() += 1;
        series
    }

    /// The ports that something listens on; automatic ones have no number.
    fn open_ports(&self) -> HashSet<(Protocol, u16)> {
        let series = self.open.keys();
        series
            .filter_map(|series| described_port(&series.labels[0], &series.labels[1]))
            .collect()
    }

    /// Takes out what has not counted since then and has no open listener, where the share is crowded.
    fn forget_counters(&mut self, max: usize, since: u64) -> Vec<(&'static str, Vec<String>)> {
        if self.counters.values().map(HashMap::len).sum::<usize>() <= max / CROWDED {
            return Vec::new();
        }
        let mut processes = HashSet::new();
        for series in self.open.keys() {
            let [protocol, port, _, _, _, process, _] = series.refs();
            processes.insert([protocol, port, process]);
        }
        let is_open = |labels: &[String]| match labels {
            [protocol, port, process, ..] => processes.contains(&[protocol.as_str(), port, process]),
            _ => true,
        };
        let mut stale = Vec::new();
        for (metric, series) in &mut self.counters {
            let gone = series.extract_if(|labels, counted| *counted < since && !is_open(labels));
            stale.extend(gone.map(|(labels, _)| (*metric, labels)));
        }
        stale
    }
}

/// Where a series goes, of a share of `max` of which `used` are taken. Names get all but the part that is kept for
/// `other`. On a watched port `other` always has room: its other labels have few values, and nobody hides a watched port.
fn place<T>(max: usize, used: usize, watched: bool, own: T, folded: T, needs: impl Fn(&T) -> usize) -> Place<T> {
    let fits = |series: &T, limit: usize| match needs(series) {
        0 => true,
        more => used + more <= limit,
    };
    if fits(&own, max - max / KEPT_FOR_OTHER) {
        return Place::Own(own);
    }
    if watched || fits(&folded, max) {
        return Place::Folded(folded);
    }
    Place::LeftOut
}

/// What the labels of a series say; `None` of an automatic port.
fn described_port(protocol: &str, port: &str) -> Option<(Protocol, u16)> {
    let mut protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
    let protocol = protocols.find(|known| known.as_str() == protocol)?;
    Some((protocol, port.parse().ok()?))
}

/// Takes one away, and the whole entry with the last.
fn take_one<K, Q, V>(entries: &mut HashMap<K, V>, key: &Q, count: impl Fn(&mut V) -> &mut u64)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq,
{
    let Some(count) = entries.get_mut(key).map(count) else {
        return;
    };
    *count = count.saturating_sub(1);
    if *count == 0 {
        entries.remove(key);
    }
}
