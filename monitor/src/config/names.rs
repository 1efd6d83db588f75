//! Which registry is used, and the site's own names over it: `[registry]` and `[[service]]`.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

use super::{
    absolute,
    document::{self, any, replace},
    selectors::{RawPort, RawProtocol},
    wrong::Noted,
};
use crate::registry::{
    Authority, Ports, Registry, Table, Transport,
    overlay::{self, Service, is_name, read_services},
};

/// Where an updated registry lies, unless the configuration says otherwise.
pub const REGISTRY: &str = "/var/lib/portreeve/registry.bin";

/// A table larger than this is none of ours: IANA's has one megabyte.
const TABLE_MAX: u64 = 32 << 20;

/// An /etc/services larger than this is not read.
const SERVICES_MAX: u64 = 4 << 20;

/// Services that the site may name.
const SITE_MAX: usize = 10_000;

/// What the files say of names.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `[registry] path`.
    path: Option<PathBuf>,
    /// `[registry] etc_services`.
    etc_services: Option<bool>,
    /// `[[service]]`, of all files.
    services: Vec<Service>,
}

/// The registry in use.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// It, with all names over it.
    pub registry: Arc<Registry>,
    /// The file that IANA's rows come from; `None` for those that this program was built with.
    pub file: Option<PathBuf>,
    /// What is wrong with a file that was to be used, a sentence each.
    pub remarks: Vec<String>,
}

impl Names {
    /// Takes what one file says.
    pub(super) fn add(&mut self, mut registry: document::Table<'_>, services: Vec<document::Table<'_>>) {
        let path = registry.take("path", |text| absolute("[registry] path", text));
        replace(&mut self.path, path);
        replace(&mut self.etc_services, registry.take("etc_services", any));
        registry.end();
        for table in services {
            self.add_service(table);
        }
    }

    fn add_service(&mut self, mut table: document::Table<'_>) {
        let service = service(&mut table);
        table.end();
        let Ok(service) = service else { return };
        let conflict = self.services.iter().find_map(|other| other.conflict(&service));
        if let Some((port, transport)) = conflict {
            table.note(format!(
                "there is a service `{}` on {port}/{transport} already",
                service.name
            ));
        } else if self.services.len() >= SITE_MAX {
            table.note(format!("there are more than {SITE_MAX} services"));
        } else {
            self.services.push(service);
        }
    }

