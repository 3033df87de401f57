//! The proleptic Gregorian calendar, counted in days since 1970-01-01.
//!
//! The conversions are Hinnant's ("chrono-compatible low-level date algorithms"); weeks are those
//! of ISO 8601: they start on Monday, and week 1 holds the year's first Thursday.

/// A day as year, month (1–12) and day of the month (1–31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
}

/// Whether the year has a February 29.
pub(super) const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days a month (1–12) has.
pub(super) const fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How many days a year has.
pub(super) const fn year_length(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

/// Days from 1970-01-01 to a day.
pub(super) const fn days(day: Date) -> i64 {
    let year = if day.month <= 2 { day.year - 1 } else { day.year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = if day.month > 2 { day.month - 3 } else { day.month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day.day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The day that is `days` after 1970-01-01.
pub(super) const fn day(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    Date { year, month, day: day_of_year - (153 * shifted_month + 2) / 5 + 1 }
}

/// Days from 1970-01-01 to January 1 of a year.
pub(super) const fn new_year(year: i64) -> i64 {
    days(Date { year, month: 1, day: 1 })
}

/// The day of the week, 1 (Monday) to 7 (Sunday); 1970-01-01 was a Thursday.
pub(super) const fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// Days from 1970-01-01 to the Monday of week 1 of an ISO year: January 4 is always in it.
pub(super) const fn week_one(year: i64) -> i64 {
    let fourth = new_year(year) + 3;
    fourth - (weekday(fourth) - 1)
}

/// How many weeks an ISO year has: 52 or 53.
pub(super) const fn weeks_in(year: i64) -> i64 {
    (week_one(year + 1) - week_one(year)) / 7
}

/// The ISO year and week (1–53) of a day.
pub(super) const fn week(days: i64) -> (i64, i64) {
    let thursday = days - (weekday(days) - 1) + 3;
    let year = day(thursday).year;
    (year, (thursday - new_year(year)) / 7 + 1)
}

/// The moon's phase on a day in eighths, 0 (new) to 7, from the year's epact; right to a day or
/// two.
///
/// The golden number is the year's place in the cycle of 19 years after which the phases fall on
/// the same days; the epact is the moon's age in days when the year begins. Six months of the moon
/// are 177 days, so ages are counted in sixths of a day. It agrees with Pacemaker 2.1.5 on each of
/// 140 days in four years.
pub(super) const fn moon(days: i64) -> i64 {
    let year = day(days).year;
    let yearday = days - new_year(year) + 1;
    let golden = year.rem_euclid(19) + 1;
    let epact = match (11 * golden + 18) % 30 {
        24 => 25,
        25 if golden > 11 => 26,
        epact => epact,
    };
    let sixths = ((yearday + epact) * 6 + 11) % 177;
    sixths / 22 % 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_from_1970_to_2100_follows_the_one_before_it() {
        let mut expected = Date { year: 1970, month: 1, day: 1 };
        let (mut week_day, mut iso) = (4, (1970, 1));
        for number in 0..=new_year(2101) {
            assert_eq!(day(number), expected);
            assert_eq!(days(expected), number);
            assert_eq!(weekday(number), week_day, "{expected:?}");
            assert_eq!(week(number), iso, "{expected:?}");
            let (year, week_of_year) = iso;
            assert_eq!(week_one(year) + (week_of_year - 1) * 7 + week_day - 1, number);
            expected.day += 1;
            if expected.day > month_length(expected.year, expected.month) {
                (expected.month, expected.day) = (expected.month + 1, 1);
            }
            if expected.month > 12 {
                (expected.year, expected.month) = (expected.year + 1, 1);
            }
            week_day = week_day % 7 + 1;
            if week_day == 1 {
                iso.1 += 1;
            }
            if iso.1 > weeks_in(iso.0) {
                iso = (iso.0 + 1, 1);
            }
        }
    }

    #[test]
    fn known_days_of_iso_weeks() {
        let number = |year, month, day| days(Date { year, month, day });
        assert_eq!(week(number(2005, 1, 1)), (2004, 53));
        assert_eq!(week(number(2005, 1, 3)), (2005, 1));
        assert_eq!(week(number(2008, 12, 29)), (2009, 1));
        assert_eq!(week(number(2010, 1, 3)), (2009, 53));
        assert_eq!(week(number(2021, 1, 1)), (2020, 53));
        assert_eq!((weeks_in(2020), weeks_in(2021)), (53, 52));
        assert_eq!(weekday(number(2000, 2, 29)), 2);
    }

    #[test]
    fn leap_years_are_those_of_the_gregorian_calendar() {
        let leap: Vec<i64> =
            [1900, 1904, 2000, 2023, 2024, 2100].into_iter().filter(|y| is_leap(*y)).collect();
        assert_eq!(leap, [1904, 2000, 2024]);
        assert_eq!((new_year(1), new_year(9999)), (-719_162, 2_932_532));
        assert_eq!(year_length(2024) + year_length(2025), 731);
    }

    #[test]
    fn the_moon_was_new_and_full_when_the_sun_and_it_were_eclipsed() {
        let number = |year, month, day| days(Date { year, month, day });
        // The rule of the epact may be an eighth off.
        for day in [(2017, 8, 21), (2024, 4, 8), (1999, 8, 11)] {
            assert!([7, 0, 1].contains(&moon(number(day.0, day.1, day.2))), "{day:?}");
        }
        for day in [(2018, 7, 27), (2022, 11, 8), (2000, 1, 21)] {
            assert!([3, 4, 5].contains(&moon(number(day.0, day.1, day.2))), "{day:?}");
        }
    }

    #[test]
    fn the_moon_is_as_pacemaker_has_it() {
        // Recorded day by day from 2018-12-20 on.
        let recorded = [4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 7, 7, 7, 0, 0, 0, 0, 1, 1];
        let from = days(Date { year: 2018, month: 12, day: 20 });
        let computed: Vec<i64> = (from..).take(recorded.len()).map(moon).collect();
        assert_eq!(computed, recorded);
    }
}
