use serde_json::json;

use super::*;

/// A rendering with nothing wrong.
fn sound() -> Vec<Value> {
    let set = json!({
        "kind": "DaemonSet", "metadata": { "namespace": "portreeve" },
        "spec": { "template": {
            "metadata": { "labels": { "app": "portreeve", "team": "a" } },
            "spec": {
                "hostPID": true, "hostNetwork": true, "automountServiceAccountToken": false,
                "containers": [{
                    "image": concat!("portreeve:", env!("CARGO_PKG_VERSION")),
                    "args": ["run", "--web.listen-address=[$(HOST_IP)]:19992", "--path.procfs=/host/proc",
                             "--path.sysfs=/host/sys", "--path.rootfs=/host/root"],
                    "ports": [{ "name": "metrics" }],
                    "livenessProbe": { "httpGet": { "path": "/-/healthy" } },
                    "readinessProbe": { "httpGet": { "path": "/-/ready" } },
                    "resources": { "limits": { "memory": "128Mi" } },
                    "securityContext": {
                        "privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"] },
                        "seccompProfile": { "type": "RuntimeDefault" }
                    },
                    "volumeMounts": [
                        { "name": "config", "mountPath": "/etc/portreeve", "readOnly": true },
                        { "name": "proc", "mountPath": "/host/proc", "readOnly": true },
                        { "name": "sys", "mountPath": "/host/sys", "readOnly": true },
                        { "name": "root", "mountPath": "/host/root", "readOnly": true }
                    ]
                }],
                "volumes": [
                    { "name": "config", "configMap": { "name": "portreeve",
                      "items": [{ "key": "a.toml", "path": "conf.d/a.toml" }] } },
                    { "name": "proc", "hostPath": { "path": "/proc" } },
                    { "name": "sys", "hostPath": { "path": "/sys" } },
                    { "name": "root", "hostPath": { "path": "/" } }
                ]
            }
        } }
    });
    let map = json!({
        "kind": "ConfigMap", "metadata": { "name": "portreeve" },
        "data": { "portreeve.toml": "# one", "a.toml": "# two" }
    });
    let monitor = json!({
        "kind": "PodMonitor", "metadata": { "namespace": "portreeve" },
        "spec": {
            "selector": { "matchLabels": { "app": "portreeve" } },
            "podMetricsEndpoints": [{
                "port": "metrics",
                "relabelings": [{ "targetLabel": "job" }, { "targetLabel": "instance" }]
            }]
        }
    });
    vec![set, map, monitor]
}

/// What is wrong once the value at a place of the DaemonSet's container or pod is another.
fn with(pointer: &str, value: Value) -> Vec<String> {
    let mut objects = sound();
    let place = objects[0].pointer_mut("/spec/template/spec").unwrap();
    *place.pointer_mut(pointer).unwrap() = value;
    all(&objects)
}

#[test]
fn a_sound_rendering_has_nothing_wrong() {
    assert_eq!(all(&sound()), Vec::<String>::new());
    assert!(versions(&[&sound()]).is_empty());
    assert!(differences(&sound(), &sound()).is_empty());
}

#[test]
fn a_privilege_too_many_is_found() {
    let security = "/containers/0/securityContext";
    for (pointer, value) in [
        (format!("{security}/privileged"), json!(true)),
        (format!("{security}/allowPrivilegeEscalation"), json!(true)),
        (format!("{security}/readOnlyRootFilesystem"), json!(false)),
        (format!("{security}/seccompProfile"), json!({})),
        (format!("{security}/capabilities/drop"), json!([])),
        (
            format!("{security}/capabilities/add"),
            json!(["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "NET_ADMIN"]),
        ),
        ("/automountServiceAccountToken".to_owned(), json!(true)),
        ("/containers/0/volumeMounts/3/readOnly".to_owned(), json!(false)),
    ] {
        assert_eq!(with(&pointer, value).len(), 1, "{pointer}");
    }
    let mut objects = sound();
    objects.push(json!({ "kind": "ClusterRoleBinding" }));
    assert_eq!(all(&objects).len(), 1);
}

#[test]
fn what_the_agent_would_miss_is_found() {
    for (pointer, value) in [
        ("/hostPID", json!(false)),
        ("/hostNetwork", json!(false)),
        ("/containers/0/securityContext/capabilities/add", json!(["BPF"])),
        ("/containers/0/resources/limits", json!({ "memory": "1Mi", "cpu": "1" })),
        ("/containers/0/resources/limits", json!({})),
        ("/containers/0/livenessProbe/httpGet/path", json!("/")),
        ("/volumes/1/hostPath/path", json!("/somewhere")),
        ("/containers/0/ports", json!([])),
    ] {
        assert_eq!(with(pointer, value).len(), 1, "{pointer}");
    }
}

#[test]
fn a_monitor_that_finds_nothing_or_renames_labels_is_found() {
    let wrong = |pointer: &str, value: Value| {
        let mut objects = sound();
        *objects[2].pointer_mut(pointer).unwrap() = value;
        all(&objects)
    };
    let relabelings = "/spec/podMetricsEndpoints/0/relabelings";
    assert_eq!(wrong("/spec/selector/matchLabels", json!({ "app": "other" })).len(), 1);
    assert_eq!(wrong("/spec/selector/matchLabels", Value::Null).len(), 1);
    assert_eq!(wrong(relabelings, json!([{ "targetLabel": "job" }])).len(), 1);
    assert_eq!(wrong("/metadata/namespace", json!("default")).len(), 1);
    let process = json!([{ "targetLabel": "job" }, { "targetLabel": "instance" }, { "targetLabel": "process" }]);
    assert_eq!(wrong(relabelings, process).len(), 1);
}

#[test]
fn what_chart_and_kustomize_say_differently_is_found() {
    let mut other = sound();
    *other[0].pointer_mut("/spec/template/spec/hostPID").unwrap() = json!(false);
    assert_eq!(differences(&sound(), &other).len(), 1);
    assert_eq!(differences(&sound(), &sound()[..2]).len(), 1, "one has no PodMonitor");
}

#[test]
fn an_image_of_another_version_is_found() {
    let mut other = sound();
    *other[0].pointer_mut("/spec/template/spec/containers/0/image").unwrap() = json!("portreeve:0.0.1");
    assert_eq!(versions(&[&sound(), &other]).len(), 1);
}

#[test]
fn files_and_arguments_are_those_on_the_node() {
    let mut files = configuration(&sound());
    files.sort();
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    assert_eq!(files, [file("conf.d/a.toml", "# two"), file("portreeve.toml", "# one")]);
    let arguments = arguments(&sound(), "2001:db8::7");
    assert_eq!(arguments[1], "--web.listen-address=[2001:db8::7]:19992");
}
