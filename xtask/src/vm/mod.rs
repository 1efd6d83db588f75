//! `cargo xtask vm`: the integration tests inside guests with kernels of their own.

pub(crate) mod boot;
mod initramfs;
pub(crate) mod programs;
pub(crate) mod systemd;
mod table;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::payload::{self, Payload};
use crate::report::{Outcome, Report};
use crate::setup::apt::is_root;
use crate::setup::guest_tools;
use crate::setup::kernels::{self, Fetched, KERNELS, Kernel};
use crate::workspace::Workspace;
use crate::{say, test_output};
use boot::{Ended, Guest, Work};

/// Guests at a time: each has two virtual processors, and the machines that run this have two.
const AT_ONCE: usize = 2;

/// How often a guest is booted at most, where its kernel dies at boot.
const BOOTS: usize = 3;

/// Runs the integration tests in guests with test kernels.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct VmArgs {
    /// Kernels: 5.10, 6.1, 6.12, 6.18, new [default: 5.10 6.12 new].
    #[arg(value_name = "KERNEL")]
    pub(crate) kernels: Vec<String>,
    /// All five kernels.
    #[arg(long)]
    pub(crate) full: bool,
    /// Write how the scenarios went into docs/kernels.md: on kernels that do not run now, as they went the last time. With
    /// `--filter plays_` nothing else runs.
    #[arg(long)]
    pub(crate) table: bool,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<String>,
    /// Run the tests this many times in each guest: for what fails now and then. Choose few, a guest has 25 minutes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rounds: usize,
    /// How guests run; `kvm` only where the machine's KVM can boot one.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accel: Accelerator,
    /// Instead of the tests, those of the systemd unit, in a guest with Debian's systemd.
    #[arg(long, conflicts_with_all = ["full", "rounds"])]
    pub(crate) systemd: bool,
    /// Keep each guest's initramfs and show the command that boots it.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// QEMU's accelerator. Chosen by hand: a KVM device that is there may still boot nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accelerator {
    /// Emulation: works everywhere.
    #[default]
    Tcg,
    /// Emulation of one processor, whose clock counts the instructions that it executes, one a nanosecond: what is measured
    /// comes out the same each time.
    TcgCounted,
    /// Hardware virtualisation.
    Kvm,
}

/// Runs `cargo xtask vm` by itself.
///
/// # Errors
/// Where the payload does not build; what fails in guests is in the report.
pub(crate) fn main(workspace: &Workspace, args: &VmArgs) -> Result<bool> {
    selected(args)?;
    let mut report = Report::default();
    let mut built = None;
    report.step("build for guests", |_| {
        built = Some(payload::build(workspace, &[], None)?);
        Ok(Outcome::Passed)
    });
    if let Some(payload) = built {
        run(workspace, args, &payload, args.systemd, &mut report);
    }
    Ok(report.finish())
}

/// Boots the guests and counts their tests; `with_systemd` the one with systemd as well, or alone where the arguments say so.
pub(crate) fn run(workspace: &Workspace, args: &VmArgs, payload: &Payload, with_systemd: bool, report: &mut Report) {
    let mut busybox = PathBuf::new();
    let mut fetched = Vec::new();
    let ready = report.step("guests: QEMU, busybox, kernels", |report| {
        guest_tools::ensure_qemu(workspace)?;
        busybox = guest_tools::ensure_busybox(workspace)?;
        let kernels = if args.systemd { Vec::new() } else { selected(args)? };
        for (kernel, kept) in kernels.iter().zip(kernels::ensure(workspace, &kernels)) {
            match kept {
                Ok(kept) => fetched.push((*kernel, kept)),
                Err(error) if args.kernels.is_empty() && !kernel.by_default => {
                    report.not_run(&format!("guest {}", kernel.label), format!("{error:#}"));
                }
                Err(error) => report.failed(&format!("guest {}", kernel.label), format!("{error:#}")),
            }
        }
        Ok(Outcome::Passed)
    });
    if !ready && fetched.is_empty() && !args.systemd {
        report.not_run("guests", "what they need is not there, see above");
        return;
    }
    report.step("guests", |report| {
        let folder = workspace.target.join("vm");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut guests = guests(&fetched, args, payload, &folder, &busybox);
        if with_systemd && !is_root() {
            report.not_run("guest systemd", "making its Debian needs root");
        } else if with_systemd {
            // The first, since its Debian may have to be made.
            guests.push_front(systemd::guest(workspace, args, payload, &busybox)?);
        }
        let mut table = table::Table::default();
        boot_all(guests, |guest, ended| {
            if let (Ok(ended), None, Work::Tests { .. }) = (&ended, &guest.without, &guest.work) {
                table.take(guest.kernel_label, &guest.kernel.version, &ended.console);
            }
            count(&guest, ended, args, report);
        });
        if args.table {
            take_kept(workspace, &fetched, &folder, &mut table)?;
            table.write(workspace)?;
        }
        Ok(Outcome::Counted)
    });
}

