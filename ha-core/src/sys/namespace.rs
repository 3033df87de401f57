//! Namespaces: of the calling thread, and of a child that is about to be started.
