//! How many values a field of an options struct holds: one, at most one, or any number.

use crate::value::Value;

/// The type of a field. Every [`Value`] is one; so are `Option` and `Vec` of a value.
pub trait Field: Sized {
    /// The type of each value.
    type Item: Value;
    /// The option may be given more than once.
    const REPEATABLE: bool;
    /// The option may be left out without having a default.
    const OPTIONAL: bool;

    /// The field, from the values given or the default; `None` when there is no value and there must be one.
    fn from_items(items: Vec<Self::Item>) -> Option<Self>;
}

impl<T: Value> Field for T {
    type Item = T;
    const REPEATABLE: bool = false;
    const OPTIONAL: bool = false;

    fn from_items(mut items: Vec<T>) -> Option<Self> {
        items.pop()
    }
}

impl<T: Value> Field for Option<T> {
    type Item = T;
    const REPEATABLE: bool = false;
    const OPTIONAL: bool = true;

    fn from_items(mut items: Vec<T>) -> Option<Self> {
        Some(items.pop())
    }
}

impl<T: Value> Field for Vec<T> {
    type Item = T;
    const REPEATABLE: bool = true;
    const OPTIONAL: bool = true;

    fn from_items(items: Vec<T>) -> Option<Self> {
        Some(items)
    }
}
