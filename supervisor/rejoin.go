// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/promote"
)

// rejoin brings an old primary back that has transactions of which nobody was told: it is
// rebuilt from the primary (docs/design.md §5). Everything else stays held, and it says why.
type rejoin struct {
	node  *Node
	order chan rejoinOrder

	// What follows belongs to whoever asks the server to follow, one at a time.
	ended   promote.RunEnding // of endedOf
	endedOf string            // errant transactions and server process

	mu       sync.Mutex
	now      verdict // on the server that is held
	progress string  // of a rebuild
	tries    int     // that failed, for now.errant
	failure  string  // of the last of them
	pause    election.Instant
	counts   map[string]uint64
}

// verdict is what becomes of a held server, and why.
type verdict struct {
	errant string
	code   election.Code // CodeRebuilding, or why not
	detail string
}

// rejoinOrder is a rebuild that was decided.
type rejoinOrder struct {
	donor  promote.Source
	errant set
}

const (
	// rejoinTries is how often a server is rebuilt for the same transactions before it is held,
	// and rejoinPause how long the pause after the first try is; each next one is longer.
	rejoinTries = 3
	rejoinPause = 10 * time.Second
)

// Results of `highwater_rejoins_total`.
const (
	rejoinRebuilt    = "rebuilt"
	rejoinNeedsStart = "needs_start"
	rejoinFailed     = "failed"
	rejoinHeld       = "held"
)

func newRejoin(n *Node) *rejoin {
	return &rejoin{node: n, order: make(chan rejoinOrder, 1), counts: map[string]uint64{
		rejoinRebuilt: 0, rejoinNeedsStart: 0, rejoinFailed: 0, rejoinHeld: 0,
	}}
}

// evidence is all that decides what becomes of a server with errant transactions.
type evidence struct {
	Policy string // durability.rejoin
	Node   string
	Flavor mysqlcheck.Flavor
	Led    uint64 // term whose primary the run was that ended
	Record election.ClusterRecord
	// Primary and Term are whose copy it would be.
	Primary string
	Term    uint64
	Saved   error // why its transactions are not saved; nil if they are
	Ending  promote.RunEnding
	Tries   int    // that have failed
	Failure string // of the last one
}

// recorded reports whether the record on this host is that of the primary's term. One that is
// older tells nothing yet.
func (e evidence) recorded() bool { return e.Record.Primary == e.Primary && e.Record.Term == e.Term }

// acknowledged reports whether anything acknowledges what the primary commits, or need not. While
// its commits wait, InnoDB's CLONE waits for them on the donor; one that has begun to does not go on
// when they have ended, and the recipient has dropped its data (MySQL 9.7).
func (e evidence) acknowledged() bool {
	return e.Record.Alone || slices.ContainsFunc(e.Record.Synced, func(s election.SyncedNode) bool { return s.Node != e.Node })
}

// decide returns CodeRebuilding if nobody can have been told of the transactions, and else why
// that is not known.
func (e evidence) decide() (code election.Code, detail string) {
	switch {
	case e.Policy != configs.RejoinAuto:
		return election.CodeRejoinHold, "the configuration says rejoin: hold"
	case e.Flavor != mysqlcheck.MySQL:
		return election.CodeRejoinNoClone, "MariaDB has no CLONE"
	case e.Saved != nil:
		return election.CodeRejoinUnsaved, e.Saved.Error()
	case !e.recorded():
		return election.CodeRejoinUnproved, fmt.Sprintf("the record is of term %d of %s, the primary of term %d", e.Record.Term, e.Record.Primary, e.Term)
	case e.Led == 0:
		// It may have been written to as a replica, which waits for nobody.
		return election.CodeRejoinUnproved, "it is not known to have been primary until it ended"
	}
	if err := e.Record.UntoldLast(e.Node, e.Led); err != nil {
		return election.CodeRejoinUnproved, err.Error()
	}
	switch e.Ending.Ending {
	case promote.EndingCrash:
	case promote.EndingOrderly:
		return election.CodeRejoinShutDown, e.Ending.Detail
	default:
		return election.CodeRejoinEndUnknown, e.Ending.Detail
	}
	if e.Tries >= rejoinTries {
		return election.CodeRejoinFailed, fmt.Sprintf("tried %d times: %s", e.Tries, e.Failure)
	}
	return election.CodeRebuilding, e.Ending.Detail
}

