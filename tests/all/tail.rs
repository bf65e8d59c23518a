//! Files that are followed.

use testkit::binary;
use testkit::rotation::{End, Kind, Plan, Report, run};

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
