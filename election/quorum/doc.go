// SPDX-License-Identifier: Apache-2.0

// Package quorum answers one question: may this node be primary? It wraps etcd's raft
// (go.etcd.io/raft/v3, a RawNode) as a pure core: a [Core] is stepped with (now, input) and
// answers with an [Output]; it reads no clock, opens no socket or file, writes no log and
// starts no goroutine.
//
// The caller's contract:
//
//   - One goroutine calls [Core.Step]. Instants come from a monotonic clock that also counts
//     while the host sleeps, and never go backwards. The clock is read after the input has
//     arrived and before the output is carried out: a promise that is dated before the leader
//     asked for it is too short.
//   - What arrived is stepped before the clock is: after a stall, first every [Received] in the
//     queue, then [Tick].
//   - Every [Store] is written in the order given and answered by one [Stored] (one for the
//     last of several will do). Stored says that this one and all before it are done, and
//     those with Sync set durable. What depends on durability (votes, the acknowledgement of
//     an append) is sent by the core only after that.
//   - [Message]s may be lost, delayed, repeated and reordered. [Received.From] is the name that
//     the channel has authenticated; what it carries is not trusted.
//   - [Core.Deadline] is the next instant at which a [Tick] may change something.
//   - After a [Failed] event the core is dead: it answers every question with no.
//
// # The rules around raft
//
// PreVote and CheckQuorum are on, and are not enough (docs/design.md §4). Each rule has a
// switch in [Mutations], which only tests use.
//
// Promise. From every heartbeat or append that it answers a node keeps, for [Config.Promise],
// a promise outside raft: it does not campaign, and pre-votes and votes do not reach raft. (A
// campaign sets raft's leader to none and dissolves raft's own guard with it.) A new process
// keeps one full promise before its first vote. When the promise ends the silent leader is
// forgotten, so that all its voters grant at once. Only the votes of a hand-over that the
// leader itself began are exempt.
//
// Lease. The right is a ReadIndex asked at t and confirmed by a majority; it is valid from t
// for [Config.Lease], and only while this node leads the raft term in which it asked. The two
// durations differ by the drift of two clocks, one slow and one fast.
//
// Both rest on every node's promise being as long as the leader's. So a message says how long its
// sender's is, and one of another length is dropped; the log remembers the length, and a process
// that comes back with a shorter one first keeps the longer. Changing tick or election ticks
// node by node is safe therefore, and costs one election when the majority changes.
//
// Hand-over. Whoever says [HandOver] has given up the right for the rest of that raft term. If
// the transfer fails it steps down, and whoever wants the right is elected anew, so that a late
// TimeoutNow carries a lower term.
//
// Doubt. A second proposal is refused until the fate of the first is known.
//
// # Who campaigns, and when
//
// Raft's own clock runs only on a leader: one tick per [Config.Tick] at most, and lost ticks
// are dropped. Elsewhere the core itself decides when to campaign, so raft's randomised
// election timeout is drawn (from crypto/rand; a simulation that wants every byte the same
// fixes it with testing/cryptotest) and never used. A core is a function of its inputs.
//
//   - A node that wants the right ([Seek]) campaigns at the end of its promise, one tick later
//     for every data voter that ranks before it (priority, then ID), and again until it has won
//     or [Rest] is said: a refused pre-vote is not answered.
//   - A data voter that does not want it campaigns only when nobody has led for three promises
//     more: without a leader the record cannot be read. It then passes the right on
//     ([Status.WantsToPassOn]).
//   - A witness does so after six promises, and not while any data voter was heard within the
//     last two. So it leads only where no data voter does: a cluster whose data voters are
//     down or cut off can still answer what its record says, and takes members in or out.
//     As a voter it works as any other.
//   - Who refuses a data voter its vote because that one's log lacks something campaigns as if
//     it wanted the right, also a witness. With two data voters the witness may be the only one
//     left that has the newest entry; nobody but it can win, and it hands over at once.
//
// # What it costs
//
// A leader asks one ReadIndex per tick, and the heartbeat that carries it is the only one: at
// rest two small messages per follower and tick. A follower at rest is woken only by them.
package quorum