// held is told of a server that has errant transactions, again and again while it has. It returns
// what becomes of it, and whether that is news.
func (r *rejoin) held(ctx context.Context, source promote.Source, result promote.RejoinResult, saved error) (v verdict, news bool) {
	n := r.node
	sample, _ := n.health.snapshot()
	v.errant = result.Errant.String()
	e := evidence{
		Policy: n.config.Durability.Rejoin, Node: n.self.Name, Flavor: sample.Version.Flavor,
		Primary: source.Node, Term: source.Term, Saved: saved,
		Ending: promote.RunEnding{Ending: promote.EndingCrash}, // until all else is known
	}
	var err error
	if e.Led, err = n.server.LedBefore(sample.StartID); err != nil {
		n.log.Warn("run.unread", "error", err)
	}
	if saved == nil && !result.Replayable {
		e.Saved = fmt.Errorf("%s %w", result.Tail, promote.ErrNotReplayable)
	}
	if n.voter != nil {
		e.Record = n.voter.Record()
	}
	e.Tries, e.Failure = r.failed(v.errant)
	if v.code, v.detail = e.decide(); v.code == election.CodeRebuilding {
		e.Ending = r.ending(ctx, v.errant+" "+sample.StartID, result.Errant)
		v.code, v.detail = e.decide()
	}
	acknowledged := e.acknowledged()
	if v.code == election.CodeRebuilding && !acknowledged {
		v.detail = "waits until somebody acknowledges the commits of " + source.Node
	}
	r.mu.Lock()
	news = r.now != v
	if news && v.code != election.CodeRebuilding && (n.voter == nil || e.recorded()) {
		r.counts[rejoinHeld]++
	}
	r.now = v
	due := v.code == election.CodeRebuilding && acknowledged && now() >= r.pause
	r.mu.Unlock()
	if due {
		select {
		case r.order <- rejoinOrder{source, result.Errant}:
		default: // one is under way
		}
	}
	return v, news
}

// failed returns how many tries have failed for these errant transactions, and the last failure.
func (r *rejoin) failed(errant string) (tries int, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.errant != errant {
		r.tries, r.failure, r.pause = 0, "", 0
	}
	return r.tries, r.failure
}

// ending is how the run ended that wrote the errant transactions. It is found out once: that
// reads whole binary logs.
func (r *rejoin) ending(ctx context.Context, of string, errant set) promote.RunEnding {
	if r.endedOf == of {
		return r.ended
	}
	ended, err := r.node.server.Ended(ctx, errant)
	if err != nil {
		return promote.RunEnding{Ending: promote.EndingUnknown, Detail: err.Error()}
	}
	r.ended, r.endedOf = ended, of
	return ended
}

// clear forgets a server that is held no more.
func (r *rejoin) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.progress = verdict{}, ""
}

// busy returns the errant transactions of a held server while its data are being replaced.
func (r *rejoin) busy() (errant string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now.errant, r.now.errant != "" && r.node.rebuilding.Load()
}

// why is, for people, what becomes of the held server.
func (r *rejoin) why() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.now.code == "":
		return ""
	case r.progress != "":
		return string(r.now.code) + ": " + r.progress
	default:
		return string(r.now.code) + ": " + r.now.detail
	}
}

// results counts what became of servers that came back with errant transactions.
func (r *rejoin) results() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// run carries out orders until ctx ends. A copy may take hours.
func (r *rejoin) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-r.order:
			r.carryOut(ctx, o)
		}
	}
}

func (r *rejoin) carryOut(ctx context.Context, o rejoinOrder) {
	n := r.node
	view := n.loop.view.Load()
	held := view.Role == election.RoleHeld || view.Role == election.RoleReplica
	if !held || view.Primary != o.donor.Node || !n.rebuilding.CompareAndSwap(false, true) {
		return // it is asked for again, if that is still so
	}
	rebuilt := false
	defer func() { n.endRebuild(ctx, rebuilt) }()
	record := func(code election.Code, detail string) {
		n.recorder.record(n.loop.view.Load().Status, election.Record{Code: code, Term: o.donor.Term, Node: o.donor.Node, Detail: detail})
	}
	record(election.CodeRebuilding, o.errant.String())
	n.health.rebuild(true)
	result, err := n.server.RebuildUntold(ctx, o.donor, o.errant, r.report)
	outcome := rejoinRebuilt
	switch {
	case err != nil:
		outcome = rejoinFailed
		n.health.rebuild(false)
		record(election.CodeRejoinFailed, err.Error())
	case result.NeedsStart:
		outcome = rejoinNeedsStart
		record(election.CodeRebuilt, "start the server now: nothing supervises it here; saved in "+result.Tail)
	default:
		rebuilt = true
		record(election.CodeRebuilt, "saved in "+result.Tail)
	}
	r.end(outcome, text(err))
	n.publish()
}

// report takes in the progress of a copy, and logs each stage of it.
func (r *rejoin) report(p promote.CloneProgress) {
	stage := p.Stage + " " + p.State
	progress := stage
	if p.Estimate > 0 {
		progress = fmt.Sprintf("%s, %d of %d MiB", stage, p.Bytes>>20, p.Estimate>>20)
	}
	r.mu.Lock()
	news := !strings.HasPrefix(r.progress, stage)
	r.progress = progress
	r.mu.Unlock()
	if news {
		r.node.log.Info("rebuild.progress", "stage", p.Stage, "state", p.State, "bytes", p.Bytes, "of", p.Estimate)
	}
}

func (r *rejoin) end(outcome, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[outcome]++
	r.progress = ""
	if failure == "" {
		r.now = verdict{}
		return
	}
	r.tries++
	r.failure = failure
	r.pause = now().Add(rejoinPause * time.Duration(r.tries))
}
