// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/supervisor/web"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// lossless is three servers of which nothing acknowledged may be lost.
func lossless() cluster.Config {
	c := majority()
	c.Durability = configs.Lossless
	return c
}

// losslessPair is two servers and a witness; with either server lost the other goes alone.
func losslessPair() cluster.Config {
	c := pairAndWitness()
	c.Durability = configs.Lossless
	return c
}

// protected is start, and every replica is in S.
func protected(t *testing.T, c cluster.Config) *rig {
	t.Helper()
	r := start(t, c)
	var names []string
	for _, h := range r.Hosts()[1:] {
		names = append(names, h.Name())
	}
	r.synced(r.db(1), names...)
	return r
}

// synced waits until the record, as a host has it, names these as those who may acknowledge.
func (r *rig) synced(on *lab.Host, names ...string) {
	r.t.Helper()
	r.record(on, fmt.Sprintf("S is not %v", names), func(l web.Lossless) bool {
		return slices.Equal(l.Synced, names) && !l.Alone
	})
}

// record waits until the cluster record, as a host has it, is as it should be and no change of it
// is under way there.
func (r *rig) record(on *lab.Host, missing string, is func(web.Lossless) bool) {
	r.t.Helper()
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, on)
		switch {
		case err != nil:
			return err.Error()
		case s.Lossless == nil:
			return "the status says nothing of acknowledgements"
		case !is(*s.Lossless) || s.Lossless.Change != "":
			return fmt.Sprintf("%s: %+v: %s", missing, *s.Lossless, s.Summary)
		}
		return ""
	})
}

// says waits until the status of a host has the level, and its summary these words.
func (r *rig) says(on *lab.Host, level web.Level, words ...string) {
	r.t.Helper()
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, on)
		if err != nil {
			return err.Error()
		}
		for _, w := range words {
			if s.Level != level || !strings.Contains(s.Summary, w) {
				return fmt.Sprintf("%s: %s: want %s with %q", s.Level, s.Summary, level, w)
			}
		}
		return ""
	})
}

// writes waits until clients are told of rows that they sent from now on.
func (r *rig) writes(w *lab.Writer) {
	r.t.Helper()
	from := w.Record().Ended
	r.eventually(moveTime, func() string {
		record := w.Record()
		if n := len(record.Acks); n == 0 || record.Acks[n-1].Sent < from {
			return fmt.Sprintf("no row is acknowledged; last error %v", record.LastError)
		}
		return ""
	})
}

// patient are clients that wait for their commits longer than any test takes: what a deposed
// primary tells late, they hear.
func (r *rig) patient() *lab.Writer {
	r.t.Helper()
	w := r.writer(lab.WriterConfig{Timeout: testTimeout, ConnectTimeout: time.Second})
	r.must(w.WaitAcknowledged(r.ctx))
	return w
}

// stalled waits until no client is told anything any more, and returns how much they were told.
func (r *rig) stalled(w *lab.Writer) int {
	r.t.Helper()
	last, since := -1, time.Now()
	r.eventually(moveTime, func() string {
		if n := len(w.Record().Acks); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Sprintf("commits do not wait: %d rows are acknowledged", last)
		}
		return ""
	})
	return last
}

// kept checks that a server has all that clients were told who have ended.
func (r *rig) kept(record *lab.Record, h *lab.Host) {
	r.t.Helper()
	difference, err := record.Verify(r.ctx, h.Server)
	r.must(err)
	if !difference.OK() {
		r.t.Errorf("rows on %s: %v", h, difference)
	}
}

// incomplete waits until a host's status says that nobody is promoted before whoever is named answers,
// and watches for a while that it stays so.
func (r *rig) incomplete(h *lab.Host, named string) {
	r.t.Helper()
	r.says(h, web.LevelCritical, h.Name()+" does not stand ("+string(election.CodeIncomplete), named)
	r.pause(3 * time.Second) // longer than a candidate stands back
	if c := r.carriers(); len(c) > 0 {
		r.t.Fatalf("the VIP is on %v although what was acknowledged may be missing", c)
	}
}

// Nothing that was acknowledged is lost with the primary's server or host, or when that stands
// still and goes on: it acknowledges nothing then.
func TestLosslessFailover(t *testing.T) {
	for _, c := range failures {
		t.Run(c.name, func(t *testing.T) {
			r := protected(t, lossless())
			r.overlaps = c.name == "host frozen" // carries the VIP until its lease ends
			w, patient := r.write(), r.patient()
			old := r.db(1)
			c.fault(r, old)
			primary := r.moved(old)
			r.writes(w)
			c.back(r, old)
			r.end(w, primary, 1)
			r.kept(patient.Stop(), primary)
		})
	}
}

