//! Names of Kubernetes' pods, from the folders in which the kubelet keeps their logs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::host::{Host, Version};

/// `NAMESPACE_POD_UID` is a folder in here.
const LOGS: &str = "var/log/pods";
/// Folders that are looked at: a node runs some hundred pods.
const MAX_PODS: usize = 4_096;
/// How soon the folder is read again for a pod that is not in it where it looks as before: a change within one tick of the clock
/// does not show.
const AGAIN: Duration = Duration::from_secs(1);

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// The table from uid to pod, read again for a uid that is not in it once the folder has changed.
#[derive(Debug)]
pub(super) struct Pods {
    host: Host,
    pods: HashMap<String, Pod>,
    read: Option<(Instant, Option<Version>)>,
}

impl Pods {
    /// The pods of the host whose file system is at `rootfs`. Reads nothing yet.
    pub(super) fn new(rootfs: PathBuf) -> Self {
        Self {
            host: Host::new(rootfs),
            pods: HashMap::new(),
            read: None,
        }
    }

    /// The pod with this uid; `None` where the host does not tell.
    pub(super) fn named(&mut self, uid: &str) -> Option<Pod> {
        if !self.pods.contains_key(uid) {
            self.look();
        }
        self.pods.get(uid).cloned()
    }

    /// Reads the folder, unless it would say the same. The kubelet makes that of a pod before its first container starts, and removes
    /// it with the pod, so a pod is named from its first event on.
    fn look(&mut self) {
        let version = self.host.version(LOGS);
        let is_known = |(read, known): &(Instant, Option<Version>)| *known == version && read.elapsed() < AGAIN;
        if self.read.as_ref().is_some_and(is_known) {
            return;
        }
        // The version is from before: what changes meanwhile is read again.
        self.read = Some((Instant::now(), version));
        let names = self.host.names(LOGS, MAX_PODS);
        self.pods = names.filter_map(|name| pod_of(&name)).collect();
    }
}

/// `NAMESPACE_POD_UID`: none of the three has a `_` in it.
fn pod_of(folder: &str) -> Option<(String, Pod)> {
    let mut parts = folder.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        !part.is_empty() && part.bytes().all(allowed)
    };
    let is_pod = parts.next().is_none() && [namespace, name, uid].into_iter().all(is_plain);
    is_pod.then(|| {
        let pod = Pod {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        (uid.to_owned(), pod)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UID: &str = "8c2f4a1e-0b57-4d0e-9a44-6f1c6b0b9d11";

    #[test]
    fn a_folder_names_namespace_pod_and_uid() {
        let (uid, pod) = pod_of(&format!("kube-system_coredns-5d78c9869d-x2zlw_{UID}")).unwrap();
        assert_eq!(uid, UID);
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str()),
            ("kube-system", "coredns-5d78c9869d-x2zlw")
        );
        for other in ["", "a_b", "a_b_c_d", "a__c", "a_b\n_c", "lost+found"] {
            assert_eq!(pod_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_pod_is_named_by_the_hosts_folders() {
        let root = tempfile::tempdir().unwrap();
        let mut pods = Pods::new(root.path().to_owned());
        assert_eq!(pods.named(UID), None, "no Kubernetes here");
        fs::create_dir_all(root.path().join(LOGS).join(format!("default_web_{UID}"))).unwrap();
        assert_eq!(pods.named("another"), None);
        assert_eq!(pods.named(UID).map(|pod| pod.name), Some("web".to_owned()));
    }

    #[test]
    fn a_pod_that_is_made_right_after_a_look_in_vain_is_named_at_once() {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join(LOGS);
        fs::create_dir_all(&logs).unwrap();
        // Within one tick of the clock nothing tells the two states of the folder apart.
        let before = fs::File::open(&logs).unwrap();
        before.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let mut pods = Pods::new(root.path().to_owned());
        assert_eq!(pods.named(UID), None);
        fs::create_dir(logs.join(format!("default_web_{UID}"))).unwrap();
        assert_eq!(pods.named(UID).map(|pod| pod.name), Some("web".to_owned()));
    }
}
