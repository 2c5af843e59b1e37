// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

// draw returns a number below n. Rapid draws to shrink, a seed to search.
type draw func(label string, n int) int

// schedule lets a random cluster meet random faults, and returns it healed. All clocks are off
// by up to 10 %.
func schedule(t fatal, mut Mutations, d draw) *network {
	sizes := [][]string{{"a", "b", "c"}, {"a", "b", "w"}, {"a", "b", "c", "d", "e"}, {"a", "b"}, {"a"}}
	names := sizes[min(d("size", 8), 2)]
	if d("small", 20) == 0 {
		names = sizes[3+d("smaller", 2)]
	}
	n := newNetwork(t, mut, names...)
	n.rng = rand.New(rand.NewPCG(uint64(d("network", 1<<30)), 1))
	n.delay = time.Duration(1+d("delay", 40)) * 100 * time.Microsecond
	n.jitter = time.Duration(d("jitter", 200)) * 100 * time.Microsecond
	n.disk = time.Duration(d("disk", 300)) * 100 * time.Microsecond
	n.loss = d("loss", 4) * 50
	n.repeat = d("repeat", 3) * 50
	for _, nd := range n.nodes {
		nd.crash()
		nd.rate = time.Duration(900 + 100*d("clock", 3))
		nd.cfg.CompactEvery = 20
		if mut.AnyLease {
			nd.cfg.RightLease = nd.cfg.Promise() * 3 / 2
		}
		nd.start()
	}
	pick := func() *node { return n.nodes[d("node", len(n.nodes))] }
	version := func(nd *node) uint64 {
		if nd.core == nil {
			return 0
		}
		v, _ := nd.core.Record()
		return v
	}
	for range 10 + d("steps", 60) {
		switch nd := pick(); d("fault", 16) {
		case 0, 1, 2:
			nd.step(Seek{})
		case 3:
			nd.step(Rest{})
		case 4:
			n.isolate(nd.cfg.Node)
		case 5:
			n.sever(nd.cfg.Node, pick().cfg.Node, d("both", 2) == 0)
		case 6:
			n.heal()
		case 7:
			nd.crash()
			if d("back", 3) > 0 {
				nd.start()
			}
		case 8:
			if nd.core == nil {
				nd.start()
			}
		case 9:
			nd.stall(time.Duration(1+d("stall", 40)) * tick / 2)
		case 10: // of the leader, if anybody knows one
			if leader := nd.leader(); leader != nil {
				leader.step(HandOver{To: pick().cfg.Node})
			}
		case 11:
			if leader := nd.leader(); leader != nil {
				leader.step(Propose{Version: version(leader) + 1, Data: []byte{byte(d("data", 256))}})
			}
		case 12:
			nd.step(Read{})
		case 13: // what an old order, or a slow link, is made of
			if n.held == nil {
				late := []raftpb.MessageType{raftpb.MsgTimeoutNow, raftpb.MsgHeartbeatResp, raftpb.MsgVote, raftpb.MsgAppResp}[d("late", 4)]
				n.held = func(from, _ string, m *raftpb.Message) bool { return m.GetType() == late && from == nd.cfg.Node }
			} else {
				n.release()
			}
		case 14:
			if leader := nd.leader(); leader != nil && d("really", 3) == 0 {
				leader.step(RemoveMember{Name: pick().cfg.Node})
			}
		case 15:
			if leader := nd.leader(); leader != nil && len(n.nodes) < 7 {
				name := fmt.Sprintf("x%d", len(n.nodes))
				n.join(name, uint64(100+len(n.nodes)))
				leader.step(AddMember{Member: Member{Name: name, ID: uint64(100 + len(n.nodes) - 1)}})
			}
		}
		n.run(time.Duration(d("pause", 25)) * tick / 2)
	}
	if n.held != nil {
		n.release()
	}
	n.heal()
	n.loss = 0
	for _, nd := range n.nodes {
		if nd.core == nil {
			nd.start()
		}
	}
	n.run(30 * tick)
	return n
}

// leader returns the node that this one takes for the leader.
func (nd *node) leader() *node {
	if nd.core == nil || nd.core.Leader() == "" {
		return nil
	}
	return nd.net.node(nd.core.Leader())
}

// TestOneRight is the promise of this package: whatever happens, the right is not held twice at
// once; no version of the record is two things; and when all is well again somebody gets the right.
func TestOneRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := schedule(t, Mutations{}, func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) })
		n.noOverlap()
		for _, nd := range n.nodes {
			nd.step(Seek{})
		}
		if !n.until(20*time.Second, func() bool { return n.holder() != "" }) {
			n.fatalf("all is well, all want the right, and nobody has it")
		}
		// And the record can be written, once what was in doubt is not.
		holder := n.node(n.holder())
		if !n.until(5*time.Second, func() bool { _, doubt := holder.core.Doubt(); return !doubt }) {
			n.fatalf("%s never learns the fate of its proposal", holder.cfg.Node)
		}
		if n.holder() != holder.cfg.Node {
			return
		}
		v, _ := holder.core.Record()
		holder.step(Propose{Version: v + 1, Data: []byte("end")})
		n.run(30 * tick)
		for _, m := range holder.core.Status().Members {
			if got, data := n.node(m.Name).core.Record(); got != v+1 || string(data) != "end" {
				n.fatalf("%s ends with version %d, not %d", m.Name, got, v+1)
			}
		}
		n.noOverlap()
	})
}

