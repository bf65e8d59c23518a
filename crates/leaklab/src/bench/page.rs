//! docs/benchmarks.md and its charts, from one run.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::chart::{self, Group};
use super::config::MEMORY_LIMIT;
use super::sample::{Run, Sample};
use super::scenario::SCENARIOS;
use super::summary::{self, Comparison, compare, median};
use super::table;
use crate::load::BUSY;

const PAGE: &str = "docs/benchmarks.md";
const CHARTS: &str = "docs/benchmarks";

/// A chart: its file, title, what is better, and the figure.
struct Chart {
    file: &'static str,
    title: &'static str,
    note: &'static str,
    value: fn(&Sample) -> f64,
    shows: fn(&Sample) -> bool,
}

const ALL: [Chart; 5] = [
    Chart {
        file: "throughput.svg",
        title: "MB per CPU-second of the agent",
        note: "more is better",
        value: Sample::mb_per_cpu,
        shows: |sample| sample.held == 0 && sample.scenario != "small",
    },
    Chart {
        file: "requests.svg",
        title: "Small requests per CPU-second of the agent",
        note: "more is better",
        value: Sample::requests_per_cpu,
        shows: |sample| sample.scenario == "small",
    },
    Chart {
        file: "peak.svg",
        title: "Peak memory, MB",
        note: "less is better",
        value: |sample| sample.rss_peak as f64 / 1e6,
        shows: |_| true,
    },
    Chart {
        file: "rested.svg",
        title: "Memory after five seconds of rest, MB",
        note: "less is better",
        value: |sample| sample.rss_rested as f64 / 1e6,
        shows: |_| true,
    },
    Chart {
        file: "connections.svg",
        title: "Memory of an idle connection, KiB",
        note: "less is better",
        value: |sample| sample.bytes_per_connection() / 1024.0,
        shows: |sample| sample.held > 0,
    },
];

