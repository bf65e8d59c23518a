//! The derives of the `options` crate; its documentation shows them at work.
//!
//! * `#[derive(Options)]` on a struct: each field is an option. `#[option(...)]` takes `name = "..."`,
//!   `alias = "..."` (repeatable), `default = "..."`, `min = "..."`, `max = "..."`, `required`, or instead of all
//!   these `flatten` (a nested options struct) or `rules` (a `Vec` of an enum that derives `Rules`).
//!   `#[options(check = path)]` on the struct names a `fn(&Self, &mut Reader<'_>)` for rules between options.
//! * `#[derive(Rules)]` on an enum: each variant is a repeatable option and holds its value. `#[option(...)]`
//!   takes `name` and `alias`.
//! * `#[derive(Choice)]` on an enum of unit variants: the value is one of their names. `#[choice(...)]` takes
//!   `name` and `alias`.
//!
//! A name not given is the name of the field, or of the variant in snake case.

mod attr;
mod choice;
mod fields;
mod rules;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

/// Declares a struct of options.
#[proc_macro_derive(Options, attributes(option, options))]
pub fn derive_options(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    fields::expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Declares repeatable options that act in the order of the file.
#[proc_macro_derive(Rules, attributes(option))]
pub fn derive_rules(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    rules::expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Declares a value that is one of a few names.
#[proc_macro_derive(Choice, attributes(choice))]
pub fn derive_choice(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choice::expand(&input).unwrap_or_else(Error::into_compile_error).into()
}
