//! `struct file` of an executable: what it is, and what it is called.

use core::{arch::asm, ptr};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use monitor_common::{COMPONENT_MAX, FLAG_EXE_DELETED, FLAG_EXE_MEMFD, PATH_COMPONENTS, PATH_MAX};

use super::{Access, HAVE_TASK, Probed, Typed, cut, field};

/// A place of a name is cut to what this covers, so that the verifier sees that it is within the room, whatever it
/// remembers of the sum of the lengths: 5.10 forgets a number that was spilled to the stack.
const PLACE: usize = 511;

/// Bytes that the names are written into.
pub const ROOM: usize = PLACE + 1 + COMPONENT_MAX;

const _: () = assert!(PATH_MAX <= PLACE && (PLACE + 1).is_power_of_two());

/// A sum of lengths, as a place of a name.
#[inline(always)]
pub fn place(length: usize) -> usize {
    cut!(length, PLACE)
}

/// Bytes of a name, with its NUL, that lie in the dentry itself, at least: `DNAME_INLINE_LEN` is 32 or 40, by kernel. A
/// shorter name never lies elsewhere: `__d_alloc` takes memory for a longer one alone, and a rename exchanges or shares it
/// together with the length.
const SHORT: u32 = 32;

/// The first names that are written by plain loads leave room for any other.
const _: () = assert!(4 * SHORT as usize <= PATH_MAX - COMPONENT_MAX);

/// Mounts that are stepped over at most, on the way to the root.
const MOUNTS: usize = 8;

/// The executable of a process.
pub struct Executable {
    mount: *const u8,
    root: *const u8,
    dentry: *const u8,
    /// The first mount of the namespace that the process is in, a `struct mount`.
    bottom: *const u8,
    pub inode: u64,
    pub device: u32,
    /// `FLAG_EXE_DELETED`, `FLAG_EXE_MEMFD` or 0.
    pub flags: u32,
}

impl Executable {
    /// What the `struct mm_struct` executes, in these namespaces: a `struct nsproxy`.
    #[inline(always)]
    pub fn of<A: Access>(mm: *const u8, namespaces: *const u8) -> Self {
        // SAFETY: integers and pointers; a null pointer reads as zeroes.
        unsafe {
            let file: *const u8 = A::field(mm, field::MM_EXE);
            let mount: *const u8 = A::field(file, field::FILE_MOUNT);
            let dentry: *const u8 = A::field(file, field::FILE_DENTRY);
            let inode: *const u8 = A::field(dentry, field::DENTRY_INODE);
            let superblock: *const u8 = A::field(inode, field::INODE_SUPER);
            let hashed: *const u8 = A::field(dentry, field::DENTRY_HASHED);
            let mut flags = 0;
            if hashed.is_null() && !dentry.is_null() {
                // `d_unlinked()` of include/linux/dcache.h. What is its own parent without being the root of a mount
                // was never in a folder: memory.
                let parent: *const u8 = A::field(dentry, field::DENTRY_PARENT);
                flags = if parent == dentry {
                    FLAG_EXE_MEMFD
                } else {
                    FLAG_EXE_DELETED
                };
            }
            Self {
                mount,
                root: A::field(mount, field::MOUNT_ROOT),
                dentry,
                bottom: A::field(A::field(namespaces, field::NAMESPACES_MOUNTS), field::MOUNTS_ROOT),
                inode: A::field(inode, field::INODE_NUMBER),
                device: A::field(superblock, field::SUPER_DEVICE),
                flags,
            }
        }
    }

