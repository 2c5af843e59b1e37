// SPDX-License-Identifier: Apache-2.0

// Package journal keeps what the supervisor saw and did, one JSON record per step, and the little that it must remember across restarts.
//
// The journal answers "why" afterwards: each [Record] holds one event and the actions that it led to, opaque to this package, so that an
// incident can be read and replayed. [Writer.Append] never blocks the loop. Records go through a bounded queue to a goroutine that writes
// and, once a second or when asked, syncs; where the disk cannot keep up, records are dropped, counted, and the place of the loss is marked
// by a gap record. The journal is therefore evidence, not state: nothing that safety rests on is read back from it.
//
// State is what safety does rest on. [State.Save] returns after the file is on disk under its name; [LoadState] tells an absent file from a
// damaged one.
package journal
