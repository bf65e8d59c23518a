//! Msgpack to metrics.

use event::{Corrupt, Cursor, Token};

use super::{Family, Kind, MOST_LABELS, MOST_OF_FAMILY, MOST_SAMPLES, MOST_TEXT, Sample, Value};

/// Reads the map at the cursor, family by family. What is beyond the bounds of the module is left out, and kinds that
/// are not known; the answer says how many samples that were.
///
/// # Errors
/// [`Corrupt`]: it is no map of metrics.
pub fn decode(cursor: &mut Cursor<'_>, each: impl FnMut(Family)) -> Result<usize, Corrupt> {
    let mut reading = Reading { each, samples: 0, left_out: 0 };
    entries(cursor, |key, cursor| match key {
        "metrics" => {
            for _ in 0..array(cursor)? {
                reading.family(cursor)?;
            }
            Ok(())
        }
        _ => cursor.skip(),
    })?;
    Ok(reading.left_out)
}

struct Reading<E> {
    each: E,
    samples: usize,
    left_out: usize,
}

impl<E: FnMut(Family)> Reading<E> {
    fn family(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let mut family = Family::default();
        let mut known = true;
        entries(cursor, |key, cursor| match key {
            "meta" => {
                known = meta(&mut family, cursor)?;
                Ok(())
            }
            "values" => {
                for _ in 0..array(cursor)? {
                    if known && self.samples < MOST_SAMPLES && family.samples.len() < MOST_OF_FAMILY {
                        family.samples.push(sample(cursor)?);
                        self.samples += 1;
                    } else {
                        cursor.skip()?;
                        self.left_out += 1;
                    }
                }
                Ok(())
            }
            _ => cursor.skip(),
        })?;
        if known && !family.samples.is_empty() {
            (self.each)(family);
        }
        Ok(())
    }
}

/// Reads what is said of all samples; answers whether the kind is known.
fn meta(family: &mut Family, cursor: &mut Cursor<'_>) -> Result<bool, Corrupt> {
    let mut known = false;
    entries(cursor, |key, cursor| match key {
        "type" => {
            known = true;
            match unsigned(cursor)? {
                0 => family.kind = Kind::Counter,
                1 => family.kind = Kind::Gauge,
                2 => family.kind = Kind::Histogram,
                4 => family.kind = Kind::Untyped,
                _ => known = false,
            }
            Ok(())
        }
        "opts" => entries(cursor, |key, cursor| {
            let into = match key {
                "ns" => &mut family.namespace,
                "ss" => &mut family.subsystem,
                "name" => &mut family.name,
                "desc" => &mut family.help,
                _ => return cursor.skip(),
            };
            *into = string(cursor)?;
            Ok(())
        }),
        "labels" => {
            family.labels = list(cursor, string)?;
            Ok(())
        }
        "buckets" => {
            family.bounds = list(cursor, float)?;
            Ok(())
        }
        _ => cursor.skip(),
    })?;
    Ok(known)
}

fn sample(cursor: &mut Cursor<'_>) -> Result<Sample, Corrupt> {
    let mut sample = Sample { time: 0, labels: Vec::new(), value: Value::Number(0.0) };
    entries(cursor, |key, cursor| {
        match key {
            "ts" => sample.time = unsigned(cursor)?,
            "value" => sample.value = Value::Number(float(cursor)?),
            "labels" => sample.labels = list(cursor, string)?,
            "histogram" => sample.value = counts(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(sample)
}

fn counts(cursor: &mut Cursor<'_>) -> Result<Value, Corrupt> {
    let (mut buckets, mut sum, mut count) = (Vec::new(), 0.0, 0);
    entries(cursor, |key, cursor| {
        match key {
            "buckets" => buckets = list(cursor, unsigned)?,
            "sum" => sum = float(cursor)?,
            "count" => count = unsigned(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(Value::Counts { buckets, sum, count })
}

/// Reads a map; each value is left to `read`.
fn entries<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&str, &mut Cursor<'a>) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let Token::Map(count) = cursor.token()? else { return Err(Corrupt) };
    for _ in 0..count {
        let key = string(cursor)?;
        read(&key, cursor)?;
    }
    Ok(())
}

fn array(cursor: &mut Cursor<'_>) -> Result<usize, Corrupt> {
    match cursor.token()? {
        Token::Array(count) => Ok(count),
        _ => Err(Corrupt),
    }
}

/// The first values of an array.
fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<T, Corrupt>,
) -> Result<Vec<T>, Corrupt> {
    let mut values = Vec::new();
    for number in 0..array(cursor)? {
        if number < MOST_LABELS { values.push(read(cursor)?) } else { cursor.skip()? }
    }
    Ok(values)
}

/// A string, cut where it is too long; an empty one where there is none.
fn string(cursor: &mut Cursor<'_>) -> Result<String, Corrupt> {
    match cursor.token()? {
        Token::Str(size) | Token::Bin(size) => {
            let bytes = cursor.copy(size.min(MOST_TEXT))?;
            cursor.pass(size - bytes.len())?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Token::Nil => Ok(String::new()),
        _ => Err(Corrupt),
    }
}

fn unsigned(cursor: &mut Cursor<'_>) -> Result<u64, Corrupt> {
    match cursor.token()? {
        Token::U64(value) => Ok(value),
        Token::I64(_) => Ok(0),
        Token::F64(value) => Ok(value as u64),
        _ => Err(Corrupt),
    }
}

fn float(cursor: &mut Cursor<'_>) -> Result<f64, Corrupt> {
    match cursor.token()? {
        Token::F64(value) => Ok(value),
        Token::F32(value) => Ok(f64::from(value)),
        Token::U64(value) => Ok(value as f64),
        Token::I64(value) => Ok(value as f64),
        _ => Err(Corrupt),
    }
}
