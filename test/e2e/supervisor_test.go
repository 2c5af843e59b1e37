// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"syscall"
	"testing"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// The supervisor of the primary dies for good: the kernel takes the VIP off, the server that
// nobody watches is left alone, and a successor is elected. The supervisor comes back later
// and demotes its server.
func TestSupervisorKilled(t *testing.T) {
	r := start(t, semiSync())
	old := r.db(1)
	w := r.write()
	r.Supervisor(old).Kill()
	r.without(old, leaseTime)
	primary := r.moved(old)
	r.pause(500 * time.Millisecond)
	r.must(r.StartSupervisor(old))
	r.revive(old)
	r.end(w, primary, 1)
}

// The supervisor of the primary is back within the lease: nothing moves and no connection
// breaks, whether it was killed or restarted in good order.
func TestSupervisorRestarted(t *testing.T) { supervisorRestarted(t, semiSync()) }

func supervisorRestarted(t *testing.T, c cluster.Config) {
	t.Helper()
	c.Lease = 6 * time.Second // this machine may take its time to start a process
	r := start(t, c)
	w := r.write()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := r.Supervisor(r.db(1))
		r.must(p.Signal(signal))
		if signal == syscall.SIGTERM {
			r.must(p.Wait(r.ctx)) // it says so itself: exit code 0
		} else {
			<-p.Done()
		}
		r.must(r.StartSupervisor(r.db(1)))
		r.stays(7 * time.Second) // longer than the lease and every timer of the others
	}
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d connections broke, the last by %v", record.Errors, record.LastError)
	}
}

// The supervisor of the primary is frozen beyond its lease and goes on later: it finds
// another primary and demotes its server; at no time are there two writers.
func TestSupervisorFrozen(t *testing.T) {
	r := start(t, semiSync())
	old := r.db(1)
	w := r.write()
	r.must(r.Supervisor(old).Stop())
	r.without(old, leaseTime)
	primary := r.moved(old)
	r.pause(500 * time.Millisecond)
	r.must(r.Supervisor(old).Cont())
	r.revive(old)
	r.end(w, primary, 1)
}

// An operator stops Highwater on the primary, by command or by signal: it hands over, ends in
// good order and comes back as a replica. The server runs on.
func TestStop(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	old := r.db(1)
	if out, err := r.Command(r.ctx, old, "stop"); err != nil {
		t.Fatalf("stop: %v: %s", err, out)
	}
	next := r.restarted(old)
	r.must(r.Supervisor(next).Signal(syscall.SIGINT))
	r.end(w, r.restarted(next), 2)
}

// restarted waits until the supervisor of a primary has handed over and ended, starts it
// again and returns the new primary once all follow it.
func (r *rig) restarted(old *lab.Host) *lab.Host {
	r.t.Helper()
	r.must(r.Supervisor(old).Wait(r.ctx))
	primary := r.moved(old)
	r.must(r.StartSupervisor(old))
	r.revive(old)
	r.settled(primary)
	return primary
}

// Highwater is stopped on a replica: nothing moves.
func TestStopReplica(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	if out, err := r.Command(r.ctx, r.db(2), "stop"); err != nil {
		t.Fatalf("stop: %v: %s", err, out)
	}
	r.must(r.Supervisor(r.db(2)).Wait(r.ctx))
	r.stays(2 * time.Second)
	r.must(r.StartSupervisor(r.db(2)))
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d connections broke, the last by %v", record.Errors, record.LastError)
	}
}
