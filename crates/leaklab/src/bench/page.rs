//! docs/benchmarks.md and its charts, from the newest figures of each scenario.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::chart::{self, Group};
use super::config::MEMORY_LIMIT;
use super::sample::{Entry, Run, Sample};
use super::scenario::{GROWING, SCENARIOS};
use super::summary::{self, Comparison, compare, median};
use super::table;
use crate::load::BUSY;

const PAGE: &str = "docs/benchmarks.md";
const CHARTS: &str = "docs/benchmarks";

/// A chart: its file, title, what is better, and the figure; no number where a sample has no bar.
struct Chart {
    file: &'static str,
    title: &'static str,
    note: &'static str,
    value: fn(&Sample) -> f64,
}

const ALL: [Chart; 7] = [
    Chart {
        file: "throughput.svg",
        title: "MB per CPU-second of the agent",
        note: "more is better",
        value: |sample| if is_small(sample) { f64::NAN } else { of_rates(sample, Sample::mb_per_cpu) },
    },
    Chart {
        file: "requests.svg",
        title: "Small requests per CPU-second of the agent",
        note: "more is better",
        value: |sample| if is_small(sample) { sample.requests_per_cpu() } else { f64::NAN },
    },
    Chart {
        file: "latency.svg",
        title: "99 of 100 answers took no longer than, ms",
        note: "less is better",
        value: |sample| of_rates(sample, |sample| sample.latency_ms.p99),
    },
    Chart {
        file: "peak.svg",
        title: "Peak memory, MB",
        note: "less is better",
        value: |sample| of_rates(sample, |sample| sample.rss_peak as f64 / 1e6),
    },
    Chart {
        file: "rested.svg",
        title: "Memory after five seconds of rest, MB",
        note: "less is better",
        value: |sample| of_rates(sample, Sample::rested) / 1e6,
    },
    Chart {
        file: "idle.svg",
        title: "Memory of an idle connection, KiB",
        note: "less is better",
        value: |sample| match sample.held {
            0 => f64::NAN,
            _ => sample.bytes_per_connection() / 1024.0,
        },
    },
    Chart {
        file: "compression.svg",
        title: "How many times smaller the destination got it",
        note: "more is better",
        value: |sample| if sample.sent > 0 { sample.compression() } else { f64::NAN },
    },
];

const CONNECTIONS: Chart = Chart {
    file: "connections.svg",
    title: "Memory by connections that are open, MB",
    note: "less is better",
    value: |_| f64::NAN,
};

/// Requests of one record: their figure is requests, not bytes.
fn is_small(sample: &Sample) -> bool {
    sample.is_about_rates()
        && sample.records == sample.accepted()
        && sample.bytes / sample.records.max(1) < 1_000
}

fn of_rates(sample: &Sample, value: fn(&Sample) -> f64) -> f64 {
    if sample.is_about_rates() { value(sample) } else { f64::NAN }
}

/// Writes the page and its charts.
pub fn write(entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Err("the history has no scenario; cargo x bench measures them".to_owned());
    }
    let (figures, noise) = split(entries);
    let fail = |path: &Path, error| format!("{}: {error}", path.display());
    fs::create_dir_all(CHARTS).map_err(|error| format!("{CHARTS}: {error}"))?;
    let mut shown = Vec::new();
    let charts = ALL.iter().map(|chart| (chart, draw(chart, &figures)));
    for (chart, svg) in charts.chain([(&CONNECTIONS, draw_connections(&figures))]) {
        let path = Path::new(CHARTS).join(chart.file);
        match svg {
            Some(svg) => {
                fs::write(&path, svg).map_err(|error| fail(&path, error))?;
                shown.push(chart);
            }
            // A picture of older figures must not stand beside these.
            None if path.exists() => fs::remove_file(&path).map_err(|error| fail(&path, error))?,
            None => {}
        }
    }
    fs::write(PAGE, text(&figures, &noise, &shown)).map_err(|error| fail(Path::new(PAGE), error))?;
    println!("{PAGE} is made from the newest figures of {} scenarios", entries.len());
    Ok(())
}

/// What the figures are of, and weir against weir. Runs without a peer are figures only where there are no others.
fn split(entries: &[Entry]) -> (Vec<Entry>, Vec<Comparison>) {
    let is_figure = |entry: &&Entry| {
        let with_peer = |other: &Entry| other.scenario == entry.scenario && !other.run.is_only_weir();
        !entry.run.is_only_weir() || !entries.iter().any(with_peer)
    };
    let noise = compare(entries).into_iter().filter(Comparison::is_noise).collect();
    (entries.iter().filter(is_figure).cloned().collect(), noise)
}