/// Puts into the table how the kernels that do not run now went the last time, as their kept consoles say.
fn take_kept(
    workspace: &Workspace,
    ran: &[(&'static Kernel, Fetched)],
    folder: &Path,
    table: &mut table::Table,
) -> Result<()> {
    let others: Vec<&'static Kernel> = KERNELS
        .iter()
        .filter(|kernel| ran.iter().all(|(ran, _)| ran.label != kernel.label))
        .collect();
    for (kernel, kept) in others.iter().zip(kernels::ensure(workspace, &others)) {
        let console = folder.join(format!("{}.log", kernel.label));
        let text = fs::read_to_string(&console)
            .with_context(|| format!("{} has not run here yet: say --full", kernel.label))?;
        table.take(kernel.label, &kept?.version, &text);
    }
    Ok(())
}

/// The kernels that the arguments ask for.
fn selected(args: &VmArgs) -> Result<Vec<&'static Kernel>> {
    if args.full && !args.kernels.is_empty() {
        bail!("name kernels or say --full, not both");
    }
    if args.table && args.filter.as_ref().is_some_and(|filter| filter != "plays_") {
        bail!("the table has all scenarios: with --table give --filter plays_, which are they, or no filter");
    }
    if args.kernels.is_empty() {
        return Ok(KERNELS.iter().filter(|kernel| args.full || kernel.by_default).collect());
    }
    args.kernels.iter().map(|label| kernels::named(label)).collect()
}

/// One guest a kernel, and a second one without INET_DIAG where the kernel asks for it.
fn guests(
    fetched: &[(&'static Kernel, Fetched)],
    args: &VmArgs,
    payload: &Payload,
    folder: &Path,
    busybox: &Path,
) -> VecDeque<Guest> {
    let mut guests = VecDeque::new();
    for (kernel, fetched) in fetched {
        let variants: &[Option<&str>] = if kernel.also_without_inet_diag {
            &[None, Some("inet_diag")]
        } else {
            &[None]
        };
        for without in variants {
            let label = match without {
                Some(part) => format!("{}-without-{part}", kernel.label),
                None => kernel.label.to_owned(),
            };
            guests.push_back(Guest {
                folder: folder.join(&label),
                label,
                kernel_label: kernel.label,
                kernel: fetched.clone(),
                without: without.map(str::to_owned),
                work: Work::Tests {
                    payload: payload.clone(),
                    filter: args.filter.clone(),
                    full: args.full,
                    rounds: args.rounds,
                },
                busybox: busybox.to_path_buf(),
                memory: 1024,
                accelerator: args.accel,
                limit: Duration::from_secs(1500),
            });
        }
    }
    guests
}

/// Boots guests, a few at a time, and hands over each result as it comes.
fn boot_all(guests: VecDeque<Guest>, mut each: impl FnMut(Guest, Result<Ended>)) {
    let queue = Mutex::new(guests);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                loop {
                    let Some(guest) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                        break;
                    };
                    let ended = boot(&guest);
                    // The receiver lives until every sender is gone.
                    let _ = sender.send((guest, ended));
                }
            });
        }
        drop(sender);
        for (guest, ended) in receiver {
            each(guest, ended);
        }
    });
}

/// Boots a guest, and again where its kernel died before anything of ours ran: emulation of several processors races with
/// a kernel that rewrites its own code, now and then, and that says nothing about what is tested.
fn boot(guest: &Guest) -> Result<Ended> {
    for _ in 1..BOOTS {
        let ended = guest.boot()?;
        if !ended.died_at_boot() {
            return Ok(ended);
        }
        say!(
            "guest {}: its kernel died while it booted, before any test: it is booted again",
            guest.label
        );
    }
    guest.boot()
}

/// Counts one guest's tests. Only a guest that says itself how its tests ended can pass.
fn count(guest: &Guest, ended: Result<Ended>, args: &VmArgs, report: &mut Report) {
    let name = format!("guest {}", guest.label);
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return report.failed(&name, format!("{error:#}")),
    };
    say!(
        "{name}: kernel {}, {:.1} s",
        guest.kernel.version,
        ended.time.as_secs_f64()
    );
    if args.keep {
        say!("{name}: boot it again with: {}", ended.command);
    }
    let tests = test_output::parse(&ended.tests);
    let errors = test_output::reasons(&ended.console);
    if ended.status == Some(0) && !tests.is_empty() {
        tests.count(&guest.label, &errors, report);
        return;
    }
    // What the guest wrote explains the failures that follow.
    say!("{}", ended.excerpt());
    tests.count(&guest.label, &errors, report);
    let logs = format!(
        "console: {}, tests: {}",
        guest.console_log().display(),
        guest.tests_log().display()
    );
    match ended.status {
        Some(0) => report.failed(&name, format!("it ran no test; {logs}")),
        // The tests that failed are counted by name; a status that no test explains counts by itself.
        Some(_) if tests.has_failures() => say!("{name}: {logs}"),
        Some(status) => report.failed(&name, format!("its tests ended with status {status}; {logs}")),
        None => report.failed(&name, format!("{}; {logs}", ended.without_status())),
    }
}

#[cfg(test)]
mod tests {
    use super::{VmArgs, selected};

    fn labels(args: &VmArgs) -> Vec<&'static str> {
        selected(args).unwrap().iter().map(|kernel| kernel.label).collect()
    }

    #[test]
    fn three_kernels_boot_by_default_and_five_in_full() {
        assert_eq!(labels(&VmArgs::default()), ["5.10", "6.12", "new"]);
        let full = VmArgs {
            full: true,
            ..VmArgs::default()
        };
        assert_eq!(labels(&full), ["5.10", "6.1", "6.12", "6.18", "new"]);
    }

    #[test]
    fn kernels_that_are_named_are_the_only_ones() {
        let named = VmArgs {
            kernels: vec!["6.18".to_owned()],
            ..VmArgs::default()
        };
        assert_eq!(labels(&named), ["6.18"]);
        let both = VmArgs { full: true, ..named };
        assert!(selected(&both).is_err());
    }
}
