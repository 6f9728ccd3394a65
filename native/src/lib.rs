// SPDX-License-Identifier: Apache-2.0
//! What Node needs of the kernel and cannot reach itself: BPF objects, maps, links, the ring buffer, interfaces,
//! routes, sockets, devices, processes.
//! One class owns one file descriptor. No function panics (a panic in an addon ends the process) and none executes a program
//! but `spawn`, which starts Envoy and the tunnel's process.
//! Errors travel as JSON in the message: {"errno": number, "message": string, "log": string}; addon.ts gives them codes.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::undocumented_unsafe_blocks
)]

mod devices;
mod errors;
mod features;
mod link;
mod map;
mod netlink;
mod nftables;
mod object;
mod process;
mod ring;
mod routes;
mod sockets;
mod spawn;
mod system;
mod talk;
mod tap;
mod tc;
mod wake;
mod wireguard;