/// Writes the page and the charts of a run.
pub fn write((run, samples): &(Run, Vec<Sample>)) -> Result<(), String> {
    let save = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(CHARTS).map_err(|error| format!("{CHARTS}: {error}"))?;
    let mut shown = Vec::new();
    for chart in &ALL {
        let path = Path::new(CHARTS).join(chart.file);
        match draw(chart, run, samples) {
            Some(svg) => {
                save(&path, &svg)?;
                shown.push(chart);
            }
            // A picture of an older run must not stand beside the figures of this one.
            None if path.exists() => {
                fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            None => {}
        }
    }
    save(Path::new(PAGE), &text(run, samples, &shown))?;
    println!("{PAGE} is made from the run of {}", run.run);
    Ok(())
}

/// None: the run has nothing to show there.
fn draw(chart: &Chart, run: &Run, samples: &[Sample]) -> Option<String> {
    let mut groups = Vec::new();
    for scenario in &run.scenarios {
        let value = |(agent, _): &(String, String)| {
            let rounds = summary::of(samples, scenario, agent);
            rounds.first().is_some_and(|sample| (chart.shows)(sample)).then(|| median(&rounds, chart.value))
        };
        let values: Vec<_> = run.agents.iter().map(value).collect();
        if values.iter().any(Option::is_some) {
            groups.push(Group { name: scenario.clone(), values });
        }
    }
    let agents: Vec<String> = run.agents.iter().map(|(name, _)| name.clone()).collect();
    (!groups.is_empty()).then(|| chart::bars(chart.title, chart.note, &agents, &groups))
}

fn text(run: &Run, samples: &[Sample], charts: &[&Chart]) -> String {
    let comparisons = compare(run, samples);
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo x bench`; every figure is from one run, and only figures of one run can be compared. \
         What was measured in each round is in [bench/history](../bench/history).\n",
    );
    circumstances(&mut text, run);
    behind(&mut text, run, &comparisons);
    if !charts.is_empty() {
        text.push_str("\n## Charts\n\nMedians over the rounds.\n");
    }
    for chart in charts {
        let _ = write!(text, "\n![{}](benchmarks/{})\n", chart.title, chart.file);
    }
    text.push_str("\n## Figures\n\nMedians over the rounds; answers are of all rounds together.\n\n");
    text.push_str(&table::figures(samples, run).markdown());
    text.push_str(COLUMNS);
    text.push_str("\n## Ratios\n\nWeir's figure divided by the other's in the same round: the median of the rounds, the lowest and the highest.\n\n");
    let peers: Vec<Comparison> = comparisons.iter().filter(|found| !found.is_noise()).cloned().collect();
    if peers.is_empty() {
        text.push_str("There was no peer in this run.\n");
    } else {
        text.push_str(&table::ratios(&peers).markdown());
    }
    noise(&mut text, &comparisons);
    caveats(&mut text, run, samples);
    text
}

const COLUMNS: &str = "
* MB and records are those of requests that were answered 2xx.
* A CPU-second is one of the agent's own, from the first request until what it had accepted was delivered, or until nothing more was for five seconds. What was accepted and not delivered does not count as work done.
* Peak is the most that was ever resident, end is at the last answer, rested is five seconds after delivery ended.
* KiB/conn is what each of the connections that were kept open costs after the rest.
* Delivered is the agent's own count of records its output has delivered, of those accepted.
* Load core is the share of the other core that the generator and the destination used.
";

fn circumstances(text: &mut String, run: &Run) {
    let machine = &run.machine;
    let _ = write!(
        text,
        "\n## The run\n\n| | |\n|---|---|\n| when | {} |\n| processor | {}, {} cores, {} MB of memory |\n\
         | kernel | Linux {} |\n| load average before | {:.2} |\n| rounds | {}, agents interleaved, {} s of load each |\n",
        run.run,
        machine.cpu,
        machine.cores,
        machine.memory_mb,
        machine.kernel,
        machine.load_average,
        run.rounds,
        run.seconds
    );
    for (name, version) in &run.agents {
        let _ = writeln!(text, "| {name} | {version} |");
    }
    let _ = write!(
        text,
        "\nTo repeat it:\n\n```\n{}\n```\n\nEach agent runs on one core and is started anew for each round; the load, and what it delivers to, run on \
         another, over the loopback interface. Weir has `memory_limit {MEMORY_LIMIT}`, which the others have no equal of; else weir and Fluent Bit \
         run from the same text.\n\n| scenario | what it does |\n|---|---|\n",
        run.command
    );
    for scenario in SCENARIOS.iter().filter(|scenario| run.scenarios.iter().any(|name| name == scenario.name))
    {
        let _ = writeln!(text, "| {} | {} |", scenario.name, scenario.about.replace("->", "→"));
    }
}

fn behind(text: &mut String, run: &Run, comparisons: &[Comparison]) {
    text.push_str("\n## Where weir is behind\n\n");
    let peers = run.agents.iter().skip(1).any(|(name, _)| !name.starts_with("weir"));
    let found: Vec<&Comparison> =
        comparisons.iter().filter(|found| !found.is_noise() && found.is_behind()).collect();
    if !peers {
        text.push_str("There was no peer in this run, so it does not say.\n");
    } else if found.is_empty() {
        text.push_str("Nowhere in this run.\n");
    }
    for found in &found {
        let uncertain = if found.is_uncertain() { ", not in every round" } else { "" };
        let (scenario, figure, peer) = (&found.scenario, found.metric.name, &found.peer);
        let _ = writeln!(
            text,
            "* {scenario}: {figure} is {} times that of {peer}{uncertain}",
            table::spread(found.ratio)
        );
    }
}

fn noise(text: &mut String, comparisons: &[Comparison]) {
    text.push_str("\n## Noise\n\n");
    let found: Vec<Comparison> = comparisons.iter().filter(|found| found.is_noise()).cloned().collect();
    if found.is_empty() {
        text.push_str(
            "Weir was not measured against itself in this run (`--peer weir=/path/to/weir` does that).\n",
        );
        return;
    }
    text.push_str(
        "Weir against weir, the same figures as above. A ratio to a peer that lies within these is none.\n\n",
    );
    text.push_str(&table::ratios(&found).markdown());
}

fn caveats(text: &mut String, run: &Run, samples: &[Sample]) {
    let mut found: Vec<String> = run.skipped.clone();
    for scenario in &run.scenarios {
        for (agent, _) in &run.agents {
            let rounds = summary::of(samples, scenario, agent);
            let busy = median(&rounds, |sample| sample.load_cpu);
            if busy > BUSY {
                found.push(format!(
                    "{scenario}: load and destination used {:.0} % of their core with {agent}, so its rates are theirs; figures per CPU-second are not affected",
                    busy * 100.0
                ));
            }
            let delivered = median(&rounds, Sample::delivered_share);
            if !rounds.is_empty() && (delivered - 1.0).abs() > 0.001 {
                found.push(format!(
                    "{scenario}: {agent} delivered {:.1} % of what it had accepted",
                    delivered * 100.0
                ));
            }
        }
    }
    if found.is_empty() {
        return;
    }
    text.push_str("\n## What else to know\n\n");
    for line in found {
        let _ = writeln!(text, "* {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::run;
    use super::*;

    #[test]
    fn the_page_says_what_was_measured_and_where_weir_is_behind() {
        let (run, mut samples) = run();
        for sample in samples.iter_mut().filter(|sample| sample.agent == "fluent-bit") {
            sample.rss_peak /= 2;
            sample.delivered /= 4;
        }
        let page = text(&run, &samples, &[&ALL[0]]);
        for expected in [
            "| processor | A & B, 2 cores",
            "![MB per CPU-second of the agent](benchmarks/throughput.svg)",
            "* small: peak RSS is 2.00 (2.00 to 2.00) times that of fluent-bit",
            "* kusto: fluent-bit cannot be pointed at a local Kusto",
            "* small: fluent-bit delivered 25.0 % of what it had accepted",
            "| small | weir (2) | 0.98 (0.98 to 0.98) |",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in\n{page}");
        }
        let (_, ratios) = page.split_once("## Ratios").unwrap();
        assert!(!ratios.split("## Noise").next().unwrap().contains("weir (2)"), "{page}");
    }

    #[test]
    fn a_chart_has_only_scenarios_that_it_is_about() {
        let (run, samples) = run();
        let svg = draw(&ALL[0], &run, &samples).unwrap();
        assert!(svg.contains(">trigger<") && !svg.contains(">small<"), "{svg}");
        assert!(draw(&ALL[4], &run, &samples).is_none());
    }
}
