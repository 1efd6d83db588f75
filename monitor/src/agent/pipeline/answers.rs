//! What is asked of the pipeline by HTTP. Each answer is taken at once, and written down by whoever asked.

use std::sync::Arc;

use super::Pipeline;
use crate::{
    identity::clock,
    inventory::Listener,
    kernel::{HookState, Service},
    output::{
        events::listeners as listeners_as_json,
        http::{Listing, lock},
        listing::{Item, Selection},
        port, status,
    },
};

impl Pipeline {
    /// What listens, as far as this query of a URL asks for it.
    pub(in crate::agent) fn listing(&self, query: String) -> Listing {
        let (all, host, clock) = (self.inventory.all(), self.ours.instance.clone(), self.clock);
        let registry = Arc::clone(&self.registry);
        Box::new(move || {
            let selection = Selection::parse(&query, &registry)?;
            let page = selection.page(all.iter().map(|listener| item(listener)));
            Ok(listeners_as_json(&host, clock::boot_now(), clock, page))
        })
    }

    /// What is known of a port.
    pub(in crate::agent) fn port_listing(&self, number: u16) -> Listing {
        let (mut all, host, clock) = (self.inventory.all(), self.ours.instance.clone(), self.clock);
        all.retain(|listener| listener.opened.socket.port == number);
        let registry = Arc::clone(&self.registry);
        let (file, boot) = (self.history_file.clone(), self.boot.clone());
        Box::new(move || {
            let listened = port::listened(file.as_deref(), &boot, number);
            let page = Selection::default().page(all.iter().map(|listener| item(listener)));
            let items = page.items.into_iter();
            Ok(port::port(
                &host,
                clock::boot_now(),
                clock,
                number,
                &registry,
                items,
                listened,
            ))
        })
    }

    /// How the agent is, with what its hooks are.
    pub(in crate::agent) fn status_listing(&self, service: &Service, hooks: &[HookState]) -> Listing {
        let source = self.registry.source();
        let facts = status::Facts {
            host: self.ours.instance.clone(),
            ready: self.first_look.is_some(),
            started: self.started,
            backend: service.backend.name(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            hooks: hooks.to_vec(),
            blind_spots: service.blind_spots(),
            unseen_namespaces: self.unseen_namespaces.clone(),
            listeners: self.inventory.len(),
            alerts: self.alerts.firing().count(),
            expectations: self.policy.expectations().len(),
            receivers: self.receivers.names().map(str::to_owned).collect(),
            registry: (source.name.to_owned(), source.date.to_owned(), self.registry.records()),
            history: self.history_file.as_ref().map(|file| file.display().to_string()),
        };
        let (tallies, clock) = (lock(&self.metrics).tallies(), self.clock);
        Box::new(move || Ok(status::status(&facts, &tallies, clock::boot_now(), clock)))
    }
}

fn item(listener: &Listener<super::Known>) -> Item<'_> {
    (&listener.opened, &listener.known.report, &listener.holders)
}
