//! A guest with Debian's systemd as process 1, where the unit of `deploy/systemd` runs as it would on a host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::payload::Payload;
use crate::setup::debian::Debian;
use crate::setup::kernels::{self, Fetched};
use crate::vm::VmArgs;
use crate::vm::boot::{Guest, Work};
use crate::vm::initramfs::Initramfs;
use crate::workspace::Workspace;

/// The kernel that the unit is tried with where none is named.
const KERNEL: &str = "6.12";

/// Where the guest's root is unpacked, before it becomes the root.
const ROOT: &str = "newroot";

/// systemd and what the tests use, without what nobody reads there.
const DEBIAN: Debian = Debian {
    serves: "a guest with systemd",
    packages: "systemd,systemd-sysv,bpftool,containerd,curl,iproute2,netcat-openbsd,passwd,procps,runc",
    left_out: &[
        "/usr/share/doc/*",
        "/usr/share/locale/*",
        "/usr/share/man/*",
        "/usr/lib/udev/hwdb.d/*",
    ],
    folder: "systemd-root",
    extension: "cpio",
    pack: |tree, archive| {
        let mut writing = Initramfs::create(archive)?;
        writing.tree(ROOT, tree)?;
        writing.finish().map(drop)
    },
};

/// What starts systemd. The root that the kernel unpacks to cannot be left (pivot_root), which systemd does for each unit with a
/// file system of its own; so the root is a mount.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for port in 1 2; do /bin/busybox stty -F /dev/ttyS$port raw -echo; done
for module in $(/bin/busybox cat /lib/modules/order); do /bin/busybox insmod "/lib/modules/$module"; done
/bin/busybox umount /proc
/bin/busybox umount /dev
/bin/busybox mount --bind /newroot /newroot
cd /newroot
/bin/busybox mount --move . /
exec /bin/busybox chroot . /lib/systemd/systemd --unit=tests.target --show-status=no
"#;

/// What runs the tests, and ends the guest. Serial ports: ttyS0 console, ttyS1 status, ttyS2 the tests' standard output.
const RUN: &str = r#"#!/bin/sh
echo "guest: kernel $(uname -r), systemd $(systemctl --version | head -1), is up after $(cut -d' ' -f1 /proc/uptime) s" >/dev/console
/payload/tests >/dev/ttyS2 2>/dev/console
status=$?
echo "guest: status $status after $(cut -d' ' -f1 /proc/uptime) s" >/dev/console
echo "rc $status" >/dev/ttyS1
systemctl poweroff --force --force
"#;

const TESTS_SERVICE: &str = "[Unit]\nAfter=basic.target\n[Service]\nType=exec\nExecStart=/payload/run\n";
const TESTS_TARGET: &str = "[Unit]\nRequires=basic.target tests.service\nAfter=basic.target\n";

/// Units of Debian's that the tests do not need, and that take their time under emulation.
const MASKED: [&str; 6] = [
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-hwdb-update.service",
    "systemd-journal-flush.service",
    "systemd-update-utmp.service",
    "systemd-pcrphase-sysinit.service",
];

/// A guest's file system with systemd, the unit and the agent in it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    workspace: Workspace,
    agent: PathBuf,
    /// Tests whose name contains this are run: all of them where it is empty.
    filter: String,
}

/// The guest, on the kernel that the arguments name if they are about it.
///
/// # Errors
/// Where its kernel cannot be had.
pub(super) fn guest(workspace: &Workspace, args: &VmArgs, payload: &Payload, busybox: &Path) -> Result<Guest> {
    let label = match args.kernels.as_slice() {
        [named] if args.systemd => named,
        _ => KERNEL,
    };
    let kernel = kernels::named(label)?;
    let fetched = kernels::ensure(workspace, &[kernel])
        .pop()
        .with_context(|| format!("there is no kernel {label}"))??;
    let label = format!("systemd-{}", kernel.label);
    Ok(Guest {
        folder: workspace.target.join("vm").join(&label),
        label,
        kernel_label: kernel.label,
        kernel: fetched,
        without: None,
        work: Work::Systemd(Image {
            workspace: workspace.clone(),
            agent: payload.agent.clone(),
            filter: args.filter.clone().unwrap_or_default(),
        }),
        busybox: busybox.to_path_buf(),
        memory: 2048,
        accelerator: args.accel,
        limit: Duration::from_secs(1500),
    })
}

impl Image {
    /// Writes it as an initramfs for this kernel; the first time, its Debian is made.
    ///
    /// # Errors
    /// Where that cannot be made, a part of it cannot be read, or it cannot be written.
    pub(super) fn write(&self, path: &Path, busybox: &Path, kernel: &Fetched) -> Result<()> {
        let debian = DEBIAN.ensure(&self.workspace)?;
        fs::copy(&debian, path).with_context(|| format!("cannot copy {}", debian.display()))?;
        let mut archive = Initramfs::append(path)?;
        archive.folders(&["bin", "dev", "proc", "lib", "lib/modules"])?;
        archive.program("bin/busybox", busybox)?;
        archive.file("init", 0o755, INIT.as_bytes())?;
        let mut order = String::new();
        for module in &kernel.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            let content = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
            archive.file(&format!("lib/modules/{name}"), 0o644, &content)?;
            order.push_str(&format!("{name}\n"));
        }
        archive.file("lib/modules/order", 0o644, order.as_bytes())?;

        let inside = |name: &str| format!("{ROOT}/{name}");
        archive.folders(&[&inside("payload"), &inside("etc/portreeve")])?;
        archive.program(&inside("usr/bin/portreeve"), &self.agent)?;
        archive.program(&inside("payload/busybox"), busybox)?;
        archive.file(&inside("etc/portreeve/portreeve.toml"), 0o644, b"")?;
        archive.file(&inside("payload/filter"), 0o644, self.filter.as_bytes())?;
        for (name, text) in [
            ("payload/run", RUN),
            ("payload/tests", include_str!("tests.sh")),
            ("payload/probe", include_str!("probe.sh")),
            ("payload/pod", include_str!("pod.pl")),
        ] {
            archive.file(&inside(name), 0o755, text.as_bytes())?;
        }
        for (name, text) in [("tests.service", TESTS_SERVICE), ("tests.target", TESTS_TARGET)] {
            archive.file(&inside(&format!("etc/systemd/system/{name}")), 0o644, text.as_bytes())?;
        }
        for (file, to) in [
            ("portreeve.service", "etc/systemd/system/portreeve.service"),
            ("portreeve.socket", "etc/systemd/system/portreeve.socket"),
            ("more.conf", "payload/more.conf"),
        ] {
            let from = self.workspace.root.join("deploy/systemd").join(file);
            let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            archive.file(&inside(to), 0o644, &content)?;
        }
        for unit in MASKED {
            archive.link(&inside(&format!("etc/systemd/system/{unit}")), "/dev/null")?;
        }
        archive.finish()?;
        Ok(())
    }
}
