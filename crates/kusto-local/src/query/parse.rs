//! The text of a query to its operators.

use super::expression::{Compared, Expression};
use crate::engine::mapping::Step;
use crate::engine::schema::entity_name;

/// A table and what is done with its rows.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) table: String,
    pub(crate) operators: Vec<Operator>,
}

/// One step of a query.
#[derive(Debug)]
pub(crate) enum Operator {
    Count,
    Take(u64),
    Where(Expression),
    Project(Vec<(String, Expression)>),
    /// With `true` for ascending.
    Order(Vec<(Expression, bool)>),
    /// The name of the count, and what is counted by.
    Summarize(String, Vec<(String, Expression)>),
}

/// Reads a query. The error is a sentence for a person.
pub(crate) fn query(text: &str) -> Result<Query, String> {
    let text = text.trim().trim_end_matches(';').trim_end();
    let (table, rest) = match split_pipe(text) {
        Some((table, rest)) => (table, Some(rest)),
        None => (text, None),
    };
    let table = entity_name(table)
        .map_err(|message| format!("{message}; kusto-local's queries begin with a table"))?;
    let operators = rest.map_or_else(|| Ok(Vec::new()), operators)?;
    Ok(Query { table, operators })
}

/// Reads `a | b | c`.
pub(crate) fn operators(text: &str) -> Result<Vec<Operator>, String> {
    let mut rest = Some(text);
    let mut operators = Vec::new();
    while let Some(text) = rest {
        let (one, behind) = match split_pipe(text) {
            Some((one, behind)) => (one, Some(behind)),
            None => (text, None),
        };
        operators.push(operator(one.trim().trim_end_matches(';'))?);
        rest = behind;
    }
    Ok(operators)
}

