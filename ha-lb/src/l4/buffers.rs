//! Large buffers, lent while data flow.

use std::sync::{Mutex, PoisonError};

/// The size of a buffer: reads of 64 KiB cost half of what reads of 8 KiB do, a byte.
const SIZE: usize = 64 * 1024;

/// How many free buffers are kept: 4 MiB; more are given back to the allocator.
const KEPT: usize = 64;

/// Free buffers. Those in use are bounded by the number of connections, two for each.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    pub(crate) fn lend(&self) -> Box<[u8]> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
    }

    pub(crate) fn give_back(&self, buffer: Box<[u8]>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // A buffer of another size brought the first bytes of an upgraded connection.
        if free.len() < KEPT && buffer.len() == SIZE {
            free.push(buffer);
        }
    }
}
