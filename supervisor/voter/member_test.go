// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"highwater/election"
)

// leads makes a voter primary of a first term, so that the record has a primary who stays.
func (n *net) leads(name string) (stop func()) {
	n.t.Helper()
	stop = n.keepSeeking(name)
	n.eventually(name+" has the right", func() bool { return n.voters[name].right.Held })
	if err := n.establish(name, 1); err != nil {
		n.t.Fatal(err)
	}
	return stop
}

// order carries out an order about the members, again while another change is under way.
func (n *net) order(give func(context.Context, func(context.Context, error))) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ended := make(chan error, 1)
		give(context.Background(), func(_ context.Context, err error) { ended <- err })
		var err error
		select {
		case err = <-ended:
		case <-time.After(20 * time.Second):
			return errors.New("the order is not answered")
		}
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Reason != ReasonUnsettled || time.Now().After(deadline) {
			return err
		}
	}
}

func (n *net) addMember(by, name string) error {
	return n.order(func(ctx context.Context, ended func(context.Context, error)) {
		n.voters[by].AddMember(ctx, name, false, ended)
	})
}

func (n *net) removeMember(by, name string) error {
	return n.order(func(ctx context.Context, ended func(context.Context, error)) {
		n.voters[by].RemoveMember(ctx, name, true, ended)
	})
}

// votes waits until a node votes, or says why it does not.
func (n *net) votes(name string, why Reason) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n.mu.Lock()
		s := n.voters[name].State()
		n.mu.Unlock()
		if s.Standing.Reason == why && (why != "" || s.Voter) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%s says %q (%s), want %q", name, s.Standing.Reason, s.Detail, why)
		}
	}
}

// refused checks the reason of a refusal.
func refused(t *testing.T, err error, want Reason) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// wipe takes everything that a stopped node remembers of the quorum.
func (n *net) wipe(name string) {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.dirs[name], logDir)); err != nil {
		n.t.Fatal(err)
	}
}

// A node comes with the names of the others, waits until it is taken in, crashes while it catches up, votes, and is taken out again; then
// it does not vote, remembers that, and comes back only with an empty log and a new ID.
func TestMembersChange(t *testing.T) {
	n := newNet(t)
	defer n.leads("db1")()
	n.stop("db3")
	time.Sleep(time.Second) // longer than a promise
	refused(t, n.removeMember("db1", "db2"), ReasonNoMajority)
	n.start("db3")

	n.dirs["db4"] = t.TempDir()
	n.list["db4"] = append(append([]string{}, names...), "db4")
	refused(t, n.addMember("db1", "db4"), ReasonMemberSilent)
	n.start("db4")
	n.votes("db4", ReasonAwaitsAdd)
	refused(t, n.addMember("db4", "db4"), ReasonAwaitsAdd)

	n.change(func() { n.deaf = map[string]bool{"db4": true} }) // it is told, and sent nothing
	if err := n.addMember("db1", "db4"); err != nil {
		t.Fatal(err)
	}
	n.votes("db4", ReasonLearner)
	refused(t, n.addMember("db1", "db4"), ReasonKnownMember)
	n.stop("db4")
	n.start("db4")
	n.votes("db4", ReasonLearner)
	n.change(func() { n.deaf = nil })
	n.votes("db4", "")
	if m, ok := n.voters["db4"].Record().Member("db4"); !ok || m.ID != 4 {
		t.Errorf("the record has it as %+v", m)
	}

	refused(t, n.removeMember("db1", "db9"), ReasonNoMember)
	refused(t, n.removeMember("db1", "db1"), ReasonPrimaryStays)

	n.change(func() { n.deaf = map[string]bool{"db4": true} }) // it does not get the entry that takes it out
	if err := n.removeMember("db1", "db4"); err != nil {
		t.Fatal(err)
	}
	n.votes("db4", ReasonRemoved)
	n.change(func() { n.deaf = nil })
	n.stop("db4")
	n.change(func() { n.cut["db4"] = true }) // and nobody tells it
	n.start("db4")
	n.votes("db4", ReasonRemoved)
	refused(t, n.addMember("db1", "db4"), ReasonMemberSilent)
	n.change(func() { n.cut["db4"] = false })
	refused(t, n.addMember("db1", "db4"), ReasonNotEmpty)
	n.stop("db4")
	n.wipe("db4")
	n.start("db4")
	n.votes("db4", ReasonAwaitsAdd)
	if err := n.addMember("db1", "db4"); err != nil {
		t.Fatal(err)
	}
	n.votes("db4", "")
	if m, ok := n.voters["db4"].Record().Member("db4"); !ok || m.ID != 5 {
		t.Errorf("the record has it as %+v", m)
	}
}

