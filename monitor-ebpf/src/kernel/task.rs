//! `struct task_struct`: the task that is running.

use core::{marker::PhantomData, ptr};

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_boot_ns},
};
use monitor_common::Bytes16;

use super::{Access, at, executable::Executable, field};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

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

impl<A: Access> Task<A> {
    /// The task that is running.
    #[inline(always)]
    pub fn current() -> Self {
        let task = A::task();
        Self {
            task,
            // SAFETY: a pointer.
            leader: unsafe { A::read(at(task, &field::TASK_LEADER)) },
            access: PhantomData,
        }
    }

    /// `group_leader->start_boottime`: nanoseconds since boot.
    #[inline(always)]
    pub fn start_time(&self) -> u64 {
        // SAFETY: an integer.
        unsafe { A::read(at(self.leader, &field::TASK_START)) }
    }

    /// Whether it is a thread of the kernel.
    #[inline(always)]
    pub fn is_kernel_thread(&self) -> bool {
        // SAFETY: an integer.
        let flags: u32 = unsafe { A::read(at(self.task, &field::TASK_FLAGS)) };
        flags & PF_KTHREAD != 0
    }

    /// What it executes.
    #[inline(always)]
    pub fn executable(&self) -> Executable {
        // SAFETY: a pointer.
        Executable::of::<A>(unsafe { A::read(at(self.task, &field::TASK_MM)) })
    }

    /// The name of the process, which is its leader's: an io_uring worker or a pool's thread has one of its own.
    #[inline(always)]
    pub fn process_name(&self) -> Bytes16 {
        let name = at(self.leader, &field::TASK_COMM);
        // SAFETY: integers. Two loads of eight: a plain load may not be wider.
        unsafe { [A::read(name), A::read(name.wrapping_add(8))] }
    }
}

/// Writes the running thread's name.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name is sixteen bytes")]
pub fn thread_name(name: &mut Bytes16) {
    // SAFETY: the helper writes all bytes, also when it fails.
    unsafe { bpf_get_current_comm(ptr::from_mut(name).cast(), size_of::<Bytes16>() as u32) };
}

/// User id of the running task, in the initial user namespace.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the helper returns two numbers of 32 bits each in one of 64"
)]
pub fn uid() -> u32 {
    bpf_get_current_uid_gid() as u32
}

/// Id of the running task's cgroup in the unified hierarchy.
#[inline(always)]
pub fn cgroup() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Nanoseconds since boot, suspended time included.
#[inline(always)]
pub fn boot_time() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
