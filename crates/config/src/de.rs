//! Typed values from the untyped tree: the only way from a configuration, in whatever it is written, to its types.
//!
//! Its errors are ours from the start ([`Fault`]).

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::map::Iter as Members;
use serde_json::{Number, Value};

use super::fault::{Fault, Wrong, one_of};
use super::path::Segment;

/// Reads a tree as a type.
pub(super) fn read<T: DeserializeOwned>(tree: &Value) -> Result<T, Fault> {
    T::deserialize(Reader(tree))
}

struct Reader<'t>(&'t Value);

impl<'t> Reader<'t> {
    fn whole<V: Visitor<'t>>(&self, visitor: V, (least, most): (i64, u64)) -> Result<V::Value, Fault> {
        let fits = |number: &Number| match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number <= most,
            (None, Some(number)) => number >= least,
            (None, None) => false,
        };
        match self.0 {
            Value::Number(number) if fits(number) => numbered(number, visitor),
            other => {
                let quotes = without_quotes(other, |text| text.parse::<u64>().is_ok());
                let most = if most > u64::from(u32::MAX) { String::new() } else { format!(" to {most}") };
                Err(Fault::kind(format!("a whole number from {least}{most}{quotes}")))
            }
        }
    }

    fn text<V: Visitor<'t>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Number(_) | Value::Bool(_) => Err(Fault::kind("a string (in quotes)")),
            _ => Err(Fault::kind("a string")),
        }
    }

    fn list<V: Visitor<'t>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items { rest: items.iter(), index: 0 }),
            _ => Err(Fault::kind("a list")),
        }
    }

    fn map<V: Visitor<'t>>(&self, visitor: V, keys: &[&str]) -> Result<V::Value, Fault> {
        match (self.0, keys) {
            (Value::Object(members), _) => visitor.visit_map(Entries { rest: members.iter(), current: None }),
            (_, []) => Err(Fault::kind("a map")),
            (_, few) if few.len() <= 6 => Err(Fault::kind(format!("a map with `{}`", few.join("`, `")))),
            (_, many) => {
                let first = many.get(..5).unwrap_or_default().join("`, `");
                Err(Fault::kind(format!("a map with `{first}` and others")))
            }
        }
    }
}

/// What is a text only because of its quotes.
fn without_quotes(value: &Value, would_be_right: fn(&str) -> bool) -> &'static str {
    if value.as_str().is_some_and(would_be_right) { " without quotes" } else { "" }
}

fn numbered<'t, V: Visitor<'t>>(number: &Number, visitor: V) -> Result<V::Value, Fault> {
    match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => visitor.visit_u64(number),
        (None, Some(number)) => visitor.visit_i64(number),
        (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
    }
}

macro_rules! whole_numbers {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.whole(visitor, (i64::try_from(<$kind>::MIN).unwrap_or(0), u64::try_from(<$kind>::MAX).unwrap_or(u64::MAX)))
        }
    )*};
}

macro_rules! the_same_as {
    ($inner:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$inner(visitor)
        }
    )*};
}

impl<'t> Deserializer<'t> for Reader<'t> {
    type Error = Fault;

    whole_numbers!(deserialize_i8(i8) deserialize_i16(i16) deserialize_i32(i32) deserialize_i64(i64)
                   deserialize_u8(u8) deserialize_u16(u16) deserialize_u32(u32) deserialize_u64(u64));
    the_same_as!(text: deserialize_str deserialize_string deserialize_char deserialize_bytes deserialize_byte_buf
                       deserialize_identifier);
    the_same_as!(list: deserialize_seq);
    the_same_as!(deserialize_any: deserialize_ignored_any deserialize_f32 deserialize_f64 deserialize_unit);

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => numbered(number, visitor),
            Value::String(_) => self.text(visitor),
            Value::Array(_) => self.list(visitor),
            Value::Object(_) => self.map(visitor, &[]),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Bool(truth) => visitor.visit_bool(*truth),
            other => {
                let quotes = without_quotes(other, |text| matches!(text, "true" | "false"));
                Err(Fault::kind(format!("`true` or `false`{quotes}")))
            }
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.map(visitor, &[])
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.map(visitor, keys)
    }

    /// A word, or a map of one key.
    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(Choice { word, value: None }),
            Value::Object(members) => match members.iter().next() {
                Some((word, value)) if members.len() == 1 => {
                    visitor.visit_enum(Choice { word, value: Some(value) })
                }
                _ => match members.keys().find(|key| !words.contains(&key.as_str())) {
                    Some(key) => Err(Fault::new(Wrong::Key(key.clone(), words))),
                    None => Err(Fault::kind(format!("one of {}", one_of(words)))),
                },
            },
            _ => Err(Fault::new(Wrong::Word(words))),
        }
    }
}

struct Items<'t> {
    rest: std::slice::Iter<'t, Value>,
    index: usize,
}

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Reader(item)).map(Some).map_err(|fault| fault.under(|| Segment::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'t> {
    rest: Members<'t>,
    current: Option<(&'t String, &'t Value)>,
}

impl<'t> MapAccess<'t> for Entries<'t> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.current.take() else { return Err(Fault::custom("a key has no value")) };
        seed.deserialize(Reader(value)).map_err(|fault| fault.under(|| Segment::Key(key.clone())))
    }
}

struct Choice<'t> {
    word: &'t str,
    value: Option<&'t Value>,
}

impl<'t> EnumAccess<'t> for Choice<'t> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'t>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let chosen = seed.deserialize(BorrowedStrDeserializer::new(self.word));
        let known = |fault: Fault| match (self.value, fault.parts().1) {
            (Some(_), Wrong::Word(words)) => Fault::new(Wrong::Key(self.word.to_owned(), words)),
            (_, wrong) => Fault::new(wrong),
        };
        chosen.map(|chosen| (chosen, Self { word: self.word, value: self.value })).map_err(known)
    }
}

impl<'t> Choice<'t> {
    fn under(&self, fault: Fault) -> Fault {
        fault.under(|| Segment::Key(self.word.to_owned()))
    }

    fn inner(&self) -> Result<&'t Value, Fault> {
        self.value.ok_or_else(|| Fault::kind(format!("a map such as `{}: …`", self.word)))
    }
}

impl<'t> VariantAccess<'t> for Choice<'t> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(Fault::kind(format!("the word `{}` alone", self.word))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(Reader(self.inner()?)).map_err(|fault| self.under(fault))
    }

    fn tuple_variant<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        Reader(self.inner()?).list(visitor).map_err(|fault| self.under(fault))
    }

    fn struct_variant<V: Visitor<'t>>(
        self,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        Reader(self.inner()?).map(visitor, keys).map_err(|fault| self.under(fault))
    }
}
