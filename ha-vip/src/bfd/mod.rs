//! Bidirectional Forwarding Detection (RFC 5880, 5881): whether a neighbour is there, within
//! milliseconds.
