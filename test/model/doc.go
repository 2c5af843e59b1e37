// SPDX-License-Identifier: Apache-2.0

// Package model searches a small model of a cluster for a way to lose what a client was told.
//
// The model has servers with up to three transactions, supervisors that die, one partition at a
// time, and a quorum reduced to its worst case: whoever reaches a majority may take the right to be
// primary at any moment. It has no time, so no lease and no promise keeps anybody from
// anything: what holds here holds whatever the clocks do.
//
// The rules are not copied. Every change of the cluster record, the order of its steps, what is
// allowed while its fate is unknown (package election) and who may be promoted (package promote) are
// asked of the real functions. What is modelled is MySQL and the network around them.
//
// Two things are searched for: a primary of record that opens without a transaction that a client was
// told of, and a record with which nobody could ever succeed a primary that is gone, although
// all else is well. Each rule of docs/design.md §5 is then switched off in turn, and the search must
// find what the rule is for.
//
//	go test ./test/model                          the default, seconds
//	go test ./test/model -v -story                with the shortest story for each rule that is off
//	go test ./test/model -deep -timeout 60m       wider bounds, minutes and gigabytes
package model
