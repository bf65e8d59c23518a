//! The live page, in Chromium.

use std::process::Command;

use testkit::{Weir, have};

#[test]
fn the_live_page_shows_instances_memory_and_health_at_both_widths() {
    if !have("chromium") {
        return;
    }
    let weir = Weir::start(
        "
service: {flush: 0.1, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - {name: dummy, tag: app, rate: 50}
  outputs:
    - {name: 'null', alias: bin, match: app}
",
    );
    weir.wait_for("fluentbit_output_proc_records_total", "bin", 5);
    let page = weir.get("/ui");
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    for width in ["1280", "390"] {
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=4000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},900"))
            .arg(format!("http://127.0.0.1:{}/ui", weir.admin))
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        for part in ["<td>dummy.0</td>", "<td>bin</td>", "healthy", "<polygon", "budget"] {
            assert!(shown.contains(part), "at {width}: {part} is not in\n{shown}");
        }
    }
    weir.stop();
}
