// SPDX-License-Identifier: Apache-2.0

// Package raftlog keeps what a raft voter must never forget: its term and vote, its log, its snapshot (docs/design.md §4). It writes with
// bbolt, one transaction for each [Log.Append], and an Append returns after its transaction is on the disk.
//
// # A clear refusal, never a guess
//
// A voter that forgets a vote may vote twice, and two primaries follow. So [Open] returns either everything that an Append ever returned
// for, or an [Error] with a [Reason] and what to do about it, which for a damaged log is always the same: remove the member and add it again.
//
// Every record carries a checksum, each entry's continues that of the entry before it, and the state record names the last of them, the
// snapshot's, and the transaction that it was written in. So not only changed bytes are found but also a page that is whole and old, as a
// disk leaves it that lost one write. A damaged meta page is refused too, where bbolt falls back to the transaction before: the damaged one
// may have held a vote. The structure of the file, page by page, is verified before bbolt maps it, since bbolt trusts what it maps; and what
// is returned is what was verified.
//
// # A lost file
//
// Beside the log, raft.db, lies a marker, raft.id, with a random name that the log repeats. It is on the disk before the first Append. A
// marker without its log is a voter that lost its votes; a log without its marker was copied or restored by hand, unless nothing was ever
// appended: then the first start was cut short. Three losses cannot be seen from here: marker and log lost together, both replaced by an older
// copy of both, and a disk that confirmed the whole of the last transaction and kept nothing of it. [Restored.ID] is for whoever can see the
// first of them: the cluster's record, where a member's log has a name.
//
// # Faults while running
//
// After an Append has failed, for a full disk, an I/O error, or because it would have broken the log, every later one returns the same
// error: what is on the disk is known again only after the next Open. That is the state before the failed Append, or, where only the last
// confirmation was lost, the state after it; never a part of it.
package raftlog
