//! Programs that supervisord runs: started, stopped, waited for.

mod any;
mod configuration;
mod demand;
mod drain;
mod failure;
mod faults;
mod health;
mod held;
mod implicit;
mod load;
mod memory;
mod newest;
mod pages;
mod poll;
mod quit;
mod reload;
mod rotation;
mod rounds;
mod single;
mod spoken;
mod status;