    /// Where the file of the registry is, or would be.
    #[must_use]
    pub fn registry_path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(REGISTRY))
    }

    /// Whether the configuration names that file.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        self.path.is_some()
    }

    /// The registry to start with: the file's where it is sound, and else the one that this program was built with. A file
    /// that the configuration does not name is used where it is not older than that. `rootfs` is where the host's root is.
    #[must_use]
    pub fn open(&self, rootfs: &Path) -> Chosen {
        self.read(rootfs).unwrap_or_else(|sentence| {
            let mut chosen = self.lay_over(Registry::builtin(), None, rootfs);
            chosen
                .remarks
                .insert(0, format!("{sentence}; the built-in registry is used"));
            chosen
        })
    }

    /// The registry to go on with: that of [`Names::open`], but for a file that is not sound.
    ///
    /// # Errors
    /// One sentence on what is wrong with the file.
    pub fn read(&self, rootfs: &Path) -> Result<Chosen, String> {
        self.read_at(self.registry_path(), rootfs)
    }

    fn read_at(&self, path: &Path, rootfs: &Path) -> Result<Chosen, String> {
        match read_table(path) {
            Ok(registry) if self.is_asked() || registry.source().date >= Registry::embedded().source().date => {
                Ok(self.lay_over(registry, Some(path.to_owned()), rootfs))
            }
            Ok(registry) => {
                let mut chosen = self.lay_over(Registry::builtin(), None, rootfs);
                chosen.remarks.push(format!(
                    "the registry in {} is of {}, older than the built-in one of {}, which is used; name the file in \
                     [registry] path to use it all the same",
                    path.display(),
                    registry.source().date,
                    Registry::embedded().source().date
                ));
                Ok(chosen)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_asked() => {
                Ok(self.lay_over(Registry::builtin(), None, rootfs))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.is_asked() => Err(format!(
                "this user may not see whether the agent has a newer registry in {}",
                path.display()
            )),
            Err(error) => Err(format!("cannot use the registry in {}: {error}", path.display())),
        }
    }

    fn lay_over(&self, registry: Registry, file: Option<PathBuf>, rootfs: &Path) -> Chosen {
        let mut remarks = Vec::new();
        let mut over = Vec::new();
        if !self.services.is_empty() {
            over.extend(noted(
                overlay::table(&self.services, Authority::Site).map_err(|error| format!("[[service]]: {error}")),
                &mut remarks,
            ));
        }
        if self.etc_services == Some(true) {
            over.extend(noted(etc_services(&rootfs.join("etc/services")), &mut remarks));
        }
        Chosen {
            registry: Arc::new(registry.with_names(over)),
            file,
            remarks,
        }
    }
}

fn noted(table: Result<Table, String>, remarks: &mut Vec<String>) -> Option<Table> {
    table.map_err(|sentence| remarks.push(sentence)).ok()
}

/// Reads a table that `portreeve registry update` wrote.
///
/// # Errors
/// Where it cannot be read, is too large, or is not sound.
pub fn read_table(path: &Path) -> io::Result<Registry> {
    let bytes = read_capped(path, TABLE_MAX)?;
    Registry::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads a regular file that is no larger than `most` bytes.
///
/// # Errors
/// Where it is larger or no file, or cannot be read.
pub fn read_capped(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use io::Read;
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    // A fifo would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(refuse("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > most) {
        return Err(refuse(format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

fn etc_services(path: &Path) -> Result<Table, String> {
    let refuse = |error: &dyn std::fmt::Display| format!("cannot take names from {}: {error}", path.display());
    let bytes = read_capped(path, SERVICES_MAX).map_err(|error| refuse(&error))?;
    let (services, not_understood) = read_services(&String::from_utf8_lossy(&bytes));
    if let Some(first) = not_understood.first() {
        log::debug!(
            "{} lines of {} name no service, the first is line {first}",
            not_understood.len(),
            path.display()
        );
    }
    overlay::table(&services, Authority::Services).map_err(|error| refuse(&error))
}

fn service(table: &mut document::Table<'_>) -> Result<Service, Noted> {
    let name = table.need("name", name);
    let port = table.take("port", ports);
    let list = table.list("ports", ports);
    let protocol = table.take("protocol", any::<RawProtocol>);
    let description = table.take("description", |text: String| {
        if text.contains(char::is_control) {
            return Err("the description has control characters in it".to_owned());
        }
        Ok(text)
    });
    let ports = match (port, list) {
        (Ok(Some(port)), Ok(None)) => Ok(vec![port]),
        (Ok(None), Ok(Some(list))) if !list.is_empty() => Ok(list),
        (Err(noted), _) | (_, Err(noted)) => Err(noted),
        _ => Err(table.note(format!(
            "{} needs `port = 8080`, or `ports` with a list of them, and not both",
            match &name {
                Ok(name) => format!("the service `{name}`"),
                Err(_) => "this service".to_owned(),
            }
        ))),
    };
    Ok(Service {
        name: name?,
        ports: ports?,
        transports: match protocol? {
            None => vec![Transport::Tcp, Transport::Udp],
            Some(protocol) => vec![protocol.into()],
        },
        description: description?.unwrap_or_default(),
    })
}

fn name(name: String) -> Result<String, String> {
    if is_name(&name) {
        return Ok(name);
    }
    Err(format!(
        "`{}` is no name for a service: use letters, digits and - _ . +, with a letter among them, 40 at most",
        name.escape_debug()
    ))
}

fn ports(raw: RawPort) -> Result<Ports, String> {
    let text = raw.text();
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    // A sign would pass for a part of the number.
    let port = |digits: &str| -> Option<u16> {
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|port| is_number && *port > 0)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
        _ => Err(format!(
            "`{}` is neither a port from 1 to 65535 nor a range such as \"8000-8010\"",
            text.escape_debug()
        )),
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
