// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"highwater/election"
)

// A network of cores on one virtual clock, of which every node has its own wrong copy. What is
// not stored when a node crashes is gone.

const tick = 30 * time.Millisecond

// fatal is the part of testing.TB and rapid.T that the network uses.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

type network struct {
	t      fatal
	now    time.Duration
	queue  queue
	seq    uint64
	rng    *rand.Rand
	luck   *rand.Rand // of the storage
	nodes  []*node
	cut    map[[2]string]bool // from, to
	delay  time.Duration      // one way
	jitter time.Duration
	loss   int           // per thousand
	repeat int           // per thousand
	disk   time.Duration // of one Store

	// held, if it is not nil, keeps messages back: see release.
	held func(from, to string, m *raftpb.Message) bool
	kept []parcel

	rights   []string // who held the right, as it changed
	overlaps []string // two at once
	versions map[uint64]string
	trace    []string
}

type parcel struct {
	from, to string
	data     []byte
}

type node struct {
	net     *network
	cfg     Config
	core    *Core
	rate    time.Duration // per thousand
	offset  election.Instant
	stored  Restored
	writing []Store
	boots   int
	stalled time.Duration // until
	inbox   []Input
	ghost   time.Duration // until when a right that died with the process may be believed in
	alarm   uint64
	events  []Event
	applied []Applied
	sent    map[raftpb.MessageType]int
	steps   int
}

type job struct {
	at  time.Duration
	seq uint64
	do  func()
}

type queue []job

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(job)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// members makes members of names: a leading w is a witness; earlier ones rank first.
func members(names ...string) []Member {
	var list []Member
	for i, name := range names {
		list = append(list, Member{Name: name, ID: uint64(i + 1), Witness: strings.HasPrefix(name, "w"), Priority: uint8(200 - 10*i)})
	}
	return list
}

func config(node string, list []Member) Config {
	return Config{Cluster: "test", Node: node, Members: list, Tick: tick, ElectionTicks: 10, DriftPercent: 10}
}

// newNetwork starts a core per name.
func newNetwork(t fatal, mut Mutations, names ...string) *network {
	t.Helper()
	n := &network{
		t: t, rng: rand.New(rand.NewPCG(1, 2)), luck: rand.New(rand.NewPCG(3, 4)), cut: map[[2]string]bool{},
		delay: 500 * time.Microsecond, disk: 2 * time.Millisecond, versions: map[uint64]string{},
	}
	list := members(names...)
	for _, name := range names {
		cfg := config(name, list)
		cfg.Mutations = mut
		n.add(cfg)
	}
	for _, nd := range n.nodes {
		nd.start()
	}
	return n
}

func (n *network) add(cfg Config) *node {
	nd := &node{net: n, cfg: cfg, rate: 1000, offset: election.Instant(time.Hour) * election.Instant(len(n.nodes)+1), sent: map[raftpb.MessageType]int{}}
	n.nodes = append(n.nodes, nd)
	return nd
}

func (n *network) node(name string) *node {
	for _, nd := range n.nodes {
		if nd.cfg.Node == name {
			return nd
		}
	}
	panic("no node " + name)
}

func (n *network) at(d time.Duration, do func()) {
	n.seq++
	heap.Push(&n.queue, job{at: max(d, n.now), seq: n.seq, do: do})
}

// run lets d pass.
func (n *network) run(d time.Duration) { n.until(d, func() bool { return false }) }

// until lets time pass until ok, for d at most, and reports whether it came to that.
func (n *network) until(d time.Duration, ok func() bool) bool {
	end := n.now + d
	if ok() {
		return true
	}
	for len(n.queue) > 0 && n.queue[0].at <= end {
		j := heap.Pop(&n.queue).(job)
		n.now = j.at
		j.do()
		n.look()
		if ok() {
			return true
		}
	}
	n.now = end
	n.look()
	return ok()
}

// look checks that the right is held once at most, by everybody's own clock.
func (n *network) look() {
	var holders []string
	for _, nd := range n.nodes {
		switch {
		case nd.core != nil && nd.core.Right(nd.local()).Held:
			holders = append(holders, nd.cfg.Node)
		case n.now < nd.ghost:
			holders = append(holders, nd.cfg.Node)
		}
	}
	now := strings.Join(holders, "+")
	if len(n.rights) == 0 || n.rights[len(n.rights)-1] != now {
		n.rights = append(n.rights, now)
		if len(holders) > 1 {
			n.overlaps = append(n.overlaps, fmt.Sprintf("%v: %s", n.now, now))
		}
	}
}

