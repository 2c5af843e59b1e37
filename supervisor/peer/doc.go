// SPDX-License-Identifier: Apache-2.0

// Package peer is the channel between the supervisors of one cluster: HTTP/1.1 over mutual TLS 1.3 on the node addresses
// (docs/design.md §3).
//
// # Trust
//
// [DeriveIdentity] turns the shared secret into an ed25519 certificate authority: HKDF-SHA256 with the cluster name as the salt, so two
// clusters with one secret still do not understand each other. Each process signs itself a leaf that carries its node name. Nothing in
// that depends on the wall clock, which may be wrong on a host that has just booted. [LoadIdentity] takes certificates of the operator's
// own instead; their validity is then checked against the wall clock, as their owner expects.
//
// A stranger gets no further than the handshake, and each refusal is counted by its [Reason]. Who holds the secret can name himself as he
// likes: the secret is the membership. A stranger who completes half a handshake does see a signature made with a key derived from the
// secret, so he can test guesses offline; that is why secrets shorter than [MinSecret] bytes are refused and why they must be random.
//
// # Messages
//
// A node speaks only for itself: the name in its certificate, the name in the message and the configuration must agree. Statuses are
// pushed (latest wins) and answered with the receiver's own status. Seal, stand, farewell and command travel on connections of their own
// that are kept warm, so they wait neither for a status in flight nor for a handshake.
//
// Messages arrive late, twice or never, and each carries what is needed to see that: the sender's incarnation, its sequence number, and the
// term it speaks about. The server drops what is older than what it has already heard (see [Stamp]). A request that is retried after a
// dead connection carries the same stamp, and every handler must take it twice.
//
// Raft's messages have a connection of their own, opened with the first of them: a long-lived stream of frames behind an HTTP upgrade, in one
// direction, without answers, receipts or pings. They are neither stamped nor sent again: raft itself takes loss, repetition and age. What
// it does not take well is waiting, so a queue that is full loses its oldest, and a peer that does not read loses its connection.
//
// The package decides nothing about the cluster; [Handler] is the supervisor.
package peer
