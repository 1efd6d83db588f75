//! What /proc says of the BPF programs and maps that a process holds (the kernel's bpf_prog_show_fdinfo() and
//! bpf_map_show_fdinfo()).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// What one program has run so far. Zero throughout where nobody has turned the kernel's BPF statistics on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Time in all runs, in nanoseconds.
    pub nanoseconds: u64,
    /// Runs.
    pub count: u64,
}

/// The programs and maps of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Programs, by id.
    pub programs: BTreeMap<u64, Runs>,
    /// Memory of the maps in bytes, by id.
    pub maps: BTreeMap<u64, u64>,
}

impl Held {
    /// Reads what a process holds.
    ///
    /// # Errors
    /// Where the process has ended or is another user's.
    pub fn by(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut held = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))? {
            // What was closed since the folder was opened is no loss.
            let Some(text) = entry.ok().and_then(|entry| fs::read_to_string(entry.path()).ok()) else {
                continue;
            };
            held.add(&text);
        }
        Ok(held)
    }

    /// Memory of all maps together, in bytes.
    pub fn map_memory(&self) -> u64 {
        self.maps.values().sum()
    }

    fn add(&mut self, fdinfo: &str) {
        let field = |name: &str| -> Option<u64> {
            let value = fdinfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().parse().ok()
        };
        if let Some(id) = field("prog_id") {
            let runs = Runs {
                nanoseconds: field("run_time_ns").unwrap_or(0),
                count: field("run_cnt").unwrap_or(0),
            };
            // A link shows the program's id and no runs.
            let known = self.programs.entry(id).or_default();
            if runs.count >= known.count {
                *known = runs;
            }
        } else if let Some(id) = field("map_id") {
            self.maps.insert(id, field("memlock").unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Runs};

    #[test]
    fn programs_and_maps_are_read_and_a_link_hides_no_runs() {
        let mut held = Held::default();
        let program = "pos:\t0\nflags:\t02000002\nprog_type:\t17\nprog_id:\t88\nrun_time_ns:\t412\nrun_cnt:\t4\n";
        let link = "pos:\t0\nlink_type:\traw_tracepoint\nprog_id:\t88\ntp_name:\tinet_sock_set_state\n";
        for text in [
            link,
            program,
            link,
            "map_type:\t27\nmemlock:\t4096\nmap_id:\t5\n",
            "pos:\t0\n",
        ] {
            held.add(text);
        }
        let runs = Runs {
            nanoseconds: 412,
            count: 4,
        };
        assert_eq!(held.programs.get(&88), Some(&runs));
        assert_eq!((held.programs.len(), held.map_memory()), (1, 4096));
    }

    #[test]
    fn this_process_holds_nothing() {
        assert_eq!(Held::by(std::process::id()).unwrap(), Held::default());
    }
}
