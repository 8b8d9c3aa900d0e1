//! Enumerations whose values have names, for tables.

/// Defines an enumeration with `ALL`, `name` and `from_name`; a value is shown by its name.
#[macro_export]
macro_rules! named {
    (
        $(#[$of_all:meta])*
        pub enum $Name:ident {
            $($(#[$of:meta])* $Value:ident = $name:literal,)*
        }
    ) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name {
            $($(#[$of])* $Value,)*
        }

        impl $Name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[$Name] = &[$($Name::$Value),*];

            /// Its name, in lower case with hyphens.
            pub fn name(self) -> &'static str {
                match self {
                    $($Name::$Value => $name,)*
                }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<$Name> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
