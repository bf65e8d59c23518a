//! The memory ledger.
//!
//! Every byte that depends on load is charged here before it exists.
//!
//! * [`Budget`]: the bytes the process may spend on load, and the arena of pages that payload lives in.
//! * [`Account`]: one owner (an instance and a purpose) with a guaranteed share and a maximum.
//! * [`Lease`]: an amount charged to an account, paid back when dropped.
//! * [`Buf`]: payload, as a chain of leased pages. It grows by a page, so it never copies what it holds
//!   and never has old and new at once.
//!
//! What holds at any time, checked when something is acquired and never sampled:
//!
//! ```text
//! sum(leases) + free pages still resident + heap <= limit
//! ```
//!
//! where `heap` is what else of the process has become resident since the budget was divided, as far as leases do
//! not pay for it: it is weighed, see [`Weighed`].
//!
//! An account's guarantee is set aside when the account opens, so it can be drawn whatever the others hold.
//! Freed pages stay resident while they are being reused (a fault costs thirty times a copy) and go back to
//! the kernel when they are not: see [`Budget::tick`].
//!
//! The only dependency is `libc`, for `mmap` and `madvise`.

mod arena;
mod buf;
mod heap;
mod ledger;
mod pressure;
mod wait;

pub use buf::{Buf, Mark, Pages};
pub use heap::{Weighed, heap_grew, resident};
pub use ledger::{Account, AccountStat, Budget, BudgetStat, Division, Lease, Share, Ticket};
pub use pressure::Pressure;
pub use wait::Acquire;

/// There is no room now: either the budget or the account's own maximum is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the memory budget has no room")
    }
}

impl std::error::Error for Full {}
