//! The tag of a file.

use event::Tag;

/// A tag in which `*` stands for the file's path: `/` and `:` become dots, dots are not doubled, and neither
/// the first nor the last character is one.
pub(super) fn expand(tag: &str, path: &str) -> Tag {
    let whole = tag.replacen('*', path, 1);
    let mut text = String::with_capacity(whole.len());
    for letter in whole.chars() {
        match letter {
            '/' | '\\' | ':' | '.' if text.ends_with('.') => {}
            '/' | '\\' | ':' if text.is_empty() => {}
            '/' | '\\' | ':' => text.push('.'),
            '*' => {}
            letter => text.push(letter),
        }
    }
    if text.ends_with('.') {
        text.pop();
    }
    let end = text.floor_char_boundary(engine::limits::TAG_BYTES);
    Tag::new(&text[..end])
}

/// A tag in which `<name>` stands for the group of that name; one that did not take part is `_`.
pub(super) fn fill<'a>(tag: &str, group: impl Fn(&str) -> Option<&'a str>) -> Tag {
    let mut text = String::with_capacity(tag.len());
    let mut rest = tag;
    while let Some((before, behind)) = rest.split_once('<')
        && let Some((name, after)) = behind.split_once('>')
    {
        text.push_str(before);
        text.push_str(group(name).unwrap_or("_"));
        rest = after;
    }
    text.push_str(rest);
    let end = text.floor_char_boundary(engine::limits::TAG_BYTES);
    Tag::new(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_the_path_with_dots() {
        for (tag, path, expected) in [
            ("kube.*", "/var/log/containers/a_b-c.log", "kube.var.log.containers.a_b-c.log"),
            ("*", "/var//log/x:y.", "var.log.x.y"),
            ("pre.*.post", "/a/b", "pre.a.b.post"),
        ] {
            assert_eq!(expand(tag, path).as_str(), expected);
        }
    }

    #[test]
    fn groups_fill_a_tag() {
        let group =
            |name: &str| [("pod", "web")].iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        assert_eq!(fill("kube.<pod>.<ns>.log", group).as_str(), "kube.web._.log");
        assert_eq!(fill("a<b", group).as_str(), "a<b");
    }
}
