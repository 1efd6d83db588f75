//! A file that can still be written when the disk is full: two files take turns, and each has room that was taken before.
//!
//! A text is written over what the spare file holds, and then the two exchange their names, so there is a whole one whatever
//! happens to the agent. Behind a text there are line breaks up to the end of the file, which JSON allows. Where a file system
//! writes elsewhere what is overwritten (btrfs, ZFS), or exchanges no names, none of this can be promised.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};

/// Bytes of a file, which are taken in these steps.
pub(super) const STEP: u64 = 128 << 10;

/// Bytes beyond what was written last that there is to be room for.
const SLACK: u64 = STEP / 2;

/// Bytes of a file that are read.
const SIZE_MAX: u64 = 64 << 20;

/// The two files.
#[derive(Debug)]
pub(super) struct Reserved {
    path: PathBuf,
    spare: PathBuf,
    /// The folder, locked against other agents.
    _folder: File,
}

impl Reserved {
    /// The files of this name in a folder, which is locked; `None` where another agent has it.
    ///
    /// # Errors
    /// Where the folder cannot be opened or locked.
    pub(super) fn claim(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = File::open(folder)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self {
                path: folder.join(name),
                spare: folder.join(format!("{name}.new")),
                _folder: file,
            })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The texts that are there, the newest first. The second one is for where a machine that lost its power left the first one
    /// torn.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub(super) fn read(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut texts = Vec::new();
        for path in [&self.path, &self.spare] {
            let mut text = Vec::new();
            match File::open(path) {
                Ok(file) => drop(file.take(SIZE_MAX).read_to_end(&mut text)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            text.truncate(text.trim_ascii_end().len());
            texts.push(text);
        }
        Ok(texts)
    }

    /// Takes room for a text of so many bytes and more. Gives how long a text may be now.
    ///
    /// # Errors
    /// Where a file cannot be opened. That the disk has no room is no error.
    pub(super) fn take_room(&self, length: u64) -> io::Result<Room> {
        if !self.path.exists() {
            // An empty one, so that both have room before the disk is full.
            let _ = self.extend(length)?;
            fs::rename(&self.spare, &self.path)?;
        }
        self.extend(length)
    }

    fn extend(&self, length: u64) -> io::Result<Room> {
        let file = self.open()?;
        let has = file.metadata()?.len();
        let wanted = (length + SLACK).next_multiple_of(STEP);
        if has > 4 * wanted {
            // Many alerts are over, and each write takes as long as the file is.
            file.set_len(wanted)?;
        }
        if has >= wanted {
            return Ok(Room {
                bytes: wanted,
                full: None,
            });
        }
        let blank = vec![b'\n'; usize::try_from(wanted - has).unwrap_or(0)];
        let full = file.write_all_at(&blank, has).err();
        // A part of it may have found room.
        let bytes = file.metadata()?.len();
        Ok(Room { bytes, full })
    }

    /// Writes a text, which is no longer than its room, in the place of the one before.
    ///
    /// # Errors
    /// Where it cannot be written; the one before is still there then.
    pub(super) fn write(&self, text: &[u8]) -> io::Result<()> {
        let file = self.open()?;
        let all = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let mut padded = text.to_vec();
        padded.resize(padded.len().max(all), b'\n');
        file.write_all_at(&padded, 0)?;
        drop(file);
        match renameat_with(CWD, &self.spare, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            // There is none to exchange it with, or the file system does no such thing.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(&self.spare, &self.path),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.spare)
    }
}

/// How long a text may be.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) bytes: u64,
    /// Why it is less than was wanted.
    pub(super) full: Option<io::Error>,
}
