//! How the web configuration is.

use anyhow::Result;
use prometheus::{IntGauge, Registry};

use super::{Metrics, made};

pub(super) struct Families {
    successful: IntGauge,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let successful = made(registry, "portreeve_web_config_last_reload_successful", |opts, _| {
            IntGauge::with_opts(opts)
        })?;
        successful.set(1);
        Ok(Self { successful })
    }
}

impl Metrics {
    /// The web configuration was read, or was not and the one before stays.
    pub fn web_config_read(&self, successfully: bool) {
        self.web.successful.set(i64::from(successfully));
    }
}
