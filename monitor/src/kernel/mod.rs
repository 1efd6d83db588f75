//! What this kernel offers, and the programs in it: the only place that uses aya, and the only one with `unsafe`.
//!
//! [`Probe::load`] loads the object, [`Probe::arm`] attaches the first backend that this kernel takes. The rest of
//! the agent sees [`Events`], [`KernelLog`] and [`CountersReader`], which know nothing of maps.

mod attach;
mod attention;
mod backend;
mod btf;
mod counters;
mod hooks;
mod inherited;
mod log;
mod memory;
mod misses;
mod name_service;
mod offsets;
mod open_files;
mod ring;
mod symbols;
mod times;
mod types;
mod udp;

pub mod capability;

pub use backend::{Attempt, Backend, HookState, Service, Situation};
pub use counters::{CountersReader, KernelCounters};
pub use hooks::{Subject, is_of_listens};
pub use inherited::copy_of as copy_of_inherited;
pub use log::KernelLog;
pub use memory::{give_back_memory, share_heap};
pub use misses::HookMisses;
pub use name_service::ask_files_and_dns;
pub use open_files::{Found as FoundFiles, OpenFiles};
pub use ring::{Events, RawRecord};
pub use times::HookTimes;
pub use udp::BoundUdp;

use std::{path::Path, thread};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
};
use monitor_common::{GLOBAL_HAVE_TASK, PORTS};

use attach::Attacher;
use btf::Btf;
use types::KernelTypes;

/// The kernel object, built from monitor-ebpf by `cargo xtask ebpf`, and chosen by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("PORTREEVE_BPF_OBJECT"));

/// What the kernel side reports of each port: `monitor_common::WATCH_*` bits, indexed by the port in host order.
pub type Filter = [u8; PORTS];

/// The loaded object: its maps exist, its programs do not run yet.
pub struct Probe {
    ebpf: Ebpf,
    btf: Btf,
    /// Dropped with the probe's armament.
    kernel_types: KernelTypes,
    filter: Array<MapData, Filter>,
    listeners: MapData,
}

/// A probe with a backend attached, until it is dropped.
pub struct Armed {
    /// What reports: the backend, and who helps it out.
    pub service: Service,
    /// The hooks.
    pub hooks: Vec<HookState>,
    /// What the kernel left out of them.
    pub misses: HookMisses,
    ebpf: Ebpf,
    /// With nothing parsed.
    types: KernelTypes,
    filter: Array<MapData, Filter>,
    _listeners: MapData,
}

impl Armed {
    /// Sets what is reported from now on.
    ///
    /// # Errors
    /// Where the kernel refuses; what was set before stays then.
    pub fn set_filter(&mut self, filter: &Filter) -> Result<()> {
        write_filter(&mut self.filter, filter)
    }

    /// Has the kernel measure how long each program of the hooks runs, as long as what comes back is kept. That is every BPF
    /// program of the host: the kernel has one switch for all.
    ///
    /// # Errors
    /// Where the kernel does not turn its statistics on.
    pub fn times(&self) -> Result<HookTimes> {
        HookTimes::start(&self.ebpf, &self.hooks)
    }

    /// Looks at all open files: a record for each descriptor that is a listener, in every network namespace, so for each holder
    /// of a socket at least one.
    ///
    /// # Errors
    /// Where this kernel does not take the iterator, or its file cannot be read.
    pub fn open_files(&mut self) -> Result<OpenFiles> {
        open_files::open(&mut self.ebpf, &mut self.types.afresh())
    }
}

impl Probe {
    /// Reads the kernel's BTF below `sysfs`, fills in the offsets and loads maps and code. Attaches nothing.
    ///
    /// The ring gets `ring_bytes`: a power of two, of whole pages; `None` for the usual size.
    pub fn load(sysfs: &Path, ring_bytes: Option<u32>) -> Result<Self> {
        let memlock = memory::raise_memlock_limit();
        let scan = || Btf::of_kernel(sysfs, offsets::wanted(&offsets::structs(), &offsets::functions()));
        // The library parses the kernel's BTF whole as soon as there is a loader, for nothing: here, so meanwhile.
        let (mut loader, btf) = thread::scope(|scope| {
            let scanned = scope.spawn(scan);
            (EbpfLoader::new(), scanned.join())
        });
        let btf = btf.map_err(|_panic| anyhow!("the scan of the kernel's BTF broke off"))??;
        let mut object = OBJECT.to_vec();
        offsets::fill_in(&mut object, &offsets::places(&btf)?)?;
        // There is nothing to relocate against the kernel's BTF: the offsets stand in the instructions.
        loader.btf(None);
        let have_task = offsets::have_task(&btf);
        loader.override_global(GLOBAL_HAVE_TASK, &have_task, true);
        if let Some(bytes) = ring_bytes {
            loader.map_max_entries("EVENTS", bytes);
        }
        let level = log::level();
        loader.override_global(aya_log::LEVEL, &level, true);
        let mut ebpf = loader.load(&object).map_err(|error| memory::explain(&error, memlock))?;
        let filter = ebpf
            .take_map(".bss.filter")
            .context("the kernel object has no map .bss.filter")?;
        let filter = Array::try_from(filter).context("cannot use the map .bss.filter")?;
        let listeners = ebpf
            .take_map("LISTENERS")
            .context("the kernel object has no map LISTENERS")?;
        let aya::maps::Map::HashMap(listeners) = listeners else {
            bail!("the map LISTENERS is no hash map")
        };
        Ok(Self {
            ebpf,
            kernel_types: KernelTypes::of(&btf),
            btf,
            filter,
            listeners,
        })
    }

