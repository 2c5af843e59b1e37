// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"sync"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// health looks at the local server: each interval, and at once when its process ends or
// starts or when an effect has changed it.
type health struct {
	probe   *mysqlcheck.Probe
	watch   *mysqlcheck.Watcher
	policy  mysqlcheck.Policy
	check   configs.Check
	cluster *cluster
	wake    chan struct{}
	took    func(time.Duration) // observes one look; may be nil

	lossless bool

	mu         sync.Mutex
	sample     mysqlcheck.Sample
	verdict    mysqlcheck.Verdict
	sealed     *promote.Position // read after the sample: newer than the verdict
	sealedAt   time.Duration
	semiSync   *promote.SemiSync // as set at semiSyncAt, newer than the settings of an older sample
	semiSyncAt time.Duration
	idleEvents []string // that do not run on this server, as primary
	warned     bool     // of semi-sync without fencing.kill_server; run's own
	follows    string   // the last server process that was seen to replicate
	rebuilt    bool     // until the server is seen to have restarted for it
}

// run looks until ctx ends.
func (h *health) run(ctx context.Context, n *Node) error {
	go h.runCommits(ctx, n) // ends with ctx
	go h.passEvents(ctx, n) // ends with the watch
	ticker := time.NewTicker(h.check.Interval)
	defer ticker.Stop()
	for {
		h.look(ctx, n)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-h.wake:
		}
	}
}

// again asks for a look before the next interval.
func (h *health) again() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// passEvents passes on at once what the kernel says of the server process: a look that is
// under way may take its whole time to notice.
func (h *health) passEvents(ctx context.Context, n *Node) {
	for ev := range h.watch.Events() {
		n.log.Info("server."+ev.Kind.String(), "pid", ev.Pid, "cause", ev.Cause)
		if ev.Kind == mysqlcheck.ServerExited {
			n.post(ctx, election.ServerExited{})
		} else {
			n.post(ctx, election.ServerStarted{})
		}
		h.again()
	}
}

// look takes one sample, judges it and tells the loop.
func (h *health) look(ctx context.Context, n *Node) {
	sample := h.probe.Sample(ctx, h.expect(n))
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	before := h.verdict.StartID
	h.verdict = mysqlcheck.Assess(sample, h.verdict, h.policy)
	h.rebuilt = h.rebuilt && h.verdict.StartID == before
	h.take(sample)
	switch sample.Replication.Receiver.State {
	case mysqlcheck.ThreadRunning, mysqlcheck.ThreadConnecting:
		h.follows = sample.StartID
	}
	v := h.verdict
	h.mu.Unlock()
	if h.took != nil {
		h.took(sample.Took)
	}
	h.warn(n, sample)
	n.post(ctx, election.HealthChanged{Health: h.translate(sample, v)})
}

// take makes a sample the newest. What a seal has read counts until all of it was read again: a look
// that failed, or could not read what was received, repeats what was known before. h.mu is held.
func (h *health) take(s mysqlcheck.Sample) {
	h.sample = s
	if s.Failure.Class == mysqlcheck.NoFailure && s.At > h.sealedAt && s.ReplicationAt > h.sealedAt {
		h.sealed = nil
	}
}

// runCommits proves on a primary that it can commit, no more often than a verdict is due, and
// lists the events that do not run there now and then: at its successor they shall not either.
func (h *health) runCommits(ctx context.Context, n *Node) {
	ticker := time.NewTicker(max(h.check.Interval, commitInterval))
	defer ticker.Stop()
	var listed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if role := n.loop.view.Load().Role; role != election.RolePrimary {
			h.probe.ForgetCommit()
			if role == election.RoleReplica || role == election.RoleHeld {
				h.list(nil) // another primary tells now
			}
			listed = time.Time{}
			continue
		}
		h.probe.Commit(ctx)
		if time.Since(listed) < eventsInterval {
			continue
		}
		idle, err := n.server.IdleEvents(ctx)
		if err != nil {
			n.log.Debug("events.list", "error", err)
			continue
		}
		listed = time.Now()
		h.list(idle)
	}
}

// promoted takes in what a promotion set: settings are read again only every few seconds, and
// whoever follows meanwhile has to know whether to acknowledge.
func (h *health) promoted(semi *promote.SemiSync) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.semiSync, h.semiSyncAt = semi, boottime()
}

// acks is how many acknowledgements this server waits for; h.mu is held.
func (h *health) acks() int {
	if h.semiSyncAt != 0 && h.sample.SettingsAt <= h.semiSyncAt {
		if h.semiSync == nil {
			return 0
		}
		return h.semiSync.Acks
	}
	if semi := h.sample.Settings.SemiSync; semi.SourceEnabled {
		return max(1, semi.WaitCount)
	}
	return 0
}

// mute reports whether a replica does not acknowledge although its source waits for it: the
// source's wish was not known when it was pointed there.
func (h *health) mute(s mysqlcheck.Sample, source string) bool {
	if h.lossless {
		return false // who acknowledges, and when, is the business of S
	}
	p, ok, _ := h.cluster.of(source)
	semi := s.Settings.SemiSync
	return ok && p.Role == election.RolePrimary.String() && p.SemiSyncAcks > 0 &&
		s.SettingsAt != 0 && semi.Available && !semi.ReplicaEnabled
}

// list keeps the events that do not run on this server, as primary.
func (h *health) list(idle []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idleEvents = idle
}

// eventsInterval is how old the list of a primary's events may be.
const eventsInterval = 30 * time.Second

// commitInterval is the least time between two heartbeat commits: each is a transaction in
// every binary log.
const commitInterval = time.Second

