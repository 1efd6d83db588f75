//! What manifests must say, whoever rendered them. Objects are as JSON has them.

use serde_json::Value;

use crate::metrics;

/// Capabilities without which nothing works or much is not seen, in Kubernetes' words.
const NEEDED: [&str; 4] = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"];
/// Those that may be there as well: for other network namespaces, and for maps before Linux 5.11.
const ALLOWED: [&str; 2] = ["SYS_ADMIN", "SYS_RESOURCE"];
/// Flags for where the host's file systems are, and what of the host has to be mounted there.
const PATHS: [(&str, &str); 3] = [("procfs", "/proc"), ("sysfs", "/sys"), ("rootfs", "/")];
/// Kinds of which the chart and kustomize have to say the same.
const SAME: [&str; 3] = ["DaemonSet", "PodMonitor", "PrometheusRule"];

/// What is wrong with the objects of one rendering.
pub(crate) fn all(objects: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut want = |holds: bool, sentence: &str| {
        if !holds {
            wrong.push(sentence.to_owned());
        }
    };
    let kinds = objects.iter().map(|object| text(object, "/kind"));
    want(
        !kinds.clone().any(|kind| kind.contains("Role")),
        "the agent asks the API server nothing, and needs no role",
    );
    want(
        kinds.filter(|kind| *kind == "DaemonSet").count() == 1,
        "there must be one DaemonSet",
    );
    let pod = pod(objects);
    let container = container(objects);
    for (pointer, wanted, sentence) in [
        ("/hostPID", true, "the kernel side has the host's pids: hostPID"),
        ("/hostNetwork", true, "it serves at the node's address: hostNetwork"),
        ("/automountServiceAccountToken", false, "it needs no token"),
    ] {
        want(pod.pointer(pointer) == Some(&Value::Bool(wanted)), sentence);
    }
    want(pod.get("hostIPC").is_none(), "hostIPC serves nothing");
    for (pointer, wanted) in [
        ("/securityContext/privileged", false),
        ("/securityContext/allowPrivilegeEscalation", false),
        ("/securityContext/readOnlyRootFilesystem", true),
    ] {
        want(
            container.pointer(pointer) == Some(&Value::Bool(wanted)),
            &format!("{pointer} must be {wanted}"),
        );
    }
    want(
        container.pointer("/securityContext/seccompProfile/type").is_some(),
        "there must be a seccomp profile",
    );
    let capabilities = |which: &str| texts(container.pointer(&format!("/securityContext/capabilities/{which}")));
    want(capabilities("drop") == ["ALL"], "all capabilities are dropped first");
    let added = capabilities("add");
    let is_known = |name: &&str| NEEDED.contains(name) || ALLOWED.contains(name);
    want(
        added.iter().all(is_known),
        "a capability is added that the agent does not ask for",
    );
    want(
        NEEDED.iter().all(|name| added.contains(name)),
        "a capability is missing that the agent needs",
    );
    want(
        container.pointer("/resources/limits/memory").is_some(),
        "there must be a limit of memory",
    );
    want(
        container.pointer("/resources/limits/cpu").is_none(),
        "an agent that is throttled loses events: no limit of CPU",
    );
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        want(
            text(container, &format!("/{probe}/httpGet/path")) == path,
            &format!("the {probe} asks for {path}"),
        );
    }
    wrong.extend(mounts(pod, container));
    wrong.extend(monitors(objects, container));
    wrong
}

/// Whether the host's file systems are where the flags say, and cannot be written.
fn mounts(pod: &Value, container: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let volumes = list(pod.get("volumes"));
    let mounts = list(container.get("volumeMounts"));
    let host_path = |mount: &Value| {
        let volume = volumes
            .iter()
            .find(|volume| text(volume, "/name") == text(mount, "/name"));
        volume.map_or("", |volume| text(volume, "/hostPath/path"))
    };
    let arguments = texts(container.get("args"));
    for (flag, wanted) in PATHS {
        let prefix = format!("--path.{flag}=");
        let given = arguments.iter().find_map(|argument| argument.strip_prefix(&prefix));
        let mount = mounts
            .iter()
            .find(|mount| Some(text(mount, "/mountPath")) == given && host_path(mount) == wanted);
        match mount {
            Some(mount) if mount.get("readOnly") == Some(&Value::Bool(true)) => {}
            Some(_) => wrong.push(format!("the host's {wanted} must not be writable")),
            None => wrong.push(format!("--path.{flag} is not where the host's {wanted} is mounted")),
        }
    }
    wrong
}

