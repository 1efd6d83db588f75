//! How a static program looks names of hosts up.

/// Has the C library ask /etc/hosts and DNS alone. To be called before there is a second thread.
///
/// In a static program it would otherwise load the modules that /etc/nsswitch.conf names into itself, and one of those may crash
/// it: libnss_myhostname does. A dynamic program asks whoever the host says, and this does nothing there.
pub fn ask_files_and_dns() {
    #[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
    {
        use std::ffi::{c_char, c_int};

        // Both are part of the C library itself from 2.34 on. nss/nss_database.c in glibc; the name is public and has no header.
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
        }
        // SAFETY: both are strings that end with a NUL and live for ever, and no other thread looks a name up yet.
        let refused = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) } != 0;
        debug_assert!(!refused, "the database hosts is always there");
    }
}
