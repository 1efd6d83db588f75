//! What /proc says of a process, and what this one may do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The unit of CPU times in /proc, USER_HZ: part of the user-space interface on every architecture that the agent has.
const TICK: Duration = Duration::from_millis(10);

/// Resident memory in bytes: now, and the most so far.
///
/// # Errors
/// Where the process has ended.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let both = || Some((status_bytes(&text, "VmRSS")?, status_bytes(&text, "VmHWM")?));
    both().with_context(|| format!("{path} shows no resident memory"))
}

/// CPU time of all its threads so far: in user space, and in the kernel.
///
/// # Errors
/// Where the process has ended.
pub fn cpu(pid: u32) -> Result<(Duration, Duration)> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    stat_times(&text).with_context(|| format!("{path} shows no CPU times"))
}

/// Lets this process open so many files.
///
/// # Errors
/// Where the kernel refuses it.
pub fn allow_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum.map(|maximum| maximum.max(needed)),
    };
    setrlimit(Resource::Nofile, raised)
        .with_context(|| format!("cannot raise the limit on open files to {needed}; try ulimit -Hn {needed} as root"))
}

/// A field of /proc/PID/status that is given in kB, in bytes (proc_pid_status(5)).
fn status_bytes(text: &str, field: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

/// utime and stime, the fields 14 and 15 of /proc/PID/stat (proc_pid_stat(5)). The name before them may hold anything.
fn stat_times(text: &str) -> Option<(Duration, Duration)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut time = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    Some((time()?, time()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{cpu, memory, stat_times, status_bytes};

    #[test]
    fn a_field_of_the_status_is_found_by_its_whole_name() {
        let text = "Name:\tVmRSS\nVmHWMx:\t1 kB\nVmHWM:\t   48 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(status_bytes(text, "VmRSS"), Some(12 << 10));
        assert_eq!(status_bytes(text, "VmHWM"), Some(48 << 10));
        assert_eq!(status_bytes(text, "VmSwap"), None);
        assert_eq!(status_bytes("VmRSS:\tsome kB\n", "VmRSS"), None);
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_times() {
        let text = "42 (a) R 9 (b)) S 1 42 42 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 4 0 77";
        assert_eq!(
            stat_times(text),
            Some((Duration::from_millis(2500), Duration::from_millis(310)))
        );
        assert_eq!(stat_times("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let own = std::process::id();
        let (now, most) = memory(own).unwrap();
        assert!(now > 0 && most >= now);
        cpu(own).unwrap();
    }
}