// TestSearchFindsMutations is the test of the test above: with a rule switched off the same search
// comes upon two that hold the right. (With NoStartPromise and KeepRight it does so too, once in a
// thousand schedules; for these the attacks of TestRestartedVoter and TestStaleTimeoutNow do.)
func TestSearchFindsMutations(t *testing.T) {
	if testing.Short() {
		t.Skip("searches for a while")
	}
	// The search begins shortly before a seed that was found once: it is here to notice that a
	// rule has no effect any more, not to look for the seed again.
	for _, tt := range []struct {
		name string
		mut  Mutations
		from uint64
	}{
		{"NoPromise", Mutations{NoPromise: true}, 30},
		{"AnyLease", Mutations{AnyLease: true}, 0},
		{"LeaseFromAnswer", Mutations{LeaseFromAnswer: true}, 40},
		{"FollowerLease", Mutations{FollowerLease: true}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const most = 2000
			for seed := tt.from; seed < tt.from+most; seed++ {
				rng := rand.New(rand.NewPCG(seed, 7))
				n := schedule(t, tt.mut, func(_ string, n int) int { return rng.IntN(n) })
				if len(n.overlaps) > 0 {
					t.Logf("seed %d: %s", seed, n.overlaps[0])
					return
				}
			}
			t.Errorf("%d schedules, and the right was never held twice", most)
		})
	}
}

// TestSameAgain: a core is a function of its inputs, whatever raft has drawn.
func TestSameAgain(t *testing.T) {
	for seed := range uint64(5) {
		var traces [2][]string
		for i := range traces {
			rng := rand.New(rand.NewPCG(seed, 3))
			traces[i] = schedule(t, Mutations{}, func(_ string, n int) int { return rng.IntN(n) }).trace
		}
		if !slices.Equal(traces[0], traces[1]) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// TestRandomLies says plausible nonsense in a member's name to a leader and its follower.
// None may fail, whatever it has been made to believe.
func TestRandomLies(t *testing.T) {
	types := make([]int32, 0, len(raftpb.MessageType_name))
	for v := range int32(len(raftpb.MessageType_name)) {
		types = append(types, v)
	}
	small := rapid.OneOf(rapid.Uint64Range(0, 8), rapid.SampledFrom([]uint64{1 << 61, 1<<62 + 1, ^uint64(0)}))
	likely := rapid.Uint64Range(0, 12)
	rapid.Check(t, func(t *rapid.T) {
		n := hostile(t)
		if rapid.Bool().Draw(t, "leaderless") {
			n.isolate("a")
			n.run(time.Second)
			n.heal()
		}
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			to := rapid.IntRange(0, 1).Draw(t, "to")
			nd := n.nodes[to]
			m := &raftpb.Message{
				Type: raftpb.MessageType(rapid.SampledFrom(types).Draw(t, "type")).Enum(),
				From: new(uint64(3)), To: new(uint64(to + 1)),
			}
			number := func(label string) *uint64 {
				g := likely
				if rapid.IntRange(0, 9).Draw(t, label+" wild") == 0 {
					g = small
				}
				return new(g.Draw(t, label))
			}
			if m.GetType() != raftpb.MsgReadIndex {
				m.Term = new(nd.core.term + rapid.Uint64Range(0, 2).Draw(t, "ahead"))
			}
			m.Index, m.LogTerm, m.Commit, m.RejectHint = number("index"), number("log term"), number("commit"), number("hint")
			m.Reject = new(rapid.Bool().Draw(t, "reject"))
			switch m.GetType() {
			case raftpb.MsgApp:
				prev := nd.core.log.last()
				if rapid.Bool().Draw(t, "fits") {
					term, err := nd.core.log.Term(prev)
					if err != nil {
						t.Fatal(err)
					}
					m.Index, m.LogTerm = &prev, &term
				}
				for i := range rapid.IntRange(0, 3).Draw(t, "entries") {
					e := &raftpb.Entry{Index: new(m.GetIndex() + 1 + uint64(i)), Term: m.Term, Data: rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data")}
					if rapid.Bool().Draw(t, "change") {
						e.Type = raftpb.EntryConfChange.Enum()
						id := rapid.Uint64Range(0, 5).Draw(t, "id")
						name := string(rune('`' + id))
						priority := uint8(210 - 10*id)
						cc := &raftpb.ConfChange{Type: raftpb.ConfChangeType(rapid.Int32Range(0, 3).Draw(t, "kind")).Enum(), NodeId: &id}
						cc.Context = encodeMember(Member{Name: name, ID: id, Priority: priority})
						e.Data = marshal(cc)
					}
					m.Entries = append(m.Entries, e)
				}
			case raftpb.MsgSnap:
				snap, err := nd.core.log.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				snap.Metadata.Index = new(snap.GetMetadata().GetIndex() + likely.Draw(t, "snapshot"))
				if rapid.Bool().Draw(t, "other voters") {
					snap.Metadata.ConfState.Voters = rapid.SliceOfN(rapid.Uint64Range(0, 5), 0, 4).Draw(t, "voters")
				}
				m.Snapshot = snap
			case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
				m.Context = rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "context")
			case raftpb.MsgVote:
				if rapid.Bool().Draw(t, "transfer") {
					m.Context = []byte(transferCtx)
				}
			case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
				m.Entries = []*raftpb.Entry{{Data: rapid.SliceOfN(rapid.Byte(), requestLen-1, requestLen).Draw(t, "request")}}
			}
			nd.step(Received{From: "c", Message: nd.core.seal(m)})
			n.versions = map[uint64]string{} // a liar may write two histories
			n.run(time.Duration(rapid.IntRange(0, 8).Draw(t, "pause")) * tick / 2)
			n.versions = map[uint64]string{}
		}
	})
}