/// Whether PodMonitors find the pods, and set no label that a metric has.
fn monitors(objects: &[Value], container: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let labels = daemon_set(objects).pointer("/spec/template/metadata/labels");
    for monitor in objects.iter().filter(|object| text(object, "/kind") == "PodMonitor") {
        let wanted = monitor.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let is_found = wanted.is_some_and(|wanted| {
            wanted
                .iter()
                .all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
        });
        // It looks for pods in its own namespace.
        let namespace = |object| text(object, "/metadata/namespace");
        if !is_found || namespace(monitor) != namespace(daemon_set(objects)) {
            wrong.push("the PodMonitor does not select the pods".to_owned());
        }
        for endpoint in list(monitor.pointer("/spec/podMetricsEndpoints")) {
            let ports = list(container.get("ports"));
            if !ports.iter().any(|port| text(port, "/name") == text(endpoint, "/port")) {
                wrong.push("the PodMonitor asks for a port that no container has".to_owned());
            }
            let relabelings = list(endpoint.get("relabelings"));
            let set: Vec<&str> = relabelings.iter().map(|one| text(one, "/targetLabel")).collect();
            for label in ["job", "instance"] {
                if !set.contains(&label) {
                    wrong.push(format!("the rules go by {label}, which the PodMonitor does not set"));
                }
            }
            let taken = set.iter().find(|label| metrics::has_label(label));
            if let Some(label) = taken {
                wrong.push(format!(
                    "metrics have a label {label} of their own: Prometheus would rename it"
                ));
            }
        }
    }
    wrong
}

/// Where the chart and kustomize do not say the same, for what both have.
pub(crate) fn differences(chart: &[Value], plain: &[Value]) -> Vec<String> {
    let spec = |objects: &[Value], kind: &str| {
        let object = objects.iter().find(|object| text(object, "/kind") == kind);
        object.and_then(|object| object.get("spec")).cloned()
    };
    let differing = SAME.iter().filter(|kind| spec(chart, kind) != spec(plain, kind));
    differing
        .map(|kind| format!("the chart's {kind} is not that of kustomize: change both"))
        .collect()
}

/// Images of the name that stands for "yours" have the version of this tree.
pub(crate) fn versions(all: &[&[Value]]) -> Vec<String> {
    let wanted = format!("portreeve:{}", env!("CARGO_PKG_VERSION"));
    let images = all.iter().map(|objects| text(container(objects), "/image"));
    let wrong = images.filter(|image| image.starts_with("portreeve:") && *image != wanted);
    wrong
        .map(|image| format!("an image is {image}, and this tree is {wanted}: change Chart.yaml and base"))
        .collect()
}

/// The files that the agent finds beside each other: path and text.
pub(crate) fn configuration(objects: &[Value]) -> Vec<(String, String)> {
    let volumes = list(pod(objects).get("volumes"));
    let volume = volumes.iter().find(|volume| text(volume, "/name") == "config");
    let name = volume.map_or("", |volume| text(volume, "/configMap/name"));
    let map = objects
        .iter()
        .find(|object| text(object, "/kind") == "ConfigMap" && text(object, "/metadata/name") == name);
    let data = map.and_then(|map| map.get("data")?.as_object());
    let items = list(volume.and_then(|volume| volume.pointer("/configMap/items")));
    let path_of = |key: &str| {
        let item = items.iter().find(|item| text(item, "/key") == key);
        item.map_or(key, |item| text(item, "/path")).to_owned()
    };
    let files = data.into_iter().flatten();
    files
        .map(|(key, value)| (path_of(key), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// What the agent is started with on the node with this address.
pub(crate) fn arguments(objects: &[Value], host: &str) -> Vec<String> {
    let arguments = texts(container(objects).get("args"));
    arguments
        .iter()
        .map(|argument| argument.replace("$(HOST_IP)", host).replace("$(POD_IP)", host))
        .collect()
}

fn daemon_set(objects: &[Value]) -> &Value {
    let mut sets = objects.iter().filter(|object| text(object, "/kind") == "DaemonSet");
    sets.next().unwrap_or(&Value::Null)
}

fn pod(objects: &[Value]) -> &Value {
    daemon_set(objects)
        .pointer("/spec/template/spec")
        .unwrap_or(&Value::Null)
}

fn container(objects: &[Value]) -> &Value {
    pod(objects).pointer("/containers/0").unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
#[path = "wants_tests.rs"]
mod tests;
