// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

// diskSize is enough for a server, and soon full.
const diskSize = 400 << 20

// The primary's disk is full: it can do no more, and a successor is there. Afterwards it
// follows.
func TestDiskFull(t *testing.T) {
	c := semiSync()
	c.Lab.DiskSize = diskSize
	r := start(t, c)
	old := r.db(1)
	w := r.write()
	r.must(old.FillDisk())
	primary := r.moved(old)
	r.must(old.FreeDisk())
	r.revive(old)
	r.end(w, primary, 1)
}

// The primary's disk hangs: reads are answered for ever, commits are not.
func TestDiskFrozen(t *testing.T) {
	c := semiSync()
	c.Lab.DiskSize = diskSize
	r := start(t, c)
	old := r.db(1)
	w := r.write()
	r.must(old.FreezeDisk())
	primary := r.moved(old)
	r.must(old.ThawDisk())
	r.revive(old)
	r.end(w, primary, 1)
}
