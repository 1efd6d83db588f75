//! What xtask itself says, on standard output.

/// `println!` that does not panic where nobody reads any more (`cargo xtask test | head`).
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        if cfg!(test) {
            // Only this is captured, and does not break the lines of the test harness.
            println!($($argument)*);
        } else {
            use std::io::Write as _;
            // Nobody is left to be told.
            let _ = writeln!(std::io::stdout(), $($argument)*);
        }
    }};
}
