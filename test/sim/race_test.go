// SPDX-License-Identifier: Apache-2.0

//go:build race

package sim

// slower is by how much fewer schedules are run: with the race detector each takes several
// times as long, and one goroutine runs it all.
const slower = 10
