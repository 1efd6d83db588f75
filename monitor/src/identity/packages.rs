//! The package that owns an executable: dpkg's database, read as files.
//!
//! `var/lib/dpkg/info/PACKAGE.list` names the files of a package. Of them only those that can be an executable are kept,
//! each as a hash of 48 bits beside the number of its package: of 750 packages these are 6,400 files, which take 50 KiB. A
//! thread of its own reads them, so no event waits for that.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::host::{Host, Version};
use crate::kernel::give_back_memory;

/// Folder of the lists.
const LISTS: &str = "var/lib/dpkg/info";
/// How soon it is looked again whether the folder has changed.
const AGAIN: Duration = Duration::from_secs(60);
/// Files in the folder that are looked at: some ten a package.
const MAX_FILES: usize = 131_072;
/// Packages that are kept.
const MAX_PACKAGES: usize = 16_384;
/// Paths that are kept: 960 KiB.
const MAX_PATHS: usize = 122_880;
/// Bytes of a list that are read: the longest, of kernel headers, have some 2 MiB.
const MAX_LIST: u64 = 4 << 20;
/// Bits of an entry that are the number of the package.
const PACKAGE_BITS: u32 = 16;

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Names packages, as far as they have been read.
#[derive(Debug)]
pub(super) struct Packages {
    host: Host,
    index: Index,
    version: Option<Version>,
    looked: Option<Instant>,
    reader: Option<JoinHandle<Index>>,
}

impl Packages {
    /// The packages of the host whose file system is at `rootfs`. Reads nothing yet.
    pub(super) fn new(rootfs: PathBuf) -> Self {
        Self {
            host: Host::new(rootfs),
            index: Index::default(),
            version: None,
            looked: None,
            reader: None,
        }
    }

    /// The package of the executable that a process names by this path, if the host has that very file there. `None`
    /// too while the database is being read for the first time.
    pub(super) fn owner(&mut self, path: &str, file: FileId) -> Option<String> {
        self.refresh();
        let package = self.index.package(path)?.to_owned();
        let here = self.host.stat(path)?;
        let here = FileId {
            device: here.st_dev,
            inode: here.st_ino,
        };
        (here == file).then_some(package)
    }

    /// Waits for what is being read: for a command that looks once, and has nothing else to do.
    pub(super) fn wait(&mut self) {
        self.refresh();
        if let Some(reader) = self.reader.take() {
            self.index = reader.join().unwrap_or_default();
        }
    }

    /// Takes what the reader has read, and sends it again where the database has changed.
    pub(super) fn refresh(&mut self) {
        if let Some(reader) = self.reader.take_if(|reader| reader.is_finished()) {
            self.index = reader.join().unwrap_or_default();
        }
        if self.reader.is_some() || self.looked.is_some_and(|looked| looked.elapsed() < AGAIN) {
            return;
        }
        self.looked = Some(Instant::now());
        let version = self.host.version(LISTS);
        if version == self.version {
            return;
        }
        let host = self.host.clone();
        let reader = thread::Builder::new().name("packages".to_owned());
        // Without a thread to be had it is tried again.
        let read = move || {
            let index = Index::read(&host);
            give_back_memory();
            index
        };
        if let Ok(reader) = reader.spawn(read) {
            self.reader = Some(reader);
            self.version = version;
        }
    }
}

/// Which package owns which path.
#[derive(Debug, Default)]
struct Index {
    hasher: RandomState,
    /// Whether `/bin` is a link to `/usr/bin`: packages may name either.
    merged: bool,
    /// Sorted; the upper bits are the hash of a path, the lower ones the number of its package.
    paths: Vec<u64>,
    packages: Vec<Box<str>>,
}

impl Index {
    fn read(host: &Host) -> Self {
        let mut index = Self {
            merged: host.link("", "bin").is_some(),
            ..Self::default()
        };
        for file in host.names(LISTS, MAX_FILES) {
            // `libc6:amd64.list`: of a package that can be there for several architectures.
            let Some(name) = file.strip_suffix(".list").and_then(|name| name.split(':').next()) else {
                continue;
            };
            if name.is_empty() || index.packages.len() >= MAX_PACKAGES {
                continue;
            }
            if let Some((list, _)) = host.file(&format!("{LISTS}/{file}")) {
                index.add(name, list);
            }
        }
        index.finish();
        index
    }

