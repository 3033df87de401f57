//! Arithmetics of scores as plain numbers.

/// The highest score; its negative forbids.
pub(crate) const INFINITY: i32 = 1_000_000;

/// The sum: forbidding wins over everything, requiring over the rest.
pub(crate) const fn sum(a: i32, b: i32) -> i32 {
    if a <= -INFINITY || b <= -INFINITY {
        -INFINITY
    } else if a >= INFINITY || b >= INFINITY {
        INFINITY
    } else {
        let sum = a + b; // each is below a million
        if sum >= INFINITY {
            INFINITY
        } else if sum <= -INFINITY {
            -INFINITY
        } else {
            sum
        }
    }
}