// expect says what the cluster knows and the server cannot. The peers' sets are read before
// our own, so that a healthy replica never seems to be ahead.
func (h *health) expect(n *Node) mysqlcheck.Expectation {
	view := n.loop.view.Load()
	want := mysqlcheck.Expectation{Sealed: view.Promised > view.Term}
	switch {
	case view.Primary == n.self.Name:
		switch view.Role {
		case election.RoleClaiming, election.RolePrimary, election.RoleResuming:
			want.Role = mysqlcheck.RolePrimary
		default: // the last primary, whose server came back read-only: a candidate like others
		}
	case view.Primary != "":
		want.Role = mysqlcheck.RoleReplica
		host, port := h.cluster.server(view.Primary)
		want.SourceHosts, want.SourcePort = []string{host}, port
		if p, ok, _ := h.cluster.of(view.Primary); ok && p.ServerUUID != "" {
			want.SourceUUID = p.ServerUUID
			// What a primary said that is silent by now, or that cannot look at its server, is
			// too old: all that was committed since would seem to be errant.
			if p.Role == election.RolePrimary.String() && p.Health == healthAlive && n.hears(p) {
				want.PrimaryExecuted = p.Executed
			}
		}
	}
	want.Booted = h.booted(view.Primary, n.silence())
	want.Rebuilt = h.isRebuilt()
	for name, p := range h.cluster.all() {
		if name != view.Primary {
			if want.Siblings == nil {
				want.Siblings = map[string]set{}
			}
			want.Siblings[name] = p.Received.Union(p.Executed)
		}
	}
	return want
}

// booted reports whether the server process has not replicated yet and nobody is there whom
// it could follow, as after a power cut of all hosts.
func (h *health) booted(primary string, silence time.Duration) bool {
	if p, ok, _ := h.cluster.of(primary); ok && p.Role == election.RolePrimary.String() && boottime()-p.at < silence {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.follows != h.sample.StartID
}

// rebuild says whether the server's next restart belongs to a rebuild.
func (h *health) rebuild(restarts bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rebuilt = restarts
}

func (h *health) isRebuilt() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rebuilt
}

// translate says what the doors need of a verdict.
func (h *health) translate(s mysqlcheck.Sample, v mysqlcheck.Verdict) election.Health {
	e := election.Health{
		At: election.Instant(s.At), State: election.HealthState(v.Health),
		Eligible: v.Eligible, CaughtUp: v.CaughtUp, Writable: v.Writable,
		Hung: v.Primary.Hung, Failing: v.Primary.Failing != "" || shuttingDown(v),
		ServerID: s.StartID,
		Source:   h.cluster.nodeOf(s.Replication.SourceUUID, s.Replication.SourceHost, s.Replication.SourcePort),
		Replicas: len(s.Counters.Replicas),
	}
	for _, r := range v.Reasons {
		e.Reasons = append(e.Reasons, string(r))
	}
	e.Receiving = s.Replication.Receiver.State == mysqlcheck.ThreadRunning ||
		s.Replication.Receiver.State == mysqlcheck.ThreadConnecting
	e.Receiving = e.Receiving && !h.mute(s, e.Source)
	if s.Replication.EventAge.Known {
		e.SourceEvent = election.Instant(s.At - s.Replication.EventAge.Value)
	}
	return e
}

// shuttingDown reports whether a server has refused connections for several looks although
// its process lives: it serves nobody any more, however long its end may take.
func shuttingDown(v mysqlcheck.Verdict) bool {
	return v.Memory.Bad > shutdownLooks && len(v.Reasons) > 0 && v.Reasons[0] == mysqlcheck.ReasonServerShuttingDown
}

// shutdownLooks leaves a killed process the time to be gone.
const shutdownLooks = 3

// answering reports whether the server may answer a seal: it is not known to be dead, or to
// have been silent for more than one look.
func (h *health) answering() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verdict.Health != mysqlcheck.HealthDead && !h.verdict.Primary.Hung && h.verdict.Memory.Silent < 2
}

// seal takes in a position that was read after the last sample.
func (h *health) seal(p promote.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed, h.sealedAt = &p, boottime()
}

// snapshot returns the last sample and verdict.
func (h *health) snapshot() (mysqlcheck.Sample, mysqlcheck.Verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sample, h.verdict
}

// fill writes what is known of the server into a status.
func (h *health) fill(s *peer.NodeStatus, at time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sample, v := &h.sample, &h.verdict
	switch v.Health {
	case mysqlcheck.HealthAlive:
		s.Health = healthAlive
	case mysqlcheck.HealthDead:
		s.Health = healthDead
	default:
		s.Health = healthUnknown
	}
	s.Eligible, s.Writable = v.Eligible, v.Writable
	for _, r := range v.Reasons {
		s.Reasons = append(s.Reasons, string(r))
	}
	s.ServerUUID, s.ServerVersion, s.ServerStartID = sample.ServerUUID, sample.Version.Raw, sample.StartID
	s.Replicas = len(sample.Counters.Replicas)
	s.Executed, s.Received, s.Purged = v.Executed, v.Received, v.Purged
	if p := h.sealed; p != nil {
		s.Executed, s.Received, s.Purged = p.Executed, p.Received, p.Purged
		s.ServerStartID = p.StartID
	}
	s.Errant = v.Errant
	s.IdleEvents = h.idleEvents
	s.SemiSyncAcks = h.acks()
	r := &sample.Replication
	s.SourceHost, s.SourceUUID = r.SourceHost, r.SourceUUID
	s.Receiver, s.Applier = r.Receiver.State.String(), r.Applier.State.String()
	s.Lag, s.LagKnown, s.Queue, s.DrainETA = max(0, v.Lag), v.LagKnown, v.Queue, max(0, v.DrainETA)
	if r.EventAge.Known {
		s.SourceEventAge, s.SourceEventKnown = max(0, r.EventAge.Value+at-sample.At), true
	}
}
