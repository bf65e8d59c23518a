//! What is computed of a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::value::RawValue;

use crate::engine::mapping::Step;
use crate::engine::rows::below;
use crate::engine::schema::{Column, ColumnType};
use crate::stamp;

/// A value on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    Text(String),
    /// With seven digits of a second in UTC, so that the order of texts is the order of times.
    Time(String),
    /// An object or an array: JSON text.
    Dynamic(String),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    SameText,
    Has,
    Contains,
    StartsWith,
}

impl Compared {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "=~" => Self::SameText,
            "has" => Self::Has,
            "contains" => Self::Contains,
            "startswith" => Self::StartsWith,
            _ => return None,
        })
    }

    fn holds(self, left: &Scalar, right: &Scalar) -> bool {
        let texts = || (left.plain().to_lowercase(), right.plain().to_lowercase());
        match self {
            Self::SameText | Self::Has | Self::Contains | Self::StartsWith => {
                let (left, right) = texts();
                match self {
                    Self::SameText => left == right,
                    Self::Contains => left.contains(&right),
                    Self::StartsWith => left.starts_with(&right),
                    // A word of the text.
                    _ => left.split(|c: char| !c.is_alphanumeric()).any(|word| word == right),
                }
            }
            _ => {
                let Some(order) = left.order(right) else { return self == Self::NotEqual };
                match self {
                    Self::Equal => order == Ordering::Equal,
                    Self::NotEqual => order != Ordering::Equal,
                    Self::Less => order == Ordering::Less,
                    Self::LessOrEqual => order != Ordering::Greater,
                    Self::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                }
            }
        }
    }
}

impl Scalar {
    /// A stored cell.
    fn cell(kind: ColumnType, text: &str) -> Self {
        match (kind, Self::json(text)) {
            (ColumnType::Datetime, Self::Text(text)) => Self::Time(text),
            (_, value) => value,
        }
    }