    /// Takes the paths of one package.
    fn add(&mut self, package: &str, list: File) {
        let Ok(number) = u64::try_from(self.packages.len()) else {
            return;
        };
        let before = self.paths.len();
        let mut lines = BufReader::new(list.take(MAX_LIST));
        let (mut last, mut line) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).unwrap_or(0);
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            // What stands in a folder follows the folder's own line.
            let is_folder = line
                .strip_prefix(last.as_slice())
                .is_some_and(|rest| rest.starts_with(b"/"));
            if !is_folder && may_be_executable(&last) && self.paths.len() < MAX_PATHS {
                self.paths.push(self.hash(&last) | number);
            }
            if read == 0 {
                break;
            }
            std::mem::swap(&mut last, &mut line);
        }
        if self.paths.len() > before {
            self.packages.push(package.into());
        }
    }

    /// Sorts, and leaves out paths that several packages name: by a diversion one of them owns another file.
    fn finish(&mut self) {
        self.paths.sort_unstable();
        self.paths.dedup();
        let hash = |entry: u64| entry >> PACKAGE_BITS;
        let mut unique: Vec<u64> = Vec::with_capacity(self.paths.len());
        for same in self.paths.chunk_by(|one, other| hash(*one) == hash(*other)) {
            let mut packages = same.iter().filter_map(|&entry| self.name(entry));
            let first = packages.next();
            if packages.all(|package| Some(package) == first) {
                unique.extend(same.first());
            }
        }
        self.paths = unique;
        self.packages.shrink_to_fit();
    }

    fn package(&self, path: &str) -> Option<&str> {
        let hash = self.hash(path.as_bytes());
        let at = self.paths.partition_point(|entry| *entry < hash);
        let entry = *self.paths.get(at)?;
        (entry >> PACKAGE_BITS == hash >> PACKAGE_BITS).then(|| self.name(entry))?
    }

    fn name(&self, entry: u64) -> Option<&str> {
        let number = usize::try_from(entry & ((1 << PACKAGE_BITS) - 1)).ok()?;
        self.packages.get(number).map(|name| &**name)
    }

    /// The hash of a path, with room for the number of a package. Two of 100,000 paths are mistaken for each other once
    /// in 50,000 hosts, and another path for one of them once in three thousand million.
    fn hash(&self, path: &[u8]) -> u64 {
        let below_usr = path.strip_prefix(b"/usr").filter(|_| self.merged);
        let path = below_usr.filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
        self.hasher.hash_one(path) & !((1 << PACKAGE_BITS) - 1)
    }
}

/// Folders that hold no executables, or none that packages bring.
const NO_EXECUTABLES: [&[u8]; 8] = [
    b"/usr/share/",
    b"/usr/include/",
    b"/usr/src/",
    b"/etc/",
    b"/lib/modules/",
    b"/usr/lib/modules/",
    b"/boot/",
    b"/var/",
];