    /// Whether there is one: threads of the kernel have none, nor has a process that is ending.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.dentry.is_null()
    }

    /// Writes the names of the file and of the folders above it, up to the root of its mount namespace, each with its
    /// NUL, and into `length`, which must be 0, how many bytes that are. Says whether it is all.
    ///
    /// The length stands in a map meanwhile, out of the verifier's sight: else it follows each sum of lengths by itself, for
    /// a second and more.
    ///
    /// # Safety
    /// `names` must have room for [`ROOM`] bytes, and `length` be part of a map's value.
    #[inline(always)]
    pub unsafe fn write_path(&self, names: *mut u8, length: *mut u16) -> bool {
        let mut walk = Walk {
            dentry: self.dentry,
            mount: self.mount,
            root: self.root,
            names,
            length,
        };
        // SAFETY: the caller's.
        unsafe {
            if HAVE_TASK.load() != 0 {
                // Most programs lie no deeper than these four. One by one: 7.3's verifier takes half a minute for a loop of
                // plain loads.
                let _ = walk.plain(true) && walk.plain(false) && walk.plain(false) && walk.plain(false);
                if walk.is_at_the_top(self.bottom) {
                    return true;
                }
            }
            if self.flags & FLAG_EXE_MEMFD != 0 {
                let (_, name) = parent_and_name(self.dentry);
                return walk.append(name).is_some();
            }
            // Not unrolled: the verifier follows a loop that is bounded, and the object stays small.
            for _ in 0..core::hint::black_box(PATH_COMPONENTS + MOUNTS) {
                let mut parent = walk.dentry;
                if walk.dentry != walk.root {
                    let name;
                    (parent, name) = parent_and_name(walk.dentry);
                    if walk.dentry != parent && walk.append(name).is_none() {
                        break;
                    }
                }
                if walk.dentry != parent {
                    walk.dentry = parent;
                } else if !walk.leave_mount() {
                    return true;
                }
            }
            false
        }
    }
}

/// The way from a file to the root.
struct Walk {
    dentry: *const u8,
    mount: *const u8,
    root: *const u8,
    names: *mut u8,
    length: *mut u16,
}

impl Walk {
    /// Goes one folder up by plain loads, where the name is a short one, which lies in the dentry itself. Says whether it
    /// did.
    ///
    /// # Safety
    /// As [`Executable::write_path`]; the dentry must be a pointer that the verifier follows.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it is shorter than SHORT")]
    unsafe fn plain(&mut self, is_first: bool) -> bool {
        let dentry = self.dentry;
        if dentry == self.root {
            return false;
        }
        // SAFETY: pointers and integers; the rest is the caller's.
        unsafe {
            let parent: *const u8 = Typed::field(dentry, field::DENTRY_PARENT);
            let bytes: u32 = Typed::field(dentry, field::DENTRY_LENGTH);
            if dentry == parent || bytes >= SHORT {
                return false;
            }
            let (before, place) = if is_first {
                (0, self.names)
            } else {
                let before = ptr::read_volatile(self.length);
                (before, self.names.add(place(before as usize)))
            };
            let short = field::DENTRY_SHORT.at(dentry);
            store(place, Typed::read(short));
            // With its NUL, most names of folders are one word, and most of programs two.
            if bytes >= 8 {
                store(place.add(8), Typed::read(short.wrapping_add(8)));
            }
            if bytes >= 16 {
                let [third, fourth] = Typed::sixteen(short.wrapping_add(16));
                store(place.add(16), third);
                store(place.add(24), fourth);
            }
            ptr::write_volatile(self.length, before + bytes as u16 + 1);
            self.dentry = parent;
        }
        true
    }

    /// Whether nothing lies above, for most programs: they lie on the first mount of their namespace, or on one that covers
    /// its root. A read that is a call costs as much as all the plain loads of a path.
    ///
    /// # Safety
    /// As [`Executable::write_path`]; `bottom` must be a pointer that the verifier follows.
    #[inline(always)]
    unsafe fn is_at_the_top(&self, bottom: *const u8) -> bool {
        if self.dentry != self.root {
            return false;
        }
        let first = field::MOUNT_VFS.at(bottom);
        if self.mount == first {
            return true;
        }
        let (above, point) = parent_and_point(field::MOUNT_VFS.owner(self.mount));
        // SAFETY: a pointer; the rest is the caller's.
        above == bottom && point == unsafe { Typed::field(first, field::MOUNT_ROOT) }
    }

