use super::*;

const A: &str = "1f2e3d4c5b6a79881f2e3d4c5b6a79881f2e3d4c5b6a79881f2e3d4c5b6a7988";
const B: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const UID: &str = "8c2f4a1e-0b57-4d0e-9a44-6f1c6b0b9d11";

/// `A`, `B`, `UID` and `U_D` (as systemd has it) stand for what they are called after.
fn path(template: &str) -> String {
    template
        .replace("{A}", A)
        .replace("{B}", B)
        .replace("{UID}", UID)
        .replace("{U_D}", &UID.replace('-', "_"))
}

#[test]
fn each_runtime_is_known_by_the_paths_that_it_makes() {
    use Runtime::{Containerd, CriO, Docker, Podman, Unknown};
    let in_pod = Some(UID);
    let static_pod = Some("a4f3b1c2d5e6978812345678deadbeef");
    for (template, runtime, id, pod) in [
        // Docker: systemd driver, cgroupfs driver, a parent of one's own, rootless, with an init that has cgroups below.
        ("/system.slice/docker-{A}.scope", Docker, A, None),
        ("/docker/{A}", Docker, A, None),
        ("/docker/{A}/init.scope", Docker, A, None),
        ("/system.slice:docker:{A}", Docker, A, None),
        ("/web.slice/docker-{A}.scope", Docker, A, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
            Docker,
            A,
            None,
        ),
        ("/actions_job/{A}", Unknown, A, None),
        // Docker in Docker, and Kubernetes in Docker (kind) by both drivers: the innermost.
        ("/docker/{B}/docker/{A}", Docker, A, None),
        ("/system.slice/docker-{B}.scope/docker/{A}", Docker, A, None),
        (
            "/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
             kubelet-kubepods-burstable-pod{U_D}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            in_pod,
        ),
        (
            "/docker/{B}/kubelet/kubepods/besteffort/pod{UID}/{A}",
            Unknown,
            A,
            in_pod,
        ),
        // A container in a container of a pod is not the pod's own; a plain process beside it is the outer one's.
        ("/kubepods/burstable/pod{UID}/{B}/docker/{A}", Docker, A, None),
        (
            "/system.slice/docker-{B}.scope/system.slice/containerd.service",
            Docker,
            B,
            None,
        ),
        // containerd under Kubernetes: systemd driver with each class of pods, cgroupfs driver, both names at once.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_D}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            in_pod,
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_D}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            in_pod,
        ),
        (
            "/kubepods.slice/kubepods-pod{U_D}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            in_pod,
        ),
        ("/kubepods/burstable/pod{UID}/{A}", Unknown, A, in_pod),
        ("/kubepods/pod{UID}/{A}", Unknown, A, in_pod),
        (
            "/kubepods/burstable/poda4f3b1c2d5e6978812345678deadbeef/{A}",
            Unknown,
            A,
            static_pod,
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda4f3b1c2d5e6978812345678deadbeef.slice/\
             cri-containerd-{A}.scope",
            Containerd,
            A,
            static_pod,
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{U_D}.slice:cri-containerd:{A}",
            Containerd,
            A,
            in_pod,
        ),
        ("/k8s.io/{A}", Containerd, A, None),
        ("/system.slice/nerdctl-{A}.scope", Containerd, A, None),
        // Docker under Kubernetes (dockershim, cri-dockerd).
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_D}.slice/docker-{A}.scope",
            Docker,
            A,
            in_pod,
        ),
        // CRI-O by both drivers.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_D}.slice/crio-{A}.scope",
            CriO,
            A,
            in_pod,
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_D}.slice/crio-{A}.scope/container",
            CriO,
            A,
            in_pod,
        ),
        ("/kubepods/besteffort/pod{UID}/crio-{A}", CriO, A, in_pod),
        // Podman: as root and rootless, in a pod, by cgroupfs, and split into a unit of systemd (quadlet).
        ("/machine.slice/libpod-{A}.scope", Podman, A, None),
        ("/machine.slice/libpod-{A}.scope/container", Podman, A, None),
        (
            "/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container",
            Podman,
            A,
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            Podman,
            A,
            None,
        ),
        ("/libpod_parent/libpod-{A}", Podman, A, None),
        ("/libpod_parent/{A}", Podman, A, None),
        ("/system.slice/web.service/libpod-payload-{A}", Podman, A, None),
        // An agent in the cgroup namespace of a container sees its neighbours so, once the leading parts are dropped.
        ("/cri-containerd-{A}.scope", Containerd, A, None),
    ] {
        let expected = Container {
            runtime,
            id: id.to_owned(),
            pod_uid: pod.map(str::to_owned),
            pod: None,
            image: None,
        };
        assert_eq!(container_of(&path(template)), Some(expected), "{template}");
    }
}

#[test]
fn what_is_no_container_is_none() {
    for template in [
        "/",
        "/init.scope",
        "/system.slice/ssh.service",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/user.slice/user-1000.slice/session-3.scope",
        // Conmon is a process of the host.
        "/machine.slice/libpod-conmon-{A}.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-{A}.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_D}.slice/crio-conmon-{A}.scope",
        "/system.slice/web.service/runtime",
        // A pod without a container, and pods of Podman.
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_D}.slice",
        "/machine.slice/machine-libpod_pod_{A}.slice",
        // Containers without such an id.
        "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
        "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
        "/lxc.payload.web/system.slice/ssh.service",
        "/lxc/web",
        // Nearly an id.
        "/docker/1f2e3d4c5b6a",
        "/system.slice/docker-{A}0.scope",
        "/system.slice/other-{A}.scope",
        "/docker/buildkit/xlk2jw8nkmnz7mvk3ut2rqz5q",
    ] {
        assert_eq!(container_of(&path(template)), None, "{template}");
    }
    assert_eq!(container_of(&path("/docker/{A}").to_uppercase()), None);
}