/// Every agent that is there, in the order in which they appear.
fn agents(entries: &[Entry]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in entries.iter().flat_map(|entry| &entry.run.agents) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// None: there is nothing to show.
fn draw(chart: &Chart, entries: &[Entry]) -> Option<String> {
    let agents = agents(entries);
    let group = |entry: &Entry| {
        let value = |agent: &String| {
            let found = median(&summary::of(&entry.samples, agent), chart.value);
            (found > 0.0).then_some(found)
        };
        Group { name: entry.scenario.clone(), values: agents.iter().map(value).collect() }
    };
    let groups = entries.iter().map(group).filter(|group| group.values.iter().any(Option::is_some));
    let groups: Vec<Group> = groups.collect();
    (!groups.is_empty()).then(|| chart::bars(chart.title, chart.note, &agents, &groups))
}

fn draw_connections(entries: &[Entry]) -> Option<String> {
    let agents = agents(entries);
    let entry = entries.iter().find(|entry| entry.samples.iter().any(|sample| !sample.growth.is_empty()))?;
    let group = |count: &usize| {
        let value = |agent: &String| {
            let rounds = summary::of(&entry.samples, agent);
            let found = median(&rounds, |sample| sample.with_connections(*count as u64) / 1e6);
            (found > 0.0).then_some(found)
        };
        Group { name: table::number_of(*count as u64), values: agents.iter().map(value).collect() }
    };
    let groups: Vec<Group> = GROWING.iter().map(group).collect();
    Some(chart::bars(CONNECTIONS.title, CONNECTIONS.note, &agents, &groups))
}

fn text(entries: &[Entry], noise: &[Comparison], charts: &[&Chart]) -> String {
    let comparisons: Vec<Comparison> =
        compare(entries).into_iter().filter(|found| !found.is_noise()).collect();
    let mut text = String::from(INTRODUCTION);
    runs(&mut text, entries);
    method(&mut text, entries);
    behind(&mut text, entries, &comparisons);
    if let Some(table) = table::left_out(entries) {
        text.push_str("\n## What has no figures\n\n");
        text.push_str(&table.markdown());
    }
    if !charts.is_empty() {
        text.push_str("\n## Charts\n\nMedians over the rounds.\n");
    }
    for chart in charts {
        let _ = write!(text, "\n![{}](benchmarks/{})\n", chart.title, chart.file);
    }
    text.push_str("\n## Figures\n\nMedians over the rounds; answers are of all rounds together.\n\n");
    text.push_str(&table::figures(entries).markdown());
    text.push_str(COLUMNS);
    if let Some(table) = table::connections(entries) {
        text.push_str("\nMemory of connections that stay open:\n\n");
        text.push_str(&table.markdown());
    }
    text.push_str(RATIOS);
    if comparisons.is_empty() {
        text.push_str("There was no peer.\n");
    } else {
        text.push_str(&table::ratios(&comparisons).markdown());
    }
    against_itself(&mut text, noise);
    text.push_str(ELSEWHERE);
    caveats(&mut text, entries);
    text
}

const INTRODUCTION: &str = "\
# Benchmarks

Made by `cargo x bench` from what it measured; nothing here is written by hand but this text. Figures of a scenario are
all from one run, agents in turn; the newest run of each scenario counts. What was measured in each round is in
[bench/history](../bench/history).
";

const COLUMNS: &str = "
* MB and records are those of requests that were answered 2xx, before compression.
* A CPU-second is one of the agent's own, from the first request until what it had accepted was delivered, or until nothing more was for five seconds. What was accepted and not delivered does not count as work done.
* Peak is the most that was ever resident, end is at the last answer, rested is five seconds after delivery ended (the first round only).
* Smaller by is what the destination got uncompressed, divided by the bytes that were sent to it.
* Delivered is the agent's own count of records its output has delivered, of those accepted.
* Load core is the share of the other core that the generator and the destination used.
";

const RATIOS: &str = "
## Ratios

Weir's figure divided by the other's in the same round: the median of the rounds, the lowest and the highest.

";

/// Found by experiment beside the runs; no run can compute it.
const ELSEWHERE: &str = "
## Beside other machines and days

Compare within a run only. On another virtual machine of two cores the same build of Fluent Bit did 25,600 small requests, 81 MB
of arrays of 100 and 145 MB of trigger bodies per CPU-second under 8 s of load; the first run here had 40,700, 119 and 205. The
length of the load is not why. Alone on the machine, two rounds of each, per CPU-second of Fluent Bit:

| | small requests | arrays of 100, MB | trigger, MB |
|---|---:|---:|---:|
| 1 s of load | 41,400, 36,400 | 107, 103 | 189, 190 |
| 8 s of load | 41,700, 40,500 | 104, 105 | 197, 185 |
| the kernel's part of the time | 54 to 57 % | 10 to 14 % | 10 to 12 % |
| pages touched for the first time in 8 s | 13 MB | 351, 329 MB | 762, 723 MB |
| peak memory after 8 s | 21 MB | 98, 94 MB | 689, 654 MB |

So new pages cost little. What is left, the core, was inferred and not shown by itself. What is mostly the program's own work is 1.3 times as fast here as
there, and copying memory 1.4 times (about 50 GB/s against 36); small requests, more than half of which are the kernel's
work, are 1.6 times as fast: system calls are what differs most. Neither flush 5, nor the monitoring server, nor a busy loop or
a program that copies memory on the same core moved the figures by more than the rounds differ. The peak under trigger bodies
(670 MB there) is the same on both, and grows with the time that the load lasts: the peaks above are those of a second or two.

The load is leaklab's own. In three rounds on a busy machine it sent, per second of its own core, 60,400, 63,500 and 93,000 requests of
HTTP/1.1 where wrk sent 72,700, 82,700 and 87,600: wrk is the cheaper one in two of three. In HTTP/2 it sent 47,700, 54,800 and
60,700 where h2load sent 51,700, 52,300 and 59,800, which is the same. It is used for both because it knows records and
percentiles, and because it is not the bottleneck: the column of the load's core shows that for each scenario.
";

/// The runs that the figures are from, the newest first.
fn runs(text: &mut String, entries: &[Entry]) {
    let mut runs: Vec<&Run> = Vec::new();
    for entry in entries {
        if !runs.contains(&&entry.run) {
            runs.push(&entry.run);
        }
    }
    runs.sort_by(|a, b| b.run.cmp(&a.run));
    text.push_str(
        "\n## The runs\n\n| when | scenarios | rounds | agents | machine |\n|---|---|---|---|---|\n",
    );
    for run in &runs {
        let scenarios = entries.iter().filter(|entry| entry.run == **run);
        let scenarios: Vec<&str> = scenarios.map(|entry| entry.scenario.as_str()).collect();
        let agents: Vec<String> =
            run.agents.iter().map(|(name, version)| format!("{name}: {version}")).collect();
        let machine = &run.machine;
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} s of load | {} | {}, {} cores, {} MB, Linux {}; load average before: {:.2} |",
            run.run,
            scenarios.join(", "),
            run.rounds,
            run.seconds,
            agents.join("<br>"),
            machine.cpu,
            machine.cores,
            machine.memory_mb,
            machine.kernel,
            machine.load_average,
        );
    }
    text.push_str("\nTo repeat:\n\n```\n");
    for run in &runs {
        let _ = writeln!(text, "{}", run.command);
    }
    text.push_str("```\n");
}

