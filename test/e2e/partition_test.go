// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"highwater/test/lab"
)

// The network splits, and heals. Authority vrrp lets each part have a primary of its own,
// and both may carry the VIP: that is not asserted. What it does promise is: a primary whose
// commits wait for an acknowledgement acknowledges nothing alone, so no acknowledged row is
// lost, and after it heals one primary is left.
func TestPartition(t *testing.T) {
	for _, c := range []struct {
		name  string
		split func(r *rig) (*lab.Fault, error)
	}{
		{"primary alone", func(r *rig) (*lab.Fault, error) {
			return r.db(1).Isolate()
		}},
		{"primary with the clients", func(r *rig) (*lab.Fault, error) {
			return r.Partition([]*lab.Host{r.db(1), r.Client()}, r.Hosts()[1:])
		}},
		{"clients see both", func(r *rig) (*lab.Fault, error) {
			return r.Partition(r.Hosts()[:1], r.Hosts()[1:])
		}},
		{"primary is not heard", func(r *rig) (*lab.Fault, error) {
			return r.OneWay(r.Hosts()[:1], r.Hosts()[1:])
		}},
		{"primary hears nobody", func(r *rig) (*lab.Fault, error) {
			return r.OneWay(r.Hosts()[1:], r.Hosts()[:1])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, semiSync())
			r.overlaps = true
			w := r.write()
			fault, err := c.split(r)
			r.must(err)
			r.pause(7 * time.Second) // longer than the wait for the lease
			r.must(fault.Heal())
			r.pause(2 * time.Second)
			for _, h := range r.Hosts() {
				if !h.Server.Alive() {
					r.revive(h)
				}
			}
			r.end(w, r.elected(), 1)
		})
	}
}

// What replicates is cut, what elects is not: the commits of the primary wait, and nothing
// moves.
func TestPartitionReplicationOnly(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	fault, err := r.Drop(r.Hosts()[:1], r.Hosts()[1:], "tcp sport 3306")
	r.must(err)
	r.stays(5 * time.Second) // longer than check.commit_timeout
	r.must(fault.Heal())
	r.end(w, r.db(1), 0)
}
