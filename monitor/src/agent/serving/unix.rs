//! A socket in the file system.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_to, listen, socket_with};
use tokio::net::UnixListener;

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// Connections that wait at most.
const BACKLOG: i32 = 128;

/// The file of a socket: removed when this is dropped, unless it is somebody else's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    file: Identity,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device, inode and the time of its last change: a file system gives an inode to the next file at once.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

/// Makes a socket at this path. One that an agent left there is removed, if nobody answers at it.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let (socket, file) = make(path).with_context(|| format!("cannot serve HTTP on unix:{}", path.display()))?;
    Ok((socket, file))
}

fn make(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind_to(&socket, &SocketAddrUnix::new(path)?)?;
    // Before anybody can connect, which is once it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    let file = SocketFile {
        path: path.to_owned(),
        file: identity(path)?,
    };
    listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn remove_stale(path: &Path) -> Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("cannot serve HTTP on unix:{shown}: {error}"),
        Ok(file) if !file.file_type().is_socket() => {
            bail!(
                "cannot serve HTTP on unix:{shown}: there is something else, which is no socket; remove it, or name another path"
            )
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("cannot serve HTTP on unix:{shown}: somebody answers there; name another path"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove {shown}, at which nobody answers any more"))
        }
        Err(error) => {
            bail!("cannot serve HTTP on unix:{shown}: nobody can tell whether somebody answers there: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_groups_too_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let (listener, file) = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.ends_with("somebody answers there; name another path"), "{error}");
        drop(listener);
        // What a crash leaves behind.
        let (_listener, newer) = bind(&path).unwrap();
        drop(file);
        assert!(path.exists(), "the file of the one after it was removed");
        drop(newer);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("which is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
        let error = bind(&folder.path().join("no/http.sock")).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("cannot serve HTTP on unix:"),
            "{error:#}"
        );
    }
}
