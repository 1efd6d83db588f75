//! Descriptors that this process has from whoever started it.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

/// A copy of the descriptor with this number, which no program that is started inherits.
///
/// # Errors
/// Where there is none of this number.
pub fn copy_of(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for the one call that copies it, which says EBADF where nothing is open there.
    let there = unsafe { BorrowedFd::borrow_raw(number) };
    there.try_clone_to_owned()
}