fn method(text: &mut String, entries: &[Entry]) {
    let _ = write!(
        text,
        "\nEach agent runs on one core and is started anew for each round; the load, and what it delivers to, run on \
         another, over the loopback interface. The order of the agents is turned around from round to round. Weir has \
         `memory_limit {MEMORY_LIMIT}`, which the others have no equal of; else weir and Fluent Bit run from the same \
         text.\n\n| scenario | what it does |\n|---|---|\n"
    );
    for scenario in
        SCENARIOS.iter().filter(|scenario| entries.iter().any(|entry| entry.scenario == scenario.name))
    {
        let _ = writeln!(text, "| {} | {} |", scenario.name, scenario.about.replace("->", "→"));
    }
}

fn behind(text: &mut String, entries: &[Entry], comparisons: &[Comparison]) {
    text.push_str("\n## Where weir is behind\n\n");
    let found: Vec<&Comparison> = comparisons.iter().filter(|found| found.is_behind()).collect();
    if comparisons.is_empty() {
        text.push_str("No peer was measured, so it does not say.\n");
        return;
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
    let mut lacks = 0;
    for entry in entries {
        let own = entry.run.agents.first().map_or("weir", |(name, _)| name.as_str());
        let peer_has_it = entry.samples.iter().any(|sample| !sample.agent.starts_with("weir"));
        for skipped in entry.skipped.iter().filter(|skipped| skipped.agent == own && peer_has_it) {
            lacks += 1;
            let _ = writeln!(
                text,
                "* {}: weir has no figure ({}), and a peer has",
                entry.scenario, skipped.reason
            );
        }
    }
    if found.is_empty() && lacks == 0 {
        text.push_str("Nowhere in these figures.\n");
    }
}

fn against_itself(text: &mut String, noise: &[Comparison]) {
    text.push_str("\n## Noise\n\n");
    if noise.is_empty() {
        text.push_str("Weir was not measured against itself (`--peer weir=/path/to/weir` does that).\n");
        return;
    }
    text.push_str(
        "Weir against weir, the same figures as above. A ratio to a peer that lies within these is none.\n\n",
    );
    text.push_str(&table::ratios(noise).markdown());
}

/// What the figures themselves cast doubt on.
fn caveats(text: &mut String, entries: &[Entry]) {
    let mut found: Vec<String> = Vec::new();
    for Entry { run, scenario, samples, .. } in entries {
        for (agent, _) in &run.agents {
            let rounds = summary::of(samples, agent);
            let busy = median(&rounds, |sample| of_rates(sample, |sample| sample.load_cpu));
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
    use super::super::sample::Skipped;
    use super::super::summary::tests::entries;
    use super::*;

    #[test]
    fn the_page_says_what_was_measured_and_where_weir_is_behind() {
        let mut entries = entries();
        for sample in entries[0].samples.iter_mut().filter(|sample| sample.agent == "fluent-bit") {
            sample.rss_peak /= 2;
            sample.delivered /= 4;
        }
        entries[1].run.run = "2026-11-24T08:00:00Z".to_owned();
        entries[1].skipped = vec![Skipped { agent: "weir".to_owned(), reason: "has no TLS".to_owned() }];
        let (figures, noise) = split(&entries);
        let page = text(&figures, &noise, &[&ALL[0]]);
        for expected in [
            "| 2026-11-23T20:00:00Z | small | 3 of 5 s of load | weir: 1.0<br>fluent-bit: 1.0<br>weir (2): 1.0 | A & B, 2 cores",
            "| 2026-11-24T08:00:00Z | trigger |",
            "![MB per CPU-second of the agent](benchmarks/throughput.svg)",
            "* small: peak RSS is 2.00 (2.00 to 2.00) times that of fluent-bit",
            "* trigger: weir has no figure (has no TLS), and a peer has",
            "| weir | trigger | has no TLS |",
            "* small: fluent-bit delivered 25.0 % of what it had accepted",
            "| small | weir (2) | 0.98 (0.98 to 0.98) |",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in\n{page}");
        }
        let (_, ratios) = page.split_once("## Ratios").unwrap();
        assert!(!ratios.split("## Noise").next().unwrap().contains("weir (2)"), "{page}");
    }

    #[test]
    fn a_run_without_a_peer_shows_the_noise_and_takes_no_place() {
        let mut entries = entries();
        let mut alone = entries[0].clone();
        alone.run.agents.remove(1);
        entries[0].run.agents.pop();
        entries[1].run.agents = alone.run.agents.clone();
        entries.push(alone.clone());
        let (figures, noise) = split(&entries);
        assert_eq!(figures, entries[..2]);
        let scenarios: Vec<&str> = noise.iter().map(|found| found.scenario.as_str()).collect();
        assert!(scenarios.contains(&"small") && scenarios.contains(&"trigger"), "{scenarios:?}");
    }

    #[test]
    fn a_chart_has_only_scenarios_that_it_is_about() {
        let mut entries = entries();
        for sample in &mut entries[0].samples {
            (sample.records, sample.bytes) = (10, 4_800);
        }
        let svg = draw(&ALL[0], &entries).unwrap();
        assert!(svg.contains(">trigger<") && !svg.contains(">small<"), "{svg}");
        let svg = draw(&ALL[1], &entries).unwrap();
        assert!(!svg.contains(">trigger<") && svg.contains(">small<"), "{svg}");
        assert!(draw(&ALL[5], &entries).is_none() && draw_connections(&entries).is_none());
        entries[1].samples[0].growth = vec![(1, 5_000_000), (10_000, 50_000_000)];
        let svg = draw_connections(&entries).unwrap();
        assert!(svg.contains(">10,000<") && svg.contains(">50.0<"), "{svg}");
    }
}
