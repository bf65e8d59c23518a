//! The ways into Kusto, each with more records than one batch has and with everything failing now and then: queued,
//! buffered, streaming; and the identities to do it with.
//!
//! These are samples of minutes-long runs: `cargo x kusto` makes them those runs (docs/kusto.md).

use testkit::{Weir, eventually};

use crate::kusto::{Kusto, TO_KUSTO};

fn count() -> usize {
    let given = std::env::var("WEIR_KUSTO_RECORDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(20_000)
}

const BUFFERED: [(&str, &str); 3] =
    [("buffering_enabled", "on"), ("upload_timeout", "2s"), ("upload_file_size", "20M")];
const STREAMED: [(&str, &str); 1] = [("streaming_ingestion_enabled", "on")];

/// The options of each way, with a folder to buffer in.
fn ways(folder: &str) -> [(&'static str, Vec<(&'static str, &str)>); 3] {
    let buffered = BUFFERED.into_iter().chain([("buffer_dir", folder)]).collect();
    [("queued", Vec::new()), ("buffered", buffered), ("streamed", STREAMED.to_vec())]
}

/// What a run of minutes is done for.
fn print(run: &str, weir: &Weir, kusto: &Kusto, count: usize, since: std::time::Instant) {
    let status = std::fs::read(format!("/proc/{}/status", weir.pid())).unwrap_or_default();
    let status = String::from_utf8_lossy(&status).into_owned();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
    let stats = kusto.ask("/local/stats");
    let (blobs, streams) = (&stats["ingestions"]["succeeded"], &stats["streamed"]["requests"]);
    let (faults, seconds) = (&stats["faults"], since.elapsed().as_secs_f64());
    println!(
        "{run}: {count} records in {seconds:.1} s, {blobs} blobs, {streams} streams, {faults} faults, peak {peak}"
    );
}

