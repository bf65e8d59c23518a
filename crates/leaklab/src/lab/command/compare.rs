//! `leaklab compare`: the same plan on two commands, side by side.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use serde_json::json;

use super::{help, options, run, show};
use crate::lab::document::Document;
use crate::lab::figure;

/// Runs both, one after the other; each has half of the budget.
pub fn compare(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let (mut commands, mut urls) = (Vec::new(), Vec::new());
    let (mut payload, mut plan_file, mut out, mut json) = (None, None, None, false);
    let mut budget = Duration::from_secs(240);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("cmd") => commands.push(parser.value()?.string()?),
            Long("url") => urls.push(parser.value()?.string()?),
            Long("payload") => payload = Some(PathBuf::from(parser.value()?)),
            Long("plan") => plan_file = Some(PathBuf::from(parser.value()?)),
            Long("budget") => budget = options::duration(&parser.value()?.string()?)?,
            Long("out") => out = Some(PathBuf::from(parser.value()?)),
            Long("json") => json = true,
            other => return help(other),
        }
    }
    let (2, 1..=2) = (commands.len(), urls.len()) else {
        return Err("compare takes --cmd twice, and --url once or twice".into());
    };
    let plan = options::plan(plan_file.as_deref())?;
    let payload = options::payload(payload.as_deref(), &plan)?;
    crate::process::allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let mut documents = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let url = urls.get(index).or(urls.first()).cloned().unwrap_or_default();
        let log = std::env::temp_dir().join(format!("leaklab-compare-{}-{index}.log", std::process::id()));
        let (document, capture) =
            run::measure(command.clone(), url, payload.clone(), plan.clone(), budget / 2, &log);
        let _gone = std::fs::remove_file(&log);
        if let Some(out) = &out {
            let out = out.join(["first", "second"][index]);
            std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
            run::write(&out, &document, &capture)?;
        }
        documents.push(document);
    }
    if json {
        let both = json!({"first": documents[0], "second": documents[1]});
        show(&format!("{both}\n"))?;
    } else {
        show(&table(&documents[0], &documents[1]))?;
    }
    Ok(documents.iter().map(Document::code).max().unwrap_or(2))
}

/// Factor by factor.
fn table(first: &Document, second: &Document) -> String {
    let mut text = format!("first:  {}\nsecond: {}\n\n", first.sentence, second.sentence);
    text.push_str(&format!("{:<22} {:>26} {:>26}  unit\n", "factor", "first", "second"));
    for row in &first.judgement.factors {
        let other = second
            .judgement
            .factors
            .iter()
            .find(|other| other.factor == row.factor && other.protocol == row.protocol);
        let cell = |row: Option<&crate::lab::judge::Row>| match row {
            Some(row) if row.measured => {
                format!("{}{}", figure::round(row.slope), if row.grows { " GROWS" } else { "" })
            }
            _ => "not measured".to_owned(),
        };
        let name = row
            .protocol
            .as_ref()
            .map_or(row.factor.name().to_owned(), |over| format!("{} ({over})", row.factor.name()));
        text.push_str(&format!("{name:<22} {:>26} {:>26}  {}\n", cell(Some(row)), cell(other), row.unit));
    }
    text
}
