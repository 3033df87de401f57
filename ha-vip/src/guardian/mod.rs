//! A second process that ends what a killed one has left: an address must not outlive its router.
