//! A plan to one store transaction, refused if the actual state has moved on.
