//! When an X.509 certificate (RFC 5280 section 4.1.2.5) ends.

use ha_core::time::WallTime;

use super::ber::Reader;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last moment at which the certificate (DER) is valid; `None` if it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<WallTime> {
    let mut body = Reader::new(Reader::new(certificate).expect(SEQUENCE)?);
    let mut to_be_signed = Reader::new(body.expect(SEQUENCE)?);
    // The version may be left out; then the serial number, the algorithm and the issuer follow.
    if to_be_signed.element()?.0 == VERSION {
        to_be_signed.element()?;
    }
    to_be_signed.element()?;
    to_be_signed.element()?;
    let mut validity = Reader::new(to_be_signed.expect(SEQUENCE)?);
    validity.element()?;
    let (tag, text) = validity.element()?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, as RFC 5280 restricts them.
fn time(tag: u8, text: &str) -> Option<WallTime> {
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME if digits.len() == 12 => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = year.parse::<i64>().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME if digits.len() == 14 => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let mut rest = rest;
    let mut two = || {
        let (number, others) = rest.split_at_checked(2)?;
        rest = others;
        number.parse::<i64>().ok()
    };
    let (month, day, hour, minute, second) = (two()?, two()?, two()?, two()?, two()?);
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(WallTime::from_micros(seconds * 1_000_000))
}

/// Days from 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms",
/// `days_from_civil`).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ber::element;
    use super::*;

    fn certificate(with_version: bool, tag: u8, end: &str) -> Vec<u8> {
        let dates = [element(UTC_TIME, b"200101000000Z"), element(tag, end.as_bytes())].concat();
        let version = if with_version { element(VERSION, &[2, 1, 2]) } else { Vec::new() };
        let rest = [element(2, &[1]), element(SEQUENCE, &[]), element(SEQUENCE, &[])].concat();
        let signed = [version, rest, element(SEQUENCE, &dates), element(SEQUENCE, &[])].concat();
        element(SEQUENCE, &element(SEQUENCE, &signed))
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (tag, text, expected) in [
            (UTC_TIME, "240229123456Z", "2024-02-29T12:34:56.000000Z"),
            (UTC_TIME, "991231235959Z", "1999-12-31T23:59:59.000000Z"),
            (GENERALIZED_TIME, "20500101000000Z", "2050-01-01T00:00:00.000000Z"),
            (GENERALIZED_TIME, "99991231235959Z", "9999-12-31T23:59:59.000000Z"),
        ] {
            for with_version in [true, false] {
                let end = not_after(&certificate(with_version, tag, text)).expect("a date");
                assert_eq!(end.to_string(), expected);
            }
        }
        for (tag, text) in [(UTC_TIME, "2402291234Z"), (UTC_TIME, "+40229123456Z"), (4, "x")] {
            assert_eq!(not_after(&certificate(true, tag, text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_certificate(bytes: Vec<u8>, text in "[0-9]{12,14}Z") {
            let _none = not_after(&bytes);
            let _some = not_after(&certificate(true, UTC_TIME, &text));
            let _some = not_after(&certificate(true, GENERALIZED_TIME, &text));
        }
    }
}
