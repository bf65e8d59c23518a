use std::fs::{self, TryLockError};

use super::*;
use crate::azure_kusto::options::tests::read;
use crate::testing;
use ::options::{Pos, Section};

fn spool(folder: &Path, pairs: &[(&str, &str)]) -> (Spool, Lines) {
    let dir = folder.to_str().unwrap();
    let options = read(&[&[("buffering_enabled", "on"), ("buffer_dir", dir)], pairs].concat()).unwrap();
    let lines = Lines::new(&options, true);
    // A budget that has room for nothing else.
    let share = rows::BLOCK + Encoder::HELD + 16_384;
    let budget = budget::Budget::new(share, 16_384).unwrap();
    let setup = Setup::alone("kusto.0", budget);
    let section = Section::new("output", Pos::new("t", 1, 1));
    let mut reader = Reader::new(&section);
    let spool = Spool::open(&options.buffer, &lines, Arc::default(), &setup, &mut reader).unwrap();
    spool.start().unwrap();
    (spool, lines)
}

fn plain(name: &Name) -> Vec<u8> {
    let bytes = fs::read(name.data()).unwrap();
    if name.suffix.ends_with(".gz") { testing::gunzip(&bytes) } else { bytes }
}

async fn only(spool: &Spool) -> Name {
    spool.oldest(|_| false).unwrap().expect("a closed file")
}

#[tokio::test]
async fn batches_become_one_member_in_one_file_whatever_their_size() {
    for compression in ["on", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let (spool, lines) = spool(folder.path(), &[("compression_enabled", compression)]);
        let long = format!(r#"{{"text":"{}"}}"#, testing::random_hex(300_000));
        for (id, records) in [(1, vec![r#"{"a":1}"#, "{}"]), (2, vec![&*long]), (3, vec![r#"{"b":2}"#; 500])]
        {
            assert_eq!(spool.append(&lines, &testing::batch_with_id(id, "t", &records)).await, Outcome::Done);
        }
        assert!(spool.oldest(|_| false).unwrap().is_none(), "it is still written");
        spool.close(&mut *spool.active.lock().await);
        let name = only(&spool).await;
        let text = String::from_utf8(plain(&name)).unwrap();
        assert_eq!((text.lines().count(), name.id), (503, 1));
        assert!(text.lines().nth(2).unwrap().contains(&long));
        let closed = name.said().unwrap().closed.unwrap();
        assert_eq!((closed.raw, closed.records), (text.len() as u64, 503));
        spool.remove(&name).unwrap();
        assert_eq!(spool.counts.buffered.load(Ordering::Relaxed), 0);
        assert_eq!(fs::read_dir(folder.path().join("key")).unwrap().count(), 1, "only the lock is left");
    }
}

#[tokio::test]
async fn a_crash_at_any_byte_keeps_exactly_the_batches_that_were_done() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, lines) = spool(folder.path(), &[]);
    let mut done = Vec::new();
    for id in 1..=3 {
        let record = format!(r#"{{"id":{id}}}"#);
        assert_eq!(spool.append(&lines, &testing::batch_with_id(id, "t", &[&record])).await, Outcome::Done);
        let active = spool.active.lock().await;
        done.push(active.as_ref().unwrap().durable);
    }
    let name = spool.active.lock().await.as_ref().unwrap().name.clone();
    let (data, log) = (fs::read(name.data()).unwrap(), fs::read(name.journal()).unwrap());
    drop(spool);
    // The journal is never ahead of the data; the data may be ahead of it by any bytes.
    for end in 0..=log.len() {
        let copy = tempfile::tempdir().unwrap();
        let at = |path: PathBuf| copy.path().join(path.file_name().unwrap());
        let lines = log[..end].iter().filter(|byte| **byte == b'\n').count();
        let durable = if lines == 0 { Mark::default() } else { done[lines - 1] };
        fs::write(at(name.journal()), &log[..end]).unwrap();
        fs::write(at(name.data()), &data[..data.len().min(durable.bytes as usize + end % 7)]).unwrap();
        let found = journal::recover(copy.path()).unwrap();
        assert_eq!(found.len(), usize::from(lines > 0), "{end}");
        if let [name] = &found[..] {
            let text = String::from_utf8(plain(name)).unwrap();
            let ids: Vec<bool> = (1..=3).map(|id| text.contains(&format!("\"id\":{id}"))).collect();
            assert_eq!(ids, [lines > 0, lines > 1, lines > 2], "{end}");
            assert_eq!(name.said().unwrap().closed.unwrap().raw, text.len() as u64);
        }
    }
}

#[tokio::test]
async fn a_file_is_closed_by_its_size_and_the_next_batch_begins_another() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, lines) = spool(folder.path(), &[("upload_file_size", "1M")]);
    let record = format!(r#"{{"text":"{}"}}"#, "x".repeat(400_000));
    for id in 1..=5 {
        assert_eq!(spool.append(&lines, &testing::batch_with_id(id, "t", &[&record])).await, Outcome::Done);
    }
    let names = journal::list(&spool.folder).unwrap();
    assert_eq!(names.iter().map(|name| name.id).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(only(&spool).await.id, 1);
    for name in &names[..2] {
        assert_eq!(plain(name).iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}

#[tokio::test]
async fn a_full_folder_takes_nothing_until_a_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = [("store_dir_limit_size", "1M"), ("compression_enabled", "off"), ("upload_file_size", "1M")];
    let (spool, lines) = spool(folder.path(), &pairs);
    let record = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_100_000));
    let batch = |id| testing::batch_with_id(id, "t", &[&record]);
    assert_eq!(spool.append(&lines, &batch(1)).await, Outcome::Done);
    let refused = spool.append(&lines, &batch(2)).await;
    assert!(
        matches!(&refused, Outcome::Retry { why, .. } if why.contains("store_dir_limit_size")),
        "{refused:?}"
    );
    spool.remove(&only(&spool).await).unwrap();
    assert_eq!(spool.append(&lines, &batch(2)).await, Outcome::Done);
}

#[tokio::test]
async fn a_folder_belongs_to_one_instance() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = spool(folder.path(), &[]);
    let lock = File::create(folder.path().join("key/lock")).unwrap();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    assert!(first.start().unwrap_err().contains("azure_kusto_buffer_key"));
}
