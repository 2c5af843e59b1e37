// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// recoverAt ends a cluster on one node and begins it anew there, with the record that it has.
func (n *network) recoverAt(name string, id uint64) Known {
	n.t.Helper()
	nd := n.node(name)
	nd.crash()
	k, err := Recall(nd.cfg, nd.stored)
	if err != nil {
		n.fatalf("recall: %v", err)
	}
	self := Member{Name: name, ID: id, Log: "new log of " + name}
	stored, err := Recover("test", k, self, k.Version+1, append([]byte("recovered "), k.Data...))
	if err != nil {
		n.fatalf("recover: %v", err)
	}
	nd.stored = stored
	nd.cfg.Members, nd.cfg.Log = []Member{self}, self.Log
	nd.start()
	return k
}

// TestRecover: one node begins anew, with all of its log, what nobody had committed included; the others, a
// majority of the old cluster, go on by themselves, and neither believes the other anything.
func TestRecover(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.step("a", Propose{Version: 1, Data: []byte("one")})
	n.run(time.Second)
	n.isolate("a")
	n.step("a", Propose{Version: 2, Data: []byte("two")})
	n.run(10 * time.Millisecond) // stored, and sent to nobody
	k := n.recoverAt("a", 10)
	if k.Version != 2 || string(k.Data) != "two" || k.Commit >= k.Index || len(k.Voters) != 3 || len(k.Members) != 3 || k.Origin == 0 {
		n.fatalf("recalled %+v", k)
	}
	n.versions = map[uint64]string{} // of another cluster
	n.step("a", Seek{})
	if !n.until(3*time.Second, func() bool { return n.node("a").core.RecordCurrent(n.node("a").local()) }) {
		n.fatalf("a does not lead alone")
	}
	if v, data := n.node("a").core.Record(); v != 3 || string(data) != "recovered two" {
		n.fatalf("a has version %d %q", v, data)
	}
	s := n.node("a").core.Status()
	if s.Origin == k.Origin || !Replaces(s.Before, k.Origin) || s.Term <= k.Term || s.Applied <= k.Index {
		n.fatalf("a: %+v", s)
	}
	n.heal()
	n.run(3 * time.Second)
	for _, name := range []string{"b", "c"} {
		if l := n.node(name).core.Leader(); l == "a" {
			n.fatalf("%s follows the new cluster", name)
		}
		if o := n.node(name).core.Status().Origin; o != k.Origin {
			n.fatalf("%s changed over", name)
		}
	}
	if l := n.node("a").core.Leader(); l != "a" || n.node("a").core.Status().Stats.Dropped[DropMisaddressed] == 0 {
		n.fatalf("a listens to the old cluster; its leader is %q", l)
	}
	// It outlives a restart, and takes in others, who begin with nothing.
	a := n.node("a")
	a.crash()
	a.start()
	b := n.node("b")
	b.crash()
	n.node("c").crash()
	b.stored = Restored{}
	b.cfg = config("b", []Member{{Name: "a", ID: 10}, {Name: "b", ID: 11, Log: "new log of b"}})
	b.cfg.Join, b.cfg.Log = true, "new log of b"
	b.start()
	n.step("a", Seek{})
	if !n.until(3*time.Second, func() bool { return a.core.Right(a.local()).Held }) {
		n.fatalf("a does not lead after a restart")
	}
	n.run(10 * tick)
	n.step("a", AddMember{Member: Member{Name: "b", ID: 11, Log: "new log of b"}})
	if !n.until(3*time.Second, func() bool { return b.core.Status().Voter }) {
		n.fatalf("b is no voter: %+v", b.core.Status())
	}
	if v, data := b.core.Record(); v != 3 || string(data) != "recovered two" {
		n.fatalf("b has version %d %q", v, data)
	}
	// Twice in a row.
	again := n.recoverAt("b", 12)
	if s := b.core.Status(); len(s.Before) != 2 || !Replaces(s.Before, k.Origin) || !Replaces(s.Before, again.Origin) {
		n.fatalf("b: %+v", s)
	}
}

// TestRecallCountsEverything: changes of the members behind the snapshot count like those of the record.
func TestRecallCountsEverything(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	n.step("a", RemoveMember{Name: "c"})
	n.run(time.Second)
	a := n.node("a")
	seen, ok, err := Peek(a.stored)
	if err != nil || !ok || len(seen.Members) != 3 || len(seen.Removed) != 0 || seen.Origin != a.core.Status().Origin {
		t.Fatalf("peek: %+v %v %v", seen, ok, err)
	}
	k, err := Recall(a.cfg, a.stored)
	if err != nil || len(k.Members) != 2 || !slices.Equal(k.Removed, []uint64{3}) || !slices.Equal(k.Voters, []uint64{1, 2}) {
		t.Fatalf("recalled %+v, %v", k, err)
	}
	if _, known := k.Member("c"); known {
		t.Error("c is a member still")
	}
}

