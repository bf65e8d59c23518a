//! The ends of records on their way to Kusto: a stop, a kill and a reload while they are buffered, and records that the
//! cluster refuses for good.

use std::path::Path;

use testkit::{Weir, eventually};

use crate::kusto::{Kusto, TO_KUSTO};

/// A file is only uploaded when it is closed: nothing closes it in time.
fn buffered(folder: &Path) -> [(&'static str, &str); 2] {
    [("buffering_enabled", "on"), ("buffer_dir", folder.to_str().unwrap())]
}

/// The buffer files, without the lock.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("key")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

/// Posts numbered records and waits until they are on disk.
fn post(weir: &Weir, from: usize, to: usize) {
    let before = weir.metric("fluentbit_output_proc_records_total", "azure_kusto.0");
    Kusto::post_numbers(weir, from, to, 10);
    weir.wait_for("fluentbit_output_proc_records_total", "azure_kusto.0", before + (to - from) as u64);
}

#[test]
fn a_stop_uploads_the_file_that_was_written() {
    let (folder, kusto) = (tempfile::tempdir().unwrap(), Kusto::start());
    let weir = kusto.weir_with(TO_KUSTO, &buffered(folder.path()), &[]);
    post(&weir, 0, 100);
    let (_, log) = weir.stop();
    kusto.wait_for_rows(100);
    assert_eq!(kusto.missing_and_more(100), (0, 0));
    assert!(files(folder.path()).is_empty() && !log.contains("the next start uploads"), "{log}");
    kusto.no_complaint();
}

#[test]
fn a_stop_names_the_file_that_the_destination_does_not_take_and_the_next_start_uploads_it() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = TO_KUSTO.replace("flush: 0.3", "flush: 0.3, grace: 2");
    for fault in
        [r#"{"kind":"blob","status":503,"count":100000}"#, r#"{"kind":"blob","hang":true,"count":100000}"#]
    {
        let kusto = Kusto::start();
        kusto.fault(fault);
        let weir = kusto.weir_with(&yaml, &buffered(folder.path()), &[]);
        post(&weir, 0, 100);
        let (_, log) = weir.stop();
        let left = files(folder.path());
        let data = left.iter().find(|name| name.ends_with(".json.gz")).unwrap();
        let said: Vec<_> = log.lines().filter(|line| line.contains("the next start uploads")).collect();
        assert!(matches!(said[..], [line] if line.contains(data)), "{data} is named once:\n{log}");
        let kusto = Kusto::start();
        let weir = kusto.weir_with(TO_KUSTO, &buffered(folder.path()), &[]);
        kusto.wait_for_rows(100);
        weir.stop();
        assert_eq!(kusto.missing_and_more(100), (0, 0));
        assert!(files(folder.path()).is_empty());
    }
}

#[test]
fn a_killed_agent_s_file_is_uploaded_by_the_next_start_together_with_what_comes_then() {
    let (folder, kusto) = (tempfile::tempdir().unwrap(), Kusto::start());
    let weir = kusto.weir_with(TO_KUSTO, &buffered(folder.path()), &[]);
    post(&weir, 0, 100);
    weir.signal(libc::SIGKILL);
    drop(weir);
    assert_eq!(files(folder.path()).len(), 2, "data and journal");
    let weir = kusto.weir_with(TO_KUSTO, &buffered(folder.path()), &[]);
    post(&weir, 100, 200);
    weir.stop();
    kusto.wait_for_rows(200);
    assert_eq!(kusto.missing_and_more(200), (0, 0));
    kusto.no_complaint();
}

#[test]
fn a_reload_hands_the_buffer_folder_over_and_every_record_arrives_once() {
    let (folder, kusto) = (tempfile::tempdir().unwrap(), Kusto::start());
    let yaml = TO_KUSTO.replace("flush: 0.3", "flush: 0.3, hot_reload: on");
    let weir = kusto.weir_with(&yaml, &buffered(folder.path()), &[]);
    let reloads = || {
        let answer: serde_json::Value = serde_json::from_str(&weir.get("/api/v2/reload")).unwrap();
        answer["hot_reload_count"].as_u64().unwrap()
    };
    let rounds = 4;
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| {
            for hundred in 0..20 {
                Kusto::post_numbers(&weir, 100 * hundred, 100 * (hundred + 1), 10);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        for round in 0..rounds {
            weir.signal(libc::SIGHUP);
            eventually("the reload", || (reloads() > round).then_some(()));
        }
        posting.join().unwrap();
    });
    // Two instances of one configuration with the same folder are a mistake, and are told so.
    weir.rewrite(|text| {
        let (head, output) = text.split_once("outputs:\n").unwrap();
        format!("{head}outputs:\n{output}\n{output}")
    });
    weir.signal(libc::SIGHUP);
    eventually("the verdict", || {
        weir.log().contains("give each its own azure_kusto_buffer_key").then_some(())
    });
    let (_, log) = weir.stop();
    kusto.wait_for_rows(2_000);
    assert_eq!(kusto.missing_and_more(2_000), (0, 0));
    assert!(files(folder.path()).is_empty() && !log.contains("the next start uploads"), "{log}");
    kusto.no_complaint();
}

#[test]
fn an_output_that_a_reload_removes_uploads_what_it_has() {
    let (folder, kusto) = (tempfile::tempdir().unwrap(), Kusto::start());
    let yaml = TO_KUSTO.replace("flush: 0.3", "flush: 0.3, hot_reload: on");
    let weir = kusto.weir_with(&yaml, &buffered(folder.path()), &[]);
    post(&weir, 0, 100);
    weir.rewrite(|text| {
        let (head, _) = text.split_once("outputs:\n").unwrap();
        format!("{head}outputs:\n    - {{name: 'null', match: '*'}}\n")
    });
    weir.signal(libc::SIGHUP);
    kusto.wait_for_rows(100);
    eventually("the folder to be empty", || files(folder.path()).is_empty().then_some(()));
    weir.stop();
}

#[test]
fn a_record_that_the_cluster_refuses_for_good_is_kept_as_a_file_and_named_with_the_cluster_s_code() {
    let (folder, kusto) =
        (tempfile::tempdir().unwrap(), Kusto::start_with(|options| options.streaming = true));
    let storage = format!(
        "storage.path: '{}', storage.keep.rejected: on, storage.rejected.path: dead",
        folder.path().display()
    );
    let yaml = TO_KUSTO.replace("flush: 0.3", &format!("flush: 0.3, {storage}"));
    let weir = kusto.weir_with(&yaml, &[("streaming_ingestion_enabled", "on")], &[]);
    kusto.fault(r#"{"kind":"stream","status":400,"code":"Stream_DynamicPropertyBagTooLarge"}"#);
    assert_eq!(weir.connect().post("/bad", br#"{"n":1,"text":"the refused one"}"#).unwrap(), 201);
    weir.wait_for("fluentbit_output_dropped_records_total", "azure_kusto.0", 1);
    assert_eq!(weir.connect().post("/good", br#"{"n":0}"#).unwrap(), 201);
    kusto.wait_for_rows(1);
    let (_, log) = weir.stop();
    assert!(log.contains("Stream_DynamicPropertyBagTooLarge"), "{log}");
    let dead: Vec<_> = std::fs::read_dir(folder.path().join("dead")).unwrap().collect();
    let [Ok(file)] = &dead[..] else { panic!("{dead:?}") };
    assert!(file.file_name().into_string().unwrap().starts_with("bad_400_azure_kusto.0_"));
    let bytes = std::fs::read(file.path()).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("the refused one"));
}
