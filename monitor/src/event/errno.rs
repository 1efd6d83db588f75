//! Names of errno values, for those that socket calls return.

/// The name of a positive errno of Linux (include/uapi/asm-generic/errno-base.h and errno.h: the same numbers on
/// x86-64 and arm64); `None` for one that no socket call is known to return.
pub fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        5 => "EIO",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        19 => "ENODEV",
        22 => "EINVAL",
        23 => "ENFILE",
        24 => "EMFILE",
        28 => "ENOSPC",
        32 => "EPIPE",
        71 => "EPROTO",
        88 => "ENOTSOCK",
        89 => "EDESTADDRREQ",
        92 => "ENOPROTOOPT",
        93 => "EPROTONOSUPPORT",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        102 => "ENETRESET",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        105 => "ENOBUFS",
        106 => "EISCONN",
        107 => "ENOTCONN",
        108 => "ESHUTDOWN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        114 => "EALREADY",
        115 => "EINPROGRESS",
        125 => "ECANCELED",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_agree_with_the_systems_own_numbers() {
        let pairs = [
            (libc::EPERM, "EPERM"),
            (libc::EACCES, "EACCES"),
            (libc::EADDRINUSE, "EADDRINUSE"),
            (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
            (libc::ECONNREFUSED, "ECONNREFUSED"),
            (libc::ETIMEDOUT, "ETIMEDOUT"),
            (libc::ENETUNREACH, "ENETUNREACH"),
            (libc::ECANCELED, "ECANCELED"),
            (libc::EINPROGRESS, "EINPROGRESS"),
            (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        ];
        for (number, name) in pairs {
            assert_eq!(super::errno_name(number), Some(name));
        }
        assert_eq!(super::errno_name(4095), None);
    }
}
