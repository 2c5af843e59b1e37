// SPDX-License-Identifier: Apache-2.0

// Package election decides who may be primary. It is pure: a [Machine] is stepped with
// (now, event) and answers with actions; it reads no clock, opens no socket, writes no
// log and starts no goroutine. Whole clusters of machines therefore run in one process on
// a simulated clock, and any incident replays from its journal.
//
// The caller's contract (package supervisor keeps it):
//
//   - One goroutine calls [Machine.Step]. Instants never go backwards.
//   - Actions are started in the order given. [Release] is carried out before anything
//     that follows it is started; everything else may run beside the loop.
//   - An action that carries a [Token] is answered by exactly one event that carries the same
//     token. An answer to a token that is no longer awaited is ignored.
//   - [Machine.Deadline] is the next instant at which a [Tick] may change something. A
//     wake-up that comes later than that by more than the peers' patience is reported as
//     [Stalled] before any other event.
//
// Inside, [Router] is the virtual router of RFC 9568 §6.4 (and RFC 3768 for version 2),
// [Authority] answers door 3 of docs/design.md §2, and the Machine holds doors 1 and 2
// and the order of all five.
package election
