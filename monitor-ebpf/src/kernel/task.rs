//! `struct task_struct`: the task that is running.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_ktime_get_boot_ns},
};
use monitor_common::{Bytes16, FLAG_KERNEL_THREAD};

use super::{Access, Probed, at, field};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Who runs.
pub struct Task {
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    /// `FLAG_KERNEL_THREAD` or 0.
    pub flags: u32,
    /// `group_leader->start_boottime`: nanoseconds since boot.
    pub start_time: u64,
    /// The leader's name: an io_uring worker or a pool's thread has a name of its own.
    pub comm: Bytes16,
    /// The thread's name.
    pub thread: Bytes16,
}

/// The task that is running.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the helpers return two numbers of 32 bits each in one of 64"
)]
pub fn current() -> Task {
    let ids = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((ids >> 32) as u32, ids as u32);
    let mut thread = MaybeUninit::<Bytes16>::uninit();
    // SAFETY: the helpers have no preconditions; all that is read is integers, pointers and bytes.
    unsafe {
        // It writes all bytes, also when it fails.
        bpf_get_current_comm(thread.as_mut_ptr().cast(), size_of::<Bytes16>() as u32);
        let thread = thread.assume_init();
        let task = bpf_get_current_task() as *const u8;
        let leader: *const u8 = Probed::read(at(task, &field::TASK_LEADER));
        let flags: u32 = Probed::read(at(task, &field::TASK_FLAGS));
        Task {
            tgid,
            tid,
            uid: bpf_get_current_uid_gid() as u32,
            flags: if flags & PF_KTHREAD != 0 { FLAG_KERNEL_THREAD } else { 0 },
            start_time: Probed::read(at(leader, &field::TASK_START)),
            comm: if tgid == tid {
                thread
            } else {
                Probed::read(at(leader, &field::TASK_COMM))
            },
            thread,
        }
    }
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
