// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"
)

// The cable of the primary is pulled and put back.
func TestUnplug(t *testing.T) {
	for _, c := range []struct {
		name   string
		noWait bool
	}{{"wait for lease", false}, {"no wait", true}} {
		t.Run(c.name, func(t *testing.T) {
			config := semiSync()
			config.NoWaitForLease = c.noWait
			r := start(t, config)
			old := r.db(1)
			w := r.write()
			r.must(old.Unplug())
			r.without(old, 2*time.Second)
			primary := r.moved(old)
			r.pause(500 * time.Millisecond)
			r.must(old.Plug())
			r.revive(old)
			r.end(w, primary, 1)
		})
	}
}
