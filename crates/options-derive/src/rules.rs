//! `#[derive(Rules)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Result, Type, Variant};

use crate::attr::{Attr, snake, soundness_test};

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "`Rules` is for enums"));
    };
    let name = &input.ident;
    let mut specs = Vec::new();
    let mut arms = Vec::new();
    for (index, variant) in data.variants.iter().enumerate() {
        let ty = value_type(variant)?;
        let ident = &variant.ident;
        let fields = Attr::read(&variant.attrs, "option", &["name", "alias"])?.spec_fields(&snake(ident));
        specs.push(quote! {
            out.push(::options::Spec {
                #fields,
                kind: <#ty as ::options::Value>::KIND,
                repeatable: true,
                check: |_, text| <#ty as ::options::Value>::parse(text).map(|_| ()),
            });
        });
        arms.push(quote!(#index => <#ty as ::options::Value>::parse(text).map(Self::#ident),));
    }
    let test = soundness_test(name, quote!(Rules));
    Ok(quote! {
        impl ::options::Rules for #name {
            fn specs(out: &mut ::std::vec::Vec<::options::Spec>) {
                #(#specs)*
            }

            fn parse(index: usize, text: &str) -> ::core::result::Result<Self, ::options::Invalid> {
                match index {
                    #(#arms)*
                    _ => ::core::result::Result::Err(::options::Invalid::new("no such rule")),
                }
            }
        }
        #test
    })
}

fn value_type(variant: &Variant) -> Result<&Type> {
    match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(&fields.unnamed[0].ty),
        _ => Err(Error::new(variant.span(), "a rule holds exactly one value, as in `Set(Words<2>)`")),
    }
}
