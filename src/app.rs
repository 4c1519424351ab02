//! The application: the child process, its user, and the environment it gets.

pub mod proxy_env;
pub mod supervisor;
pub mod user;
