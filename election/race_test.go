// SPDX-License-Identifier: Apache-2.0

//go:build race

package election

// slower is by how much less is searched: with the race detector a step takes several times as
// long, and one goroutine takes them all.
const slower = 10