    /// Sets what is reported, without a reload.
    pub fn set_filter(&mut self, filter: &Filter) -> Result<()> {
        write_filter(&mut self.filter, filter)
    }

    /// Takes the reader of events. Once.
    pub fn events(&mut self) -> Result<Events> {
        Events::new(&mut self.ebpf)
    }

    /// Takes the reader of what the kernel side has to say. Once.
    pub fn log(&mut self) -> Result<KernelLog> {
        KernelLog::new(&mut self.ebpf)
    }

    /// Takes the reader of the kernel side's counters. Once.
    pub fn counters(&mut self) -> Result<CountersReader> {
        CountersReader::new(&mut self.ebpf)
    }

    /// Takes the reader of bound UDP sockets. Once.
    pub fn bound_udp(&mut self) -> Result<BoundUdp> {
        BoundUdp::new(&mut self.ebpf)
    }

    /// Tries the backends in order of preference, or the one that is asked for, and keeps the first that attaches.
    /// The attempts say what was tried and how each ended.
    ///
    /// `between` is called between any two hooks: what the first ones report may fill the ring while the last ones are
    /// still verified and attached, which takes seconds on a slow machine.
    pub fn arm(mut self, asked: Option<Backend>, between: &mut dyn FnMut()) -> (Result<Armed>, Vec<Attempt>) {
        let mut attempts = Vec::new();
        let allowed = |backend: &Backend| asked.is_none_or(|asked| asked == *backend);
        for backend in Backend::ALL.iter().copied().filter(allowed) {
            let mut attacher = self.attacher(true, false, between);
            let mut attempt = attacher.attempt(backend);
            if !attempt.is_attached() {
                attacher.release_all(backend);
                attempts.push(attempt);
                continue;
            }
            let mut service = Service::of_listens(backend);
            if asked.is_none() {
                attacher.help_out(&mut attempt, &mut service);
            } else {
                for subject in Subject::ALL {
                    service.set(subject, attempt.serves(subject).then_some(backend));
                }
            }
            let armed = Armed {
                service,
                misses: HookMisses::of(&self.ebpf, &attempt.hooks),
                hooks: attempt.hooks.clone(),
                ebpf: self.ebpf,
                types: self.kernel_types.afresh(),
                filter: self.filter,
                _listeners: self.listeners,
            };
            attempts.push(attempt);
            return (Ok(armed), attempts);
        }
        let tried: Vec<String> = attempts.iter().map(ToString::to_string).collect();
        let error = anyhow::anyhow!("no backend attaches to this kernel; tried {}", tried.join("; "));
        (Err(error), attempts)
    }

    /// Looks at all open files: see [`Armed::open_files`].
    pub fn open_files(&mut self) -> Result<OpenFiles> {
        open_files::open(&mut self.ebpf, &mut self.kernel_types)
    }

    /// Loads each backend's programs, and with `attach` also attaches and detaches them: what this kernel offers.
    pub fn survey(&mut self, attach: bool) -> Vec<Attempt> {
        let attempts = Backend::ALL.iter().map(|backend| {
            let mut nothing = || {};
            let mut attacher = self.attacher(attach, true, &mut nothing);
            let attempt = attacher.attempt(*backend);
            attacher.release_all(*backend);
            attempt
        });
        attempts.collect()
    }

    fn attacher<'a>(&'a mut self, attach: bool, thorough: bool, between: &'a mut dyn FnMut()) -> Attacher<'a> {
        Attacher {
            ebpf: &mut self.ebpf,
            btf: &self.btf,
            types: &mut self.kernel_types,
            attach,
            thorough,
            between,
        }
    }
}

fn write_filter(map: &mut Array<MapData, Filter>, filter: &Filter) -> Result<()> {
    map.set(0, filter, 0)
        .context("cannot write the port filter into the kernel")
}
