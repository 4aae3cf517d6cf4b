//! What the engine does on real loopback sockets, with receivers that write raw bytes.

mod http {
    mod broken;
    mod crowd;
    mod endless;
    mod hostile;
    mod reuse;
    mod secured;
    mod split;
    pub(crate) mod support;
    mod wire;
}