    fn json(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map_or(Self::Null, Self::Text),
            Some(b'{' | b'[') => Self::Dynamic(text.to_owned()),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') | None => Self::Null,
            _ => match text.parse() {
                Ok(number) => Self::Long(number),
                Err(_) => text.parse().map_or(Self::Null, Self::Real),
            },
        }
    }

    /// As a cell of an answer.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Long(value) => value.to_string(),
            Self::Real(value) => serde_json::Value::from(*value).to_string(),
            Self::Text(text) | Self::Time(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Dynamic(text) => text.clone(),
        }
    }

    /// As `tostring` gives it.
    fn plain(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Text(text) | Self::Time(text) | Self::Dynamic(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_json()),
        }
    }

    fn real(&self) -> Option<f64> {
        match self {
            Self::Long(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// Which comes first; `None` when they cannot be compared.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, Self::Null) => Some(Ordering::Equal),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Long(a), Self::Long(b)) => Some(a.cmp(b)),
            (Self::Long(_) | Self::Real(_), Self::Long(_) | Self::Real(_)) => {
                self.real()?.partial_cmp(&other.real()?)
            }
            (Self::Text(a) | Self::Time(a), Self::Text(b) | Self::Time(b)) => Some(a.cmp(b)),
            (Self::Dynamic(a), Self::Dynamic(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// An expression, by the names of columns or, once it is [`Expression::resolve`]d, by their places.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Literal(Scalar),
    Path(String, Vec<Step>),
    Place(usize, ColumnType, Vec<Step>),
    Compare(Compared, Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Call(Function, Box<Expression>),
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    ToText,
    ToLong,
    ToReal,
    Not,
    IsEmpty,
    IsNotEmpty,
    IsNull,
    IsNotNull,
}

impl Expression {
    pub(crate) fn text(text: &str) -> Self {
        Self::Literal(Scalar::Text(text.to_owned()))
    }

    pub(crate) fn bool(value: bool) -> Self {
        Self::Literal(Scalar::Bool(value))
    }

    pub(crate) fn number(text: &str) -> Result<Self, String> {
        match Scalar::json(text) {
            Scalar::Null => Err(format!("'{text}' is no number")),
            number => Ok(Self::Literal(number)),
        }
    }

    pub(crate) fn datetime(text: &str) -> Result<Self, String> {
        let at = stamp::parse_datetime(text).ok_or_else(|| format!("'{text}' is no datetime"))?;
        Ok(Self::Literal(Scalar::Time(stamp::ticks(at))))
    }

    pub(crate) fn function(name: &str, of: Self) -> Result<Self, String> {
        let function = match name {
            "tostring" => Function::ToText,
            "tolong" | "toint" => Function::ToLong,
            "toreal" | "todouble" => Function::ToReal,
            "not" => Function::Not,
            "isempty" => Function::IsEmpty,
            "isnotempty" => Function::IsNotEmpty,
            "isnull" => Function::IsNull,
            "isnotnull" => Function::IsNotNull,
            _ => return Err(format!("kusto-local does not support the function '{name}'")),
        };
        Ok(Self::Call(function, Box::new(of)))
    }

    /// The column's name in an answer: `log.a` is `log_a` there.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Path(column, steps) => steps.iter().fold(column.clone(), |name, step| match step {
                Step::Member(member) => format!("{name}_{member}"),
                Step::Index(index) => format!("{name}_{index}"),
            }),
            Self::Call(_, of) => of.name(),
            _ => "Column1".to_owned(),
        }
    }

    /// Finds the columns.
    pub(crate) fn resolve(self, columns: &[Column]) -> Result<Self, String> {
        let boxed = |inner: Box<Self>| inner.resolve(columns).map(Box::new);
        Ok(match self {
            Self::Path(name, steps) => {
                let place = columns.iter().position(|column| column.name == name);
                let place =
                    place.ok_or_else(|| format!("SEM0100: Failed to resolve column named '{name}'"))?;
                if !steps.is_empty() && columns[place].kind != ColumnType::Dynamic {
                    return Err(format!("column '{name}' is not dynamic: there is no path into it"));
                }
                Self::Place(place, columns[place].kind, steps)
            }
            Self::Compare(how, left, right) => Self::Compare(how, boxed(left)?, boxed(right)?),
            Self::And(left, right) => Self::And(boxed(left)?, boxed(right)?),
            Self::Or(left, right) => Self::Or(boxed(left)?, boxed(right)?),
            Self::Call(function, of) => Self::Call(function, boxed(of)?),
            other => other,
        })
    }

    /// The type of its values, once resolved.
    pub(crate) fn kind(&self) -> ColumnType {
        match self {
            Self::Place(_, kind, steps) if steps.is_empty() => *kind,
            Self::Place(..) | Self::Path(..) => ColumnType::Dynamic,
            Self::Literal(Scalar::Long(_)) | Self::Call(Function::ToLong, _) => ColumnType::Long,
            Self::Literal(Scalar::Real(_)) | Self::Call(Function::ToReal, _) => ColumnType::Real,
            Self::Literal(Scalar::Time(_)) => ColumnType::Datetime,
            Self::Literal(Scalar::Text(_)) | Self::Call(Function::ToText, _) => ColumnType::String,
            Self::Literal(_) => ColumnType::Bool,
            Self::Compare(..) | Self::And(..) | Self::Or(..) | Self::Call(..) => ColumnType::Bool,
        }
    }

    /// The value for a row.
    pub(crate) fn of(&self, row: &[String]) -> Scalar {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Path(..) => Scalar::Null,
            Self::Place(at, kind, steps) => {
                let text = row.get(*at).map_or("null", String::as_str);
                if steps.is_empty() {
                    return Scalar::cell(*kind, text);
                }
                let raw: Option<&RawValue> = serde_json::from_str(text).ok();
                raw.and_then(|raw| below(raw, steps)).map_or(Scalar::Null, |found| Scalar::json(found.get()))
            }
            Self::Compare(how, left, right) => Scalar::Bool(how.holds(&left.of(row), &right.of(row))),
            Self::And(left, right) => Scalar::Bool(left.holds(row) && right.holds(row)),
            Self::Or(left, right) => Scalar::Bool(left.holds(row) || right.holds(row)),
            Self::Call(function, of) => {
                let value = of.of(row);
                match function {
                    Function::ToText => Scalar::Text(value.plain().into_owned()),
                    Function::ToLong => match value {
                        Scalar::Text(text) => text.trim().parse().map_or(Scalar::Null, Scalar::Long),
                        value => value.real().map_or(Scalar::Null, |real| Scalar::Long(real as i64)),
                    },
                    Function::ToReal => value.real().map_or(Scalar::Null, Scalar::Real),
                    Function::Not => Scalar::Bool(value != Scalar::Bool(true)),
                    Function::IsEmpty => Scalar::Bool(value.plain().is_empty()),
                    Function::IsNotEmpty => Scalar::Bool(!value.plain().is_empty()),
                    Function::IsNull => Scalar::Bool(value == Scalar::Null),
                    Function::IsNotNull => Scalar::Bool(value != Scalar::Null),
                }
            }
        }
    }

    /// Whether a row fits.
    pub(crate) fn holds(&self, row: &[String]) -> bool {
        self.of(row) == Scalar::Bool(true)
    }
}