fn wait_for_all(kusto: &Kusto, count: u64) {
    let start = std::time::Instant::now();
    loop {
        let rows = kusto.server.rows("Logs").unwrap_or(0);
        if rows >= count {
            return;
        }
        // Fifty thousand records a second in a debug build of both are not much.
        assert!(start.elapsed().as_secs() < 60 + count / 2_000, "{rows} of {count} rows");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn every_way_brings_every_record_exactly_once_and_without_a_complaint() {
    let (count, folder) = (count(), tempfile::tempdir().unwrap());
    for (way, options) in ways(folder.path().to_str().unwrap()) {
        let kusto = Kusto::start_with(|options| options.streaming = true);
        let weir = kusto.weir_with(TO_KUSTO, &options, &[]);
        let since = std::time::Instant::now();
        Kusto::post_numbers(&weir, 0, count, 500);
        wait_for_all(&kusto, count as u64);
        print(way, &weir, &kusto, count, since);
        let (_, log) = weir.stop();
        assert_eq!(kusto.missing_and_more(count), (0, 0), "{way}");
        kusto.no_complaint();
        let stats = kusto.ask("/local/stats");
        assert_eq!(stats["streamed"]["rows"].as_u64() == Some(0), way != "streamed", "{stats}");
        assert!(!log.contains("sig=") && !log.contains("Bearer"), "the log holds no secret");
    }
}

#[test]
fn every_way_loses_nothing_to_a_schedule_of_faults_and_counts_its_duplicates() {
    let (count, folder) = (count(), tempfile::tempdir().unwrap());
    for (way, options) in ways(folder.path().to_str().unwrap()) {
        let kusto = Kusto::start_with(|options| {
            options.streaming = true;
            // Signatures and tokens run out under way.
            options.sas_lifetime = std::time::Duration::from_secs(4);
            options.token_lifetime = std::time::Duration::from_secs(4);
        });
        for fault in [
            r#"{"kind":"token","status":503}"#,
            r#"{"kind":"mgmt","status":429,"skip":1,"retry_after":1}"#,
            r#"{"kind":"mgmt","status":401,"skip":2}"#,
            r#"{"kind":"blob","account":"kustolocal1","reset":true,"count":1000}"#,
            r#"{"kind":"blob","status":503,"count":2,"skip":2}"#,
            r#"{"kind":"blob","hang":true,"skip":3}"#,
            r#"{"kind":"queue","status":500,"count":4,"skip":1}"#,
            r#"{"kind":"queue","status":403,"skip":2}"#,
            r#"{"kind":"stream","status":503,"count":4,"skip":1}"#,
            r#"{"kind":"stream","status":429,"retry_after":1,"skip":2}"#,
            r#"{"kind":"stream","reset":true,"skip":3}"#,
            r#"{"kind":"stream","truncate":true,"skip":4}"#,
        ] {
            kusto.fault(fault);
        }
        let options = [&options[..], &[("io_timeout", "3s")]].concat();
        let weir = kusto.weir_with(TO_KUSTO, &options, &[("FLB_LOG_LEVEL", "trace")]);
        let since = std::time::Instant::now();
        for tenth in 0..10 {
            Kusto::post_numbers(&weir, tenth * count / 10, (tenth + 1) * count / 10, 100);
            std::thread::sleep(std::time::Duration::from_millis(400));
        }
        let records = || weir.metric("fluentbit_output_proc_records_total", "azure_kusto.0");
        eventually("all records to be delivered", || (records() >= count as u64).then_some(()));
        wait_for_all(&kusto, count as u64);
        eventually("every message to be dealt with", || {
            (kusto.ask("/local/stats")["queued"] == 0).then_some(())
        });
        let metrics = weir.get("/api/v1/metrics/prometheus");
        let unknown =
            metrics.lines().find(|line| line.starts_with("weir_azure_kusto_unknown_streams_total{"));
        let unknown: u64 = unknown.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(weir.metric("fluentbit_output_dropped_records_total", "azure_kusto.0"), 0);
        print(&format!("{way} with faults"), &weir, &kusto, count, since);
        let (_, log) = weir.stop();
        let secret = kusto.server.endpoint().client_secret.as_str();
        let leaked = ["sig=", "Bearer ", secret].into_iter().find(|secret| log.contains(secret));
        assert!(log.contains("[debug]") && leaked.is_none(), "every line of the log, and no {leaked:?}");
        let (missing, more) = kusto.missing_and_more(count);
        println!(
            "{way} with faults: {missing} missing, {more} duplicates, {unknown} streams without an answer"
        );
        assert_eq!(missing, 0, "{way}");
        // A stream whose answer was lost may be there twice, and nothing else.
        assert!(
            more == 0 || (way == "streamed" && unknown > 0),
            "{way}: {more} duplicates, {unknown} unknown"
        );
        kusto.no_complaint();
    }
}

#[test]
fn what_is_buffered_outlives_a_kill_and_arrives_exactly_once() {
    let (count, folder) = (count(), tempfile::tempdir().unwrap());
    let dir = folder.path().to_str().unwrap();
    let options = [("buffering_enabled", "on"), ("upload_timeout", "1s"), ("buffer_dir", dir)];
    let kusto = Kusto::start();
    let lives = 4;
    for life in 0..lives {
        let weir = kusto.weir_with(TO_KUSTO, &options, &[]);
        Kusto::post_numbers(&weir, life * count / lives, (life + 1) * count / lives, 100);
        let here = (count / lives) as u64;
        weir.wait_for("fluentbit_output_proc_records_total", "azure_kusto.0", here);
        // Some lives end while a file is written, some while one is uploaded.
        std::thread::sleep(std::time::Duration::from_millis(700 * life as u64));
        weir.signal(libc::SIGKILL);
    }
    let weir = kusto.weir_with(TO_KUSTO, &options, &[]);
    wait_for_all(&kusto, count as u64);
    weir.stop();
    assert_eq!(kusto.missing_and_more(count), (0, 0));
    kusto.no_complaint();
}

/// Whether an alarm is raised.
fn alarm(weir: &Weir, step: &str) -> bool {
    let text = weir.get("/api/v1/metrics/prometheus");
    let name = format!("weir_azure_kusto_alarm{{name=\"azure_kusto.0\",step=\"{step}\"}} 1");
    text.lines().any(|line| line.starts_with(&name))
}

#[test]
fn a_table_that_is_dropped_behind_the_queue_is_noticed_and_what_failed_meanwhile_is_posted_again() {
    let kusto = Kusto::start();
    let weir = kusto.weir_with(TO_KUSTO, &[], &[]);
    Kusto::post_numbers(&weir, 0, 100, 10);
    kusto.wait_for_rows(100);
    kusto.command(".drop table Logs");
    // The queue takes these, and the cluster fails with them.
    Kusto::post_numbers(&weir, 0, 100, 10);
    eventually("the alarm", || alarm(&weir, "table").then_some(()));
    // These are held.
    Kusto::post_numbers(&weir, 100, 200, 10);
    kusto.command(".create table Logs (tag:string, timestamp:datetime, log:dynamic)");
    kusto.wait_for_rows(200);
    eventually("the alarm to be over", || (!alarm(&weir, "table")).then_some(()));
    assert_eq!(kusto.missing_and_more(200), (0, 0));
    assert!(weir.metric("weir_azure_kusto_posted_again_total", "azure_kusto.0") > 0);
    weir.stop();
}

#[test]
fn a_table_that_is_dropped_and_a_permission_that_is_taken_hold_what_flows_until_they_are_back() {
    let kusto = Kusto::start_with(|options| options.streaming = true);
    let weir = kusto.weir_with(TO_KUSTO, &STREAMED, &[]);
    Kusto::post_numbers(&weir, 0, 100, 10);
    kusto.wait_for_rows(100);
    kusto.command(".drop table Logs");
    Kusto::post_numbers(&weir, 0, 100, 10);
    eventually("the alarm", || alarm(&weir, "stream").then_some(()));
    kusto.command(".create table Logs (tag:string, timestamp:datetime, log:dynamic)");
    kusto.command(".alter table Logs policy streamingingestion enable");
    kusto.wait_for_rows(100);
    eventually("the alarm to be over", || (!alarm(&weir, "stream")).then_some(()));

    kusto.command(".drop database local ingestors ('aadapp=x')");
    Kusto::post_numbers(&weir, 100, 200, 10);
    eventually("the alarm", || alarm(&weir, "cluster").then_some(()));
    kusto.command(".add database local ingestors ('aadapp=x')");
    eventually("the rows", || (kusto.server.rows("Logs") >= Some(200)).then_some(()));
    eventually("the alarm to be over", || (!alarm(&weir, "cluster")).then_some(()));
    weir.stop();
    assert_eq!(kusto.missing_and_more(200), (0, 0));
    kusto.no_complaint();
}

/// The configuration without what a service principal needs.
fn without_a_secret() -> String {
    let secret = ["tenant_id:", "client_id:", "client_secret:"];
    let kept = TO_KUSTO.lines().filter(|line| !secret.iter().any(|key| line.trim_start().starts_with(key)));
    kept.collect::<Vec<_>>().join("\n")
}

fn delivers(kusto: &Kusto, weir: Weir, rows: u64) {
    let mut connection = weir.connect();
    assert_eq!(connection.post("/a", b"{}").unwrap(), 201);
    kusto.wait_for_rows(rows);
    let (_, log) = weir.stop();
    let endpoint = kusto.server.endpoint();
    let federated = std::fs::read(&endpoint.federated_token_file).unwrap();
    for secret in [endpoint.client_secret.as_bytes(), &federated] {
        let secret = std::str::from_utf8(secret).unwrap();
        assert!(!log.contains(secret), "the log holds no secret");
    }
}

#[test]
fn a_managed_identity_gets_its_token_from_the_machine_or_from_app_service() {
    let kusto = Kusto::start();
    let endpoint = kusto.server.endpoint().clone();
    let yaml = without_a_secret();
    let machine = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.ingestion_endpoint.as_str())];
    let managed = ("auth_type", "managed_identity");
    delivers(&kusto, kusto.weir_with(&yaml, &[managed], &machine), 1);
    delivers(&kusto, kusto.weir_with(&yaml, &[managed, ("client_id", "system")], &machine), 2);
    delivers(&kusto, kusto.weir_with(&yaml, &[managed, ("client_id", &endpoint.client_id)], &machine), 3);
    let url = format!("{}/msi/token", endpoint.ingestion_endpoint);
    let service = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", endpoint.client_secret.as_str())];
    delivers(&kusto, kusto.weir_with(&yaml, &[managed], &service), 4);
}

