// SPDX-License-Identifier: Apache-2.0

package mysqld

import "testing"

// pair is a source that waits for one acknowledgement, and a replica that gives it.
func pair(flavor Flavor) (a, b *Server) {
	a, b = NewServer("a", flavor, 0), NewServer("b", flavor, 1)
	a.Boot()
	b.Boot()
	a.SetReadOnly(false)
	a.EnableSource(1)
	b.SetAcknowledge(true)
	b.Follow(a)
	return a, b
}

// Sets are counts by origin.
func TestSet(t *testing.T) {
	x, y := Set{3, 0, 1}, Set{1, 2, 1}
	if got, want := x.Union(y), (Set{3, 2, 1}); got != want {
		t.Errorf("union %v, want %v", got, want)
	}
	if got, want := x.Intersect(y), (Set{1, 0, 1}); got != want {
		t.Errorf("intersection %v, want %v", got, want)
	}
	if got, want := x.Minus(y), (Set{2}); got != want || got.Count() != 2 {
		t.Errorf("%v without %v is %v, want %v", x, y, got, want)
	}
	if x.Contains(y) || !x.Union(y).Contains(x) || x.IsZero() || !(Set{}).IsZero() {
		t.Error("containment")
	}
	if !x.Has(0, 3) || x.Has(0, 4) || x.Has(0, 0) {
		t.Error("membership")
	}
}

// What a crash left, and what a copy holds, decide who can be served.
func TestGivesUp(t *testing.T) {
	for _, flavor := range []Flavor{MySQL, MariaDB} {
		a, b := pair(flavor)
		first := a.Commit()
		b.Connect()
		for b.Receive(10) || b.SendAck() || b.Apply() {
		}
		if first.State() != Acknowledged || b.Executed() != a.Executed() || first.Number != 1 {
			t.Fatalf("%v: %v, %v and %v", flavor, first.State(), a.Executed(), b.Executed())
		}
		// The source is replaced by a copy that lacks it.
		a.Restore(Set{})
		if b.Connected() || b.Receive(1) || !b.Connect() || !b.GaveUp() || b.Receiving() {
			t.Errorf("%v: a replica follows who lacks what it has", flavor)
		}
		// By one whose log does not go back far enough.
		c := NewServer("c", flavor, 2)
		c.Restore(Set{1})
		c.Boot()
		d := NewServer("d", flavor, 3)
		d.Boot()
		d.Follow(c)
		if !d.Connect() || !d.GaveUp() {
			t.Errorf("%v: a replica follows who does not have what it lacks", flavor)
		}
		b.Follow(c)
		if !b.Connect() || !b.Connected() {
			t.Errorf("%v: a replica does not follow who has what it has", flavor)
		}
	}
}

// An acknowledgement that was sent arrives after its sender hung up, and not after the source did.
func TestAckOnItsWay(t *testing.T) {
	for i, end := range []func(a, b *Server){
		func(_, b *Server) { b.StopReceiver() },
		func(_, b *Server) { b.Kill() },
		func(a, _ *Server) { a.KillDump("b") },
		func(_, b *Server) { b.Disconnect() },
	} {
		a, b := pair(MySQL)
		b.Connect()
		w := a.Commit()
		b.Receive(1)
		end(a, b)
		if got, want := b.SendAck(), i < 2; got != want || w.State() == Acknowledged != want {
			t.Errorf("case %d: the acknowledgement arrives: %t, the commit %v, want %t", i, got, w.State(), want)
		}
		if got, want := a.EndDumps(), i < 2; got != want {
			t.Errorf("case %d: the source notices %t, want %t", i, got, want)
		}
		if got, want := a.Dumping("b"), i == 3; got != want {
			t.Errorf("case %d: a dump thread is left: %t, want %t", i, got, want)
		}
	}
}

// What the source had sent when it ended the connection arrives all the same.
func TestDataOnItsWay(t *testing.T) {
	a, b := pair(MySQL)
	b.Connect()
	a.Commit()
	a.KillDump("b")
	a.Commit()
	if !b.Receive(10) || b.Received() != (Set{1}) || b.Receive(10) || b.SendAck() {
		t.Errorf("received %v", b.Received())
	}
	if !b.Connect() || !b.Receive(10) || b.Received() != (Set{2}) {
		t.Errorf("received %v after it came back", b.Received())
	}
}

// A replica that is rebuilt counts its own transactions from what its copy has.
func TestRestoreAndCommit(t *testing.T) {
	a, _ := pair(MariaDB)
	a.DisableSource()
	a.Commit()
	b := NewServer("b", MariaDB, 1)
	b.Restore(a.Executed())
	b.SetOrigin(2)
	a.Lock("c")
	b.CopyLocks(a)
	b.Boot()
	b.SetReadOnly(false)
	if w := b.Commit(); w.State() != Acknowledged || b.Executed() != (Set{1, 0, 1}) || !b.Locked("c") {
		t.Errorf("%v, %v", w.State(), b.Executed())
	}
}

// A number of acknowledgements that a flavor does not know is a mistake of the caller.
func TestNoSuchAcks(t *testing.T) {
	for _, tt := range []struct {
		flavor Flavor
		acks   int
		ok     bool
	}{{MySQL, 0, false}, {MySQL, 3, true}, {MariaDB, 1, true}, {MariaDB, 2, false}} {
		func() {
			defer func() {
				if got := recover() == nil; got != tt.ok {
					t.Errorf("%v with %d acknowledgements: %t", tt.flavor, tt.acks, got)
				}
			}()
			NewServer("a", tt.flavor, 0).EnableSource(tt.acks)
		}()
	}
}

// The common steps allocate nothing but commits, in slabs.
func TestAllocations(t *testing.T) {
	for _, flavor := range []Flavor{MySQL, MariaDB} {
		a, b := pair(flavor)
		b.Connect()
		step := func() {
			a.Commit()
			b.Receive(1)
			b.SendAck()
			b.Apply()
			a.SourceState()
		}
		step()
		if n := testing.AllocsPerRun(1000, step); n > 1.0/slab {
			t.Errorf("%v: %v allocations for each commit", flavor, n)
		}
	}
}

// BenchmarkCommit is a commit from its beginning to its application on a replica.
func BenchmarkCommit(b *testing.B) {
	source, replica := pair(MySQL)
	replica.Connect()
	b.ReportAllocs()
	for b.Loop() {
		source.Commit()
		replica.Receive(1)
		replica.SendAck()
		replica.Apply()
	}
}
