//! Metrics to msgpack.

use std::hash::{DefaultHasher, Hash, Hasher};

use event::msgpack::{map_header, put_str, put_u64};

use super::{Family, Kind, Sample, Value};

/// Appends one map with all families.
pub fn encode(families: &[Family], out: &mut Vec<u8>) {
    map(out, 2);
    put_str(out, "meta");
    map(out, 3);
    put_str(out, "cmetrics");
    map(out, 0);
    put_str(out, "external");
    map(out, 0);
    put_str(out, "processing");
    map(out, 1);
    put_str(out, "static_labels");
    array(out, 0);
    put_str(out, "metrics");
    array(out, families.len());
    for family in families {
        map(out, 2);
        put_str(out, "meta");
        meta(family, out);
        put_str(out, "values");
        array(out, family.samples.len());
        for value in &family.samples {
            sample(family, value, out);
        }
    }
}

fn meta(family: &Family, out: &mut Vec<u8>) {
    let histogram = family.kind == Kind::Histogram;
    map(out, if histogram { 6 } else { 5 });
    put_str(out, "ver");
    put_u64(out, 2);
    put_str(out, "type");
    put_u64(out, number(family.kind));
    put_str(out, "opts");
    map(out, 5);
    for (key, value) in [
        ("ns", family.namespace.as_str()),
        ("ss", &family.subsystem),
        ("name", &family.name),
        ("desc", &family.help),
        ("unit", ""),
    ] {
        put_str(out, key);
        put_str(out, value);
    }
    put_str(out, "labels");
    array(out, family.labels.len());
    family.labels.iter().for_each(|label| put_str(out, label));
    if histogram {
        put_str(out, "buckets");
        array(out, family.bounds.len());
        family.bounds.iter().for_each(|bound| float(out, *bound));
    }
    put_str(out, "aggregation_type");
    // The numbers are sums since the start, or say nothing about it.
    put_u64(out, if family.kind == Kind::Counter { 2 } else { 0 });
}

fn sample(family: &Family, sample: &Sample, out: &mut Vec<u8>) {
    map(out, 4);
    put_str(out, "ts");
    put_u64(out, sample.time);
    match &sample.value {
        Value::Number(value) => {
            put_str(out, "value");
            float(out, *value);
        }
        Value::Counts { buckets, sum, count } => {
            put_str(out, "histogram");
            map(out, 3);
            put_str(out, "buckets");
            array(out, buckets.len());
            buckets.iter().for_each(|bucket| put_u64(out, *bucket));
            put_str(out, "sum");
            float(out, *sum);
            put_str(out, "count");
            put_u64(out, *count);
        }
    }
    put_str(out, "labels");
    array(out, sample.labels.len());
    sample.labels.iter().for_each(|label| put_str(out, label));
    put_str(out, "hash");
    put_u64(out, hash(family, sample));
}

/// A number that is the same for the same labels: readers tell samples of a family apart by it.
fn hash(family: &Family, sample: &Sample) -> u64 {
    if sample.labels.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    (&family.namespace, &family.subsystem, &family.name, &sample.labels).hash(&mut hasher);
    hasher.finish()
}

/// The kinds by their numbers.
pub(super) fn number(kind: Kind) -> u64 {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 2,
        Kind::Untyped => 4,
    }
}

fn map(out: &mut Vec<u8>, entries: usize) {
    let (header, size) = map_header(entries);
    out.extend_from_slice(&header[..size]);
}

fn array(out: &mut Vec<u8>, values: usize) {
    match values {
        0..=15 => out.push(0x90 | values as u8),
        16..=0xffff => {
            out.push(0xdc);
            out.extend_from_slice(&(values as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&(values as u32).to_be_bytes());
        }
    }
}

fn float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}
