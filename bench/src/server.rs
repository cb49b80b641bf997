//! The servers that are compared.

use support::swarm::Swarm;
use support::{check, Config, Nginx};

use crate::cpu;
use crate::floor::Floor;
use crate::haproxy::{Haproxy, Setup};

/// What probes the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bare prober.
    Floor,
    /// HAProxy with two threads.
    Haproxy,
    /// nginx with the module, and so many workers.
    Ours(usize),
    /// nginx without the module, with two workers: it probes nobody.
    Stock,
}

/// One that runs. It ends with the value.
pub enum Server {
    /// The bare prober.
    Floor(Floor),
    /// HAProxy.
    Haproxy(Haproxy),
    /// nginx, with or without the module.
    Nginx(Box<Nginx>),
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Kind::Floor => "floor".to_owned(),
            Kind::Haproxy => "haproxy".to_owned(),
            Kind::Stock => "nginx alone".to_owned(),
            Kind::Ours(1) => "ours, 1 worker".to_owned(),
            Kind::Ours(workers) => format!("ours, {workers} workers"),
        }
    }

    /// Whether it probes at all.
    pub fn probes(self) -> bool {
        self != Kind::Stock
    }

    /// Has it probe each peer of a swarm once a second; `None` where it is not to be had.
    pub fn start(self, swarm: &Swarm) -> Option<Server> {
        Some(match self {
            Kind::Floor => Server::Floor(Floor::start(swarm)),
            Kind::Haproxy => {
                let setup =
                    Setup { peers: swarm.addresses(), options: "fall 2 rise 2", master: false };
                Server::Haproxy(Haproxy::start(&setup)?)
            }
            Kind::Ours(workers) => {
                nginx(&Config::new().workers(workers), &check(1000, 1000, 2), swarm)
            }
            Kind::Stock => nginx(&Config::new().workers(2).without_module(), "", swarm),
        })
    }
}

fn nginx(config: &Config, directives: &str, swarm: &Swarm) -> Server {
    let body = format!("zone backend 16m; {directives} {}", lines(swarm));
    let config = config.clone().main(EVENTS).upstream("backend", body);
    Server::Nginx(Box::new(Nginx::start(&config)))
}

impl Server {
    /// All its processes.
    pub fn pids(&self) -> Vec<u32> {
        cpu::tree(match self {
            Server::Floor(floor) => floor.pid(),
            Server::Haproxy(haproxy) => haproxy.pid(),
            Server::Nginx(nginx) => nginx.pid(),
        })
    }
}

/// Room for many connections and descriptors.
pub const EVENTS: &str = "worker_rlimit_nofile 16384; events { worker_connections 4096; }";

/// The `server` lines of all peers of a swarm, with nginx's own passive checks off.
pub fn lines(swarm: &Swarm) -> String {
    swarm.addresses().iter().map(|address| format!("server {address} max_fails=0; ")).collect()
}