// TestRecoverRefuses: no beginning that could be mistaken for another, and none from nothing.
func TestRecoverRefuses(t *testing.T) {
	cfg := config("a", members("a", "b", "c"))
	if _, err := Recall(cfg, Restored{}); err == nil {
		t.Error("nothing was stored, and it is recalled")
	}
	good := stored(t)
	torn := good
	torn.Entries = append(slices.Clone(good.Entries[:1]), good.Entries[2:]...)
	if _, err := Recall(cfg, torn); err == nil {
		t.Error("an entry is missing, and it is recalled")
	}
	k, err := Recall(cfg, good)
	if err != nil {
		t.Fatal(err)
	}
	self := Member{Name: "a", ID: 9, Log: "x"}
	for _, tt := range []struct {
		self    Member
		version uint64
		change  func(*Known)
		want    string
	}{
		{self, k.Version + 1, func(*Known) {}, ""},
		{self, k.Version, func(*Known) {}, "does not follow"},
		{Member{Name: "a", ID: 9}, k.Version + 1, func(*Known) {}, "has no name"},
		{Member{Name: "a", Log: "x"}, k.Version + 1, func(*Known) {}, "reserved"},
		{Member{Name: "a", ID: 9, Log: "x", Witness: true}, k.Version + 1, func(*Known) {}, "witness"},
		{self, k.Version + 1, func(k *Known) { k.Before = []uint64{origin("test", []Member{self})} }, "told from"},
		{self, k.Version + 1, func(k *Known) { k.Term = maxOrdinal }, "out of range"},
	} {
		k := k
		tt.change(&k)
		if _, err := Recover("test", k, tt.self, tt.version, []byte("x")); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.self, err, tt.want)
		}
	}
}

// TestOtherLog: a member whose log is another one than it became a member with is not one, neither
// by its own storage nor by what a leader sends it.
func TestOtherLog(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b")
	n.elect("a")
	d := n.join("d", 9)
	d.crash()
	d.cfg.Log = "second"
	d.start()
	n.step("a", AddMember{Member: Member{Name: "d", ID: 9, Log: "first"}})
	n.run(3 * time.Second)
	if s := d.core.Status(); s.Voter || s.Origin != 0 || s.Stats.Dropped[DropMalformed] == 0 {
		n.fatalf("d believes that it is a member: %+v", s)
	}
	if s := n.node("a").core.Status(); len(s.Members) != 3 || s.Members[2].Voter {
		n.fatalf("a: %+v", s)
	}
	d.crash()
	d.cfg.Log = "first"
	d.start()
	if !n.until(3*time.Second, func() bool { return d.core.Status().Voter }) {
		n.fatalf("d is no voter")
	}
	n.run(time.Second)
	d.crash()
	d.cfg.Log = "second"
	if _, err := New(d.cfg, d.stored, 1); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("a member with another log starts: %v", err)
	}
	if Origin("test", []Member{{Name: "a", ID: 1, Log: "x"}}) == Origin("test", []Member{{Name: "a", ID: 1, Log: "y"}}) {
		t.Error("two beginnings have one origin")
	}
}

// TestRemoveKeepsMajority: nobody is taken out without whom too few are heard to go on.
func TestRemoveKeepsMajority(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	n.isolate("c")
	n.run(time.Second)
	n.step("a", RemoveMember{Name: "b"})
	if r, _ := last[MemberRefused](n.node("a")); r.Reason != ReasonMajority {
		n.fatalf("b may go: %+v", r)
	}
	n.step("a", RemoveMember{Name: "c"}) // who is gone may
	n.run(time.Second)
	if c, _ := last[MemberChanged](n.node("a")); c.Member.Name != "c" || n.holder() != "a" {
		n.fatalf("c is a member still: %+v", c)
	}
	n.noOverlap()
}

// TestRemovedRestarts: a member that was taken out while it was away, and still believes that it is one,
// gets nobody's vote, also not with the one that was taken out before it.
func TestRemovedRestarts(t *testing.T) {
	n := newNetwork(t, Mutations{}, "a", "b", "c", "d", "e")
	n.elect("a")
	n.run(time.Second)
	for _, name := range []string{"e", "d"} {
		n.node(name).crash()
		n.run(time.Second)
		n.step("a", RemoveMember{Name: name})
		n.run(time.Second)
	}
	for _, from := range []string{"a", "b"} {
		for _, to := range []string{"c", "d", "e"} {
			n.sever(from, to, true)
		}
	}
	for _, name := range []string{"d", "e"} {
		n.node(name).start()
	}
	for _, name := range []string{"c", "d", "e"} { // of the first five a majority
		n.step(name, Seek{})
	}
	n.run(5 * time.Second)
	if n.holder() != "a" {
		n.fatalf("%q has the right", n.holder())
	}
	n.heal()
	n.run(3 * time.Second)
	if h := n.holder(); h != "a" && h != "b" && h != "c" {
		n.fatalf("%q has the right", h)
	}
	n.noOverlap()
}
