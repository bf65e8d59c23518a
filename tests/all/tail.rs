//! Files that are followed.

use testkit::rotation::{End, Kind, Plan, Report, run};
use testkit::{Weir, binary, eventually};

#[test]
fn every_line_comes_out_once_over_rotations_and_stops_and_none_is_missing_over_kills() {
    for kind in [Kind::Rename, Kind::CopyTruncate] {
        for (end, restarts, inotify) in [(End::Stop, 3, true), (End::Stop, 1, false), (End::Kill, 2, true)] {
            let plan = Plan { lines: 20_000, rotations: 5, kind, restarts, end, inotify };
            let folder = tempfile::tempdir().unwrap();
            let report = run(&plan, &binary("weir"), folder.path());
            let repeated = if end == End::Kill { report.repeated } else { 0 };
            assert_eq!(report, Report { repeated, ..Report::default() }, "{plan:?}");
        }
    }
}

#[test]
fn lines_that_wait_for_others_are_joined_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display();
    let configuration = format!(
        "
service: {{flush: 0.1, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}}
pipeline:
  inputs:
    - {{name: tail, path: {shown}/a.log, db: {shown}/tail.db, read_from_head: on, multiline.parser: python}}
  outputs:
    - {{name: stdout, match: '*', format: json_lines, json_date_key: false}}
"
    );
    let trace = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n";
    std::fs::write(folder.path().join("a.log"), format!("before\n{trace}")).unwrap();
    let weir = Weir::start(&configuration);
    eventually("the first record", || weir.output().contains("before").then_some(()));
    let (first, _) = weir.stop();
    std::fs::write(folder.path().join("a.log"), format!("before\n{trace}ValueError: no\nafter\n")).unwrap();
    let weir = Weir::start(&configuration);
    let second = eventually("the joined record", || {
        let output = weir.output();
        output.contains("ValueError").then_some(output)
    });
    weir.stop();
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(second.lines().next().unwrap().contains("Traceback"), "{second}");
}
