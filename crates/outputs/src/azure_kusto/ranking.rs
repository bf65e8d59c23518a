//! Which storage account is asked first.
//!
//! Of each account the last minute is remembered: how many requests it served and how many it did not, in six buckets
//! of ten seconds, the newest of which weighs most. Accounts are asked by tiers of their rate (90, 70, 30, 0 %), and
//! within a tier by turns.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use azure_core::http::Url;

const BUCKET: Duration = Duration::from_secs(10);
const BUCKETS: usize = 6;

/// Accounts that are remembered: clusters have a handful.
const ACCOUNTS: usize = 64;

/// What is known of all accounts.
#[derive(Debug, Default)]
pub(super) struct Ranking(Mutex<Vec<Account>>);

#[derive(Debug)]
struct Account {
    name: String,
    /// Served and not served, the newest first.
    buckets: [(u32, u32); BUCKETS],
    /// When the newest bucket began.
    since: Instant,
}

/// The account of a URL: the host, and the first part of the path where that names the account (an emulator, or
/// anything else by address).
fn account_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let by_path = host == "localhost" || host.ends_with(|c: char| c.is_ascii_digit() || c == ']');
    let account =
        url.path_segments().and_then(|mut parts| parts.next()).filter(|_| by_path).unwrap_or_default();
    format!("{host}/{account}")
}

impl Account {
    fn turn(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.since).as_secs() / BUCKET.as_secs();
        if steps == 0 {
            return;
        }
        let steps = usize::try_from(steps).unwrap_or(BUCKETS).min(BUCKETS);
        self.buckets.rotate_right(steps);
        self.buckets[..steps].fill((0, 0));
        self.since = now;
    }

    /// From 0 to 1; what was not asked counts as good.
    fn rate(&self) -> f64 {
        let weights = (1..=BUCKETS as u32).rev();
        let (mut sum, mut of) = (0.0, 0.0);
        for ((served, failed), weight) in self.buckets.iter().zip(weights) {
            let all = served + failed;
            if all > 0 {
                sum += f64::from(weight) * f64::from(*served) / f64::from(all);
                of += f64::from(weight);
            }
        }
        if of == 0.0 { 1.0 } else { sum / of }
    }

    fn tier(&self) -> usize {
        let rate = self.rate();
        [0.9, 0.7, 0.3, 0.0].iter().position(|least| rate >= *least).unwrap_or(3)
    }
}

impl Ranking {
    fn lock(&self) -> MutexGuard<'_, Vec<Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers how a request ended.
    pub(super) fn report(&self, url: &Url, served: bool, now: Instant) {
        let name = account_of(url);
        let mut accounts = self.lock();
        let at = match accounts.iter().position(|account| account.name == name) {
            Some(at) => at,
            None if accounts.len() >= ACCOUNTS => return,
            None => {
                accounts.push(Account { name, buckets: [(0, 0); BUCKETS], since: now });
                accounts.len() - 1
            }
        };
        accounts[at].turn(now);
        let (good, bad) = &mut accounts[at].buckets[0];
        *(if served { good } else { bad }) += 1;
    }

    /// One of the URLs of the best accounts, by turn.
    pub(super) fn pick<'a>(&self, urls: &'a [Url], turn: u128, now: Instant) -> &'a Url {
        let mut accounts = self.lock();
        accounts.iter_mut().for_each(|account| account.turn(now));
        let tier = |url: &Url| {
            let name = account_of(url);
            accounts.iter().find(|account| account.name == name).map_or(0, Account::tier)
        };
        let best = urls.iter().map(tier).min().unwrap_or(0);
        let best: Vec<&Url> = urls.iter().filter(|url| tier(url) == best).collect();
        best[(turn % best.len() as u128) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls() -> Vec<Url> {
        [
            "https://a.blob.core.windows.net/c1",
            "https://b.blob.core.windows.net/c1",
            "https://b.blob.core.windows.net/c2",
        ]
        .map(|url| Url::parse(url).unwrap())
        .to_vec()
    }

    fn picked(ranking: &Ranking, now: Instant) -> Vec<String> {
        let urls = urls();
        let mut picked: Vec<String> = (0..6).map(|turn| ranking.pick(&urls, turn, now).to_string()).collect();
        picked.sort();
        picked.dedup();
        picked
    }

    #[test]
    fn an_account_that_fails_is_passed_over_until_a_minute_without_failures() {
        let (ranking, now, urls) = (Ranking::default(), Instant::now(), urls());
        assert_eq!(picked(&ranking, now).len(), 3, "all have their turn");
        ranking.report(&urls[0], false, now);
        assert!(picked(&ranking, now).iter().all(|url| url.starts_with("https://b.")));
        ranking.report(&urls[1], false, now);
        assert_eq!(picked(&ranking, now).len(), 3, "when all fail alike, all have their turn");
        for seconds in [11, 22, 33] {
            ranking.report(&urls[1], true, now + Duration::from_secs(seconds));
        }
        assert!(
            picked(&ranking, now + Duration::from_secs(33)).iter().all(|url| url.starts_with("https://b."))
        );
        assert_eq!(picked(&ranking, now + Duration::from_secs(64)).len(), 3, "it is forgotten");
    }

    #[test]
    fn the_newest_weighs_most() {
        let (ranking, now, urls) = (Ranking::default(), Instant::now(), urls());
        ranking.report(&urls[0], false, now);
        for seconds in [20, 30, 40, 50] {
            ranking.report(&urls[0], true, now + Duration::from_secs(seconds));
        }
        assert_eq!(picked(&ranking, now + Duration::from_secs(50)).len(), 3);
    }

    #[test]
    fn accounts_are_told_apart_by_host_or_by_path_where_the_host_is_an_address() {
        for (url, expected) in [
            ("https://a.blob.core.windows.net/c?s", "a.blob.core.windows.net/"),
            ("http://127.0.0.1:10000/one/c", "127.0.0.1/one"),
            ("https://localhost:1/two/c", "localhost/two"),
        ] {
            assert_eq!(account_of(&Url::parse(url).unwrap()), expected);
        }
    }
}