#[test]
fn a_workload_identity_reads_its_file_again_whenever_it_needs_a_token() {
    let kusto = Kusto::start_with(|options| options.token_lifetime = std::time::Duration::from_secs(2));
    let endpoint = kusto.server.endpoint().clone();
    let file = endpoint.federated_token_file.to_str().unwrap();
    let (yaml, workload) = (without_a_secret(), ("auth_type", "workload_identity"));
    let from_environment = [
        ("AZURE_TENANT_ID", endpoint.tenant_id.as_str()),
        ("AZURE_CLIENT_ID", &endpoint.client_id),
        ("AZURE_FEDERATED_TOKEN_FILE", file),
    ];
    delivers(&kusto, kusto.weir_with(&yaml, &[workload], &from_environment), 1);
    let options = [
        workload,
        ("tenant_id", &endpoint.tenant_id),
        ("client_id", &endpoint.client_id),
        ("workload_identity_token_file", file),
    ];
    // Each delivery asks for new resources, and so for a token that holds.
    let options = [&options[..], &[("ingestion_resources_refresh_interval", "1")]].concat();
    let weir = kusto.weir_with(&yaml, &options, &[]);
    let mut connection = weir.connect();
    for rows in 2..5 {
        assert_eq!(connection.post("/a", b"{}").unwrap(), 201);
        kusto.wait_for_rows(rows);
        std::fs::write(file, format!("rotated {rows}")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    weir.stop();
}
