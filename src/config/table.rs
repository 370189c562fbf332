//! Settings by key, as a file has them, and how they are taken out one by one.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
    time::Duration,
};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{ConfigErrors, nearest::nearest};
use crate::error::ConfigError;

/// The settings of one service or layer.
///
/// Everything a format can hold is taken in, so that it is `build()`, which knows the keys, that says what is wrong with them.
#[derive(Clone, Default)]
pub(super) struct Table {
    values: BTreeMap<String, Value>,
    twice: Vec<String>,
}

#[derive(Clone)]
enum Value {
    Text(String),
    List(Vec<String>),
    Nothing,
    /// What no setting is made of.
    Other,
}

impl Table {
    fn insert(&mut self, key: String, value: Value) {
        match self.values.entry(key) {
            Entry::Occupied(taken) => self.twice.push(taken.key().clone()),
            Entry::Vacant(free) => drop(free.insert(value)),
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut table = Self::default();
        pairs.into_iter().for_each(|(key, value)| table.insert(key.into(), Value::Text(value.into())));
        table
    }
}

/// The keys alone: somebody may have written a secret where a file's name belongs.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor)
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let mut table = Table::default();
        while let Some((key, value)) = map.next_entry()? {
            table.insert(key, value);
        }
        Ok(table)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(element) = seq.next_element()? {
            match element {
                Value::Text(text) => list.iter_mut().for_each(|list| list.push(text.clone())),
                Value::List(_) | Value::Nothing | Value::Other => list = None,
            }
        }
        Ok(list.map_or(Value::Other, Value::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

// === reading ===

/// A table whose settings are being taken out; collects what is wrong with them.
pub(super) struct Reading {
    values: BTreeMap<String, Value>,
    asked: Vec<&'static str>,
    mistakes: Vec<ConfigError>,
}

impl Reading {
    pub(super) fn new(table: Table) -> Self {
        let twice = |key| ConfigError::conflict(key, "occurs twice");
        Self { values: table.values, asked: Vec::new(), mistakes: table.twice.into_iter().map(twice).collect() }
    }

    /// All that was wrong, with the keys that nobody asked for.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        let known = self.asked.join(", ");
        // The value is left out: it may be a secret under a wrong key.
        let unknown = self.values.into_keys().map(|key| {
            let why = match nearest(&key, &self.asked) {
                Some(meant) => format!("unknown key; did you mean {meant}?"),
                None => format!("unknown key; known keys: {known}"),
            };
            ConfigError::invalid("setting", key, why)
        });
        self.mistakes.extend(unknown);
        ConfigErrors::check(self.mistakes)
    }

    /// How many there were so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    pub(super) fn fail(&mut self, mistake: ConfigError) {
        self.mistakes.push(mistake);
    }

    /// The value of a step that concerns one key; its error is noted under that key.
    pub(super) fn check<T>(&mut self, key: &str, step: Result<T, ConfigError>) -> Option<T> {
        step.map_err(|error| self.mistakes.push(under(key, error))).ok()
    }

    /// Whichever of two names of one setting is there.
    pub(super) fn either(&mut self, key: &'static str, other: &'static str) -> &'static str {
        match (self.values.contains_key(key), self.values.contains_key(other)) {
            (true, true) => {
                self.values.remove(other);
                self.exclude(key, other);
                key
            }
            (false, true) => {
                self.asked.push(key);
                other
            }
            _ => {
                self.asked.push(other);
                key
            }
        }
    }

    pub(super) fn exclude(&mut self, key: &str, other: &str) {
        self.mistakes.push(ConfigError::conflict(format!("{key} and {other}"), "exclude each other"));
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::Text(text) if text.trim().is_empty() => self.refuse(key, text, "is empty: leave the key out"),
            Value::Text(text) => Some(text.trim().to_owned()),
            Value::List(list) => self.refuse(key, list.join(" "), "is a list, not one text"),
            Value::Nothing | Value::Other => self.refuse(key, "", "is not a text"),
        }
    }

    /// The elements of a list, if it is set.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        match self.take(key)? {
            Value::Text(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
            Value::List(list) => Some(list),
            Value::Nothing | Value::Other => self.refuse(key, "", "is not a list of texts"),
        }
    }

    /// The elements of a list, if it is set and their `FromStr` reads them all.
    pub(super) fn parsed_list<T: FromStr>(&mut self, key: &'static str, what: &str) -> Option<Vec<T>> {
        let (mut read, mut wrong) = (Vec::new(), false);
        for text in self.list(key)? {
            match text.parse() {
                Ok(value) => read.push(value),
                Err(_) => wrong = self.refuse::<()>(key, text, format!("is not {what}")).is_none(),
            }
        }
        (!wrong).then_some(read)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let text = self.text(key)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => self.refuse(key, text, "is neither true nor false"),
        }
    }

    /// A text as its `FromStr` reads it; `what` names what it should have been.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, what: &str) -> Option<T> {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.refuse(key, text, format!("is not {what}")),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.word_of(key, &text, words)
    }

    pub(super) fn words<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let list = self.list(key)?;
        Some(list.iter().filter_map(|text| self.word_of(key, text, words)).collect())
    }

    /// A limit of time: outer `None` where it is not set, inner where it is `off`.
    pub(super) fn time(&mut self, key: &'static str) -> Option<Option<Duration>> {
        let text = self.text(key)?;
        if text == "off" {
            return Some(None);
        }
        match duration(&text) {
            Some(time) => Some(Some(time)),
            None => self.refuse(key, text, "is not a time (500ms, 10s, 5m, 1h, off)"),
        }
    }

    fn word_of<T: Clone>(&mut self, key: &str, text: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            return self.refuse(key, text, format!("is none of {}", known.join(", ")));
        }
        found.map(|(_, value)| value.clone())
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.values.remove(key).filter(|value| !matches!(value, Value::Nothing))
    }

    fn refuse<T>(&mut self, key: &str, text: impl Into<String>, why: impl Into<String>) -> Option<T> {
        self.mistakes.push(ConfigError::invalid(key, text, why));
        None
    }
}

/// The same error, said of a key.
fn under(key: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Invalid { text, why, .. } => ConfigError::invalid(key, text, why),
        ConfigError::Missing { why, .. } => ConfigError::missing(key, why),
        ConfigError::Secret { from, why } => ConfigError::secret(format!("{key} {from}"), why),
        ConfigError::Conflict { what, why } => ConfigError::conflict(format!("{key}: {what}"), why),
        tls @ ConfigError::Tls { .. } => tls,
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(60 * 60).map(Duration::from_secs),
        _ => None,
    }
}
