// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/election/quorum"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
	"highwater/supervisor/voter"
	"highwater/supervisor/web"
)

// voting is a node whose vote alone is the majority: with the others' it only takes longer.
func voting(t *testing.T) *Node {
	t.Helper()
	n := &Node{self: &configs.Node{Name: "db1"}, log: slog.New(slog.DiscardHandler)}
	n.cluster = newCluster([]configs.Node{{Name: "db1"}, {Name: "db2"}}, n.self, 0)
	var err error
	n.voter, err = voter.Open(voter.Config{
		Quorum: quorum.Config{
			Cluster: "test", Node: "db1", Tick: minTick, ElectionTicks: electionTicks, DriftPercent: clockDrift,
			Members: []quorum.Member{{Name: "db1", Priority: 100}},
		},
		Dir: t.TempDir(), Now: now, Log: n.log,
		Post: func(context.Context, election.Event) {}, Send: func(string, []byte, bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.voter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, n.voter.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestPauseOrders(t *testing.T) {
	n := voting(t)
	give := func(name string, args map[string]string) (int, string) {
		return n.Order(t.Context(), control.Command{Name: name, Args: args}, func(string) {})
	}
	// Given before anybody leads, it waits for one.
	code, text := give("pause", map[string]string{"by": "root@db1", "why": "new switch"})
	p := n.voter.Record().Paused
	if code != control.CodeDone || !strings.Contains(text, "until somebody resumes") || p == nil || p.By != "root@db1" || p.Why != "new switch" || p.Until != 0 {
		t.Fatalf("pause: %d %q, %+v", code, text, p)
	}
	var s web.Status
	describeRecord(&s, n.voter.Record())
	if !s.Paused || s.Pause.By != "root@db1" || s.Pause.Until != nil || len(s.Members) != 1 {
		t.Errorf("the status: %+v", s)
	}
	// From another host, which believes that this one leads.
	reply := n.HandleCommand(t.Context(), "db2", peer.Command{Name: "pause", Args: map[string]string{"by": "root@db2", "for": "2h"}})
	p = n.voter.Record().Paused
	if reply.Code != control.CodeDone || p == nil || p.By != "root@db2" || p.Until-p.Since != (2*time.Hour).Milliseconds() {
		t.Errorf("a peer's pause: %+v, %+v", reply, p)
	}
	for _, args := range []map[string]string{
		{"by": "x", "for": "-2h"}, {"by": "x", "for": "soon"}, {"by": "x", "why": strings.Repeat("x", maxWhy+1)}, {"by": "x", "why": "a\nb"},
	} {
		if code, text := give("pause", args); code != control.CodeUsage {
			t.Errorf("%v: %d %q", args, code, text)
		}
	}
	if code, text := give("resume", nil); code != control.CodeDone || n.voter.Record().Paused != nil {
		t.Errorf("resume: %d %q", code, text)
	}
	if code, text := give("resume", nil); code != control.CodeDone || !strings.Contains(text, "not paused") {
		t.Errorf("resume again: %d %q", code, text)
	}
}

// A pause that is over is ended by whoever leads; one that goes on is not.
func TestPauseEnds(t *testing.T) {
	n := voting(t)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { n.watchPause(ctx); close(watched) }()
	defer func() { cancel(); <-watched }()
	pause := func(span string) {
		t.Helper()
		if code, text := n.Order(t.Context(), control.Command{Name: "pause", Args: map[string]string{"by": "x", "for": span}}, nil); code != control.CodeDone {
			t.Fatalf("pause: %d %q", code, text)
		}
	}
	pause("1h")
	time.Sleep(2 * pauseLook)
	if n.voter.Record().Paused == nil {
		t.Fatal("it ended early")
	}
	pause("1s")
	for end := time.Now().Add(10 * time.Second); n.voter.Record().Paused != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not end")
		}
	}
}

func TestPauseNeedsAQuorum(t *testing.T) {
	n := &Node{self: &configs.Node{Name: "db1"}, log: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"pause", "resume"} {
		code, text := n.Order(t.Context(), control.Command{Name: name}, nil)
		if code != control.CodeRefused || !strings.Contains(text, name+" refused: with authority vrrp") {
			t.Errorf("%s: %d %q", name, code, text)
		}
		if reply := n.HandleCommand(t.Context(), "db2", peer.Command{Name: name}); reply.Code != control.CodeRefused {
			t.Errorf("%s of a peer: %+v", name, reply)
		}
	}
}
