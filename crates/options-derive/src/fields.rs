//! `#[derive(Options)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Path, Result};

use crate::attr::{Attr, snake, soundness_test};

const WORDS: &[&str] = &["name", "alias", "default", "min", "max", "required", "flatten", "rules"];

/// What one field adds to the implementation.
struct Parts {
    specs: TokenStream,
    read: TokenStream,
}

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input)?;
    let check = check(input)?;
    let name = &input.ident;
    let parts = fields.iter().copied().map(part).collect::<Result<Vec<_>>>()?;
    let specs = parts.iter().map(|part| &part.specs);
    let reads = parts.iter().map(|part| &part.read);
    let idents: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    // Prefixed, so that a field may be called `reader` or `options`.
    let locals: Vec<_> = idents.iter().map(|ident| format_ident!("field_{}", ident)).collect();
    let check = check.map(|path| quote!(#path(&options, reader);));
    let test = soundness_test(name, quote!(Options));
    Ok(quote! {
        impl ::options::Options for #name {
            fn specs(out: &mut ::std::vec::Vec<::options::Spec>) {
                #(#specs)*
            }

            fn read(reader: &mut ::options::Reader<'_>) -> ::core::option::Option<Self> {
                #(#reads)*
                let options = Self { #(#idents: #locals?),* };
                #check
                ::core::option::Option::Some(options)
            }
        }
        #test
    })
}

fn named_fields(input: &DeriveInput) -> Result<Vec<&Field>> {
    if !input.generics.params.is_empty() {
        return Err(Error::new(input.generics.span(), "options have no generic parameters"));
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter().collect()),
            Fields::Unit => Ok(Vec::new()),
            Fields::Unnamed(fields) => Err(Error::new(fields.span(), "options need names: use named fields")),
        },
        _ => Err(Error::new(
            input.ident.span(),
            "`Options` is for structs; an enum may derive `Rules` or `Choice`",
        )),
    }
}

/// The path in `#[options(check = path)]`.
fn check(input: &DeriveInput) -> Result<Option<Path>> {
    let mut check = None;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("options")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("check") {
                return Err(meta.error("expected `check = path`"));
            }
            check = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(check)
}

fn part(field: &Field) -> Result<Parts> {
    let ident = field.ident.as_ref().ok_or_else(|| Error::new(field.span(), "options need names"))?;
    let attr = Attr::read(&field.attrs, "option", WORDS)?;
    let local = format_ident!("field_{}", ident);
    let ty = &field.ty;
    if attr.flatten || attr.rules {
        nothing_else(field, &attr)?;
        if attr.flatten {
            let specs = quote_spanned!(ty.span()=> <#ty as ::options::Options>::specs(out););
            let read = quote!(let #local = <#ty as ::options::Options>::read(reader););
            return Ok(Parts { specs, read });
        }
        let rules =
            quote_spanned!(ty.span()=> <<#ty as ::core::iter::IntoIterator>::Item as ::options::Rules>);
        let specs = quote!(#rules::specs(out););
        return Ok(Parts { specs, read: quote!(let #local: ::core::option::Option<#ty> = reader.rules();) });
    }
    if attr.required && attr.default.is_some() {
        return Err(Error::new(field.span(), "a required option is never left out: it has no default"));
    }
    let item = quote_spanned!(ty.span()=> <#ty as ::options::Field>::Item);
    let parse = if attr.min.is_some() || attr.max.is_some() {
        quote_spanned!(ty.span()=> ::options::ranged::<#item>)
    } else {
        quote_spanned!(ty.span()=> ::options::plain::<#item>)
    };
    let fields = attr.spec_fields(&snake(ident));
    let spec = quote! {
        ::options::Spec {
            #fields,
            kind: <#item as ::options::Value>::KIND,
            repeatable: <#ty as ::options::Field>::REPEATABLE,
            check: |spec, text| #parse(spec, text).map(|_| ()),
        }
    };
    let can_be_absent = attr.required || attr.default.is_some();
    let complaint = format!("`{ident}` needs `default` or `required`, or the type `Option<..>`");
    let assertion = quote_spanned! {ty.span()=>
        const _: () = ::core::assert!(#can_be_absent || <#ty as ::options::Field>::OPTIONAL, #complaint);
    };
    let read = quote! {
        #assertion
        let #local: ::core::option::Option<#ty> = reader.field(&#spec, #parse);
    };
    Ok(Parts { specs: quote!(out.push(#spec);), read })
}

/// `flatten` and `rules` take everything from the type of the field.
fn nothing_else(field: &Field, attr: &Attr) -> Result<()> {
    let texts = [&attr.name, &attr.default, &attr.min, &attr.max];
    let more = texts.iter().any(|text| text.is_some()) || !attr.aliases.is_empty() || attr.required;
    if more || (attr.flatten && attr.rules) {
        return Err(Error::new(field.span(), "`flatten` and `rules` stand alone"));
    }
    Ok(())
}
