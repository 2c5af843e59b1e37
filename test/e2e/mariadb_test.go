// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"syscall"
	"testing"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

func mariaDB() cluster.Config {
	return cluster.Config{Lab: lab.Config{Hosts: 3, Flavor: lab.MariaDB, SemiSync: true}, KillServer: true}
}

// The main faults with MariaDB, one after the other on one cluster: its supervisor
// restarted, its server killed, its server hung. There is a fourth host because both old
// primaries may be held for a commit that nobody acknowledged, and the third needs somebody
// to acknowledge.
func TestMariaDB(t *testing.T) {
	c := mariaDB()
	c.Lab.Hosts = 4
	c.Lease = 6 * time.Second // this machine may take its time to start a process
	r := start(t, c)
	w := r.write()
	p := r.Supervisor(r.db(1))
	r.must(p.Signal(syscall.SIGKILL))
	<-p.Done()
	r.must(r.StartSupervisor(r.db(1)))
	r.stays(7 * time.Second)
	if record := w.Record(); record.Errors != 0 {
		t.Errorf("%d connections broke at the restart, the last by %v", record.Errors, record.LastError)
	}

	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.settled(primary)

	r.must(primary.Server.Stop())
	second := r.moved(primary)
	r.eventually(moveTime, func() string {
		if primary.Server.Alive() {
			return "the hung server was not killed"
		}
		return ""
	})
	r.must(primary.Server.Start(r.ctx))
	r.end(w, second, 2)
}

// As TestCandidateBehind.
func TestMariaDBCandidateBehind(t *testing.T) { candidateBehind(t, mariaDB()) }

// As TestServerKilledWithTail.
func TestMariaDBKilledWithTail(t *testing.T) { killedWithTail(t, mariaDB()) }

// Two MariaDB servers and a witness, of which nothing may be lost: the other server takes over, goes alone, and what
// clients were told by either is there.
func TestMariaDBLosslessPair(t *testing.T) {
	c := losslessPair()
	c.Lab.Flavor = lab.MariaDB
	r := protected(t, c)
	w, patient := r.write(), r.patient()
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.alone(primary)
	r.writes(w)
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
	r.kept(patient.Stop(), primary)
}
