//! `struct task_struct`: the task that is running.

use core::marker::PhantomData;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns},
};
use monitor_common::{Bytes16, FLAG_KERNEL_THREAD};

use super::{
    Access, Probed, Typed,
    executable::Executable,
    field::{self, Field},
    flag,
};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Process and thread id of a task, in the initial pid namespace.
#[derive(Clone, Copy)]
pub struct Ids {
    pub tgid: u32,
    pub tid: u32,
}

impl Ids {
    /// Those of the task that is running.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the helper returns two numbers of 32 bits each in one of 64"
    )]
    pub fn current() -> Self {
        let ids = bpf_get_current_pid_tgid();
        Self {
            tgid: (ids >> 32) as u32,
            tid: ids as u32,
        }
    }
}

/// The task that is running, and how its structure may be read.
pub struct Task<A> {
    task: *const u8,
    leader: *const u8,
    access: PhantomData<A>,
}

/// What helpers tell of the running task, and plain loads tell sooner.
pub trait Running {
    fn ids(&self) -> Ids;

    /// The user, in the initial user namespace.
    fn uid(&self) -> u32;

    /// Id of its cgroup in the unified hierarchy.
    fn cgroup(&self) -> u64;
}

impl<A: Access> Task<A> {
    /// The task that is running.
    #[inline(always)]
    pub fn current() -> Self {
        Self::new(A::task())
    }

    /// A task, by a pointer of this kind.
    #[inline(always)]
    pub fn new(task: *const u8) -> Self {
        Self {
            task,
            // SAFETY: a pointer.
            leader: unsafe { A::field(task, field::TASK_LEADER) },
            access: PhantomData,
        }
    }

    #[inline(always)]
    fn field<T: Copy, const INDEX: i32>(&self, field: Field<INDEX>) -> T {
        // SAFETY: used for integers and pointers alone, which are valid for any bytes.
        unsafe { A::field(self.task, field) }
    }

    /// Whether it is the only task of its process, or the first: then both have one number and one name.
    #[inline(always)]
    pub fn is_leader(&self) -> bool {
        self.task == self.leader
    }

    /// `group_leader->start_boottime`: nanoseconds since boot.
    #[inline(always)]
    pub fn start_time(&self) -> u64 {
        // SAFETY: an integer.
        unsafe { A::field(self.leader, field::TASK_START) }
    }

    /// `FLAG_KERNEL_THREAD` of a thread of the kernel.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        flag(
            self.field::<u32, _>(field::TASK_FLAGS).into(),
            PF_KTHREAD,
            FLAG_KERNEL_THREAD,
        )
    }

    /// What it executes.
    #[inline(always)]
    pub fn executable(&self) -> Executable {
        Executable::of::<A>(self.field(field::TASK_MM), self.field(field::TASK_NAMESPACES))
    }

    /// The thread's name.
    #[inline(always)]
    pub fn thread_name(&self) -> Bytes16 {
        // SAFETY: integers.
        unsafe { A::sixteen(field::TASK_COMM.at(self.task)) }
    }

    /// The name of the process, which is its leader's: an io_uring worker or a pool's thread has one of its own.
    #[inline(always)]
    pub fn process_name(&self) -> Bytes16 {
        // SAFETY: integers.
        unsafe { A::sixteen(field::TASK_COMM.at(self.leader)) }
    }
}

impl Running for Task<Typed> {
    #[inline(always)]
    fn ids(&self) -> Ids {
        let tgid = self.field(field::TASK_TGID);
        Ids {
            tgid,
            tid: if self.is_leader() {
                tgid
            } else {
                self.field(field::TASK_PID)
            },
        }
    }

    #[inline(always)]
    fn uid(&self) -> u32 {
        let cred: *const u8 = self.field(field::TASK_CRED);
        // It never is. But in the types of kernels that Clang has built it is marked `__rcu`, and there the verifier wants this
        // asked of a pointer that the running task has.
        if cred.is_null() {
            return 0;
        }
        // SAFETY: an integer.
        unsafe { Typed::field(cred, field::CRED_UID) }
    }

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: pointers and an integer.
        unsafe {
            let cgroup: *const u8 = Typed::field(self.field(field::TASK_CGROUPS), field::CSS_SET_CGROUP);
            let node: *const u8 = Typed::field(cgroup, field::CGROUP_NODE);
            Typed::field(node, field::NODE_ID)
        }
    }
}

impl Running for Task<Probed> {
    #[inline(always)]
    fn ids(&self) -> Ids {
        Ids::current()
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the helper returns two numbers of 32 bits each in one of 64"
    )]
    fn uid(&self) -> u32 {
        bpf_get_current_uid_gid() as u32
    }

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_current_cgroup_id() }
    }
}

/// Nanoseconds since boot, suspended time included.
#[inline(always)]
pub fn boot_time() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
