// SPDX-License-Identifier: Apache-2.0

// Package sim runs whole clusters of real [election.Machine]s on a virtual clock, against a
// modelled network, kernel lease, server and supervisor, and breaks them by a seeded
// schedule of faults. After every change it checks the promises of docs/design.md §1.
//
// A seed decides everything: the same seed is the same run, event for event, on any
// machine. A test that fails prints the seed and the end of its trace.
//
// What is modelled, and how far: messages are delayed, adverts are also lost, statuses and
// requests are sent again by TCP; the lease's address goes up to 1.35 s late and whatever
// becomes of the supervisor; a verdict is as old as the look it comes from; an effect takes
// its time and is asked for its right where package promote asks; every host's clock is up
// to 1 % off. A process is never frozen between a change of the address and the step that
// ordered it: there the kernel has no way to ask for the right either.
//
// With [Config.Quorum] every host also has a real [quorum.Core], in the glue that the
// supervisor has around it, with a disk whose writes take time and of which a crash loses what
// was not written, and clocks up to 10 % off. The quorum's messages travel over two connections
// for each direction; some come twice, some long after a partition. Then partitions are no
// excuse: the VIP is on one host, one host has the right, a raft term has one leader, the
// record is the same everywhere and names whoever opens, what is read through the quorum is
// not old, and adverts that somebody forges change nothing.
//
// With [Config.Lossless] every host also has a real [keeper.Keeper], whose waiting code runs in
// a routine on the world's clock, and its server waits for acknowledgements: whoever opens has
// everything that any client was told of, and nobody is told of anything that it lacks.
//
// Witnesses, changes of the members and lost ticks that are made up for are not modelled:
// package quorum's own tests have them. docs/simulation.md says more.
package sim
