//! The name the user most likely meant.

/// The candidate nearest to `given`, when one is near enough to be worth suggesting.
///
/// Distance counts insertions, deletions, substitutions and swaps of neighbours, ignoring case. One slip is
/// allowed for every three letters, at most four; of equally near candidates the first wins.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(MAX_NAME).flat_map(char::to_lowercase).collect();
    let allowed = (given.len() / 3).min(MAX_SLIPS);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().take(MAX_NAME).flat_map(char::to_lowercase).collect();
        if letters.len().abs_diff(given.len()) > allowed {
            continue;
        }
        let distance = distance(&given, &letters);
        if distance <= allowed && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The hint for a mistyped name: `did you mean "host"?`.
pub fn did_you_mean<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(given, candidates).map(|name| format!("did you mean \"{name}\"?"))
}

/// Longer names are compared by their beginning: a file may hold a key of megabytes.
const MAX_NAME: usize = 80;

/// More slips than this is another word, however long it is.
const MAX_SLIPS: usize = 4;

/// Damerau-Levenshtein distance (optimal string alignment), in three rows of memory.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut older: Vec<usize> = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, &left) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &right) in b.iter().enumerate() {
            let changed = previous[j] + usize::from(left != right);
            row[j + 1] = changed.min(previous[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && left == b[j - 1] && a[i - 1] == right;
            if swapped {
                row[j + 1] = row[j + 1].min(older[j - 1] + 1);
            }
        }
        older = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let names = ["host", "port", "match", "http_server.buffer_max_size", "storage.total_limit_size"];
        for (given, wanted) in [
            ("hots", Some("host")),
            ("prot", Some("port")),
            ("Hosts", Some("host")),
            ("http_server.bufer_max_sise", Some("http_server.buffer_max_size")),
            ("storage.total_size_limit", None),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), wanted, "{given}");
        }
    }

    #[test]
    fn the_nearest_wins_and_then_the_first() {
        assert_eq!(nearest("outputs", ["output", "inputs"]), Some("output"));
        assert_eq!(nearest("abd", ["abc", "abe"]), Some("abc"));
        assert_eq!(did_you_mean("hots", ["host"]).as_deref(), Some("did you mean \"host\"?"));
    }

    #[test]
    fn a_key_of_a_megabyte_is_cheap() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, ["host"]), None);
    }
}
