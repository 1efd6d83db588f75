//! Names of users, from the host's passwd file.
//!
//! The file is read as a file: the agent is a static binary without NSS, and inside a container NSS would answer for
//! the container and not for the host. Users that only a directory service knows have no name here.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

use super::host::{Host, Version};

/// Bytes of the file that are read; 100,000 users take about 6 MiB.
const MAX_BYTES: u64 = 8 << 20;
/// Users that are kept.
const MAX_USERS: usize = 65_536;

/// The table from user id to name, read again when the file changes.
#[derive(Debug)]
pub struct Users {
    host: Host,
    version: Option<Version>,
    names: HashMap<u32, String>,
}

impl Users {
    /// The users of the system whose file system is at `rootfs`. Reads nothing yet.
    #[must_use]
    pub fn new(rootfs: PathBuf) -> Self {
        Self {
            host: Host::new(rootfs),
            version: None,
            names: HashMap::new(),
        }
    }

    /// Name of `uid`; `None` where the file has none, or cannot be read.
    pub fn name(&mut self, uid: u32) -> Option<&str> {
        self.refresh();
        self.names.get(&uid).map(String::as_str)
    }

    /// Whether a user is called this.
    pub fn has(&mut self, name: &str) -> bool {
        self.refresh();
        self.names.values().any(|known| known == name)
    }

    fn refresh(&mut self) {
        let Some((mut file, version)) = self.host.file("etc/passwd") else {
            self.version = None;
            self.names.clear();
            return;
        };
        if self.version.as_ref() == Some(&version) {
            return;
        }
        let mut text = Vec::new();
        self.names = match file.by_ref().take(MAX_BYTES).read_to_end(&mut text) {
            Ok(_) => parse(&text),
            Err(_) => HashMap::new(),
        };
        self.version = Some(version);
    }
}

/// The names in the text of a passwd file (passwd(5): `name:password:uid:…`). The first line of a uid counts, as for
/// `getpwuid(3)`; lines that are something else are passed over.
fn parse(text: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // `+` and `-` begin the lines of NIS; a comment has no place in passwd(5), and is written all the same.
        if matches!(name.first(), None | Some(b'+' | b'-' | b'#')) {
            continue;
        }
        let Some(uid) = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse::<u32>().ok()) else {
            continue;
        };
        if names.len() >= MAX_USERS {
            break;
        }
        names
            .entry(uid)
            .or_insert_with(|| String::from_utf8_lossy(name).into_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode};

    use super::*;

    fn root_with(passwd: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        root
    }

    #[test]
    fn names_come_from_the_third_field_and_garbage_is_passed_over() {
        let names = parse(
            b"root:x:0:0:root:/root:/bin/bash\n\n:::\n+::::::\n-evil:x:7:\n#old:x:8:8:\nnoline\nbad:x:many:1::/:\n\
              minus:x:-1:1::/:\nhuge:x:4294967296:1::/:\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/sh\n\
              toor:x:0:0::/root:/bin/sh\nj\xf6rg:x:1001:1001\nlast:x:4294967294",
        );
        let mut names: Vec<_> = names.iter().map(|(uid, name)| (*uid, name.as_str())).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                (0, "root"),
                (1000, "alice"),
                (1001, "j\u{fffd}rg"),
                (4_294_967_294, "last")
            ]
        );
    }

    #[test]
    fn a_uid_without_a_line_has_no_name() {
        let root = root_with(b"root:x:0:0::/root:/bin/sh\n");
        let mut users = Users::new(root.path().to_owned());
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(4242), None);
    }

    #[test]
    fn a_change_of_the_file_is_seen_at_the_next_look() {
        let root = root_with(b"old:x:5:5::/:\n");
        let mut users = Users::new(root.path().to_owned());
        assert_eq!(users.name(5), Some("old"));
        // As useradd does it: a new file of the same size takes the name.
        fs::write(root.path().join("etc/passwd+"), b"new:x:5:5::/:\n").unwrap();
        fs::rename(root.path().join("etc/passwd+"), root.path().join("etc/passwd")).unwrap();
        assert_eq!(users.name(5), Some("new"));
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert_eq!(users.name(5), None);
    }

    #[test]
    fn an_absolute_link_is_followed_inside_the_root() {
        let root = root_with(b"inside:x:5:5::/:\n");
        fs::rename(root.path().join("etc/passwd"), root.path().join("users")).unwrap();
        std::os::unix::fs::symlink("/users", root.path().join("etc/passwd")).unwrap();
        assert_eq!(Users::new(root.path().to_owned()).name(5), Some("inside"));
    }

    #[test]
    fn what_is_no_file_gives_no_names_and_does_not_block() {
        let root = root_with(b"");
        let passwd = root.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        rustix::fs::mknodat(CWD, &passwd, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(Users::new(root.path().to_owned()).name(0), None);
        assert_eq!(Users::new(root.path().join("nowhere")).name(0), None);
    }
}
