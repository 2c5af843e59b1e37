// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// lossless keeps the promise of `durability: lossless` on this host (docs/design.md §5). As
// primary it brings S and k to their aim, one change at a time, and lets in who may connect; as
// replica it acknowledges only while the record and a leader say so, and gives its word else.
type lossless struct {
	node    *Node
	policy  election.DurabilityPolicy
	barrier *promote.Barrier
	wake    chan struct{}

	// What follows belongs to run's goroutine.
	change     *election.Change
	proposed   bool                        // change, and its fate is not known
	decided    chan error                  // its fate
	backoff    election.Instant            // no new change before
	term       uint64                      // of which the next four are
	lost       map[string]election.Instant // since when each replica is of no use
	requiredAt election.Instant            // when MySQL's settings were last looked at
	ackedAt    election.Instant            // when commits were last seen to be acknowledged, or none waited
	acked      uint64                      // how many were by then
	stuck      bool                        // some wait, and none was acknowledged since the last look
	clients    int                         // replicas that acknowledge, at the last look
	stirredAt  election.Instant            // when this host last committed to have them speak
	heardAt    election.Instant            // when all that an acknowledgement needs was last so
	silent     string                      // server process that was made silent, and has not been told otherwise
	silentAt   election.Instant            // when
	spokeAt    election.Instant            // when the server last acknowledged what it had received before
	durability struct {                    //
		promote.Durability                  // as last read
		at                 election.Instant // then
	}
	noted struct { // of the local server, last
		start string
		led   uint64
	}
	failed string // last failure, said once

	mu      sync.Mutex
	word    election.Word
	admits  map[string]bool // replicas whose accounts are not locked on this server, in this term
	acks    string          // server process that was told to acknowledge
	began   opening         // by this process, as primary
	weak    promote.Durability
	known   bool // weak is
	relaxed promote.Relaxed
	counts  map[string]uint64
	stalled bool           // clients wait in vain
	doing   string         // name of the change under way
	doubt   *election.View // of a proposal whose fate is not known
	last    map[string]sign
}

// opening is how a term began.
type opening struct {
	term  uint64
	start string   // server process
	set   gtid.Set // what it held when writes opened
}

// losslessPause is how often a primary looks for a change, and a replica whether it may still
// acknowledge, where nothing wakes them.
const losslessPause = 200 * time.Millisecond

// newLossless returns nil where durability is best-effort, or there is no server.
func newLossless(n *Node) (*lossless, error) {
	if n.config.Durability.Mode != configs.Lossless || n.self.Witness {
		return nil, nil
	}
	relaxed, err := n.server.Relaxed()
	if err != nil {
		return nil, err
	}
	return &lossless{
		node: n, wake: make(chan struct{}, 1), decided: make(chan error, 1),
		policy: election.DurabilityPolicy{
			GoAlone: n.config.Durability.WhenAlone == configs.WhenAloneContinue, Patience: n.config.VIP.Lease,
		},
		barrier: promote.NewBarrier(n.server, n.config.MySQL.Heartbeat),
		lost:    map[string]election.Instant{}, admits: map[string]bool{}, counts: map[string]uint64{},
		last: map[string]sign{}, relaxed: relaxed,
	}, nil
}

