//! Who runs where: the calls have a processor of their own, and the tools the others.
//!
//! What a tool does with its events is measured as its CPU time. If it could be woken on the processor of the call that wakes
//! it, its own work would sometimes be counted as time of that call, as the scheduler likes.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of this process, divided.
#[derive(Clone, Debug)]
pub struct Processors {
    calls: CpuSet,
    tools: CpuSet,
}

impl Processors {
    /// Takes the last processor for calls; the first has most of the interrupts. Where there is only one, all share it.
    ///
    /// # Errors
    /// Where the kernel does not say what this process may use.
    pub fn divided() -> Result<Self> {
        let all = sched_getaffinity(None).context("cannot read which processors this process may use")?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        let (mut calls, mut tools) = (all, all);
        if let [others @ .., last] = usable.as_slice()
            && !others.is_empty()
        {
            calls.clear();
            calls.set(*last);
            tools.unset(*last);
        }
        Ok(Self { calls, tools })
    }

    /// Puts this thread on the processor for calls.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn take_calls(&self) -> Result<()> {
        sched_setaffinity(None, &self.calls).context("cannot put the calls on a processor of their own")
    }

    /// Does something among the tools: a process that is started there stays there.
    ///
    /// # Errors
    /// Where the kernel refuses it, or it fails.
    pub fn among_tools<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        sched_setaffinity(None, &self.tools).context("cannot start a tool on a processor of its own")?;
        let started = start();
        self.take_calls()?;
        started
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::Processors;

    #[test]
    fn tools_do_not_get_the_processor_of_the_calls() {
        let all = sched_getaffinity(None).unwrap();
        let processors = Processors::divided().unwrap();
        processors.take_calls().unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        let among = processors.among_tools(|| Ok(sched_getaffinity(None)?)).unwrap();
        assert_eq!(among.count(), all.count().saturating_sub(1).max(1));
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
    }
}
