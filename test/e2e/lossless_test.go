// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"highwater/configs"
	"highwater/test/cluster"
)

// lossless is three servers of which nothing acknowledged may be lost.
func lossless() cluster.Config {
	c := majority()
	c.Durability = configs.Lossless
	return c
}

func TestLosslessServerKilled(t *testing.T) {
	r := start(t, lossless())
	w := r.write()
	old := r.db(1)
	old.Server.Kill()
	primary := r.moved(old)
	r.must(old.Server.Start(r.ctx))
	r.end(w, primary, 1)
}