// nudge asks for a turn now. It may be called on nil.
func (l *lossless) nudge() {
	if l == nil {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run takes turns until ctx ends.
func (l *lossless) run(ctx context.Context) error {
	ticker := time.NewTicker(losslessPause)
	defer ticker.Stop()
	for {
		l.turn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-l.wake:
		}
	}
}

func (l *lossless) turn(ctx context.Context) {
	l.settle()
	view, record := l.node.loop.view.Load(), l.node.voter.Record()
	l.lookAtServer(ctx, view.Role, record)
	switch view.Role {
	case election.RoleClaiming, election.RolePrimary:
		if record.Primary == l.node.self.Name && record.Term >= view.Term {
			l.note(record.Term)
			l.lead(ctx, record)
		}
	case election.RoleReplica, election.RoleHeld:
		l.drop()
		l.setStalled(false)
		l.note(0)
		l.obey(ctx, record, view.Promised)
	}
}

// note remembers which run of the server is primary of a term, 0 for none: if it ends by a crash,
// what it alone has was told to nobody.
func (l *lossless) note(led uint64) {
	start := l.startID()
	if start == "" || l.noted.start == start && l.noted.led == led {
		return
	}
	if err := l.node.server.NoteRun(start, led); err != nil {
		l.node.log.Warn("run.not_noted", "error", err)
		return
	}
	l.noted.start, l.noted.led = start, led
}

// settle takes in the fate of a proposal.
func (l *lossless) settle() {
	if !l.proposed {
		return
	}
	select {
	case err := <-l.decided:
		l.proposed = false
		l.mu.Lock()
		l.doubt = nil
		l.mu.Unlock()
		if err == nil {
			var next election.Change
			if next, err = l.change.Settle(l.node.voter.Record()); err == nil && next.Step().Stage != election.StageCommit {
				l.change = &next
				return
			}
		}
		l.fail("propose", err) // what holds now, the record says
	default:
	}
}

// drop gives up a change that was not proposed; one that was stays in doubt.
func (l *lossless) drop() {
	if l.proposed {
		return
	}
	l.setChange(nil)
}

func (l *lossless) setChange(c *election.Change) {
	l.change = c
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing, l.doubt = "", nil
	if c != nil {
		l.doing = c.Name()
	}
}

// fail drops the change under way and waits a moment before the next.
func (l *lossless) fail(stage string, err error) {
	if err != nil && l.failed != err.Error() {
		l.failed = err.Error()
		name := ""
		if l.change != nil {
			name = l.change.Name()
		}
		l.node.log.Warn("lossless.failed", "change", name, "stage", stage, "error", err)
	}
	l.count("failed")
	pause := losslessBackoff
	if errors.Is(err, context.Canceled) {
		pause = interruptedBackoff
		time.AfterFunc(pause, l.nudge)
	}
	l.backoff = now().Add(pause)
	l.drop()
}

// losslessBackoff is the pause after a change that failed, interruptedBackoff after one that gave
// way to a seal or a fence, which comes first.
const (
	losslessBackoff    = 500 * time.Millisecond
	interruptedBackoff = 5 * time.Millisecond
)

func (l *lossless) count(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[name]++
}

// view is what must be assumed of the record now.
func (l *lossless) view(record election.ClusterRecord) election.View {
	if l.change != nil {
		return l.change.View()
	}
	return election.Settled(record)
}

// durabilityInterval is how old the word on the server's settings may be.
const durabilityInterval = 5 * time.Second

// lookAtServer learns what the server can promise, before its supervisor sets anything that
// hides it.
func (l *lossless) lookAtServer(ctx context.Context, role election.Role, record election.ClusterRecord) {
	start := l.startID()
	if start == "" || start == l.durability.StartID && now() < l.durability.at.Add(durabilityInterval) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.node.config.Check.Timeout)
	defer cancel()
	d, err := l.node.server.Durability(ctx)
	if err != nil {
		l.node.log.Debug("durability.unread", "error", err)
		return
	}
	l.durability.Durability, l.durability.at = d, now()
	relaxed := slices.ContainsFunc(d.Weaknesses, func(w promote.Weakness) bool { return w.Reason == promote.DurabilityRelaxed })
	if leads := role == election.RoleClaiming || role == election.RolePrimary; leads && relaxed && record.Primary == l.node.self.Name {
		l.noteRelaxed(promote.Relaxed{Start: d.StartID, Term: record.Term})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known || !slices.Equal(l.weak.Weaknesses, d.Weaknesses) {
		for _, w := range d.Weaknesses {
			l.node.log.Warn("server.weak", "reason", string(w.Reason), "problem", w.Problem, "remedy", w.Remedy, "bars", w.Bars)
		}
	}
	l.weak, l.known = d, true
}

// noteRelaxed remembers that what this primary writes may not survive a crash.
func (l *lossless) noteRelaxed(r promote.Relaxed) {
	l.mu.Lock()
	known := l.relaxed == r
	l.mu.Unlock()
	if known {
		return
	}
	if err := l.node.server.NoteRelaxed(r); err != nil {
		l.node.log.Warn("relaxed.not_noted", "error", err)
		return
	}
	l.mu.Lock()
	l.relaxed = r
	l.mu.Unlock()
}

// mayLack reports whether the server process start may lack what an earlier one wrote as primary
// in a term that still counts: that one had relaxed settings.
func mayLack(r promote.Relaxed, start string, record election.ClusterRecord, node string) bool {
	since := record.LedSince(node)
	return since != 0 && r.Term >= since && r.Start != start
}

// startID names the run of the local server, "" if it does not answer.
func (l *lossless) startID() string {
	sample, verdict := l.node.health.snapshot()
	if verdict.Health != mysqlcheck.HealthAlive {
		return ""
	}
	return sample.StartID
}

// fill writes what peers need into a status.
func (l *lossless) fill(s *peer.NodeStatus) {
	if l == nil {
		return
	}
	record := l.node.voter.Record()
	s.Revision = record.Revision
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Stalled = l.stalled
	s.WordGiven, s.WordTerm, s.WordRevision = l.word.Given, l.word.Term, l.word.Revision
	for name, admitted := range l.admits {
		if admitted {
			s.Admits = append(s.Admits, name)
		}
	}
	slices.Sort(s.Admits)
	s.Durable = l.known && !mayLack(l.relaxed, s.ServerStartID, record, l.node.self.Name)
	for _, w := range l.weak.Weaknesses {
		if w.Bars {
			s.Weak = append(s.Weak, string(w.Reason))
		}
		if w.Reason == promote.DurabilityRelaxed {
			s.Durable = false
		}
	}
}

// user is the account by which a node's server replicates.
func (l *lossless) user(node string) string { return l.node.config.MySQL.Replication.UserFor(node) }

// wordOf is what a peer has said of itself.
func wordOf(s peer.NodeStatus) election.Word {
	return election.Word{Given: s.WordGiven, Term: s.WordTerm, Revision: s.WordRevision}
}

// sign is what of a peer's status may call for a turn.
type sign struct {
	word     election.Word
	role     string
	revision uint64
	start    string
}

// heard takes a turn when a peer has said something new. It may be called on nil.
func (l *lossless) heard(s peer.NodeStatus) {
	if l == nil {
		return
	}
	said := sign{word: wordOf(s), role: s.Role, revision: s.Revision, start: s.ServerStartID}
	l.mu.Lock()
	news := l.last[s.Node] != said
	l.last[s.Node] = said
	l.mu.Unlock()
	if news {
		l.nudge()
	}
}

// underWay names the change that this node makes of S or k. It may be called on nil.
func (l *lossless) underWay() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doing
}

// changes counts what this node has changed. It may be called on nil.
func (l *lossless) changes() map[string]uint64 {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// acknowledges reports whether the server process start was told to acknowledge.
func (l *lossless) acknowledges(start string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return start != "" && l.acks == start
}

func (l *lossless) setAcknowledges(start string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = start
}
