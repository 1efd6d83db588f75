//! One guest: its file system, its boot, and how it ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{last_lines, shown};
use crate::payload::Payload;
use crate::setup::kernels::Fetched;
use crate::vm::Accelerator;
use crate::vm::initramfs::Initramfs;
use crate::vm::programs::Programs;
use crate::vm::systemd::Image;

/// The processor that is emulated. Without `la57=off`, old kernels do not boot.
const EMULATED: &str = "max,la57=off,erms=off,fsrm=off";

/// A guest that is to be booted.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The name in reports and of its logs.
    pub(crate) label: String,
    /// The kernel's label: what the tests see as PORTREEVE_KERNEL_LABEL.
    pub(crate) kernel_label: &'static str,
    pub(crate) kernel: Fetched,
    /// A module that this guest does not load, nor what depends on it.
    pub(crate) without: Option<String>,
    pub(crate) work: Work,
    pub(crate) busybox: PathBuf,
    /// Memory in MiB.
    pub(crate) memory: u32,
    pub(crate) accelerator: Accelerator,
    /// After this it is ended, which is a failure.
    pub(crate) limit: Duration,
    /// Path of its logs without their extensions.
    pub(crate) folder: PathBuf,
}

/// What a guest does once it is up.
#[derive(Debug)]
pub(crate) enum Work {
    /// The integration tests, or those whose name holds the filter; floods at their full length or shorter.
    Tests {
        payload: Payload,
        filter: Option<String>,
        full: bool,
        /// How often the tests run: 1 or less is once.
        rounds: usize,
    },
    /// A script of its own. Its standard output is taken for the tests'.
    Script { script: String, programs: Programs },
    /// The tests of the systemd unit, with systemd as process 1.
    Systemd(Image),
}

/// How a guest ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The status of the tests, as the guest itself wrote it; QEMU's own says nothing about them.
    pub(crate) status: Option<i32>,
    /// Why a guest without a status has none, if that is known.
    timed_out: bool,
    /// Boot included.
    pub(crate) time: Duration,
    /// The first serial port: the kernel's messages and the tests' standard error.
    pub(crate) console: String,
    /// The third serial port: the tests' standard output.
    pub(crate) tests: String,
    /// What booted it.
    pub(crate) command: String,
}

impl Ended {
    /// Why there is no status.
    pub(crate) fn without_status(&self) -> String {
        if self.timed_out {
            "it ran into its time limit".to_owned()
        } else if self.console.contains("Kernel panic") {
            format!("its kernel panicked: {}", why_it_panicked(&self.console))
        } else {
            "it ended without a status of its own".to_owned()
        }
    }

    /// Whether its kernel panicked before process 1 ran anything.
    pub(crate) fn died_at_boot(&self) -> bool {
        self.status.is_none() && self.tests.is_empty() && !self.timed_out && self.console.contains("Kernel panic")
    }

    /// The end of what it wrote.
    pub(crate) fn excerpt(&self) -> String {
        let tests = last_lines(self.tests.as_bytes(), 40);
        format!(
            "  console:\n{}\n  tests:\n{tests}",
            last_lines(self.console.as_bytes(), 25)
        )
    }
}

/// What process 1 of a guest does. Serial ports: ttyS0 console, ttyS1 status, ttyS2 the tests' standard output.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox --install -s
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
chmod 1777 /tmp
chown 1000:1000 /home/alice
hostname guest
ip link set lo up
echo 0 >/proc/sys/kernel/kptr_restrict
for port in 1 2; do stty -F /dev/ttyS$port raw -echo; done
echo "guest: kernel $(uname -r) is up after $(cut -d' ' -f1 /proc/uptime) s"
for module in $(cat /lib/modules/order); do insmod "/lib/modules/$module" || echo "guest: cannot load $module"; done
cd /payload
/payload/run </dev/null >/dev/ttyS2
status=$?
echo "guest: status $status after $(cut -d' ' -f1 /proc/uptime) s"
echo "rc $status" >/dev/ttyS1
sync
poweroff -f
"#;

