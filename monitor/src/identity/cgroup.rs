//! What the path of a cgroup says: the systemd unit, and the container with its pod. No file is read here.
//!
//! Whoever may make cgroups may choose their names: below `user@1000.service` that is the user himself. So a container is
//! what the path claims, while the unit is taken from the part that the host's systemd made.

use std::iter;

/// Where a process stands in the trees of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path that says most: see [`Place::of`].
    pub path: String,
    /// The path in the unified tree (cgroup v2), which alone has the id of the kernel's records.
    pub unified: Option<String>,
}

impl Place {
    /// Reads the text of /proc/PID/cgroup (cgroups(7): `ID:CONTROLLERS:PATH`).
    ///
    /// On cgroup v2 there is one line. Else the tree of systemd's own counts, then the unified one, each where the process
    /// is not at its root; then, without systemd, the longest path.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        let (mut systemd, mut unified, mut longest) = (None, None, None::<String>);
        // Without its newline a line was cut.
        let end = text.iter().rposition(|&byte| byte == b'\n')?;
        for line in text.get(..end)?.split(|&byte| byte == b'\n') {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Some(path) = below_root(path) else { continue };
            match (id, controllers) {
                (b"0", b"") => unified = Some(path.clone()),
                (_, b"name=systemd") => systemd = Some(path.clone()),
                _ => {}
            }
            if longest.as_ref().is_none_or(|longest| longest.len() < path.len()) {
                longest = Some(path);
            }
        }
        let path = [systemd, unified.clone()]
            .into_iter()
            .flatten()
            .find(|path| path != "/")
            .or(longest)?;
        Some(Self { path, unified })
    }
}

/// The path without what an agent in a cgroup namespace of its own sees before it (`/../..`), and without what the
/// kernel appends once the cgroup is removed.
fn below_root(path: &[u8]) -> Option<String> {
    let path = String::from_utf8_lossy(path);
    let mut path = path.strip_suffix(" (deleted)").unwrap_or(&path);
    if !path.starts_with('/') {
        return None;
    }
    while let Some(below) = path
        .strip_prefix("/..")
        .filter(|below| below.is_empty() || below.starts_with('/'))
    {
        path = below;
    }
    Some(if path.is_empty() { "/" } else { path }.to_owned())
}

/// The unit of the system's systemd, by its own rule: what stands behind the slices. Units of a user's systemd, and of one
/// in a container, lie below it and are none of the host's.
#[must_use]
pub fn unit_of(path: &str) -> Option<&str> {
    // A name that could be taken for a file of the kernel's has a `_` before it.
    let mut names = components(path).map(|name| name.strip_prefix('_').unwrap_or(name));
    let unit = names.find(|name| !is_unit(name, &["slice"]))?;
    is_unit(unit, &["service", "scope", "socket", "mount", "swap"]).then_some(unit)
}

/// Whether a name is one of a unit of these types (systemd.unit(5)).
fn is_unit(name: &str, types: &[&str]) -> bool {
    let of_type = name
        .rsplit_once('.')
        .is_some_and(|(prefix, suffix)| !prefix.is_empty() && !prefix.starts_with('@') && types.contains(&suffix));
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    of_type && name.len() < 256 && name.chars().all(allowed)
}

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, of Kubernetes or of nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// The path does not tell.
    Unknown,
}

impl Runtime {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Unknown => "unknown",
        }
    }
}

/// A container, as the path of its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Id of its pod, in Kubernetes.
    pub pod_uid: Option<String>,
    /// The pod's name and namespace, where the host tells them.
    pub pod: Option<super::pods::Pod>,
    /// The name of its image, where the runtime was asked and told it.
    pub image: Option<String>,
}

/// The container whose cgroup this is or lies above it; of nested ones the innermost. Conmon, which watches over a
/// container of Podman or CRI-O from a cgroup of its own, is in none.
#[must_use]
pub fn container_of(path: &str) -> Option<Container> {
    let names: Vec<&str> = components(path).collect();
    let container_at = |at: usize| {
        let parent = at.checked_sub(1).and_then(|above| names.get(above)).copied();
        named(names.get(at)?).or_else(|| bare(names.get(at)?, parent))
    };
    let (at, (runtime, id)) = (0..names.len())
        .rev()
        .find_map(|at| container_at(at).map(|found| (at, found)))?;
    // A pod that lies above another container is that one's.
    let above = (0..at).rev().take_while(|&above| container_at(above).is_none());
    let pod_uid = iter::once(at).chain(above).find_map(|at| pod_uid(names.get(at)?));
    Some(Container {
        runtime,
        id: id.to_owned(),
        pod_uid,
        pod: None,
        image: None,
    })
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, `libpod-payload-ID`; and `X.slice:cri-containerd:ID`, which is
/// what a runtime without systemd makes of a name that was meant for systemd.
fn named(name: &str) -> Option<(Runtime, &str)> {
    let (prefix, id) = name.strip_suffix(".scope").unwrap_or(name).rsplit_once(['-', ':'])?;
    let runtime = match prefix.rsplit(':').next()? {
        "docker" => Runtime::Docker,
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "libpod" | "libpod-payload" => Runtime::Podman,
        _ => return None,
    };
    is_id(id).then_some((runtime, id))
}

/// The id alone: the folder above it may tell the runtime, and that of a pod does not.
fn bare<'a>(name: &'a str, parent: Option<&str>) -> Option<(Runtime, &'a str)> {
    let runtime = match parent {
        Some("docker") => Runtime::Docker,
        Some("k8s.io") => Runtime::Containerd,
        Some("libpod_parent") => Runtime::Podman,
        _ => Runtime::Unknown,
    };
    is_id(name).then_some((runtime, name))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex)
}

/// `podUID` or `kubepods-burstable-podUID.slice`. systemd takes `-` for a step in its tree, so there the uid has `_`; that
/// of a pod from a file on the node (a static pod) is a plain hash.
fn pod_uid(name: &str) -> Option<String> {
    let name = name.split(':').next()?;
    let (prefix, uid) = name.strip_suffix(".slice").unwrap_or(name).rsplit_once("pod")?;
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let is_uuid = uid.len() == 36
        && uid.bytes().enumerate().all(|(at, byte)| {
            if is_dash(at) {
                matches!(byte, b'-' | b'_')
            } else {
                is_hex(byte)
            }
        });
    let is_hash = uid.len() == 32 && uid.bytes().all(is_hex);
    ((prefix.is_empty() || prefix.ends_with('-')) && (is_uuid || is_hash)).then(|| uid.replace('_', "-"))
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
