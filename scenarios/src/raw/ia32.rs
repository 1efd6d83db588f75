//! Calls by the 32-bit entry of the kernel, as a 32-bit program makes them: `int 0x80`, with `socketcall` for all that
//! sockets do, and every pointer below 4 GiB.

use std::{arch::asm, io, ptr};

use anyhow::{Context, Result};

/// `__NR_socketcall` of arch/x86/entry/syscalls/syscall_32.tbl.
const SOCKETCALL: u32 = 102;

/// Bytes of low memory that arguments are put into.
const LOW: usize = 4096;

/// A page below 4 GiB.
pub struct Ia32 {
    page: *mut u32,
}

/// A page below 4 GiB, to make calls with.
pub fn ia32() -> Result<Ia32> {
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            LOW,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("no memory below 4 GiB");
    }
    Ok(Ia32 { page: page.cast() })
}

impl Ia32 {
    /// `socketcall(call, arguments)`, of include/uapi/linux/net.h. An argument of `None` stands for the address of
    /// `bytes`. Gives what the call returned.
    pub fn socketcall(&self, call: u32, arguments: &[Option<u32>], bytes: &[u8]) -> Result<i32> {
        let behind = 16;
        let low = |index: usize| u32::try_from(self.page as usize + 4 * index).context("not below 4 GiB");
        anyhow::ensure!(
            arguments.len() <= behind && bytes.len() < LOW / 2,
            "too much for a page"
        );
        let (block, address) = (low(0)?, low(behind)?);
        // SAFETY: the page is this structure's own, large enough for all of it, and page-aligned.
        unsafe {
            for (index, argument) in arguments.iter().enumerate() {
                ptr::write_volatile(self.page.add(index), argument.unwrap_or(address));
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.page.add(behind).cast(), bytes.len());
        }
        let mut result = SOCKETCALL;
        // SAFETY: the kernel reads what the arguments point to, all of it in the page. It clears r8 to r11; rbx is the
        // compiler's and given back.
        unsafe {
            asm!(
                "xchg rbx, {call}",
                "int 0x80",
                "xchg rbx, {call}",
                call = inout(reg) u64::from(call) => _,
                inout("eax") result,
                in("ecx") block,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        Ok(result.cast_signed())
    }
}