// However the network splits, nothing that was acknowledged is lost.
func TestLosslessPartition(t *testing.T) {
	for _, c := range splits {
		t.Run(c.name, func(t *testing.T) {
			r := protected(t, lossless())
			r.overlaps = true // no replica acknowledges what the old carrier is sent
			w, patient := r.write(), r.patient()
			fault, err := c.split(r)
			r.must(err)
			r.without(r.db(1), leaseTime)
			primary := r.moved(r.db(1))
			r.writes(w)
			r.must(fault.Heal())
			r.revive(r.db(1))
			r.end(w, primary, 1)
			r.kept(patient.Stop(), primary)
		})
	}
}

// A replica's host is lost: writes go on, and it leaves S. So the other one may take over when the
// primary's server dies; the lost one comes back and enters S again.
func TestLosslessReplicaLost(t *testing.T) {
	r := protected(t, lossless())
	w := r.write()
	r.powerOff(r.db(2))
	r.synced(r.db(1), "db3")
	r.writes(w)
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.powerOn(r.db(2))
	r.record(primary, "db2 is not in S", func(l web.Lossless) bool { return slices.Contains(l.Synced, "db2") })
	r.end(w, primary, 1)
}

// The primary and a member of S are lost at once: what they alone may hold is missing, so nobody
// is promoted before an operator accepts the loss.
func TestLosslessTwoLost(t *testing.T) {
	r := protected(t, lossless())
	w := r.write()
	r.db(2).Server.Kill() // its supervisor lives: there is a majority
	r.powerOff(r.db(1))
	told := w.Stop()
	left := r.db(3)
	r.incomplete(left, "db2 is silent")
	out, err := r.Command(r.ctx, left, "failover", "--yes") // it may stand; it is not promoted
	t.Logf("failover: %s %v", out, err)
	r.incomplete(left, "db2 is silent")
	out, err = r.Command(r.ctx, left, "failover", "--accept-loss", "--yes")
	if err != nil {
		t.Fatalf("failover --accept-loss: %v: %s", err, out)
	}
	t.Logf("failover --accept-loss: %s", out)
	for _, want := range []string{"db1", "db2", "may be lost"} {
		if !strings.Contains(out, want) {
			t.Errorf("the possible loss is not stated: no %q in %q", want, out)
		}
	}
	r.moved(r.db(1))
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, left)
		if n := len(s.History); err != nil || n == 0 || !s.History[n-1].Loss || s.History[n-1].To != left.Name() {
			return fmt.Sprintf("the cluster record does not note that loss was accepted: %+v, %v", s.History, err)
		}
		return ""
	})
	r.must(r.db(2).Server.Start(r.ctx))
	r.synced(left, "db2")
	r.powerOn(r.db(1))
	r.end(r.write(), left, 0)
	difference, err := told.Verify(r.ctx, left.Server)
	r.must(err)
	t.Logf("after the accepted loss: %v", difference)
}

// Both replicas are lost: commits wait, the status says so, and when one of them is back they go on
// by themselves. No client is told of an error.
func TestLosslessStall(t *testing.T) {
	r := protected(t, lossless())
	w := r.patient()
	for _, h := range r.Hosts()[1:] {
		h.Server.Kill()
	}
	n := r.stalled(w)
	r.says(r.db(1), web.LevelCritical, "commits wait")
	r.says(r.db(2), web.LevelCritical, "commits wait")
	r.stays(3 * time.Second)
	if now := len(w.Record().Acks); now != n {
		t.Errorf("%d rows were acknowledged while no replica was there", now-n)
	}
	r.must(r.db(3).Server.Start(r.ctx))
	r.writes(w)
	r.synced(r.db(1), "db3")
	r.must(r.db(2).Server.Start(r.ctx))
	r.synced(r.db(1), "db2", "db3")
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d clients were told of errors, the last: %v", record.Errors, record.LastError)
	}
}

// Of two servers the replica is lost: the primary goes alone and writes go on. The replica comes
// back into S and takes over when the primary's server dies.
func TestLosslessAlone(t *testing.T) {
	r := protected(t, losslessPair())
	w := r.write()
	r.powerOff(r.db(2))
	r.alone(r.db(1))
	r.writes(w)
	r.says(r.db(1), web.LevelWarning, "nobody can take over")
	r.powerOn(r.db(2))
	r.synced(r.db(1), "db2")
	r.writes(w)
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
}

