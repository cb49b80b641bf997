//! Balancers with peer lists of their own, and what they are told through the C headers.

mod order;
