//! What the engine does on real loopback sockets, with receivers that write raw bytes.

mod http {
    mod broken;
    mod crowd;
    mod endless;
    mod guarded;
    mod handshakes;
    mod hostile;
    mod oauth2;
    mod reuse;
    mod secured;
    mod signed;
    mod split;
    pub(crate) mod support;
    mod upload;
    mod wire;
}
