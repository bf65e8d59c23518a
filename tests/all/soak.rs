//! A sample of `cargo x soak`: the scenarios that ask most of the ledger, for a few seconds each.

use std::time::Duration;

use leaklab::soak;

#[test]
fn the_memory_limit_holds_whatever_clients_and_destinations_do() {
    let weir = testkit::binary("weir");
    let names = ["refuses", "drip", "empties", "streams", "random"].map(str::to_owned);
    let rows = soak::run(&names, &[64], Some(Duration::from_secs(8)), &weir, &mut |_| Ok(())).unwrap();
    assert_eq!(rows.len(), names.len());
    let failed: Vec<String> = rows.iter().filter(|row| !row.failures.is_empty()).map(|r| r.line()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