#[test]
fn the_unit_is_that_of_the_systems_own_systemd() {
    for (template, unit) in [
        ("/", None),
        ("/init.scope", Some("init.scope")),
        ("/system.slice/ssh.service", Some("ssh.service")),
        ("/system.slice/docker.socket", Some("docker.socket")),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            Some("getty@tty1.service"),
        ),
        (
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            Some("postgresql@15-main.service"),
        ),
        (
            "/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service",
            Some("serial-getty@ttyS0.service"),
        ),
        (
            "/system.slice/systemd-fsck@dev-disk-by\\x2duuid-1.service",
            Some("systemd-fsck@dev-disk-by\\x2duuid-1.service"),
        ),
        ("/system.slice/dev-hugepages.mount", Some("dev-hugepages.mount")),
        ("/system.slice/_cpu.service", Some("cpu.service")),
        ("/system.slice/_memory.slice/a.service", Some("a.service")),
        ("/system.slice/snap.lxd.daemon.service", Some("snap.lxd.daemon.service")),
        ("/system.slice/cups.service/worker", Some("cups.service")),
        ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
            Some("user@1000.service"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            Some("user@1000.service"),
        ),
        (
            "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
            Some("systemd-nspawn@web.service"),
        ),
        (
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
            Some("machine-qemu\\x2d1\\x2dweb.scope"),
        ),
        ("/system.slice/docker-{A}.scope", Some("docker-{A}.scope")),
        (
            "/system.slice/docker-{A}.scope/system.slice/kubelet.service",
            Some("docker-{A}.scope"),
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{U_D}.slice:cri-containerd:{A}",
            Some("containerd.service"),
        ),
        (
            "/machine.slice/libpod-conmon-{A}.scope",
            Some("libpod-conmon-{A}.scope"),
        ),
        (
            "/kubepods.slice/kubepods-pod{U_D}.slice/cri-containerd-{A}.scope",
            Some("cri-containerd-{A}.scope"),
        ),
        // Of another systemd, or of none.
        ("/lxc.payload.web/system.slice/ssh.service", None),
        ("/docker/{A}/system.slice/ssh.service", None),
        ("/kubepods/burstable/pod{UID}/{A}", None),
        ("/system.slice", None),
        ("/system.slice/not a unit.service", None),
        ("/system.slice/.service", None),
        ("/system.slice/@x.service", None),
    ] {
        assert_eq!(unit_of(&path(template)), unit.map(path).as_deref(), "{template}");
    }
    assert_eq!(unit_of(&format!("/{}.service", "x".repeat(248))), None);
}

#[test]
fn the_path_comes_from_the_line_that_says_most() {
    let place = |text: &str| Place::of(text.as_bytes()).map(|place| (place.path, place.unified));
    let some = |path: &str, unified: Option<&str>| Some((path.to_owned(), unified.map(str::to_owned)));
    // cgroup v2.
    assert_eq!(
        place("0::/system.slice/ssh.service\n"),
        some("/system.slice/ssh.service", Some("/system.slice/ssh.service"))
    );
    assert_eq!(place("0::/\n"), some("/", Some("/")));
    // Hybrid, as systemd makes it: pids and devices may lie deeper, and do not count.
    assert_eq!(
        place(
            "12:pids:/user.slice/user-0.slice/session-1.scope/deeper\n11:cpu,cpuacct:/\n1:name=systemd:/user.slice/\
             user-0.slice/session-1.scope\n0::/user.slice/user-0.slice/session-1.scope\n"
        ),
        some(
            "/user.slice/user-0.slice/session-1.scope",
            Some("/user.slice/user-0.slice/session-1.scope")
        )
    );
    // v1 with systemd, and Docker's cgroupfs driver on it.
    assert_eq!(
        place(&path(
            "11:devices:/docker/{A}\n4:freezer:/docker/{A}\n1:name=systemd:/docker/{A}\n"
        )),
        some(&path("/docker/{A}"), None)
    );
    // Hybrid without systemd: the unified tree, else whatever says something.
    assert_eq!(place("2:cpu:/a/b\n1:name=systemd:/\n0::/c\n"), some("/c", Some("/c")));
    assert_eq!(
        place("9:name=systemd:/\n5:devices:/\n4:memory:/jobs/7\n1:cpu:/\n0::/\n"),
        some("/jobs/7", Some("/"))
    );
    assert_eq!(place("1:name=openrc:/sshd\n"), some("/sshd", None));
}

#[test]
fn what_lies_above_the_agents_own_namespace_is_dropped() {
    let place = |text: &[u8]| Place::of(text).map(|place| place.path);
    for (line, path) in [
        (
            &b"0::/../../system.slice/ssh.service\n"[..],
            Some("/system.slice/ssh.service"),
        ),
        (b"0::/..\n", Some("/")),
        (b"0::/..hidden\n", Some("/..hidden")),
        (b"0::/a:b/c (deleted)\n", Some("/a:b/c")),
        (b"0::/caf\xe9\n", Some("/caf\u{fffd}")),
        // Cut, or no such text.
        (b"0::/system.slice/ssh.serv", None),
        (b"0::/a\n1:name=systemd:/b", Some("/a")),
        (b"", None),
        (b"\n\n", None),
        (b"0::relative\n", None),
        (b"0:\n", None),
    ] {
        assert_eq!(place(line).as_deref(), path, "{}", String::from_utf8_lossy(line));
    }
}
