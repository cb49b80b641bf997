//! Drills of the long form alone.

mod disk;
mod many;
mod upgrade;
