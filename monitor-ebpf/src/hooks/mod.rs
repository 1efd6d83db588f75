//! What is reported, one file a subject. The backends' entry points call in; nothing here knows which one did, but
//! for how the socket's pointer may be read.
//!
//! Here today: listen and its end. Bind, connect, accept and UDP get a file each beside it.

pub mod listen;
