//! Times as people read them, in the tenant's zone.

use isthmus_domain::clock::Millis;
use jiff::{Zoned, civil::Date, tz::TimeZone};

/// A time zone by its IANA name.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: TimeZone,
}

impl Zone {
    /// The zone called `name`; UTC where this machine does not know such a zone, and times say so
    /// in their long form.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { zone: TimeZone::get(name).unwrap_or(TimeZone::UTC) }
    }

    fn at(&self, at: Millis) -> Zoned {
        at.timestamp().to_zoned(self.zone.clone())
    }

    /// The calendar day on which `at` falls here.
    #[must_use]
    pub fn day(&self, at: Millis) -> Date {
        self.at(at).date()
    }

    /// `14:02`.
    #[must_use]
    pub fn clock(&self, at: Millis) -> String {
        self.at(at).strftime("%H:%M").to_string()
    }

    /// `14:02`, `yesterday 14:02`, `tomorrow 14:02`, `3 Mar 14:02` or `3 Mar 2025 14:02`.
    #[must_use]
    pub fn short(&self, at: Millis, now: Millis) -> String {
        let clock = self.clock(at);
        match days_from(self.day(now), self.day(at)) {
            0 => clock,
            -1 => format!("yesterday {clock}"),
            1 => format!("tomorrow {clock}"),
            _ => format!("{} {clock}", self.date(at, now)),
        }
    }

    /// `14:02`, `yesterday`, `3 Mar` or `3 Mar 2025`.
    #[must_use]
    pub fn row(&self, at: Millis, now: Millis) -> String {
        match days_from(self.day(now), self.day(at)) {
            0 => self.clock(at),
            -1 => "yesterday".to_owned(),
            1 => "tomorrow".to_owned(),
            _ => self.date(at, now),
        }
    }

    /// `Today`, `Yesterday`, `Monday 3 March` or `Monday 3 March 2025`.
    #[must_use]
    pub fn day_heading(&self, at: Millis, now: Millis) -> String {
        let (day, today) = (self.day(at), self.day(now));
        match days_from(today, day) {
            0 => "Today".to_owned(),
            -1 => "Yesterday".to_owned(),
            _ if day.year() == today.year() => day.strftime("%A %-d %B").to_string(),
            _ => day.strftime("%A %-d %B %Y").to_string(),
        }
    }

    /// `Monday 3 March 2025, 14:02 CET`.
    #[must_use]
    pub fn full(&self, at: Millis) -> String {
        self.at(at).strftime("%A %-d %B %Y, %H:%M %Z").to_string()
    }

    fn date(&self, at: Millis, now: Millis) -> String {
        let day = self.day(at);
        let form = if day.year() == self.day(now).year() { "%-d %b" } else { "%-d %b %Y" };
        day.strftime(form).to_string()
    }
}

/// Days from `today` to `day`: -1 is yesterday.
fn days_from(today: Date, day: Date) -> i32 {
    // Two civil dates are at most 20,000 years apart, which fits; `since` in days cannot overflow.
    today.until(day).map_or(i32::MAX, |span| span.get_days())
}

/// A time as HTML: what machines read, the long form on hovering, the short form in sight.
#[derive(Debug)]
pub struct TimeTag {
    machine: String,
    long: String,
    short: String,
}

impl TimeTag {
    pub(super) fn new(zone: &Zone, at: Millis, short: String) -> Self {
        Self { machine: at.rfc3339(), long: zone.full(at), short }
    }
}

impl std::fmt::Display for TimeTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { machine, long, short } = self;
        write!(f, r#"<time datetime="{machine}" title="{long}">{short}</time>"#)
    }
}

// Digits, English names of days and months and the zone's abbreviation: nothing a person typed.
impl askama::filters::HtmlSafe for TimeTag {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<jiff::Timestamp>().expect("a timestamp").as_millisecond())
    }

    #[test]
    fn times_are_the_tenants_and_near_days_have_names() {
        let zone = Zone::named("Europe/Berlin");
        let now = at("2026-03-03T22:30:00Z");
        assert_eq!(zone.short(at("2026-03-03T13:02:00Z"), now), "14:02");
        assert_eq!(zone.short(at("2026-03-02T22:59:00Z"), now), "yesterday 23:59");
        assert_eq!(zone.short(at("2026-03-03T23:30:00Z"), now), "tomorrow 00:30");
        assert_eq!(zone.short(at("2026-01-05T11:00:00Z"), now), "5 Jan 12:00");
        assert_eq!(zone.row(at("2025-07-05T11:00:00Z"), now), "5 Jul 2025");
        assert_eq!(zone.day_heading(at("2026-03-01T11:00:00Z"), now), "Sunday 1 March");
        assert_eq!(zone.full(at("2026-07-01T11:00:00Z")), "Wednesday 1 July 2026, 13:00 CEST");
    }

    #[test]
    fn the_night_the_clock_changes_has_no_gap() {
        let zone = Zone::named("Europe/Berlin");
        let now = at("2026-03-29T10:00:00Z");
        assert_eq!(zone.short(at("2026-03-29T00:59:00Z"), now), "01:59");
        assert_eq!(zone.short(at("2026-03-29T01:00:00Z"), now), "03:00");
    }

    #[test]
    fn an_unknown_zone_is_utc_and_says_so() {
        let zone = Zone::named("Mars/Olympus");
        assert_eq!(zone.full(at("2026-07-01T11:00:00Z")), "Wednesday 1 July 2026, 11:00 UTC");
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let zone = Zone::named("Pacific/Kiritimati");
        for end in [Millis(i64::MIN), Millis(i64::MAX)] {
            assert!(!zone.short(end, Millis(0)).is_empty());
            assert!(!zone.day_heading(end, Millis(i64::MAX)).is_empty());
        }
    }
}
