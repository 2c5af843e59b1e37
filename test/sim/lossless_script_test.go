// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"

	"highwater/election"
)

// until lets time pass until something is so, at most d.
func (w *World) until(d time.Duration, so func() bool) bool {
	for end := w.now.add(d); w.now < end && w.broken == nil; {
		if so() {
			return true
		}
		w.Run(200 * time.Microsecond)
	}
	return false
}

// record is the newest that any host has.
func (w *World) record() election.ClusterRecord { return w.ledger.newest }

// full waits until so many replicas may acknowledge.
func (w *World) full(n int) bool {
	return w.until(20*time.Second, func() bool { return len(w.record().Synced) == n })
}

// tells waits until a client of db1 was told of something that some host has not received.
func (w *World) tells(without *host) {
	w.until(2*time.Second, func() bool { return !without.server.received().Contains(w.told) })
}

// onlyOneHasIt ends both servers that have a transaction: the third must not open.
func onlyOneHasIt(w *World) {
	w.full(2)
	w.hosts[2].server.deaf = true
	w.tells(w.hosts[2])
	w.hosts[0].server.kill()
	w.hosts[1].server.kill()
	w.hosts[2].server.deaf = false
	w.Run(6 * time.Second)
}

// relayLogLost ends the server of the only replica that has received a transaction, before it has applied it.
func relayLogLost(w *World) {
	w.full(2)
	w.hosts[2].server.deaf = true
	two := &w.hosts[1].server
	w.until(5*time.Second, func() bool {
		return !two.db.Logged().Contains(w.told) && !w.hosts[2].server.received().Contains(w.told)
	})
	two.kill()
	w.hosts[0].server.kill()
	two.start()
	w.hosts[2].server.deaf = false
	w.Run(8 * time.Second)
}

// halfAcknowledged has a member of S leave that has acknowledged what another one acknowledges later.
func halfAcknowledged(w *World) {
	w.full(4)
	w.until(20*time.Second, func() bool { return w.record().Acks == 2 })
	for _, h := range w.hosts[1:4] {
		h.server.deaf = true
	}
	w.Run(200 * time.Millisecond)
	w.hosts[4].crashSupervisor()
	w.until(10*time.Second, func() bool { return !w.record().IsSynced("db5") })
	w.hosts[1].server.deaf = false
	w.Run(300 * time.Millisecond)
	w.hosts[0].server.kill()
	w.hosts[1].server.kill()
	w.hosts[2].server.deaf, w.hosts[3].server.deaf = false, false
	w.Run(6 * time.Second)
}

// torn fills the primary's disk when its binary log ends in what no replica has received and nobody can
// read. Its server is back at once, with all of that.
func torn(w *World) {
	w.full(2)
	one := w.hosts[0]
	w.hosts[1].server.deaf, w.hosts[2].server.deaf = true, true
	w.until(2*time.Second, func() bool {
		return !w.hosts[1].server.received().Union(w.hosts[2].server.received()).Contains(one.server.db.Logged())
	})
	w.endsTorn()
}

// tornTold does so when the one replica that has received what clients were told of is gone.
func tornTold(w *World) {
	w.full(2)
	w.hosts[2].server.deaf = true
	w.tells(w.hosts[2])
	w.hosts[1].server.kill()
	w.endsTorn()
	w.Run(2 * time.Second)
}

func (w *World) endsTorn() {
	one := w.hosts[0]
	one.server.torn = true
	w.Inject(FillDisk, one, time.Minute)
	one.server.kill()
	one.server.start()
	w.until(4*time.Second, func() bool { return w.record().Term > 1 })
	w.hosts[1].server.deaf, w.hosts[2].server.deaf = false, false
	w.until(time.Second, func() bool { return w.Primary() != "" })
}

// TestTornTail: what nobody acknowledged and nobody can read does not keep a successor waiting for
// as long as a promotion may take.
func TestTornTail(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		w := New(Config{Seed: seed + 1, Quorum: true, Lossless: true, KillServer: true, MariaDB: true})
		w.Run(2 * firstStart)
		torn(w)
		primary := w.Primary()
		w.Close()
		if w.Err() != nil {
			t.Fatal(w.Err())
		}
		if primary != "db2" && primary != "db3" {
			t.Errorf("seed %d: %q is primary", seed+1, primary)
		} else if s := w.host(primary).supervisor; s.forgone == 0 {
			t.Errorf("seed %d: %s had nothing to fetch", seed+1, primary)
		}
	}
}

