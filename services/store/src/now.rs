//! The database's clock in microseconds, inside a statement: two machines never agree on theirs.
//!
//! `now::postgres!(sql)` gives the text of the clock to the macro `sql`, which makes a statement of it.

// The wall clock, not the start of the transaction: a lease is measured from when it is taken.
macro_rules! postgres {
    ($sql:ident) => {
        $sql!("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    };
}

macro_rules! sqlite {
    ($sql:ident) => {
        $sql!("CAST(round(unixepoch('subsec') * 1000000) AS INTEGER)")
    };
}

pub(crate) use {postgres, sqlite};
