//! The address of an upstream host, for the proxy, through the nameservers of
//! the original resolv.conf: the system's own resolver would ask us.
