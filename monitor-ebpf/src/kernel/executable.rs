//! `struct file` of an executable: what it is, and what it is called.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use monitor_common::{COMPONENT_MAX, FLAG_EXE_DELETED, FLAG_EXE_MEMFD, FLAG_PATH_CUT, PATH_COMPONENTS, PATH_MAX};

use super::{Access, Probed, field};

/// A place of a name is cut to what this covers, so that the verifier sees that it is within the room, whatever it
/// remembers of the sum of the lengths: 5.10 forgets a number that was spilled to the stack.
const PLACE: usize = 511;

/// Bytes that the names are written into.
pub const ROOM: usize = PLACE + 1 + COMPONENT_MAX;

const _: () = assert!(PATH_MAX <= PLACE && (PLACE + 1).is_power_of_two());

/// A sum of lengths, as the verifier can follow it. The compiler knows that nothing is cut; it must not leave it out.
#[inline(always)]
pub fn place(length: usize) -> usize {
    core::hint::black_box(length) & PLACE
}

/// Mounts that are stepped over at most, on the way to the root.
const MOUNTS: usize = 8;

/// The executable of a process.
pub struct Executable {
    mount: *const u8,
    root: *const u8,
    dentry: *const u8,
    pub inode: u64,
    pub device: u32,
    /// `FLAG_EXE_DELETED`, `FLAG_EXE_MEMFD` or 0.
    pub flags: u32,
}

impl Executable {
    /// What the `struct mm_struct` executes.
    #[inline(always)]
    pub fn of<A: Access>(mm: *const u8) -> Self {
        // SAFETY: integers and pointers; a null pointer reads as zeroes.
        unsafe {
            let file: *const u8 = A::field(mm, field::MM_EXE);
            let mount: *const u8 = A::field(file, field::FILE_MOUNT);
            let dentry: *const u8 = A::field(file, field::FILE_DENTRY);
            let inode: *const u8 = A::field(dentry, field::DENTRY_INODE);
            let superblock: *const u8 = A::field(inode, field::INODE_SUPER);
            let hashed: *const u8 = A::field(dentry, field::DENTRY_HASHED);
            let mut flags = 0;
            if hashed.is_null() {
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
                inode: A::field(inode, field::INODE_NUMBER),
                device: A::field(superblock, field::SUPER_DEVICE),
                flags,
            }
        }
    }

    /// That of a thread of the kernel.
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            mount: ptr::null(),
            root: ptr::null(),
            dentry: ptr::null(),
            inode: 0,
            device: 0,
            flags: 0,
        }
    }

    /// Writes the names of the file and of the folders above it, up to the root of its mount namespace, each with its
    /// NUL, and into `length` how many bytes that are. Gives `FLAG_PATH_CUT` where it is not all, else 0.
    ///
    /// The length stands in a map meanwhile, out of the verifier's sight: else it follows each sum of lengths by itself, for
    /// a second and more.
    ///
    /// # Safety
    /// `names` must have room for [`ROOM`] bytes, and `length` be part of a map's value.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a length is below ROOM")]
    pub unsafe fn write_path(&self, names: *mut u8, length: *mut u32) -> u32 {
        // SAFETY: integers and pointers are read, and names within the room that the caller promises.
        unsafe {
            let (mut dentry, mut mount, mut root) = (self.dentry, self.mount, self.root);
            ptr::write_volatile(length, 0);
            let is_memory = self.flags & FLAG_EXE_MEMFD != 0;
            // Not unrolled: the verifier follows a loop that is bounded, and the object stays small. By calls, also where the
            // first pointers are typed: 7.3's verifier takes half a minute for a loop of plain loads.
            for _ in 0..core::hint::black_box(PATH_COMPONENTS + MOUNTS) {
                let (parent, name) = parent_and_name(dentry);
                if !is_memory && (dentry == root || dentry == parent) {
                    // `struct vfsmount` lies inside `struct mount`.
                    let whole = field::MOUNT_VFS.owner(mount);
                    let above: *const u8 = Probed::field(whole, field::MOUNT_PARENT);
                    if above == whole || above.is_null() {
                        return 0;
                    }
                    dentry = Probed::field(whole, field::MOUNT_POINT);
                    mount = field::MOUNT_VFS.at(above);
                    root = Probed::field(mount, field::MOUNT_ROOT);
                    continue;
                }
                let before = ptr::read_volatile(length) as usize;
                if before > PATH_MAX - COMPONENT_MAX {
                    break;
                }
                let written = write_name(name, names.add(place(before)));
                if written == 0 {
                    break;
                }
                ptr::write_volatile(length, before as u32 + written);
                if is_memory {
                    return 0;
                }
                dentry = parent;
            }
            FLAG_PATH_CUT
        }
    }
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
unsafe fn write_name(name: *const u8, place: *mut u8) -> u32 {
    // SAFETY: the caller's; the name is the kernel's, or cannot be read.
    let written = unsafe { bpf_probe_read_kernel_str(place.cast(), COMPONENT_MAX as u32, name.cast()) };
    // One byte is the NUL alone; all bytes may be a name that was cut.
    if (2..COMPONENT_MAX as i64).contains(&written) {
        written as u32
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
