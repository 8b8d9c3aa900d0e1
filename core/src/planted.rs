//! Where mistakes are made on purpose, and where paths are noted, for tests: see the module
//! `injection`.

/// Is this mistake, a variant of `injection::Mistake`, to be made here? Never, but in a build for
/// tests.
#[cfg(feature = "injection")]
#[macro_export]
#[doc(hidden)]
macro_rules! is_planted {
    ($mistake:ident) => {
        $crate::injection::is_planted($crate::injection::Mistake::$mistake)
    };
}

/// Is this mistake to be made? Only in a build for tests.
#[cfg(not(feature = "injection"))]
#[macro_export]
#[doc(hidden)]
macro_rules! is_planted {
    ($mistake:ident) => {
        false
    };
}

/// Notes that a path, a variant of `injection::Path`, was reached. Nothing, but in a build for
/// tests.
#[cfg(feature = "injection")]
#[macro_export]
#[doc(hidden)]
macro_rules! reached {
    ($path:ident) => {
        $crate::injection::reach($crate::injection::Path::$path)
    };
}

/// Notes that a path was reached, in a build for tests.
#[cfg(not(feature = "injection"))]
#[macro_export]
#[doc(hidden)]
macro_rules! reached {
    ($path:ident) => {{
        // For the eye alone: two paths are not the same.
        const _: &str = stringify!($path);
    }};
}

/// How many moments a session has, of which each is a stamp: fewer in a build for tests, if a test
/// has shortened them.
#[cfg(feature = "injection")]
#[macro_export]
#[doc(hidden)]
macro_rules! session_moments {
    () => {
        $crate::injection::session_moments()
    };
}

/// How many moments a session has.
#[cfg(not(feature = "injection"))]
#[macro_export]
#[doc(hidden)]
macro_rules! session_moments {
    () => {
        u32::MAX
    };
}
