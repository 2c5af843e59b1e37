// SPDX-License-Identifier: Apache-2.0

// Package keeper keeps the promise of `durability: lossless` on one host (docs/design.md §5).
//
// A [Keeper] decides by the rules of package election ([election.ClusterRecord.NextChange],
// [election.View]) and carries the decisions out, one blocking step after the other, on a [Server]
// and a [Host] that it is given. It reads no clock, starts no goroutine and waits nowhere but in
// them: package supervisor gives it the real ones, and the simulation gives it modelled ones and a
// clock of its own, and runs the very same code.
package keeper
