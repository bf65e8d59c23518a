//! What several of the lab's commands read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab::body::Payload;
use crate::lab::plan::{self, Plan};

/// A length of time: `90`, `90s`, `2m`, `1h`, `500ms`.
///
/// # Errors
/// It is none, or not between one second and a week.
pub fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{text}\": the units of time are ms, s, m and h")),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("\"{text}\" is no time"))? * factor;
    if (1.0..=604_800.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("\"{text}\" is not between one second and a week"))
    }
}

/// A plan with what was given beside it.
///
/// # Errors
/// A file cannot be read or is wrong.
pub fn plan(plan: Option<&Path>) -> Result<Plan, String> {
    plan.map_or_else(|| Ok(Plan::default()), Plan::read)
}

/// The payload of the command line, of the plan, or the default.
///
/// # Errors
/// The file cannot be read.
pub fn payload(given: Option<&Path>, plan: &Plan) -> Result<Payload, String> {
    let file = given.map(PathBuf::from).or_else(|| plan.payload.as_ref().map(PathBuf::from));
    match file {
        Some(file) if file.as_os_str() == plan::ALERT && given.is_none() => {
            Ok(Payload::new(crate::payload::alert(4_900, 1).into_bytes()))
        }
        Some(file) => Ok(Payload::new(plan::payload(&file)?)),
        None => Ok(Payload::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("2m").unwrap(), duration("120s").unwrap());
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1500));
        for wrong in ["", "s", "3 weeks", "-5s", "0", "1e99s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
