// SPDX-License-Identifier: Apache-2.0

// Package voter runs this node's part of the quorum: it steps the core of package quorum, keeps what that must never
// forget on the disk (package raftlog), and tells the loop who has the right to be primary and what the cluster record is.
//
// One goroutine owns the core. Another one writes, so that a disk that hangs holds up votes and nothing else. Messages
// leave through Config.Send, which never waits, and arrive by [Voter.Receive].
//
// When the disk or the core fails, [Voter.Run] returns the error: a voter that cannot remember must not go on.
package voter