func (n *network) logf(format string, args ...any) {
	n.trace = append(n.trace, fmt.Sprintf("%9.4f ", n.now.Seconds())+fmt.Sprintf(format, args...))
}

func (n *network) fatalf(format string, args ...any) {
	n.t.Helper()
	from := max(0, len(n.trace)-120)
	n.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(n.trace[from:], "\n"))
}

// noOverlap fails the test if the right was ever held twice at once.
func (n *network) noOverlap() {
	n.t.Helper()
	if len(n.overlaps) > 0 {
		n.fatalf("the right was held twice: %v", n.overlaps)
	}
}

// holder returns who has the right.
func (n *network) holder() string {
	for _, nd := range n.nodes {
		if nd.core != nil && nd.core.Right(nd.local()).Held {
			return nd.cfg.Node
		}
	}
	return ""
}

// elect makes one node the holder.
func (n *network) elect(name string) {
	n.t.Helper()
	n.step(name, Seek{})
	if !n.until(20*time.Second, func() bool { return n.holder() == name }) {
		n.fatalf("%s did not get the right", name)
	}
}

func (n *network) step(name string, in Input) { n.node(name).step(in) }

func (n *network) sever(a, b string, both bool) {
	n.logf("cut %s-%s", a, b)
	n.cut[[2]string{a, b}] = true
	if both {
		n.cut[[2]string{b, a}] = true
	}
}

// isolate cuts a node off from all others.
func (n *network) isolate(name string) {
	for _, nd := range n.nodes {
		if nd.cfg.Node != name {
			n.sever(name, nd.cfg.Node, true)
		}
	}
}

func (n *network) heal() {
	n.logf("heal")
	clear(n.cut)
}

// release delivers what was kept back.
func (n *network) release() {
	kept := n.kept
	n.kept, n.held = nil, nil
	for _, p := range kept {
		n.node(p.to).step(Received{From: p.from, Message: p.data})
	}
}

func (nd *node) local() election.Instant {
	return nd.offset.Add(nd.net.now * nd.rate / 1000)
}

// real returns when a node's clock shows an instant, or a moment later.
func (nd *node) real(i election.Instant) time.Duration {
	return (i.Sub(nd.offset)*1000 + nd.rate - 1) / nd.rate
}

func (nd *node) start() {
	core, err := New(nd.cfg, nd.stored, nd.local())
	if err != nil {
		nd.net.fatalf("start %s: %v", nd.cfg.Node, err)
	}
	nd.boots++
	nd.core, nd.writing, nd.inbox, nd.stalled, nd.applied = core, nil, nil, 0, nil
	nd.net.logf("start %s", nd.cfg.Node)
	nd.step(Tick{})
}

// crash ends the process; its right may be believed in until it would have ended.
func (nd *node) crash() {
	if nd.core == nil {
		return
	}
	if r := nd.core.Right(nd.local()); r.Held {
		nd.ghost = nd.real(r.Until)
	}
	nd.net.logf("crash %s", nd.cfg.Node)
	nd.core, nd.writing, nd.inbox = nil, nil, nil
	nd.alarm++
}

// stall freezes the process. Messages queue up.
func (nd *node) stall(d time.Duration) {
	nd.net.logf("stall %s for %v", nd.cfg.Node, d)
	nd.stalled = nd.net.now + d
	boot := nd.boots
	nd.net.at(nd.stalled, func() {
		if nd.boots == boot && nd.core != nil {
			nd.drain()
		}
	})
}

func (nd *node) drain() {
	inbox := nd.inbox
	nd.inbox = nil
	for _, in := range inbox {
		nd.step(in)
	}
	nd.step(Tick{})
}

func (nd *node) step(in Input) {
	if nd.core == nil {
		return
	}
	if nd.net.now < nd.stalled {
		if _, tick := in.(Tick); !tick {
			nd.inbox = append(nd.inbox, in)
		}
		return
	}
	nd.steps++
	switch in := in.(type) {
	case Tick, Stored:
	case Received:
		if m, err := parse(in.Message); err == nil && m.GetType() != raftpb.MsgHeartbeat && m.GetType() != raftpb.MsgHeartbeatResp {
			nd.net.logf("%s <- %s %v term %d index %d %q", nd.cfg.Node, in.From, m.GetType(), m.GetTerm(), m.GetIndex(), m.GetContext())
		}
	default:
		nd.net.logf("%s %T%+v", nd.cfg.Node, in, in)
	}
	nd.handle(nd.core.Step(nd.local(), in))
	nd.net.look()
}

