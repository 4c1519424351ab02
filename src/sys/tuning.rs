//! Calls that change speed and memory alone: without them all works the same.

mod allocator;
mod sched;
mod stack;

pub use self::sched::set_sched_batch;
pub use self::stack::release_unused_stack;
