// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"highwater/election"
	"highwater/promote"
)

// Config is what a [Keeper] needs of the configuration.
type Config struct {
	Node string
	User func(node string) string // account by which a node's server replicates

	GoAlone bool          // `when_alone: continue`
	Lease   time.Duration // vip.lease
	Silence time.Duration // age at which a peer counts as unheard

	CheckTimeout, FenceTimeout, GatherTimeout, PromoteTimeout time.Duration

	Log *slog.Logger

	Mutations Mutations // zero but in tests
}

// Mutations switch single rules off, to prove that a test notices. The zero value is safe; nothing else is.
type Mutations struct {
	election.DurabilityMutations
	AckBeforeEntry bool // a replica acknowledges as soon as it is let in, before the record has it in S
	IgnorePromise  bool // it goes on to acknowledge although it has promised a later term
	SettledView    bool // while the fate of a change is unknown, what was before counts
	HopefulView    bool // what is proposed does
}

// Keeper keeps the promise of `durability: lossless` on this host (docs/design.md §5). As
// primary it brings S and k to their aim, one change at a time, and lets in who may connect; as
// replica it acknowledges only while the record and a leader say so, and gives its word else.
//
// Its methods may be called from any goroutine; those that say so also on nil, which keeps nothing.
type Keeper struct {
	config Config
	host   Host
	server Server
	policy election.DurabilityPolicy

	// What follows belongs to Run's goroutine.
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
	began   Opening         // by this process, as primary
	weak    promote.Durability
	known   bool // weak is
	relaxed promote.Relaxed
	counts  map[string]uint64
	stalled bool           // clients wait in vain
	doing   string         // name of the change under way
	doubt   *election.View // of a proposal whose fate is not known
	last    map[string]sign
	runs    map[string]run // of each replica's server
}

// pause is how often a primary looks for a change, and a replica whether it may still acknowledge,
// where nothing wakes them.
const pause = 200 * time.Millisecond

// New returns a [Keeper] of this host's server. The error is what keeps it from reading what an
// earlier process noted.
func New(config Config, host Host, server Server) (*Keeper, error) {
	relaxed, err := server.Relaxed()
	if err != nil {
		return nil, err
	}
	return &Keeper{
		config: config, host: host, server: server, decided: make(chan error, 1),
		policy: election.DurabilityPolicy{GoAlone: config.GoAlone, Patience: config.Lease, Mutations: config.Mutations.DurabilityMutations},
		lost:   map[string]election.Instant{}, admits: map[string]bool{}, counts: map[string]uint64{},
		last: map[string]sign{}, runs: map[string]run{}, relaxed: relaxed,
	}, nil
}

// Nudge asks for a turn now. It may be called on nil.
func (k *Keeper) Nudge() {
	if k != nil {
		k.host.Nudge()
	}
}

// Run takes turns until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		k.turn(ctx)
		rest := pause
		if left := k.backoff.Sub(k.host.Now()); left > 0 { // no later than what it waits for
			rest = min(rest, left)
		}
		k.host.Rest(ctx, rest)
	}
	return nil
}

func (k *Keeper) turn(ctx context.Context) {
	k.settle()
	view, record := k.host.Status(), k.host.Record()
	k.lookAtServer(ctx, view.Role, record)
	switch view.Role {
	case election.RoleClaiming, election.RolePrimary:
		if record.Primary == k.config.Node && record.Term >= view.Term {
			k.note(k.startID(), record.Term)
			k.lead(ctx, record)
		}
	case election.RoleReplica, election.RoleHeld:
		k.drop()
		k.setStalled(false)
		promised := view.Promised
		if k.config.Mutations.IgnorePromise {
			promised = 0
		}
		k.obey(ctx, record, promised)
	}
}

// settle takes in the fate of a proposal.
func (k *Keeper) settle() {
	if !k.proposed {
		return
	}
	select {
	case err := <-k.decided:
		k.proposed = false
		k.mu.Lock()
		k.doubt = nil
		k.mu.Unlock()
		if err == nil {
			var next election.Change
			if next, err = k.change.Settle(k.host.Record()); err == nil && next.Step().Stage != election.StageCommit {
				k.change = &next
				return
			}
		}
		k.fail("propose", err) // what holds now, the record says
	default:
	}
}

// drop gives up a change that was not proposed; one that was stays in doubt.
func (k *Keeper) drop() {
	if k.proposed {
		return
	}
	k.setChange(nil)
}

func (k *Keeper) setChange(c *election.Change) {
	k.change = c
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doing, k.doubt = "", nil
	if c != nil {
		k.doing = c.Name()
	}
}

// fail drops the change under way and waits a moment before the next.
func (k *Keeper) fail(stage string, err error) {
	if err != nil && k.failed != err.Error() {
		k.failed = err.Error()
		name := ""
		if k.change != nil {
			name = k.change.Name()
		}
		k.config.Log.Warn("lossless.failed", "change", name, "stage", stage, "error", err)
	}
	k.count("failed")
	backoff := failedBackoff
	if errors.Is(err, context.Canceled) {
		backoff = interruptedBackoff
	}
	k.backoff = k.host.Now().Add(backoff)
	k.drop()
}

// failedBackoff is the pause after a change that failed, interruptedBackoff after one that gave
// way to a seal or a fence, which comes first.
const (
	failedBackoff      = 500 * time.Millisecond
	interruptedBackoff = 5 * time.Millisecond
)

func (k *Keeper) count(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[name]++
}

// view is what must be assumed of the record now.
func (k *Keeper) view(record election.ClusterRecord) election.View {
	switch m := k.config.Mutations; {
	case k.change == nil || m.SettledView:
	case m.HopefulView:
		if p, err := k.change.Proposal(); err == nil {
			return election.Settled(p)
		}
	default:
		return k.change.View()
	}
	return election.Settled(record)
}

// UnderWay names the change that this node makes of S or k, "" if there is none. It may be called on nil.
func (k *Keeper) UnderWay() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doing
}

// Changes counts what this node has changed, by name. It may be called on nil.
func (k *Keeper) Changes() map[string]uint64 {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.counts)
}

// acknowledges reports whether the server process start was told to acknowledge.
func (k *Keeper) acknowledges(start string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return start != "" && k.acks == start
}

func (k *Keeper) setAcknowledges(start string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.acks = start
}
