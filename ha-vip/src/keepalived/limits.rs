//! How much a file may hold: enough for 4,080 virtual routers, and an end for everything else.

/// Bytes of one file.
pub(super) const FILE: usize = 4 << 20;
/// Bytes of all files and of what definitions make of them.
pub(super) const BYTES: usize = 16 << 20;
/// Files.
pub(super) const FILES: usize = 1_000;
/// Files that include one another, and definitions that name one another.
pub(super) const DEPTH: usize = 16;
/// Bytes of a pattern of files to be included.
pub(super) const PATTERN: usize = 4_096;
/// What a line costs beside its bytes: half a million lines are the most.
pub(super) const LINE: usize = 32;
/// Words and braces.
pub(super) const WORDS: usize = 1_000_000;
/// Blocks in one another.
pub(super) const NESTING: usize = 16;
