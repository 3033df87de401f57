//! The calls of the kernel's watchdog devices.
#![expect(unsafe_code, reason = "an ioctl trusts its caller with the size of what it points to")]

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

/// What a watchdog device says of itself (`struct watchdog_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Info {
    /// What it can, as [`SET_TIMEOUT`] and [`MAGIC_CLOSE`].
    pub options: u32,
    /// The version of its firmware.
    pub firmware_version: u32,
    /// Its name, ended by a zero.
    pub identity: [u8; 32],
}

/// Of [`Info::options`]: the timeout can be set.
pub const SET_TIMEOUT: u32 = 0x0080;
/// Of [`Info::options`]: a `V` before the close stops it.
pub const MAGIC_CLOSE: u32 = 0x0100;

const GET_SUPPORT: Opcode = opcode::read::<Info>(b'W', 0);
const SET_TIMEOUT_CALL: Opcode = opcode::read_write::<i32>(b'W', 6);
const GET_TIMEOUT: Opcode = opcode::read::<i32>(b'W', 7);

/// Asks the device what it is (`WDIOC_GETSUPPORT`).
///
/// # Errors
///
/// The kernel's; `ENOTTY` if `device` is no watchdog.
pub fn info(device: impl AsFd) -> io::Result<Info> {
    // SAFETY: the opcode is that of `WDIOC_GETSUPPORT`, which writes one `struct watchdog_info`,
    // of which `Info` has the layout; any bytes are a valid one.
    unsafe { Ok(ioctl(device, Getter::<GET_SUPPORT, Info>::new())?) }
}

/// The timeout, in seconds (`WDIOC_GETTIMEOUT`).
///
/// # Errors
///
/// As [`info`].
pub fn timeout(device: impl AsFd) -> io::Result<i32> {
    // SAFETY: the opcode is that of `WDIOC_GETTIMEOUT`, which writes one `int`.
    unsafe { Ok(ioctl(device, Getter::<GET_TIMEOUT, i32>::new())?) }
}

/// Sets the timeout, in seconds, and returns the one that the device took
/// (`WDIOC_SETTIMEOUT`).
///
/// # Errors
///
/// As [`info`]; `EINVAL` if the device cannot do so long or so short a time.
pub fn set_timeout(device: impl AsFd, seconds: i32) -> io::Result<i32> {
    let mut value = seconds;
    // SAFETY: the opcode is that of `WDIOC_SETTIMEOUT`, which reads and writes one `int`.
    unsafe { ioctl(device, Updater::<SET_TIMEOUT_CALL, i32>::new(&mut value))? };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of `linux/watchdog.h` as other programs use them (from `strace`).
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_calls_have_the_kernels_numbers() {
        assert_eq!(GET_SUPPORT, 0x8028_5700);
        assert_eq!(SET_TIMEOUT_CALL, 0xc004_5706);
        assert_eq!(GET_TIMEOUT, 0x8004_5707);
    }

    #[test]
    fn what_is_no_watchdog_says_so() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        for error in [
            info(&file).map(|_| ()).expect_err("no watchdog"),
            timeout(&file).map(|_| ()).expect_err("no watchdog"),
            set_timeout(&file, 5).map(|_| ()).expect_err("no watchdog"),
        ] {
            assert_eq!(error.raw_os_error(), Some(25), "ENOTTY: {error}");
        }
    }
}