// alone waits until the primary commits by itself.
func (r *rig) alone(primary *lab.Host) {
	r.t.Helper()
	r.record(primary, primary.Name()+" is not alone", func(l web.Lossless) bool { return l.Alone })
}

// A primary that went alone is lost, and the replica comes back, which lacks what the primary has
// acknowledged since: it is not promoted.
func TestLosslessAloneLost(t *testing.T) {
	r := protected(t, losslessPair())
	w := r.write()
	r.powerOff(r.db(2))
	r.alone(r.db(1))
	r.writes(w)
	r.powerOff(r.db(1))
	record := w.Stop()
	r.powerOn(r.db(2))
	r.incomplete(r.db(2), "db1 is silent")
	r.powerOn(r.db(1))
	primary := r.elected()
	r.end(r.write(), primary, 0)
	r.kept(record, primary)
}

// The supervisor of a replica, and of the primary, ends and is back within the lease: no
// connection breaks, nobody leaves S.
func TestLosslessSupervisorRestarted(t *testing.T) {
	c := lossless()
	c.Lease = 6 * time.Second // this machine may take its time to start a process
	r := protected(t, c)
	w := r.patient()
	for _, h := range []*lab.Host{r.db(2), r.db(1)} {
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			p := r.Supervisor(h)
			r.must(p.Signal(signal))
			<-p.Done()
			r.must(r.StartSupervisor(h))
			r.stays(3 * time.Second)
		}
	}
	r.stays(4 * time.Second) // with that, longer than the lease and every timer of the others
	r.synced(r.db(1), "db2", "db3")
	for _, h := range r.Hosts() {
		for _, change := range []string{"change=shrink", "change=alone"} {
			if n := r.times(h, change); n != 0 {
				t.Errorf("%s: %d times %s", h, n, change)
			}
		}
	}
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d connections broke, the last by %v", record.Errors, record.LastError)
	}
}

// As TestLosslessReplicaLost and TestLosslessFailover.
func TestLosslessMariaDB(t *testing.T) {
	c := lossless()
	c.Lab.Flavor = lab.MariaDB
	r := protected(t, c)
	w, patient := r.write(), r.patient()
	r.powerOff(r.db(2))
	r.synced(r.db(1), "db3")
	r.writes(w)
	r.powerOn(r.db(2))
	r.synced(r.db(1), "db2", "db3")
	r.must(r.WaitReplicas(r.ctx, r.db(1), r.db(2), r.db(3)))
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.writes(w)
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
	r.kept(patient.Stop(), primary)
}

// All hosts lose their power while clients write. Replicas that restarted may have lost what they
// acknowledged, so without the primary nobody is promoted; with it one of them may be missing.
func TestLosslessPowerCut(t *testing.T) {
	r := protected(t, lossless())
	w := r.write()
	for _, h := range r.Hosts() {
		r.powerOff(h)
	}
	record := w.Stop()
	r.powerOn(r.db(2))
	r.powerOn(r.db(3))
	r.incomplete(r.db(2), "db1 is silent")
	r.powerOff(r.db(3))
	r.powerOn(r.db(1))
	primary := r.elected()
	r.powerOn(r.db(3))
	r.end(r.write(), primary, 0)
	r.kept(record, primary)
}

// The servers of both replicas stand still, so commits wait. Now the primary loses the quorum: it
// gives up, and nobody is told of what was never acknowledged.
func TestLosslessStalledAndCutOff(t *testing.T) {
	r := protected(t, lossless())
	w := r.patient()
	r.must(errors.Join(r.db(2).Server.Stop(), r.db(3).Server.Stop()))
	r.overlaps = true
	n := r.stalled(w)
	fault, err := r.Partition(r.Hosts()[:1], r.Hosts()[1:])
	r.must(err)
	r.without(r.db(1), leaseTime)
	r.eventually(moveTime, func() string {
		if r.db(1).Server.Alive() {
			return "the server of db1 lives, and its commits wait"
		}
		return ""
	})
	if now := len(w.Record().Acks); now != n {
		t.Errorf("%d rows were acknowledged that no replica holds", now-n)
	}
	r.must(errors.Join(r.db(2).Server.Cont(), r.db(3).Server.Cont()))
	primary := r.moved(r.db(1))
	r.must(fault.Heal())
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
}