// leftBehind has a member of S leave whose supervisor is dead, and whose server goes on.
func leftBehind(w *World) {
	w.full(2)
	w.hosts[2].crashSupervisor()
	w.until(10*time.Second, func() bool { return !w.record().IsSynced("db3") })
	w.hosts[1].server.deaf = true
	w.Run(1500 * time.Millisecond) // its receiver comes back a second after it was thrown out
	w.hosts[0].server.kill()
	w.hosts[1].server.deaf = false
	w.Run(6 * time.Second)
}

// ghost is a server without a supervisor that still reads from a host when that becomes primary once more.
func ghost(w *World) {
	w.full(2)
	one := w.hosts[0]
	stop := func(h *host) *host {
		w.Inject(Stop, h, 2*time.Second)
		w.until(10*time.Second, func() bool { return w.Primary() != "" && w.Primary() != h.name && w.record().Primary == w.Primary() })
		return w.host(w.Primary())
	}
	two := stop(one)
	if two == nil || !w.full(2) {
		return
	}
	three := w.hosts[3-two.index] // of 0, 1 and 2
	three.crashSupervisor()
	w.Run(time.Second)
	if stop(two) != one {
		return
	}
	w.until(10*time.Second, func() bool { return w.record().IsSynced(two.name) })
	w.Inject(Stop, one, 2*time.Second)
	before := w.opened.Term
	w.until(5*time.Second, func() bool { return w.opened.Node == two.name && w.opened.Term > before })
	one.server.deaf = true
	w.until(10*time.Second, func() bool { return w.record().IsSynced(one.name) })
	two.server.kill()
	one.server.deaf = false
	w.Run(8 * time.Second)
}

// healed parts the primary from all others until one of them has its term, and no longer.
func healed(w *World) {
	w.full(2)
	w.parted = true
	for i := 1; i <= 2; i++ {
		w.cut[0][i], w.cut[i][0] = true, true
	}
	w.until(10*time.Second, func() bool { return w.record().Term > 1 })
	w.cut = [maxHosts][maxHosts]bool{}
	w.Run(6 * time.Second)
}

// cutOff parts the primary from all others while its clients write.
func cutOff(w *World) {
	w.full(2)
	w.Inject(Isolate, w.hosts[0], 20*time.Second)
	w.Run(15 * time.Second)
}

// resumed lets the primary's supervisor come back while one member of S has none.
func resumed(w *World) {
	w.full(2)
	w.Inject(Stop, w.hosts[0], 2*time.Second)
	w.until(10*time.Second, func() bool { return w.record().Term > 1 && w.Primary() == w.record().Primary })
	if w.Primary() == "" || !w.full(2) {
		return
	}
	p := w.host(w.Primary())
	one, two := w.hosts[(p.index+1)%3], w.hosts[(p.index+2)%3]
	w.Run(time.Second)
	two.crashSupervisor()
	p.crashSupervisor()
	w.Run(200 * time.Millisecond)
	p.startSupervisor()
	w.until(10*time.Second, func() bool { return w.Primary() == p.name })
	if w.cfg.Mutation == ResetTerm {
		w.orderOnRecord(resetTerm)
	}
	w.until(10*time.Second, func() bool { return len(w.record().Synced) == 1 })
	one.server.deaf = true
	w.Run(500 * time.Millisecond)
	p.server.kill()
	one.server.deaf = false
	w.Run(8 * time.Second)
}

// resetTerm begins S anew in a term that goes on.
func resetTerm(r election.ClusterRecord) (election.ClusterRecord, error) {
	if len(r.Synced) < 2 {
		return r, nil
	}
	n := r
	n.Revision++
	n.Kept = &election.KeptTerm{Term: r.Term - 1, Primary: r.Primary, Synced: r.Synced, Acks: r.Acks}
	n.Synced, n.Acks, n.Left = nil, 0, n.Revision
	return n, nil
}