/// Whether a path of a package can be that of an executable: what lies in a folder for programs, and elsewhere what has
/// no suffix or one that programs have. The dynamic linker can be executed too.
fn may_be_executable(path: &[u8]) -> bool {
    if NO_EXECUTABLES.iter().any(|folder| path.starts_with(folder)) {
        return false;
    }
    let mut names = path.rsplit(|&byte| byte == b'/');
    let (Some(name), Some(folder)) = (names.next(), names.next()) else {
        return false;
    };
    let for_programs = matches!(folder, b"bin" | b"sbin" | b"games" | b"libexec");
    let of_a_program = !name.contains(&b'.') || name.ends_with(b".bin") || name.ends_with(b".real");
    !name.is_empty() && (for_programs || of_a_program || name.starts_with(b"ld-"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::*;

    /// A host with these files, owned by these packages.
    fn host(lists: &[(&str, &str)], files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(LISTS)).unwrap();
        for (name, list) in lists {
            fs::write(root.path().join(LISTS).join(name), list).unwrap();
        }
        for file in files {
            let file = root.path().join(file.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        root
    }

    fn read(root: &Path) -> Packages {
        let mut packages = Packages::new(root.to_owned());
        packages.refresh();
        wait(&mut packages);
        packages
    }

    fn wait(packages: &mut Packages) {
        if let Some(reader) = packages.reader.take() {
            packages.index = reader.join().unwrap();
        }
    }

    fn id(file: &Path) -> FileId {
        let file = fs::metadata(file).unwrap();
        FileId {
            device: file.dev(),
            inode: file.ino(),
        }
    }

    const NETCAT: &str = "/.\n/bin\n/bin/nc.openbsd\n/usr\n/usr/share\n/usr/share/doc\n/usr/share/doc/nc\n";

    #[test]
    fn an_executable_is_its_packages_by_either_name_of_bin_and_by_its_inode() {
        let root = host(
            &[("netcat-openbsd:amd64.list", NETCAT)],
            &["/usr/bin/nc.openbsd", "/usr/bin/other"],
        );
        symlink("usr/bin", root.path().join("bin")).unwrap();
        let mut packages = read(root.path());
        let file = id(&root.path().join("bin/nc.openbsd"));
        for path in ["/bin/nc.openbsd", "/usr/bin/nc.openbsd"] {
            assert_eq!(packages.owner(path, file).as_deref(), Some("netcat-openbsd"), "{path}");
        }
        let other = id(&root.path().join("usr/bin/other"));
        assert_eq!(
            packages.owner("/usr/bin/nc.openbsd", other),
            None,
            "another file of that name"
        );
        assert_eq!(packages.owner("/usr/bin/other", other), None);
        assert_eq!(packages.owner("/usr/bin", id(&root.path().join("usr/bin"))), None);
    }

    #[test]
    fn where_bin_is_a_folder_of_its_own_its_files_are_its_own() {
        let root = host(
            &[("netcat-openbsd.list", NETCAT)],
            &["/usr/bin/nc.openbsd", "/bin/nc.openbsd"],
        );
        let mut packages = read(root.path());
        assert_eq!(
            packages.owner("/usr/bin/nc.openbsd", id(&root.path().join("usr/bin/nc.openbsd"))),
            None
        );
        let file = id(&root.path().join("bin/nc.openbsd"));
        assert_eq!(
            packages.owner("/bin/nc.openbsd", file).as_deref(),
            Some("netcat-openbsd")
        );
    }

    #[test]
    fn a_path_of_two_packages_is_neithers_and_one_of_two_architectures_is_its_packages() {
        let lists = [
            ("a.list", "/bin\n/bin/x\n"),
            ("b.list", "/bin\n/bin/x\n/bin/y\n"),
            ("c:amd64.list", "/bin/z\n"),
            ("c:i386.list", "/bin/z"),
        ];
        let root = host(&lists, &["/bin/x", "/bin/y", "/bin/z"]);
        let mut packages = read(root.path());
        for (path, package) in [("/bin/x", None), ("/bin/y", Some("b")), ("/bin/z", Some("c"))] {
            let file = id(&root.path().join(path.trim_start_matches('/')));
            assert_eq!(packages.owner(path, file).as_deref(), package, "{path}");
        }
    }

    #[test]
    fn no_look_up_waits_for_the_database_and_a_change_is_read() {
        let root = host(&[("a.list", "/bin/x\n")], &["/bin/x"]);
        let file = id(&root.path().join("bin/x"));
        let mut packages = Packages::new(root.path().to_owned());
        packages.owner("/bin/x", file);
        wait(&mut packages);
        assert_eq!(packages.owner("/bin/x", file).as_deref(), Some("a"));

        fs::rename(
            root.path().join(LISTS).join("a.list"),
            root.path().join(LISTS).join("b.list"),
        )
        .unwrap();
        assert_eq!(
            packages.owner("/bin/x", file).as_deref(),
            Some("a"),
            "it is not looked at each time"
        );
        packages.looked = None;
        packages.refresh();
        assert!(packages.reader.is_some());
        wait(&mut packages);
        assert_eq!(packages.owner("/bin/x", file).as_deref(), Some("b"));
        packages.looked = None;
        packages.refresh();
        assert!(packages.reader.is_none(), "nothing has changed");
    }

    #[test]
    fn a_host_without_dpkg_and_strange_lists_name_nothing() {
        let empty = tempfile::tempdir().unwrap();
        let file = id(empty.path());
        assert_eq!(read(empty.path()).owner("/", file), None);
        let root = host(
            &[
                (".list", "/bin/x\n"),
                ("b.list", "\0\n\n//\nbin\n/bin/\u{1}\n"),
                ("c.md5sums", "/bin/x"),
            ],
            &["/bin/x"],
        );
        let fifo = root.path().join(LISTS).join("fifo.list");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        symlink("/dev/zero", root.path().join(LISTS).join("zero.list")).unwrap();
        let mut packages = read(root.path());
        assert_eq!(packages.owner("/bin/x", id(&root.path().join("bin/x"))), None);
    }

    #[test]
    fn what_can_be_executed_is_kept_and_little_else() {
        for path in [
            "/usr/sbin/sshd",
            "/usr/bin/python3.11",
            "/bin/nc.openbsd",
            "/usr/lib/postgresql/15/bin/postgres",
            "/usr/lib/git-core/git-remote-http",
            "/usr/lib/libreoffice/program/soffice.bin",
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "/opt/google/chrome/chrome",
            "/usr/lib/systemd/systemd",
        ] {
            assert!(may_be_executable(path.as_bytes()), "{path}");
        }
        for path in [
            "",
            "/.",
            "/usr/share/doc/sshd/copyright",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/python3/dist-packages/apt/cache.py",
            "/etc/init.d/ssh",
            "/lib/modules/6.1.0/kernel/net/sctp",
        ] {
            assert!(!may_be_executable(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn this_machines_packages_are_read_and_take_little() {
        if !Path::new("/").join(LISTS).is_dir() {
            eprintln!("not run: no dpkg here");
            return;
        }
        let begin = Instant::now();
        let mut packages = read(Path::new("/"));
        let (paths, count) = (packages.index.paths.len(), packages.index.packages.len());
        eprintln!("{paths} paths of {count} packages in {:?}", begin.elapsed());
        assert!(
            paths < MAX_PATHS && paths < 100 * count,
            "{paths} paths of {count} packages"
        );
        let dpkg = fs::canonicalize("/usr/bin/dpkg").unwrap();
        assert_eq!(packages.owner("/usr/bin/dpkg", id(&dpkg)).as_deref(), Some("dpkg"));
    }
}