    /// Steps from the root of a mount to where it is mounted. Says whether there is anything above.
    ///
    /// # Safety
    /// As [`Executable::write_path`].
    #[inline(always)]
    unsafe fn leave_mount(&mut self) -> bool {
        // `struct vfsmount` lies inside `struct mount`.
        let whole = field::MOUNT_VFS.owner(self.mount);
        let (above, point) = parent_and_point(whole);
        if above == whole || above.is_null() {
            return false;
        }
        self.dentry = point;
        self.mount = field::MOUNT_VFS.at(above);
        // SAFETY: a pointer.
        self.root = unsafe { Probed::field(self.mount, field::MOUNT_ROOT) };
        true
    }

    /// Writes a name behind the others; `None` where there is no room for it, or it cannot be read.
    ///
    /// # Safety
    /// As [`Executable::write_path`].
    #[inline(always)]
    unsafe fn append(&mut self, name: *const u8) -> Option<()> {
        // SAFETY: the caller's.
        unsafe {
            let before = ptr::read_volatile(self.length);
            if before as usize > PATH_MAX - COMPONENT_MAX {
                return None;
            }
            let written = write_name(name, self.names.add(place(before as usize)));
            ptr::write_volatile(self.length, before + written);
            (written != 0).then_some(())
        }
    }
}

/// Writes a word. The place of a name is any byte, and left to itself the compiler would store each byte.
///
/// # Safety
/// `place` must have room for it.
#[inline(always)]
unsafe fn store(place: *mut u8, word: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("*(u64 *)({place} + 0) = {word}", place = in(reg) place, word = in(reg) word, options(nostack)) };
}

/// Writes a component with its NUL, and gives how many bytes that are; 0 where it is empty, may be cut, or cannot be read.
///
/// # Safety
/// `place` must have room for [`COMPONENT_MAX`] bytes.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the length of a component is between 2 and COMPONENT_MAX"
)]
unsafe fn write_name(name: *const u8, place: *mut u8) -> u16 {
    // SAFETY: the caller's; the name is the kernel's, or cannot be read.
    let written = unsafe { bpf_probe_read_kernel_str(place.cast(), COMPONENT_MAX as u32, name.cast()) };
    // One byte is the NUL alone; all bytes may be a name that was cut.
    if (2..COMPONENT_MAX as i64).contains(&written) {
        written as u16
    } else {
        0
    }
}

/// `d_parent` and `d_name.name`, by one call where they lie side by side, with the name's hash and length between.
#[inline(always)]
fn parent_and_name(dentry: *const u8) -> (*const u8, *const u8) {
    let parent = field::DENTRY_PARENT.at(dentry);
    // SAFETY: pointers, and an integer between them.
    unsafe {
        if field::DENTRY_NAME.owner(field::DENTRY_PARENT.at(ptr::null())) as i64 == -16 {
            let [parent, _, name]: [*const u8; 3] = Probed::read(parent);
            (parent, name)
        } else {
            (Probed::read(parent), Probed::field(dentry, field::DENTRY_NAME))
        }
    }
}

/// `mnt_parent` and `mnt_mountpoint`, by one call where they lie side by side.
#[inline(always)]
fn parent_and_point(mount: *const u8) -> (*const u8, *const u8) {
    let parent = field::MOUNT_PARENT.at(mount);
    // SAFETY: pointers.
    unsafe {
        if field::MOUNT_POINT.owner(field::MOUNT_PARENT.at(ptr::null())) as i64 == -8 {
            let [parent, point]: [*const u8; 2] = Probed::read(parent);
            (parent, point)
        } else {
            (Probed::read(parent), Probed::field(mount, field::MOUNT_POINT))
        }
    }
}
