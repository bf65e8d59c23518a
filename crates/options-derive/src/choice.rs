//! `#[derive(Choice)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result};

use crate::attr::{Attr, snake};

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "`Choice` is for enums"));
    };
    let mut names = Vec::new();
    let mut tests = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.span(), "a choice is a name: its variants hold nothing"));
        }
        let Attr { name, aliases, .. } = Attr::read(&variant.attrs, "choice", &["name", "alias"])?;
        let name = name.unwrap_or_else(|| LitStr::new(&snake(&variant.ident), variant.ident.span()));
        let ident = &variant.ident;
        tests.push(quote! {
            if [#name #(, #aliases)*].iter().any(|name| name.eq_ignore_ascii_case(text)) {
                return ::core::result::Result::Ok(Self::#ident);
            }
        });
        names.push(name);
    }
    let name = &input.ident;
    Ok(quote! {
        impl ::options::Value for #name {
            const KIND: ::options::Kind = ::options::Kind::Choice(&[#(#names),*]);

            fn parse(text: &str) -> ::core::result::Result<Self, ::options::Invalid> {
                #(#tests)*
                ::core::result::Result::Err(::options::not_a_choice(text, &[#(#names),*]))
            }
        }
    })
}
