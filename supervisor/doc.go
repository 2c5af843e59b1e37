// SPDX-License-Identifier: Apache-2.0

// Package supervisor is the process beside the server: the only loop, and everything that
// turns the decisions of package election into effects.
//
// One goroutine, the loop, calls election.Machine.Step. It does nothing that can wait.
// Actions go to one other goroutine, the executor, which starts them in the order in which
// they were decided: adverts and changes of the VIP are done there and then, so that a
// release is over before anything after it begins; SQL, hooks and messages to peers run in
// goroutines of their own and come back as events that carry the action's token.
//
// Everything the loop sees and decides goes to the journal, from which an incident replays.
package supervisor
