//! The proof that the agent sees: its own listener, whose events go no further.

use super::Pipeline;
use crate::{
    agent::{seconds, selftest::Sighting},
    event::Event,
    identity::clock,
    output::http::lock,
};

impl Pipeline {
    /// Starts a self-test.
    pub(in crate::agent) fn start_selftest(&mut self) {
        if let Err(error) = self.selftest.start() {
            ::log::error!("the self-test cannot run: {error:#}");
        }
    }

    /// When the event of the self-test is late.
    pub(in crate::agent) fn selftest_deadline(&self) -> Option<u64> {
        self.selftest.deadline()
    }

    /// Says so where the event of the self-test did not come in time.
    pub(in crate::agent) fn selftest_late(&mut self) {
        if self.selftest.is_late(clock::boot_now()) {
            ::log::error!(
                "the self-test failed: the agent did not see a listener of its own within a second; it may be blind"
            );
        }
    }

    /// Keeps the self-test's own events out of everything, and learns from them.
    pub(super) fn is_selftest(&mut self, event: &Event) -> bool {
        match self.selftest.sees(event, self.own) {
            Sighting::Other => false,
            Sighting::Own => true,
            Sighting::Proof => {
                // In a pid namespace of its own the agent has another number than the kernel side reports.
                self.own = event.opener.tgid;
                let executable = event.opener.executable.as_ref();
                self.program = executable.map(|executable| (executable.device, executable.inode));
                lock(&self.metrics).selftest_succeeded(seconds(self.clock, clock::boot_now()));
                ::log::debug!("the self-test saw its own listener");
                true
            }
        }
    }
}