/// The text before the first `|` outside of quotes, and behind it.
pub(crate) fn split_pipe(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '|') => return Some((&text[..at], &text[at + 1..])),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn operator(text: &str) -> Result<Operator, String> {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let mut parser = Parser::new(rest)?;
    let operator = match name {
        "count" => Operator::Count,
        "take" | "limit" => match parser.next() {
            Some(Token::Number(number)) => {
                Operator::Take(number.parse().map_err(|_| format!("'{number}' is no number of rows"))?)
            }
            _ => return Err(format!("'{}' is no number of rows", rest.trim())),
        },
        "where" | "filter" => Operator::Where(parser.any()?),
        "project" => Operator::Project(parser.named()?),
        "order" | "sort" => {
            parser.word("by")?;
            Operator::Order(parser.ordered()?)
        }
        "summarize" => parser.summarize()?,
        _ => return Err(format!("kusto-local does not support the operator '{name}'")),
    };
    match parser.next() {
        None => Ok(operator),
        Some(token) => Err(format!("kusto-local does not support '{token}' in '{name}' as written")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Sign(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Word(text) | Self::Text(text) | Self::Number(text) | Self::Sign(text)) = self;
        formatter.write_str(text)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' | '"' => {
                let end = rest[1..].find(first).ok_or("a quote is not closed")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            c if c.is_ascii_digit() || (c == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':';
                let end = rest[1..].find(|c| !is_part(c)).map_or(rest.len(), |end| end + 1);
                tokens.push(Token::Number(rest[..end].to_owned()));
                end
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = &rest[..end];
                // What stands in these is no expression.
                if ["datetime", "guid"].contains(&word) && rest[end..].starts_with('(') {
                    let close = rest[end..].find(')').ok_or_else(|| format!("{word}( is not closed"))?;
                    tokens.push(Token::Word(word.to_owned()));
                    tokens.push(Token::Text(
                        rest[end + 1..end + close].trim_matches(['\'', '"', ' ']).to_owned(),
                    ));
                    end + close + 1
                } else {
                    tokens.push(Token::Word(word.to_owned()));
                    end
                }
            }
            _ => {
                let two = ["==", "!=", "<=", ">=", "=~", "!~"].into_iter().find(|two| rest.starts_with(two));
                let sign = two.map_or_else(|| first.to_string(), str::to_owned);
                let length = sign.len();
                tokens.push(Token::Sign(sign));
                length
            }
        };
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
}

impl Parser {
    fn new(text: &str) -> Result<Self, String> {
        Ok(Self { tokens: tokens(text)?.into_iter() })
    }

    fn next(&mut self) -> Option<Token> {
        self.tokens.next()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.as_slice().first()
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    /// Takes the sign if it comes next.
    fn took(&mut self, sign: &str) -> bool {
        let comes = matches!(self.peek(), Some(Token::Sign(found)) if found == sign);
        if comes {
            self.next();
        }
        comes
    }

    fn sign(&mut self, sign: &str) -> Result<(), String> {
        if self.took(sign) { Ok(()) } else { Err(self.instead(&format!("'{sign}'"))) }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if self.is_word(word) {
            self.next();
            return Ok(());
        }
        Err(self.instead(&format!("'{word}'")))
    }

    fn instead(&self, expected: &str) -> String {
        match self.peek() {
            Some(token) => format!("expected {expected}, found '{token}'"),
            None => format!("expected {expected} at the end"),
        }
    }

    fn any(&mut self) -> Result<Expression, String> {
        let mut left = self.all()?;
        while self.is_word("or") {
            self.next();
            left = Expression::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.is_word("and") {
            self.next();
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        if self.took("(") {
            let inner = self.any()?;
            self.sign(")")?;
            return Ok(inner);
        }
        let left = self.scalar()?;
        let how = match self.peek() {
            Some(Token::Sign(sign)) => Compared::parse(sign),
            Some(Token::Word(word)) => Compared::parse(word),
            _ => None,
        };
        let Some(how) = how else { return Ok(left) };
        self.next();
        Ok(Expression::Compare(how, Box::new(left), Box::new(self.scalar()?)))
    }

    fn scalar(&mut self) -> Result<Expression, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Expression::text(&text)),
            Some(Token::Number(text)) => Expression::number(&text),
            Some(Token::Word(word)) if matches!(self.peek(), Some(Token::Sign(sign)) if sign == "(") => {
                self.next();
                let inner = self.any()?;
                self.sign(")")?;
                Expression::function(&word, inner)
            }
            Some(Token::Word(word)) if word == "true" || word == "false" => {
                Ok(Expression::bool(word == "true"))
            }
            Some(Token::Word(word)) if word == "datetime" || word == "guid" => match self.next() {
                Some(Token::Text(text)) if word == "guid" => Ok(Expression::text(&text.to_ascii_lowercase())),
                Some(Token::Text(text)) => Expression::datetime(&text),
                _ => Err(format!("expected {word}(...)")),
            },
            Some(Token::Word(word)) => self.path(word),
            // A quoted column.
            Some(Token::Sign(sign)) if sign == "[" => match self.next() {
                Some(Token::Text(name)) => {
                    self.sign("]")?;
                    self.path(name)
                }
                _ => Err("expected a quoted name in brackets".to_owned()),
            },
            Some(token) => Err(format!("expected a column or a value, found '{token}'")),
            None => Err("expected a column or a value at the end".to_owned()),
        }
    }

    /// `.a`, `['a']` and `[0]` behind a column.
    fn path(&mut self, column: String) -> Result<Expression, String> {
        let mut steps = Vec::new();
        loop {
            if self.took(".") {
                match self.next() {
                    Some(Token::Word(name)) => steps.push(Step::Member(name)),
                    _ => return Err(self.instead("a name behind '.'")),
                }
            } else if self.took("[") {
                match self.next() {
                    Some(Token::Text(name)) => steps.push(Step::Member(name)),
                    Some(Token::Number(at)) => {
                        steps.push(Step::Index(at.parse().map_err(|_| format!("'{at}' is no index"))?));
                    }
                    _ => return Err(self.instead("a name or an index in brackets")),
                }
                self.sign("]")?;
            } else {
                return Ok(Expression::Path(column, steps));
            }
        }
    }

    /// `a, b = c`.
    fn named(&mut self) -> Result<Vec<(String, Expression)>, String> {
        let mut named = Vec::new();
        loop {
            let mut name = None;
            if let [Token::Word(word), Token::Sign(sign), ..] = self.tokens.as_slice()
                && sign == "="
            {
                name = Some(word.clone());
                self.next();
                self.next();
            }
            let expression = self.scalar()?;
            named.push((name.unwrap_or_else(|| expression.name()), expression));
            if !self.took(",") {
                return Ok(named);
            }
        }
    }

    fn ordered(&mut self) -> Result<Vec<(Expression, bool)>, String> {
        let mut ordered = Vec::new();
        loop {
            let expression = self.scalar()?;
            let ascending = self.is_word("asc");
            if ascending || self.is_word("desc") {
                self.next();
            }
            ordered.push((expression, ascending));
            if !self.took(",") {
                return Ok(ordered);
            }
        }
    }

    fn summarize(&mut self) -> Result<Operator, String> {
        let mut name = "count_".to_owned();
        if let [Token::Word(word), Token::Sign(sign), ..] = self.tokens.as_slice()
            && sign == "="
        {
            name.clone_from(word);
            self.next();
            self.next();
        }
        if !self.is_word("count") {
            let what = self.peek().map(ToString::to_string).unwrap_or_default();
            return Err(format!("kusto-local's 'summarize' knows 'count()' and no '{what}'"));
        }
        self.next();
        self.sign("(")?;
        self.sign(")")?;
        if self.peek().is_none() {
            return Ok(Operator::Summarize(name, Vec::new()));
        }
        self.word("by")?;
        Ok(Operator::Summarize(name, self.named()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_operator_is_understood() {
        for text in [
            "T",
            "['my T']\n| take 5;",
            "T|limit 0",
            "T | where a == 'x|y' and (b.c['d e'][0] >= -1.5 or not(c != true)) | count",
            "T | where t > datetime(2026-11-23T10:00:00Z) and g == guid(a0000000-0000-0000-0000-000000000001)",
            "T | project a, b = tostring(log.x), ['q r']",
            "T | order by a asc, b desc, c | summarize n = count() by a, k = log.k | sort by n",
            "T | summarize count()",
        ] {
            query(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        assert_eq!(query("['my T'] | count").unwrap().table, "my T");
        assert!(matches!(query("T | take 7").unwrap().operators[..], [Operator::Take(7)]));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, named) in [
            ("T | extend a = 1", "'extend'"),
            ("T | join U on a", "'join'"),
            ("T | summarize sum(a)", "'sum'"),
            ("T | where strlen(a) > 1", "'strlen'"),
            ("T | where a == 1 between", "'between'"),
            ("T | take x", "no number of rows"),
            ("T | where a == 'x", "quote"),
            ("T | where", "at the end"),
            ("T |", "''"),
            ("print 1", "begin with a table"),
            ("", "begin with a table"),
            ("T | count | count 1", "'1'"),
        ] {
            let error = query(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
