//! The look at all open files: every listener that a descriptor holds, in every network namespace, with who holds it.
//!
//! An iterator in the kernel (`BPF_TRACE_ITER` of include/uapi/linux/bpf.h) goes through the descriptors of all processes, and
//! its file gives a record for each that is a listener.

use std::{fs::File, io::Read, mem::offset_of};

use anyhow::{Context, Result, bail};
use aya::{Ebpf, programs::Iter};
use monitor_common::Record;

use super::types::KernelTypes;

/// The program, and the iterator that runs it.
const PROGRAM: &str = "open_files";
const ITERATOR: &str = "task_file";

/// What the kernel's BTF calls the iterator.
pub(super) const ITERATOR_TYPE: &str = "bpf_iter_task_file";

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// How often the kernel may break off without a record (it does after a million files) before it is taken to be stuck.
const PAUSES: usize = 10_000;

/// One look, made ready: the kernel goes through the files while it is read, on whatever thread that is.
#[derive(Debug)]
pub struct OpenFiles(File);

/// Makes a look ready.
///
/// # Errors
/// Where this kernel does not take the iterator.
pub(super) fn open(ebpf: &mut Ebpf, types: &mut KernelTypes) -> Result<OpenFiles> {
    let program: &mut Iter = ebpf
        .program_mut(PROGRAM)
        .context("the kernel object has no program open_files")?
        .try_into()
        .context("open_files is no iterator")?;
    if program.fd().is_err() {
        program
            .load(ITERATOR, types.get()?)
            .context("the kernel does not load the iterator over open files")?;
    }
    let link = program
        .attach()
        .context("the kernel does not attach the iterator over open files")?;
    let link = program
        .take_link(link)
        .context("the iterator over open files has no link")?;
    let file = link.into_file().context("the iterator over open files has no file")?;
    Ok(OpenFiles(file))
}

impl OpenFiles {
    /// Has the kernel go through the files.
    ///
    /// # Errors
    /// Where the iterator's file cannot be read to its end.
    pub fn read(mut self) -> Result<Found> {
        let mut bytes = Vec::new();
        let mut pauses = 0;
        loop {
            let start = bytes.len();
            bytes.resize(start + CHUNK, 0);
            let read = self.0.read(bytes.get_mut(start..).unwrap_or_default());
            bytes.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => break,
                Ok(_) => pauses = 0,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && pauses < PAUSES => pauses += 1,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read the iterator over open files"),
            }
        }
        let found = Found(bytes);
        if found.records().map(<[u8]>::len).sum::<usize>() != found.0.len() {
            bail!("the iterator over open files ends within a record");
        }
        Ok(found)
    }
}

/// What a look found.
#[derive(Debug)]
pub struct Found(Vec<u8>);

impl Found {
    /// A record for each descriptor that is a listener, so for each holder of a socket at least one; each with its names.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let at = offset_of!(Record, path_bytes);
            let names = rest.get(at..at + 2)?.try_into().ok()?;
            let record;
            (record, rest) = rest.split_at_checked(Record::SIZE + usize::from(u16::from_ne_bytes(names)))?;
            Some(record)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: u16) -> Vec<u8> {
        let mut bytes = vec![0; Record::SIZE + usize::from(names)];
        let at = offset_of!(Record, path_bytes);
        bytes[at..at + 2].copy_from_slice(&names.to_ne_bytes());
        bytes
    }

    #[test]
    fn records_of_different_lengths_are_told_apart_and_a_cut_one_is_none() {
        let bytes = [record(0), record(17), record(3)].concat();
        let lengths = |bytes: &[u8]| Found(bytes.to_owned()).records().map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&bytes), [Record::SIZE, Record::SIZE + 17, Record::SIZE + 3]);
        assert_eq!(lengths(&bytes[..bytes.len() - 1]), [Record::SIZE, Record::SIZE + 17]);
        assert_eq!(lengths(&bytes[..5]), [0; 0]);
        assert_eq!(lengths(&[]), [0; 0]);
    }
}