impl Guest {
    /// The kernel's messages and the tests' standard error.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.path("log")
    }

    /// The tests' standard output.
    pub(crate) fn tests_log(&self) -> PathBuf {
        self.path("tests")
    }

    fn path(&self, extension: &str) -> PathBuf {
        let mut path = self.folder.clone().into_os_string();
        path.push(".");
        path.push(extension);
        path.into()
    }

    /// Boots the guest and waits for its end, or its time limit.
    ///
    /// # Errors
    /// Where its file system cannot be written or QEMU cannot be started. A guest that fails is no error here.
    pub(crate) fn boot(&self) -> Result<Ended> {
        let (initramfs, status) = (self.path("cpio"), self.path("status"));
        self.write_initramfs(&initramfs)?;
        for log in [&status, &self.console_log(), &self.tests_log()] {
            // What an earlier guest wrote must not pass for this one's.
            fs::write(log, "").with_context(|| format!("cannot write {}", log.display()))?;
        }
        let mut qemu = self.qemu(&initramfs, &status);
        let command = shown(&qemu);
        let start = Instant::now();
        let mut child = qemu
            .spawn()
            .context("cannot start qemu-system-x86_64; install qemu-system-x86")?;
        let timed_out = !ended_within(&mut child, self.limit)?;
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Ended {
            status: status_in(&read(&status)?),
            timed_out,
            time: start.elapsed(),
            console: read(&self.console_log())?,
            tests: read(&self.tests_log())?,
            command,
        })
    }

    fn qemu(&self, initramfs: &Path, status: &Path) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        match self.accelerator {
            // One thread for both processors: with two of them, kernels that rewrite their own code died now and then, and two
            // guests on two processors are slower that way.
            Accelerator::Tcg => qemu.args(["-accel", "tcg,thread=single", "-cpu", EMULATED]),
            // With two processors it takes hours: each waits for the other until the next timer. Idle ones jump there.
            Accelerator::TcgCounted => qemu.args([
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                EMULATED,
            ]),
            Accelerator::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        };
        let processors = if self.accelerator == Accelerator::TcgCounted {
            "1"
        } else {
            "2"
        };
        qemu.args(["-smp", processors, "-m", &self.memory.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel")
            .arg(&self.kernel.vmlinuz)
            .arg("-initrd")
            .arg(initramfs);
        // With tsc=reliable, kernels count time by the processor's own counter, as on real hosts and in real guests. Left to
        // themselves they distrust the emulated one and ask the emulator's HPET, and then reading the clock once costs as
        // much as a quarter of a `listen()`: in the callers that are measured, and in each hook that reads it.
        //
        // With norandmaps, programs lie at the same addresses each time: emulation keeps what it has translated by address, and at
        // random ones each start translates a program anew. Measured with 20 starts each of `portreeve list --json`: 155 ms,
        // and 14 with it; no processor has such a cost.
        qemu.args([
            "-append",
            "console=ttyS0 panic=-1 oops=panic quiet mitigations=off nokaslr norandmaps tsc=reliable",
        ]);
        for log in [&self.console_log(), status, &self.tests_log()] {
            qemu.arg("-serial").arg(format!("file:{}", log.display()));
        }
        qemu.stdin(Stdio::null());
        qemu
    }

    fn write_initramfs(&self, path: &Path) -> Result<()> {
        if let Work::Systemd(image) = &self.work {
            return image.write(path, &self.busybox, &self.kernel);
        }
        let mut archive = Initramfs::create(path)?;
        archive.folders(&[
            "bin",
            "dev",
            "etc",
            "home",
            "home/alice",
            "lib",
            "lib/modules",
            "payload",
            "proc",
            "root",
            "run",
            "sbin",
            "sys",
            "tmp",
            "usr",
            "usr/bin",
            "usr/sbin",
        ])?;
        archive.program("bin/busybox", &self.busybox)?;
        archive.link("bin/sh", "busybox")?;
        archive.file("init", 0o755, INIT.as_bytes())?;
        let users = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n";
        archive.file("etc/passwd", 0o644, users.as_bytes())?;
        archive.file("etc/group", 0o644, b"root:x:0:\nalice:x:1000:\n")?;
        archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
        let mut order = String::new();
        for module in self.kernel.modules.iter().filter(|module| self.loads(module)) {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            let content = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
            archive.file(&format!("lib/modules/{name}"), 0o644, &content)?;
            order.push_str(&format!("{name}\n"));
        }
        archive.file("lib/modules/order", 0o644, order.as_bytes())?;
        let script = match &self.work {
            Work::Tests {
                payload,
                filter,
                full,
                rounds,
            } => {
                archive.program("payload/portreeve", &payload.agent)?;
                archive.program("payload/tests", &payload.kernel_tests)?;
                archive.program("payload/scenarios", &payload.scenarios)?;
                self.run_script(filter.as_deref(), *full, *rounds)
            }
            Work::Script { script, programs } => {
                programs.add_to(&mut archive)?;
                script.clone()
            }
            Work::Systemd(_) => bail!("a guest with systemd has a file system of its own"),
        };
        archive.file("payload/run", 0o755, script.as_bytes())?;
        archive.finish()?;
        Ok(())
    }

    /// Without `inet_diag` there is no `tcp_diag` and no `udp_diag` either.
    fn loads(&self, module: &Path) -> bool {
        let left_out: &[&str] = match self.without.as_deref() {
            Some("inet_diag") => &["inet_diag", "tcp_diag", "udp_diag"],
            _ => &[],
        };
        !module
            .file_stem()
            .is_some_and(|stem| left_out.iter().any(|name| stem == *name))
    }

    fn run_script(&self, filter: Option<&str>, full: bool, rounds: usize) -> String {
        let mut script = String::from("#!/bin/sh\n");
        for (name, value) in [
            ("PORTREEVE_BIN", "/payload/portreeve"),
            ("PORTREEVE_SCENARIOS", "/payload/scenarios"),
            ("PORTREEVE_BUSYBOX", "/bin/busybox"),
            ("PORTREEVE_KERNEL_LABEL", self.kernel_label),
            ("PORTREEVE_CYCLES", if full { "100000" } else { "20000" }),
            ("SCENARIOS_FLOOD", if full { "200000" } else { "20000" }),
            ("PORTREEVE_REQUIRE_BACKENDS", "fexit,kprobe,tracepoint"),
            ("PORTREEVE_GUEST_WITHOUT", self.without.as_deref().unwrap_or_default()),
        ] {
            script.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        let filter = filter.map(quoted).unwrap_or_default();
        let tests = format!("/payload/tests --test-threads=1 --color=never {filter}");
        // The last round is the one that is counted; a round before it that fails is the last.
        script.push_str(&format!(
            "for round in $(seq 2 {rounds}); do {tests} >/tmp/round || {{ cat /tmp/round; exit 101; }}; done\nexec {tests}\n"
        ));
        script
    }
}

/// What a console says of a panic, in one line: the first complaint, where it was, and who called. A report that is cut
/// short, or read where the logs are gone, must still tell a fault of the kernel side from one of the emulator.
fn why_it_panicked(console: &str) -> String {
    let begins = [
        "BUG:",
        "Oops",
        "int3",
        "general protection",
        "stack segment",
        "RIP:",
        "Kernel panic",
    ];
    let mut said: Vec<&str> = Vec::new();
    let mut calls = Vec::new();
    let mut in_calls = false;
    for line in console.lines() {
        // Without a time in front, and without what the serial line adds.
        let text = line
            .trim()
            .rsplit_once("] ")
            .map_or(line.trim(), |(_, text)| text)
            .trim();
        if text.starts_with("Call Trace:") {
            in_calls = calls.is_empty();
        } else if in_calls && text.contains("+0x") && calls.len() < 12 {
            calls.push(text.split("+0x").next().unwrap_or(text).trim());
        } else if begins.iter().any(|begin| text.contains(begin)) {
            in_calls = false;
            if said.len() < 6 && !said.contains(&text) {
                said.push(text);
            }
        }
    }
    if !calls.is_empty() {
        said.push("called by");
    }
    format!("{} {}", said.join(" | "), calls.join(" < "))
}

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Waits for a child's end; one that runs longer is ended. Gives whether it ended by itself.
fn ended_within(child: &mut Child, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while child.try_wait().context("cannot wait for QEMU")?.is_none() {
        if Instant::now() >= deadline {
            child.kill().context("cannot end QEMU")?;
            child.wait().context("cannot wait for QEMU")?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// The status in a guest's own words: `rc N`, and nothing else.
fn status_in(text: &str) -> Option<i32> {
    text.trim().strip_prefix("rc ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{quoted, status_in, why_it_panicked};

    #[test]
    fn a_panic_is_told_in_one_line() {
        let console = "guest: up\r\n[   12.3] BUG: kernel NULL pointer dereference, address: 08\r\n\
            [   12.3] #PF: supervisor read access\r\n[   12.3] RIP: 0010:tcp_close+0x1/0x20\r\n\
            [   12.3] Call Trace:\r\n[   12.3]  inet_release+0x42/0x80\r\n[   12.3]  ? sock_close+0x11/0x20\r\n\
            [   12.4] Kernel panic - not syncing: Fatal exception\r\n";
        assert_eq!(
            why_it_panicked(console),
            "BUG: kernel NULL pointer dereference, address: 08 | RIP: 0010:tcp_close+0x1/0x20 | \
             Kernel panic - not syncing: Fatal exception | called by inet_release < ? sock_close"
        );
    }

    #[test]
    fn only_a_whole_status_counts() {
        assert_eq!(status_in("rc 0\r\n"), Some(0));
        assert_eq!(status_in("rc 101\n"), Some(101));
        assert_eq!(status_in(""), None);
        assert_eq!(status_in("rc "), None);
        assert_eq!(status_in("c 0\n"), None);
    }

    #[test]
    fn a_filter_is_one_word_for_the_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
