// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/election"
	"highwater/supervisor/raftlog"
)

// recoverAt begins the cluster anew on a stopped node.
func (n *net) recoverAt(name string) *Recovery {
	n.t.Helper()
	r, err := Examine(n.dirs[name], n.config(name))
	if err != nil {
		n.t.Fatal(err)
	}
	old, err := r.Begin(time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		n.t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(old, "raft.db")); err != nil {
		n.t.Errorf("the old log is not kept: %v", err)
	}
	return r
}

// Two of three are lost, and one begins anew. When the two come back as they were, a majority of the cluster that was, they learn that it is
// over, and remember it; with nothing they join.
func TestRecover(t *testing.T) {
	n := newNet(t)
	stop := n.leads("db1")
	n.eventually("all know the primary", func() bool {
		return n.voters["db2"].record.Term == 1 && n.voters["db3"].record.Term == 1
	})
	stop()
	for _, name := range names {
		n.stop(name)
	}
	r := n.recoverAt("db2")
	if r.Record.Primary != "db1" || r.Record.Term != 1 || r.Next.Term <= r.Record.Term || len(r.Known.Voters) != 3 {
		t.Errorf("it knew %+v", r.Record)
	}
	text := strings.Join(r.Tell(true), "\n")
	for _, want := range []string{"term 1, primary db1", "db1, db3", "Possible loss: acknowledged transactions", "only db1 may hold", "later record"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not tell %q:\n%s", want, text)
		}
	}
	if text := strings.Join(r.Tell(false), "\n"); !strings.Contains(text, "best-effort") {
		t.Errorf("it tells %s", text)
	}
	n.start("db2")
	defer n.keepSeeking("db2")()
	n.eventually("db2 has the right", func() bool { return n.voters["db2"].right.Held })
	if err := n.establish("db2", r.Next.Term); err == nil {
		t.Error("the term of an old member's is begun again")
	}
	if err := n.establish("db2", r.Next.Term+1); err != nil {
		t.Fatal(err)
	}

	n.start("db1")
	n.start("db3")
	n.votes("db1", ReasonSuperseded)
	n.votes("db3", ReasonSuperseded)
	n.stop("db1")
	n.stop("db3")
	n.change(func() { n.cut["db2"] = true })
	n.start("db1")
	n.start("db3")
	n.votes("db1", ReasonSuperseded)
	n.votes("db3", ReasonSuperseded)
	n.change(func() { n.cut["db2"] = false })
	for _, name := range []string{"db1", "db3"} {
		n.stop(name)
		if _, err := Examine(n.dirs[name], n.config(name)); err == nil {
			t.Errorf("%s may begin its cluster anew", name)
		} else {
			refused(t, err, ReasonSuperseded)
		}
		n.wipe(name)
		n.start(name)
	}
	n.votes("db1", "")
	n.votes("db3", "")
	if rec := n.voters["db2"].Record(); rec.Primary != "db2" || rec.Failovers[len(rec.Failovers)-1].From != "db1" || !rec.Failovers[0].Alone {
		t.Errorf("%+v", rec)
	}
	if m, _ := n.voters["db2"].Record().Member("db1"); m.ID <= 3 {
		t.Errorf("db1 has an old ID: %+v", m)
	}
}

// Nothing is begun from nothing, from what is damaged, or where there was no vote, and nothing has changed then.
func TestExamineRefuses(t *testing.T) {
	n := newNet(t)
	stop := n.leads("db1")
	stop()
	n.dirs["db4"] = t.TempDir()
	n.list["db4"] = append(slices.Clone(names), "db4")
	n.start("db4")
	n.votes("db4", ReasonAwaitsAdd)
	if _, err := Examine(n.dirs["db1"], n.config("db1")); err == nil || raftlog.ReasonOf(err) != raftlog.ReasonLocked {
		t.Errorf("beside a voter that runs: %v", err)
	}
	n.stop("db4")
	n.stop("db3")
	_, err := Examine(n.dirs["db4"], n.config("db4"))
	refused(t, err, ReasonNoCluster)
	_, err = Examine(t.TempDir(), n.config("db1"))
	refused(t, err, ReasonNoCluster)
	witness := n.config("db3")
	witness.Members[2].Witness = true
	_, err = Examine(n.dirs["db3"], witness)
	refused(t, err, ReasonNoServer)

	path := filepath.Join(n.dirs["db3"], logDir, "raft.db")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(good)
	for i := range bad[:1<<15] {
		bad[i] ^= 0x55
	}
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Examine(n.dirs["db3"], n.config("db3")); err == nil || raftlog.ReasonOf(err) != raftlog.ReasonCorrupt {
		t.Errorf("a damaged log: %v", err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Examine(n.dirs["db3"], n.config("db3"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	n.start("db3") // as if nobody had looked
	n.votes("db3", "")
}

// What stays in doubt on the only host that is left counts.
func TestRecoverTakesAllOfTheLog(t *testing.T) {
	n := newNet(t)
	stop := n.leads("db1")
	stop()
	n.stop("db2")
	n.stop("db3")
	n.voters["db1"].Change(t.Context(), func(r election.ClusterRecord) (election.ClusterRecord, error) {
		return r.Pause(election.Pause{By: "root@db1", Since: 1})
	}, func(context.Context, error) {})
	time.Sleep(300 * time.Millisecond) // it is on the disk, and no majority says so
	n.stop("db1")
	r := n.recoverAt("db1")
	if r.Record.Paused == nil || r.Known.Index == r.Known.Commit {
		t.Errorf("what was proposed last is left out: %+v", r.Known)
	}
	if text := strings.Join(r.Tell(true), "\n"); !strings.Contains(text, "perhaps never agreed on") {
		t.Errorf("it tells %s", text)
	}
}
