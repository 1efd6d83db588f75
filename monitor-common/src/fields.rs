//! The kernel fields that the kernel side reads: the one list of them.
//!
//! rustc emits no CO-RE relocations, so the object has instructions with a mark where an offset belongs: one of [`mark`],
//! plus the field's number in this list. Before the load the agent reads each offset from the running kernel's BTF and
//! writes it over the marks. A constant global would do too, but each use of it is a load and an addition more, in
//! somebody's system call.

/// Calls `$callback!` with the list: for each field its name, the struct, and the path of members.
///
/// `bytes` is a field that starts at a byte, `bits` a bit field that lies within one byte, `flag` a bit of a field, whose number
/// an enumeration has, `maybe` a field of something that a kernel may be without. Where kernels differ in a name,
/// the path has both with `|` between: the first that the kernel knows is taken.
#[macro_export]
macro_rules! for_each_kernel_field {
    ($callback:ident) => {
        $callback! {
            bytes SOCK_FAMILY: "sock_common", "skc_family";
            bytes SOCK_STATE: "sock_common", "skc_state";
            bytes SOCK_PORT: "sock_common", "skc_num";
            bytes SOCK_PEER_PORT: "sock_common", "skc_dport";
            bytes SOCK_ADDRESS_V4: "sock_common", "skc_rcv_saddr";
            bytes SOCK_ADDRESS_V6: "sock_common", "skc_v6_rcv_saddr";
            bytes SOCK_PEER_V4: "sock_common", "skc_daddr";
            bytes SOCK_PEER_V6: "sock_common", "skc_v6_daddr";
            bytes SOCK_NET: "sock_common", "skc_net";
            bytes SOCK_COOKIE: "sock_common", "skc_cookie";
            bits SOCK_V6ONLY: "sock_common", "skc_ipv6only";
            bits SOCK_REUSEPORT: "sock_common", "skc_reuseport";
            bytes SOCK_PROTOCOL: "sock", "sk_protocol";
            bytes SOCK_BACKLOG: "sock", "sk_max_ack_backlog";
            bytes SOCK_SHUTDOWN: "sock", "sk_shutdown";
            bytes SOCK_ERROR: "sock", "sk_err";
            bytes SOCK_SOCKET: "sock", "sk_socket";
            bits SOCK_USERLOCKS: "sock", "sk_userlocks";
            bits SOCK_KERNEL: "sock", "sk_kern_sock";
            flag SOCK_LISTENED: "sock_common", "skc_flags & sock_flags.SOCK_RCU_FREE";
            bytes INET_SPORT: "inet_sock", "inet_sport";
            bytes TCP_PACKETS_OUT: "tcp_sock", "packets_out";
            maybe MPTCP_FIRST: "mptcp_sock", "first";
            bytes SOCKET_SK: "socket", "sk";
            bytes SOCKET_FILE: "socket", "file";
            bytes SOCKET_INODE: "socket_alloc", "vfs_inode";
            bytes INODE_MODE: "inode", "i_mode";
            bytes INODE_NUMBER: "inode", "i_ino";
            bytes INODE_SUPER: "inode", "i_sb";
            bytes SUPER_DEVICE: "super_block", "s_dev";
            bytes SUPER_MAGIC: "super_block", "s_magic";
            bytes NET_INUM: "net", "ns.inum";
            bytes TASK_LEADER: "task_struct", "group_leader";
            bytes TASK_COMM: "task_struct", "comm";
            bytes TASK_START: "task_struct", "start_boottime";
            bytes TASK_FLAGS: "task_struct", "flags";
            bytes TASK_PID: "task_struct", "pid";
            bytes TASK_TGID: "task_struct", "tgid";
            bytes TASK_CRED: "task_struct", "cred";
            bytes TASK_CGROUPS: "task_struct", "cgroups";
            bytes TASK_MM: "task_struct", "mm";
            bytes TASK_NAMESPACES: "task_struct", "nsproxy";
            bytes NAMESPACES_MOUNTS: "nsproxy", "mnt_ns";
            bytes MOUNTS_ROOT: "mnt_namespace", "root";
            bytes CRED_UID: "cred", "uid.val";
            bytes CSS_SET_CGROUP: "css_set", "dfl_cgrp";
            bytes CGROUP_NODE: "cgroup", "kn";
            bytes NODE_ID: "kernfs_node", "id";
            bytes MM_EXE: "mm_struct", "exe_file";
            bytes FILE_INODE: "file", "f_inode";
            bytes FILE_DENTRY: "file", "f_path.dentry";
            bytes FILE_MOUNT: "file", "f_path.mnt";
            bytes DENTRY_PARENT: "dentry", "d_parent";
            bytes DENTRY_NAME: "dentry", "d_name.name";
            bytes DENTRY_LENGTH: "dentry", "d_name.len";
            bytes DENTRY_SHORT: "dentry", "d_iname|d_shortname";
            bytes DENTRY_INODE: "dentry", "d_inode";
            bytes DENTRY_HASHED: "dentry", "d_hash.pprev";
            bytes MOUNT_ROOT: "vfsmount", "mnt_root";
            bytes MOUNT_VFS: "mount", "mnt";
            bytes MOUNT_PARENT: "mount", "mnt_parent";
            bytes MOUNT_POINT: "mount", "mnt_mountpoint";
        }
    };
}

/// Global that is 1 where the kernel hands out the running task as a pointer that the verifier follows, else 0.
pub const GLOBAL_HAVE_TASK: &str = "HAVE_TASK";

/// What stands in an instruction until the agent knows better; a field's number is added.
pub mod mark {
    /// In a load's offset: that of the field, or of the byte that a bit field lies in.
    pub const LOAD: i32 = 0x7e00;
    /// In the number that is added to an address: the same.
    pub const ADD: i32 = 0x5052_0000;
    /// In a shift to the right: the position of a bit field's lowest bit in its byte.
    pub const SHIFT: i32 = 0x5053_0000;
    /// In the mask that follows: the bits of a bit field's width.
    pub const MASK: i32 = 0x5054_0000;
    /// Numbers that a mark can be followed by.
    pub const FIELDS: i32 = 0x100;
}
