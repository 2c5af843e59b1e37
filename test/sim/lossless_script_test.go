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

// ghost is a server without a supervisor that still reads from db2 when that becomes primary once more.
func ghost(w *World) {
	w.full(2)
	stop := func(i int) {
		w.Inject(Stop, w.hosts[i], 2*time.Second)
		w.Run(10 * time.Second)
	}
	stop(0)
	w.full(2)
	w.hosts[2].crashSupervisor()
	w.Run(time.Second)
	from := w.host(w.Primary())
	if from == nil {
		return
	}
	stop(from.index)
	next := w.host(w.Primary())
	if next == nil || next == from {
		return
	}
	w.Inject(Stop, next, 2*time.Second)
	w.until(5*time.Second, func() bool { return w.opened.Node == from.name && w.record().Primary == from.name })
	w.Run(w.between(0, 40*time.Millisecond))
	from.server.kill()
	w.Run(8 * time.Second)
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
	w.hosts[2].crashSupervisor()
	w.hosts[0].crashSupervisor()
	w.Run(200 * time.Millisecond)
	w.hosts[0].startSupervisor()
	w.until(10*time.Second, func() bool { return w.Primary() == "db1" })
	if w.cfg.Mutation == ResetTerm {
		w.orderOnRecord(func(r election.ClusterRecord) (election.ClusterRecord, error) {
			if len(r.Synced) < 2 {
				return r, nil
			}
			n := r
			n.Revision++
			n.Kept = &election.KeptTerm{Term: r.Term, Primary: r.Primary, Synced: r.Synced, Acks: r.Acks}
			n.Synced, n.Acks = nil, 0
			return n, nil
		})
	}
	w.until(10*time.Second, func() bool { return len(w.record().Synced) == 1 })
	w.hosts[1].server.deaf = true
	w.Run(500 * time.Millisecond)
	w.hosts[0].server.kill()
	w.hosts[1].server.deaf = false
	w.Run(8 * time.Second)
}

// forgotten lets the supervisor of a sealed replica start anew, which hears the old primary again.
func forgotten(w *World) {
	w.full(2)
	w.parted = true
	for i := 1; i <= 2; i++ { // db1 is cut off for the others to elect one of them
		w.cut[0][i], w.cut[i][0] = true, true
	}
	w.until(10*time.Second, func() bool {
		return w.hosts[1].supervisor.machine.Status().Promised > 1 && !w.hosts[1].server.receiving() &&
			w.hosts[2].supervisor.machine.Status().Promised > 1 && !w.hosts[2].server.receiving()
	})
	two := w.hosts[1]
	if w.hosts[1].supervisor.machine.Status().Role != election.RoleReplica {
		two = w.hosts[2]
	}
	two.crashSupervisor()
	for i := 1; i <= 2; i++ {
		w.cut[0][i], w.cut[i][0] = false, false
	}
	w.Run(w.between(0, 20*time.Millisecond))
	two.startSupervisor()
	w.Run(6 * time.Second)
}

// eager has a replica follow that is not in S yet, while the others receive nothing.
func eager(w *World) {
	w.full(2)
	w.hosts[2].crashSupervisor()
	w.until(10*time.Second, func() bool { return !w.record().IsSynced("db3") })
	w.hosts[1].server.deaf = true
	w.hosts[2].startSupervisor()
	w.until(3*time.Second, func() bool { return w.hosts[2].server.db.Acknowledges() || w.record().IsSynced("db3") })
	w.tells(w.hosts[1])
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

// backFromAlone ends the primary when the record says that it is alone no more.
func backFromAlone(w *World) {
	w.full(2)
	for _, h := range w.hosts[1:] {
		h.server.kill()
	}
	w.until(15*time.Second, func() bool { return w.record().Alone })
	w.Run(time.Second)
	for _, h := range w.hosts[1:] {
		h.server.start()
	}
	w.until(15*time.Second, func() bool { return len(w.record().Synced) > 0 })
	for _, h := range w.hosts[1:] {
		h.server.deaf = true
	}
	w.Run(w.between(0, 25*time.Millisecond))
	w.hosts[0].server.kill()
	for _, h := range w.hosts[1:] {
		h.server.deaf = false
	}
	w.Run(6 * time.Second)
}

// twoLost ends the primary and one replica when commits are waiting for one acknowledgement less.
func twoLost(w *World) {
	w.full(4)
	w.until(20*time.Second, func() bool { return w.record().Acks == 2 })
	w.Run(time.Second)
	w.hosts[3].freeze(8 * time.Second)
	w.hosts[4].freeze(8 * time.Second)
	w.hosts[2].server.deaf = true
	w.until(10*time.Second, func() bool { return w.hosts[0].server.db.SourceState().Acks == 1 || w.record().Acks == 1 })
	w.tells(w.hosts[2])
	w.hosts[0].server.kill()
	w.hosts[1].server.kill()
	w.hosts[2].server.deaf = false
	w.hosts[3].thaw()
	w.hosts[4].thaw()
	w.Run(8 * time.Second)
}

// TestLosslessScripts is the test of those scripts: with every rule in force they break nothing.
func TestLosslessScripts(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*World){
		"only_one_has_it": onlyOneHasIt, "relay_log_lost": relayLogLost, "half_acknowledged": halfAcknowledged, "left_behind": leftBehind,
		"ghost": ghost, "cut_off": cutOff, "resumed": resumed, "forgotten": forgotten, "eager": eager,
		"leaves_at_the_wrong_moment": leavesAtTheWrongMoment, "back_from_alone": backFromAlone, "two_lost": twoLost,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(max(1, 10/slower)) {
				c := Config{Seed: seed + 1, Quorum: true, Lossless: true, KillServer: true, GoAlone: name == "back_from_alone"}
				if name == "half_acknowledged" || name == "two_lost" {
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
