//! CARP, the Common Address Redundancy Protocol, as ucarp speaks it.
