// SPDX-License-Identifier: Apache-2.0

//go:build race

package sim

import "testing"

// slower is by how much fewer schedules are run: with the race detector each takes several
// times as long, and one goroutine runs it all.
const slower = 10

// notWithRace skips what takes long and could race no more than the rest; make sim runs it.
func notWithRace(t *testing.T) {
	t.Helper()
	t.Skip("make sim runs it, without the race detector")
}
