//! What the attributes of a field or variant say.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Result};

/// The content of `#[option(...)]` or `#[choice(...)]`, and the doc comment.
#[derive(Default)]
pub struct Attr {
    pub name: Option<LitStr>,
    pub aliases: Vec<LitStr>,
    pub default: Option<LitStr>,
    pub min: Option<LitStr>,
    pub max: Option<LitStr>,
    pub required: bool,
    pub flatten: bool,
    pub rules: bool,
    pub doc: String,
}

impl Attr {
    /// Reads the attributes called `path`; `allowed` are the words it may hold.
    pub fn read(attributes: &[Attribute], path: &str, allowed: &[&str]) -> Result<Self> {
        let mut attr = Self { doc: doc(attributes), ..Self::default() };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(path)) {
            attribute.parse_nested_meta(|meta| {
                let word = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
                if !allowed.contains(&word.as_str()) {
                    return Err(meta.error(format!("expected one of: {}", allowed.join(", "))));
                }
                let slot = match word.as_str() {
                    "required" => return set(&mut attr.required, meta.path.get_ident()),
                    "flatten" => return set(&mut attr.flatten, meta.path.get_ident()),
                    "rules" => return set(&mut attr.rules, meta.path.get_ident()),
                    "alias" => {
                        attr.aliases.push(meta.value()?.parse()?);
                        return Ok(());
                    }
                    "name" => &mut attr.name,
                    "default" => &mut attr.default,
                    "min" => &mut attr.min,
                    _ => &mut attr.max,
                };
                let value: LitStr = meta.value()?.parse()?;
                match slot.replace(value) {
                    Some(_) => Err(meta.error(format!("`{word}` is given twice"))),
                    None => Ok(()),
                }
            })?;
        }
        Ok(attr)
    }

    /// The fields of a `Spec` that come from attributes alone.
    pub fn spec_fields(&self, name: &str) -> TokenStream {
        let Self { aliases, required, doc, .. } = self;
        let name = self.name.as_ref().map_or_else(|| name.to_owned(), LitStr::value);
        let [default, min, max] = [&self.default, &self.min, &self.max].map(optional);
        quote! {
            name: #name, aliases: &[#(#aliases),*], default: #default, min: #min, max: #max,
            required: #required, doc: #doc
        }
    }
}

fn set(flag: &mut bool, word: Option<&Ident>) -> Result<()> {
    let twice = std::mem::replace(flag, true);
    let span = word.map_or_else(Span::call_site, Ident::span);
    if twice { Err(Error::new(span, "given twice")) } else { Ok(()) }
}

fn optional(text: &Option<LitStr>) -> TokenStream {
    match text {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    }
}

/// The doc comment, one blank less at the start of each line.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

/// `HardRename` as `hard_rename`; the name of a field stays as it is.
pub fn snake(name: &Ident) -> String {
    let name = name.to_string();
    let mut out = String::with_capacity(name.len() + 4);
    for (index, letter) in name.trim_start_matches("r#").chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// A test, in the crate that declares the type, that its table is sound.
pub fn soundness_test(type_name: &Ident, kind: TokenStream) -> TokenStream {
    let test = format_ident!("{}_is_declared_soundly", snake(type_name));
    let text = type_name.to_string();
    quote! {
        #[cfg(test)]
        #[allow(unnameable_test_items)]
        #[test]
        fn #test() {
            let mut specs = ::std::vec::Vec::new();
            <#type_name as ::options::#kind>::specs(&mut specs);
            ::options::assert_sound(#text, &specs);
        }
    }
}
