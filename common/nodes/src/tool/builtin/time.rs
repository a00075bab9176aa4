//! Dify's provider `time`.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, TimeZone as _};
use chrono_tz::Tz;
use flowmill_engine::value::Value;
use flowmill_services::tools::{Form, ParameterKind, ToolError};

use super::strftime::{localized, month, strftime, strptime, weekday as day_of};
use super::{Builtin, Given, Told, Written as _, refused, taken};

/// How times are written and read.
const FORM: &str = "%Y-%m-%d %H:%M:%S";

/// What its tools are for, and what they take.
pub(super) fn describe(tool: Builtin) -> Told {
    use Form::{Form as Set, Llm};
    use ParameterKind::{Number, Text};
    match tool {
        Builtin::CurrentTime => (
            "A tool for getting the current time.",
            vec![
                taken("format", Text, Set, "Time format in strftime standard.")
                    .or("%Y-%m-%d %H:%M:%S"),
                taken("timezone", Text, Set, "Timezone").or("UTC"),
            ],
        ),
        Builtin::TimezoneConversion => (
            "A tool to convert time to equivalent time zone",
            vec![
                taken("current_time", Text, Llm, "current time, like 2024-1-1 0:0:0").must(),
                taken("current_timezone", Text, Llm, "current timezone, like Asia/Shanghai")
                    .must()
                    .or("Asia/Shanghai"),
                taken("target_timezone", Text, Llm, "target timezone, like Asia/Tokyo")
                    .must()
                    .or("Asia/Tokyo"),
            ],
        ),
        Builtin::LocaltimeToTimestamp => (
            "A tool for localtime convert to timestamp",
            vec![
                taken("localtime", Text, Llm, "localtime, such as 2024-1-1 0:0:0").must(),
                taken("timezone", Text, Llm, "Timezone, such as Asia/Shanghai").or("Asia/Shanghai"),
            ],
        ),
        Builtin::TimestampToLocaltime => (
            "A tool for timestamp convert to localtime",
            vec![
                taken("timestamp", Number, Llm, "Timestamp").must(),
                taken("timezone", Text, Llm, "Timezone, such as Asia/Shanghai").or("Asia/Shanghai"),
            ],
        ),
        _ => (
            "A tool for calculating the weekday of a given date by year, month and day.",
            vec![
                taken("year", Number, Llm, "Year").must(),
                taken("month", Number, Llm, "Month").must(),
                taken("day", Number, Llm, "Day").must(),
            ],
        ),
    }
}

pub(super) fn current_time(given: Given<'_>) -> String {
    let zone = given.text_or("timezone", "UTC");
    let format = given.text("format");
    let format = if format.is_empty() { "%Y-%m-%d %H:%M:%S %Z" } else { &*format };
    let Some(zone) = zone_of(&zone) else {
        return format!("Invalid timezone: {zone}");
    };
    strftime(&now().with_timezone(&zone), format)
}

pub(super) fn timezone_conversion(given: Given<'_>) -> Result<String, ToolError> {
    let from = zone(&given.text_or("current_timezone", "Asia/Shanghai"))?;
    let to = zone(&given.text_or("target_timezone", "Asia/Tokyo"))?;
    let local = strptime(&given.text("current_time")).map_err(refused)?;
    Ok(strftime(&localized(local, from).with_timezone(&to), FORM))
}

pub(super) fn localtime_to_timestamp(given: Given<'_>) -> Result<String, ToolError> {
    let zone = zone_or_utc(&given.text_or("timezone", "Asia/Shanghai"))?;
    let local = strptime(&given.text("localtime")).map_err(refused)?;
    Ok(localized(local, zone).timestamp().to_string())
}

pub(super) fn timestamp_to_localtime(given: Given<'_>) -> Result<String, ToolError> {
    let zone = zone_or_utc(&given.text_or("timezone", "Asia/Shanghai"))?;
    let seconds = whole(&given.value("timestamp")).unwrap_or(0);
    let time = DateTime::from_timestamp(seconds, 0);
    let time = time.filter(|time| (1..=9999).contains(&chrono::Datelike::year(time)));
    let time = time.ok_or_else(|| refused("timestamp out of range for platform time_t"))?;
    Ok(strftime(&time.with_timezone(&zone), FORM))
}

