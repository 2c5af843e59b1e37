// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkStepHeartbeat is what a follower at rest does once per tick.
func BenchmarkStepHeartbeat(b *testing.B) {
	n := newNetwork(b, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	var beat []byte
	n.held = func(_, to string, m *raftpb.Message) bool {
		if to == "b" && m.GetType() == raftpb.MsgHeartbeat {
			beat = n.node("a").core.seal(m)
		}
		return false
	}
	n.run(2 * tick)
	core, now := n.node("b").core, n.node("b").local()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(tick)
		if out := core.Step(now, Received{From: "a", Message: beat}); len(out.Messages) != 1 {
			b.Fatalf("%+v", out)
		}
	}
}

// BenchmarkLeaderTick is what a leader of three at rest does once per tick: it asks, and takes
// two answers.
func BenchmarkLeaderTick(b *testing.B) {
	n := newNetwork(b, Mutations{}, "a", "b", "c")
	n.elect("a")
	n.run(time.Second)
	a, now := n.node("a").core, n.node("a").local()
	followers := []*Core{n.node("b").core, n.node("c").core}
	theirs := n.node("b").local()
	b.ReportAllocs()
	for b.Loop() {
		now, theirs = now.Add(tick), theirs.Add(tick)
		out := a.Step(now, Tick{})
		b.StopTimer()
		var answers []Received
		for i, m := range out.Messages {
			for _, answer := range followers[i%2].Step(theirs, Received{From: "a", Message: m.Data}).Messages {
				answers = append(answers, Received{From: []string{"b", "c"}[i%2], Message: answer.Data})
			}
		}
		b.StartTimer()
		for _, answer := range answers {
			a.Step(now, answer)
		}
		if !a.Right(now).Held {
			b.Fatal("the right is gone")
		}
	}
}

// BenchmarkRight is asked before every renewal of the VIP.
func BenchmarkRight(b *testing.B) {
	n := newNetwork(b, Mutations{}, "a", "b", "c")
	n.elect("a")
	core, now := n.node("a").core, n.node("a").local()
	b.ReportAllocs()
	for b.Loop() {
		if !core.Right(now).Held {
			b.Fatal("no right")
		}
	}
}

// BenchmarkClusterHour runs three nodes at rest for an hour of their time.
func BenchmarkClusterHour(b *testing.B) {
	for b.Loop() {
		n := newNetwork(b, Mutations{}, "a", "b", "c")
		n.elect("a")
		n.run(time.Hour)
		n.noOverlap()
	}
}