// The leader ends when the record has a new member and raft does not: the next leader finishes what it began, in both directions.
func TestLeaderChangesAmid(t *testing.T) {
	n := newNet(t)
	stop := n.leads("db1")
	n.dirs["db4"] = t.TempDir()
	n.list["db4"] = append(append([]string{}, names...), "db4")
	half := func(by string, next func(election.ClusterRecord) (election.ClusterRecord, error)) {
		t.Helper()
		ended := make(chan error, 1)
		n.voters[by].Change(context.Background(), next, func(_ context.Context, err error) { ended <- err })
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	half("db1", func(r election.ClusterRecord) (election.ClusterRecord, error) { return r.AddMember("db4", false) })
	stop()
	n.stop("db1")
	stop = n.keepSeeking("db2")
	n.eventually("db2 has the right", func() bool { return n.voters["db2"].right.Held })
	n.start("db4")
	n.votes("db4", "")
	half("db2", func(r election.ClusterRecord) (election.ClusterRecord, error) { return r.RemoveMember("db4", true) })
	n.start("db1")
	stop()
	n.stop("db2")
	defer n.keepSeeking("db3")()
	n.votes("db4", ReasonRemoved)
}

// A node whose log is gone does not begin a cluster with others of its kind, nor is it taken for the voter that it was.
func TestReplacedLog(t *testing.T) {
	n := newNet(t)
	stop := n.leads("db1")
	stop()
	for _, name := range names {
		n.stop(name)
	}
	n.wipe("db2")
	n.wipe("db3")
	n.start("db2")
	n.start("db3")
	n.votes("db2", ReasonAwaitsFounders)
	n.votes("db3", ReasonAwaitsFounders)
	time.Sleep(time.Second) // they are two of three, and nothing is to happen
	n.votes("db2", ReasonAwaitsFounders)
	n.start("db1")
	n.votes("db2", ReasonLogReplaced)
	n.votes("db3", ReasonLogReplaced)
	n.voters["db1"].Seek(t.Context())
	time.Sleep(2 * time.Second)
	n.mu.Lock()
	defer n.mu.Unlock()
	if held := n.holders(); len(held) > 0 {
		t.Errorf("%v has the right, and the others have forgotten their votes", held)
	}
}

// Where one of two is replaced the majority takes it out and in again.
func TestReplacedLogComesBack(t *testing.T) {
	n := newNet(t)
	defer n.leads("db1")()
	n.stop("db3")
	n.wipe("db3")
	n.start("db3")
	n.votes("db3", ReasonLogReplaced)
	refused(t, n.addMember("db1", "db3"), ReasonKnownMember)
	if err := n.removeMember("db1", "db3"); err != nil {
		t.Fatal(err)
	}
	n.votes("db3", ReasonAwaitsAdd)
	if err := n.addMember("db1", "db3"); err != nil {
		t.Fatal(err)
	}
	n.votes("db3", "")
	for _, name := range names {
		n.stop(name)
	}
	for _, name := range names { // with the IDs that the log has, not the configuration
		n.start(name)
	}
	n.votes("db3", "")
}

// What says that a part is over is believed or an error.
func TestEndFile(t *testing.T) {
	dir := t.TempDir()
	if e, err := readEnd(dir); err != nil || e != (end{}) {
		t.Errorf("none: %+v %v", e, err)
	}
	want := end{Log: "x", Reason: ReasonRemoved, By: "db1"}
	if err := writeEnd(dir, want); err != nil {
		t.Fatal(err)
	}
	if e, err := readEnd(dir); err != nil || e != want {
		t.Errorf("%+v %v", e, err)
	}
	for _, text := range []string{"", "{}", `{"log":"x"}`} {
		if err := os.WriteFile(filepath.Join(dir, endName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readEnd(dir); err == nil || !strings.Contains(err.Error(), endName) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
