//! What the engine does on real loopback sockets, with receivers that write raw bytes: one suite,
//! run over each transport.

mod http {
    #[cfg(feature = "awc")]
    mod over_awc;
    mod over_http;
}