// eager has a replica follow that is not in S yet, while the others receive nothing.
func eager(w *World) {
	w.full(2)
	w.hosts[2].crashSupervisor()
	w.until(10*time.Second, func() bool { return !w.record().IsSynced("db3") })
	w.hosts[1].server.deaf = true
	w.hosts[2].startSupervisor()
	for _, h := range w.hosts {
		h.disk.slow = time.Second // the record takes its time
	}
	told := w.told
	w.until(5*time.Second, func() bool { return w.record().IsSynced("db3") || w.told != told })
	if w.record().IsSynced("db3") {
		return
	}
	w.hosts[0].server.kill()
	w.hosts[2].server.kill()
	w.hosts[1].server.deaf = false
	w.Run(6 * time.Second)
}

// leavesAtTheWrongMoment ends the primary when the record says that a member has left S.
func leavesAtTheWrongMoment(w *World) {
	w.full(2)
	w.hosts[2].crashSupervisor()
	w.Run(2 * time.Second)
	w.hosts[1].server.deaf = true
	w.until(10*time.Second, func() bool { return !w.record().IsSynced("db3") })
	w.hosts[0].server.kill()
	w.hosts[1].server.deaf = false
	w.Run(6 * time.Second)
}

// grows ends the primary and the one replica that acknowledges when the record says that two have to.
func grows(w *World) {
	w.full(4)
	w.hosts[3].freeze(time.Minute)
	w.hosts[4].freeze(time.Minute)
	w.until(20*time.Second, func() bool { return w.record().Acks == 1 && len(w.record().Synced) == 2 })
	w.Run(time.Second)
	w.hosts[3].thaw()
	w.until(20*time.Second, func() bool { return len(w.record().Synced) == 3 })
	w.hosts[0].server.slow = 500 * time.Millisecond
	w.until(20*time.Second, func() bool { return w.record().Acks == 2 })
	w.endsTwo()
}

// shrinks does so when commits are waiting for one acknowledgement less.
func shrinks(w *World) {
	w.full(4)
	w.until(20*time.Second, func() bool { return w.record().Acks == 2 })
	w.hosts[3].freeze(time.Minute)
	w.hosts[4].freeze(time.Minute)
	w.until(20*time.Second, func() bool { return len(w.record().Synced) == 3 })
	for _, h := range w.hosts {
		h.disk.slow = time.Second // the record takes its time
	}
	w.until(20*time.Second, func() bool { return w.hosts[0].server.db.SourceState().Acks == 1 || w.record().Acks == 1 })
	w.endsTwo()
}

// endsTwo has one replica alone receive something, and ends its server and the primary's.
func (w *World) endsTwo() {
	for _, h := range w.hosts[2:] {
		h.server.deaf = true
	}
	told := w.told
	w.until(200*time.Millisecond, func() bool { return w.told != told && !w.hosts[2].server.received().Contains(w.told) })
	w.hosts[0].server.kill()
	w.hosts[1].server.kill()
	for _, h := range w.hosts {
		h.server.deaf, h.disk.slow = false, 0
		h.thaw()
	}
	w.Run(10 * time.Second)
}

// TestLosslessScripts is the test of those scripts: with every rule in force they break nothing.
func TestLosslessScripts(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*World){
		"only_one_has_it": onlyOneHasIt, "relay_log_lost": relayLogLost, "half_acknowledged": halfAcknowledged, "left_behind": leftBehind,
		"ghost": ghost, "cut_off": cutOff, "resumed": resumed, "healed": healed, "eager": eager,
		"leaves_at_the_wrong_moment": leavesAtTheWrongMoment, "grows": grows, "shrinks": shrinks,
		"torn": torn, "torn_told": tornTold,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(max(1, 10/slower)) {
				c := Config{Seed: seed + 1, Quorum: true, Lossless: true, KillServer: true}
				if name == "half_acknowledged" || name == "grows" || name == "shrinks" {
					c.Hosts = 5
				}
				w := New(c)
				w.Run(2 * firstStart)
				script(w)
				w.Close()
				if w.Err() != nil {
					t.Fatal(w.Err())
				}
			}
		})
	}
}
