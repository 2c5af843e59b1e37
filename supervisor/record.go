// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"highwater/election"
	"highwater/supervisor/web"
)

// recorder turns the Machine's records into log lines, counters and the timeline of the
// last failover.
type recorder struct {
	log     *slog.Logger
	cluster string
	node    string
	metrics *web.Metrics

	mu      sync.Mutex
	counts  map[election.Code]uint64
	running *web.Failover
	mark    time.Time // when the door that is being passed was reached
	stood   bool      // this node became a candidate in it
	last    *web.Failover
}

func newRecorder(log *slog.Logger, cluster, node string, metrics *web.Metrics) *recorder {
	return &recorder{log: log, cluster: cluster, node: node, metrics: metrics, counts: map[election.Code]uint64{}}
}

// record takes in one record at the moment it is carried out.
func (r *recorder) record(s election.Status, rec election.Record) {
	at := time.Now()
	attrs := []any{"term", rec.Term, "role", s.Role.String()}
	if rec.Door != 0 {
		attrs = append(attrs, "door", rec.Door)
	}
	if rec.Node != "" {
		attrs = append(attrs, "peer", rec.Node)
	}
	if rec.Detail != "" {
		attrs = append(attrs, "detail", rec.Detail)
	}
	r.log.Log(context.Background(), level(rec.Code), string(rec.Code), attrs...)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[rec.Code]++
	switch rec.Code {
	case election.CodeFarewell:
		r.begin(at, rec)
		r.running.From = rec.Node
	case election.CodeStood:
		if r.running == nil {
			r.begin(at, rec)
		}
		r.running.ID = r.id(rec.Term)
		r.running.Term, r.running.Cause = rec.Term, rec.Detail
		r.stood = true
	case election.CodeAdopted, election.CodeResumed:
		r.begin(at, rec)
		r.running.Kind, r.running.Cause = "first_start", string(rec.Code)
		r.stood = true
	}
	if (r.running == nil || !r.stood) && rec.Code != election.CodeFarewell && (rec.Door == 1 || rec.Door == 2) {
		r.metrics.Refused(web.Doors[rec.Door-1], string(rec.Code))
	}
	if r.running == nil {
		return
	}
	if rec.Door >= 3 {
		r.pass(at, web.Doors[rec.Door-1])
	}
	if result := ends(rec.Code); result != "" {
		r.end(at, result, rec)
	}
}

// begin opens a timeline; r.mu is held.
func (r *recorder) begin(at time.Time, rec election.Record) {
	r.running = &web.Failover{
		ID: r.id(rec.Term), Kind: "failover", Cause: string(rec.Code),
		Term: rec.Term, To: r.node, Started: at, Door: web.Doors[0],
	}
	r.mark, r.stood = at, false
}

func (r *recorder) id(term uint64) string { return fmt.Sprintf("%s-%d", r.cluster, term) }

// pass closes one door of the timeline.
func (r *recorder) pass(at time.Time, door string) {
	took := at.Sub(r.mark)
	r.mark = at
	r.running.Door = door
	r.running.Doors = append(r.running.Doors, web.DoorTime{Door: door, TookSeconds: took.Seconds()})
	r.metrics.Door(door, took)
}

// end closes the timeline. A farewell that another host answered was none of ours.
func (r *recorder) end(at time.Time, result string, rec election.Record) {
	f := r.running
	r.running = nil
	if !r.stood {
		return
	}
	f.Result, f.TookSeconds = result, at.Sub(f.Started).Seconds()
	if result != web.ResultDone {
		f.Reason = string(rec.Code)
	}
	r.metrics.Failover(f.Cause, result, f.Door)
	r.last = f
}

// failovers returns the failover under way and the last one; nil where there is none. A farewell that this node has
// not followed yet, and may never, is not under way.
func (r *recorder) failovers() (running, last *web.Failover) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stood {
		running = clone(r.running)
	}
	return running, clone(r.last)
}

func clone(f *web.Failover) *web.Failover {
	if f == nil {
		return nil
	}
	c := *f
	c.Doors = slices.Clone(f.Doors)
	return &c
}

// ends returns how a candidacy ends with this record, "" if it goes on.
func ends(c election.Code) string {
	switch c {
	case election.CodeClaimed:
		return web.ResultDone
	case election.CodeHandedOver, election.CodePrimaryBack, election.CodeNewPrimary, election.CodeOutranked,
		election.CodePromoteFail, election.CodeClaimFailed, election.CodeStalled, election.CodeLinkDown,
		election.CodeReleased:
		return web.ResultUndone
	case election.CodeNoSuccessor, election.CodeGatherFailed, election.CodeHeardByOthers,
		election.CodePromisedElsewhere, election.CodeCandidateExists, election.CodeIncomplete,
		election.CodeNobodyHeard, election.CodeDiverged, election.CodeErrant, election.CodePurged:
		return web.ResultRefused
	}
	return ""
}

// level says how loud a record is: what moves or harms the service is heard, what waits is not.
func level(c election.Code) slog.Level {
	switch c {
	case election.CodeDemoteFailed, election.CodeClaimFailed, election.CodePromoteFail, election.CodeRenewFailed,
		election.CodeHeldErrant, election.CodeFollowFailed, election.CodeServerHung, election.CodeServerExited,
		election.CodeDeposed, election.CodeStalled, election.CodeVerdictStale, election.CodeNotPrimary,
		election.CodeNotWritable, election.CodeLinkDown, election.CodeSeveralWritable:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
