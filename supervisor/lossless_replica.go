// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"slices"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
)

// obey is a replica's turn: it acknowledges while the record has it in S and the primary of that
// record, and a leader of the quorum, are heard. Whoever has heard neither for the lease and its
// margin is silent: a deposed primary may still be there, and count on it.
func (l *lossless) obey(ctx context.Context, record election.ClusterRecord, promised uint64) {
	at := now()
	if l.heardAt == 0 { // an earlier process has let it acknowledge until now
		l.heardAt = at
	}
	l.mu.Lock()
	clear(l.admits)
	l.mu.Unlock()
	if l.node.rebuilding.Load() { // it follows nobody, and will be another process
		l.say(election.Word{})
		return
	}
	switch {
	case l.mayAcknowledge(record, promised):
		l.heardAt = at
		l.acknowledge(ctx, record)
	case record.IsSynced(l.node.self.Name) && promised <= record.Term && at < l.heardAt.Add(l.deaf()):
	default:
		l.hush(ctx, record)
	}
}

// deaf is for how long a replica acknowledges without a leader: the lease and its margin.
func (l *lossless) deaf() time.Duration {
	return l.node.config.VIP.Lease + l.node.silence()
}

// mayAcknowledge reports whether this server may acknowledge its primary's commits now. The
// record must not be older than the one on which the primary acts: read at a later one, this
// node may have left S.
func (l *lossless) mayAcknowledge(record election.ClusterRecord, promised uint64) bool {
	n := l.node
	if !record.IsSynced(n.self.Name) || promised > record.Term || n.voter.State().Leader == "" {
		return false
	}
	p, ok, _ := n.cluster.of(record.Primary)
	if !ok || !n.hears(p) || p.Revision == 0 || p.Revision > record.Revision {
		return false
	}
	switch p.Role {
	case election.RolePrimary.String():
		return p.Term == record.Term
	case election.RoleClaiming.String(): // its writes are open, and it is about to say so
		return true
	default:
		return false
	}
}

// acknowledge has the server acknowledge, where it does not.
func (l *lossless) acknowledge(ctx context.Context, record election.ClusterRecord) {
	start := l.startID()
	if start == "" || now() < l.backoff {
		return
	}
	if l.acknowledges(start) {
		l.speakUp(ctx, record)
		return
	}
	l.say(election.Word{}) // before anything acknowledges
	l.silent = ""
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	source, err := l.node.source(record.Primary, record.Term)
	if err == nil {
		_, err = l.node.server.FollowAcknowledging(ctx, source)
	}
	if err != nil {
		l.fail("acknowledge", err)
		return
	}
	l.setAcknowledges(start)
	l.failed = ""
	l.node.log.Info("lossless.acknowledges", "source", record.Primary, "term", record.Term)
	l.node.health.again()
}

// speakPause is the least time between two attempts to have a stall end, and speakTimeout bounds
// one: meanwhile nobody looks whether the server may acknowledge at all.
const (
	speakPause   = 2 * time.Second
	speakTimeout = 3 * time.Second
)

// speakUp has the server acknowledge what it received before it might, where the primary waits for
// that and nothing new can come.
func (l *lossless) speakUp(ctx context.Context, record election.ClusterRecord) {
	p, _, _ := l.node.cluster.of(record.Primary)
	if l.flavor() != mysqlcheck.MariaDB || !p.Stalled || now() < l.spokeAt.Add(speakPause) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, speakTimeout)
	defer cancel()
	source, err := l.node.source(record.Primary, record.Term)
	if err == nil {
		err = l.node.server.AcknowledgeReceived(ctx, source)
	}
	l.spokeAt = now()
	l.node.log.Info("lossless.spoke_up", "source", record.Primary, "error", err)
	if err != nil {
		l.setAcknowledges("") // it may have been left half-way
	}
	l.node.health.again()
}

// hush makes sure that the server acknowledges nothing, and says so where that lets it connect.
func (l *lossless) hush(ctx context.Context, record election.ClusterRecord) {
	if err := l.silence(ctx); err != nil {
		l.say(election.Word{})
		if !errors.Is(err, errServerSilent) {
			l.fail("silence", err)
		}
		return
	}
	word := election.Word{}
	if record.Term != 0 && !record.IsSynced(l.node.self.Name) && record.Primary != l.node.self.Name {
		word = election.Word{Given: true, Term: record.Term, Revision: record.Revision}
	}
	l.say(word)
}

// silence makes the server silent, where this process has not done so yet.
func (l *lossless) silence(ctx context.Context) error {
	start := l.startID()
	switch {
	case start == "":
		return errServerSilent
	case l.silent == start && !l.switchedOn():
		return nil
	case now() < l.backoff:
		return errServerSilent
	}
	l.setAcknowledges("")
	ctx, cancel := context.WithTimeout(ctx, l.node.config.Promote.GatherTimeout)
	defer cancel()
	if err := l.node.server.Silence(ctx); err != nil {
		return err
	}
	l.silent, l.silentAt, l.failed = start, now(), ""
	l.node.log.Info("lossless.silent")
	l.node.health.again()
	return nil
}

// switchedOn reports whether somebody else has had the server acknowledge since it was made silent.
func (l *lossless) switchedOn() bool {
	sample, _ := l.node.health.snapshot()
	return sample.Settings.SemiSync.ReplicaEnabled && election.Instant(sample.SettingsAt) > l.silentAt
}

// say changes this node's word.
func (l *lossless) say(w election.Word) {
	l.mu.Lock()
	changed := l.word != w
	l.word = w
	l.mu.Unlock()
	if changed {
		l.node.publish()
	}
}

// admissionTimeout bounds the wait for the primary to unlock this server's account. A receiver
// that is refused comes back a second later only.
const admissionTimeout = 2 * time.Second

// errNotAdmitted: the primary has locked this server's account, and waits for its word.
var errNotAdmitted = errors.New("the primary has not admitted this server yet")

// awaitTurn waits until the server of a node lets this one read. At the beginning of a term it
// waits a moment more: whoever holds what the new primary held when it opened enters S at once, and
// had better acknowledge from its first connection on. done says that it does so by now. It may be
// called on nil.
func (l *lossless) awaitTurn(ctx context.Context, node string) (done bool, err error) {
	if l == nil {
		return false, nil
	}
	l.nudge()
	ctx, cancel := context.WithTimeout(ctx, admissionTimeout)
	defer cancel()
	for {
		h, ok, more := l.node.cluster.of(node)
		if ok && slices.Contains(h.Admits, l.node.self.Name) {
			return l.awaitEntry(ctx, node, h.Executed), nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false, errNotAdmitted
		}
	}
}

const (
	// entryPatience is how long a replica that could be in S waits for that before it follows
	// silently, and entryPause how often it looks.
	entryPatience = 500 * time.Millisecond
	entryPause    = 3 * time.Millisecond
)

// awaitEntry reports whether this server acknowledges the node's by now.
func (l *lossless) awaitEntry(ctx context.Context, node string, opened set) bool {
	own := l.node.status.Load()
	if !own.Executed.Union(own.Received).Contains(opened) {
		return false // it has to fetch something first
	}
	deadline := now().Add(entryPatience)
	for ctx.Err() == nil {
		record := l.node.voter.Record()
		synced := record.Primary == node && record.IsSynced(l.node.self.Name)
		switch {
		case synced && l.acknowledges(l.startID()):
			return true
		case !synced && (now() >= deadline || record.Primary == node && len(record.Synced) > 0):
			return false
		}
		sleep(ctx, entryPause)
	}
	return false
}