func parse(data []byte) (*raftpb.Message, error) {
	m := new(raftpb.Message)
	if len(data) < headerLen {
		return nil, fmt.Errorf("short")
	}
	return m, proto.Unmarshal(data[headerLen:], m)
}

func (nd *node) handle(out Output) {
	n := nd.net
	for _, e := range out.Events {
		n.logf("%s %T%+v", nd.cfg.Node, e, e)
		if f, ok := e.(Failed); ok {
			n.fatalf("%s failed: %v", nd.cfg.Node, f.Err)
		}
		nd.events = append(nd.events, e)
	}
	for _, a := range out.Applied {
		nd.applied = append(nd.applied, a)
		what := fmt.Sprintf("%d %x", a.Term, a.Data)
		if before, ok := n.versions[a.Version]; ok && before != what {
			n.fatalf("%s applied version %d as %s, another node as %s", nd.cfg.Node, a.Version, what, before)
		}
		n.versions[a.Version] = what
	}
	for _, m := range out.Messages {
		n.send(nd, m)
	}
	for _, s := range out.Stores {
		nd.write(s)
	}
	nd.wake()
}

func (nd *node) wake() {
	nd.alarm++
	alarm, deadline := nd.alarm, nd.core.Deadline()
	if deadline == 0 {
		return
	}
	nd.net.at(nd.real(deadline), func() {
		if nd.alarm == alarm && nd.core != nil {
			nd.step(Tick{})
		}
	})
}

// write stores one thing after the other.
func (nd *node) write(s Store) {
	nd.writing = append(nd.writing, s)
	if len(nd.writing) == 1 {
		nd.writeNext()
	}
}

func (nd *node) writeNext() {
	n, boot := nd.net, nd.boots
	n.at(n.now+n.disk, func() {
		if nd.core == nil || nd.boots != boot {
			return
		}
		s := nd.writing[0]
		nd.writing = nd.writing[1:]
		if s.Sync || n.luck.IntN(2) == 0 { // else it may be left out
			nd.stored.store(s)
		}
		if len(nd.writing) > 0 {
			nd.writeNext()
		}
		nd.step(Stored{Token: s.Token})
	})
}

// store is what Store promises that a storage does.
func (r *Restored) store(s Store) {
	if s.Snapshot != nil {
		r.Snapshot = s.Snapshot
		r.Entries = slices.DeleteFunc(slices.Clone(r.Entries), func(e Entry) bool { return s.Snapshot.Reset || e.Index <= s.Snapshot.Index })
	}
	if len(s.Entries) > 0 {
		from := s.Entries[0].Index
		r.Entries = slices.DeleteFunc(slices.Clone(r.Entries), func(e Entry) bool { return e.Index >= from })
		r.Entries = append(r.Entries, s.Entries...)
	}
	if s.HardState != nil {
		r.HardState = s.HardState
	}
}

func (n *network) send(from *node, msg Message) {
	m, err := parse(msg.Data)
	if err != nil {
		n.fatalf("%s sent what nobody can read: %v", from.cfg.Node, err)
	}
	from.sent[m.GetType()]++
	if n.held != nil && n.held(from.cfg.Node, msg.To, m) {
		n.logf("kept back: %s -> %s %v term %d", from.cfg.Node, msg.To, m.GetType(), m.GetTerm())
		n.kept = append(n.kept, parcel{from.cfg.Node, msg.To, msg.Data})
		return
	}
	copies := 1
	if n.rng.IntN(1000) < n.loss {
		copies = 0
	} else if n.rng.IntN(1000) < n.repeat {
		copies = 2
	}
	for range copies {
		d := n.delay
		if n.jitter > 0 {
			d += time.Duration(n.rng.Int64N(int64(n.jitter)))
		}
		n.at(n.now+d, func() {
			if n.cut[[2]string{from.cfg.Node, msg.To}] {
				return
			}
			for _, to := range n.nodes {
				if to.cfg.Node == msg.To {
					to.step(Received{From: from.cfg.Node, Message: msg.Data})
				}
			}
		})
	}
}

// last returns the newest event of a kind that a node has reported.
func last[E Event](nd *node) (e E, ok bool) {
	for i := len(nd.events) - 1; i >= 0; i-- {
		if e, ok = nd.events[i].(E); ok {
			return e, true
		}
	}
	return e, false
}

func count[E Event](nd *node) int {
	n := 0
	for _, e := range nd.events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

var _ fatal = (*testing.T)(nil)