pub(super) fn weekday(given: Given<'_>) -> Result<String, ToolError> {
    let [year, month_of, day] = ["year", "month", "day"].map(|name| given.value(name));
    if month_of == Value::None {
        return Err(refused("\u{6708}\u{4efd}\u{4e3a}\u{5fc5}\u{586b}\u{9879}"));
    }
    let date = || {
        let year = i32::try_from(whole(&year)?).ok().filter(|year| (1..=9999).contains(year))?;
        let [month, day] = [&month_of, &day].map(|value| u32::try_from(whole(value)?).ok());
        NaiveDate::from_ymd_opt(year, month?, day?)
    };
    let Some(date) = date() else {
        let [year, month, day] = [year, month_of, day].map(|value| value.to_python());
        return Ok(format!("Invalid date: Year {year}, Month {month}, Day {day}."));
    };
    let (day, year) = (chrono::Datelike::day(&date), chrono::Datelike::year(&date));
    Ok(format!("{} {day}, {year} is {}.", month(date), day_of(date)))
}

fn now() -> DateTime<chrono::Utc> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    chrono::Utc.timestamp_opt(seconds, since.subsec_nanos()).single().unwrap_or_default()
}

/// The whole part of a number.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => number.to_i64(),
        #[expect(clippy::cast_possible_truncation, reason = "no time is as far as that")]
        Value::Float(number) if number.is_finite() => Some(number.floor() as i64),
        _ => None,
    }
}

fn zone_of(name: &str) -> Option<Tz> {
    name.parse().ok()
}

fn zone(name: &str) -> Result<Tz, ToolError> {
    zone_of(name).ok_or_else(|| {
        refused(format!("Invalid timezone: {}", flowmill_engine::value::str_repr(name)))
    })
}

/// Dify takes the server's own zone where none is given; here that is UTC.
fn zone_or_utc(name: &str) -> Result<Tz, ToolError> {
    if name.is_empty() { Ok(Tz::UTC) } else { zone(name) }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::{Object, loads};

    use super::*;

    fn given(json: &str) -> Object {
        match loads(json).unwrap() {
            Value::Object(members) => (*members).clone(),
            other => panic!("{other:?}"),
        }
    }

    type Tool = fn(Given<'_>) -> Result<String, ToolError>;

    #[test]
    fn times_are_converted() {
        let cases: [(Tool, &str, &str); 9] = [
            (
                timezone_conversion,
                r#"{"current_time": "2024-01-01 08:00:00"}"#,
                "2024-01-01 09:00:00",
            ),
            (
                timezone_conversion,
                r#"{"current_time": "2024-1-1 8:0:0", "target_timezone": "Mars/One"}"#,
                "Invalid timezone: 'Mars/One'",
            ),
            (localtime_to_timestamp, r#"{"localtime": "2024-01-01 08:00:00"}"#, "1704067200"),
            (localtime_to_timestamp, r#"{"localtime": "x", "timezone": ""}"#, "time data 'x' does"),
            (timestamp_to_localtime, r#"{"timestamp": 1704067200}"#, "2024-01-01 08:00:00"),
            (timestamp_to_localtime, r#"{"timestamp": 1e18}"#, "timestamp out of range"),
            (weekday, r#"{"year": 2024, "month": 2, "day": 29}"#, "February 29, 2024 is Thursday."),
            (
                weekday,
                r#"{"year": 2023, "month": 2, "day": 29}"#,
                "Invalid date: Year 2023, Month 2, Day 29.",
            ),
            (weekday, r#"{"year": 2023, "day": 29}"#, "\u{6708}\u{4efd}"),
        ];
        for (tool, json, wanted) in cases {
            let said = match tool(Given(&given(json))) {
                Ok(said) => said,
                Err(error) => error.to_string(),
            };
            assert!(said.starts_with(wanted), "{json}: {said}");
        }
    }

    #[test]
    fn the_time_now_is_told_in_a_zone() {
        let said = current_time(Given(&given(r#"{"timezone": "Asia/Tokyo", "format": "%Z"}"#)));
        assert_eq!(said, "JST");
        let said = current_time(Given(&given(r#"{"timezone": "x"}"#)));
        assert_eq!(said, "Invalid timezone: x");
        let year = current_time(Given(&given(r#"{"format": "%Y"}"#)));
        assert!(year.parse::<u32>().unwrap() >= 2024);
    }
}
