//! The tables of identifiers: one row is all that is said of one in code.

/// Makes the enum of a table: a variant, its text, its column, its meaning.
macro_rules! identifiers {
    (
        $(#[$doc:meta])* enum $name:ident;
        $(#[$column_doc:meta])* fn $column:ident -> $type:ty;
        $($ident:ident = $text:literal, $value:expr, $meaning:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $meaning] $ident,)*
        }

        impl $name {
            /// Every identifier, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$ident,)*];

            /// The identifier as it is printed and recorded.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$ident => $text,)* }
            }

            $(#[$column_doc])*
            pub const fn $column(self) -> $type {
                match self { $(Self::$ident => $value,)* }
            }

            /// What it means, in one line of Markdown.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$ident => $meaning,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use identifiers;
