//! Trackers: what besides the link decides how much this node wants an address.
