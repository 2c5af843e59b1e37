// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"errors"
	"slices"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// obey is a replica's turn: it acknowledges while the record has it in S and the primary of that
// record, and a leader of the quorum, are heard. Whoever has heard neither for the lease and its
// margin is silent: a deposed primary may still be there, and count on it.
func (k *Keeper) obey(ctx context.Context, record election.ClusterRecord, promised uint64) {
	at := k.host.Now()
	if k.heardAt == 0 { // an earlier process has let it acknowledge until now
		k.heardAt = at
	}
	k.mu.Lock()
	clear(k.admits)
	k.mu.Unlock()
	if !k.noteReplica(ctx) || k.host.Rebuilding() { // while that lasts it follows nobody, and will be another process
		k.say(election.Word{})
		return
	}
	switch {
	case k.mayAcknowledge(record, promised):
		k.heardAt = at
		k.acknowledge(ctx, record)
	case record.IsSynced(k.config.Node) && promised <= record.Term && at < k.heardAt.Add(k.deaf()):
	default:
		k.hush(ctx, record)
	}
}

// deaf is for how long a replica acknowledges without a leader: the lease and its margin.
func (k *Keeper) deaf() time.Duration {
	return k.config.Lease + k.config.Silence
}

// mayAcknowledge reports whether this server may acknowledge its primary's commits now. The
// record must not be older than the one on which the primary acts: read at a later one, this
// node may have left S.
func (k *Keeper) mayAcknowledge(record election.ClusterRecord, promised uint64) bool {
	if !record.IsSynced(k.config.Node) && !k.letIn(record.Primary) || promised > record.Term || k.host.Leader() == "" {
		return false
	}
	p, _ := k.host.Peer(record.Primary)
	if !p.Fresh || p.Revision == 0 || p.Revision > record.Revision {
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
func (k *Keeper) acknowledge(ctx context.Context, record election.ClusterRecord) {
	start := k.startID()
	if start == "" || k.host.Now() < k.backoff {
		return
	}
	if k.acknowledges(start) {
		k.speakUp(ctx, record)
		return
	}
	k.say(election.Word{}) // before anything acknowledges
	k.silent = ""
	ctx, cancel := k.host.Within(ctx, followTimeout)
	defer cancel()
	if err := k.host.FollowAcknowledging(ctx, record.Primary, record.Term); err != nil {
		k.fail("acknowledge", err)
		return
	}
	k.setAcknowledges(start)
	k.failed = ""
	k.config.Log.Info("lossless.acknowledges", "source", record.Primary, "term", record.Term)
	k.host.Look()
}

// followTimeout bounds one attempt to have the server acknowledge.
const followTimeout = 60 * time.Second

// speakPause is the least time between two attempts to have a stall end, and speakTimeout bounds
// one: meanwhile nobody looks whether the server may acknowledge at all.
const (
	speakPause   = 2 * time.Second
	speakTimeout = 3 * time.Second
)

// speakUp has the server acknowledge what it received before it might, where the primary waits for
// that and nothing new can come.
func (k *Keeper) speakUp(ctx context.Context, record election.ClusterRecord) {
	p, heard := k.host.Peer(record.Primary)
	if !heard || k.flavor() != mysqlcheck.MariaDB || !p.Stalled || k.host.Now() < k.spokeAt.Add(speakPause) {
		return
	}
	ctx, cancel := k.host.Within(ctx, speakTimeout)
	defer cancel()
	err := k.host.AcknowledgeReceived(ctx, record.Primary, record.Term)
	k.spokeAt = k.host.Now()
	k.config.Log.Info("lossless.spoke_up", "source", record.Primary, "error", err)
	if err != nil {
		k.setAcknowledges("") // it may have been left half-way
	}
	k.host.Look()
}

// hush makes sure that the server acknowledges nothing, and says so where that lets it connect.
func (k *Keeper) hush(ctx context.Context, record election.ClusterRecord) {
	if err := k.silence(ctx); err != nil {
		k.say(election.Word{})
		if !errors.Is(err, errSilent) {
			k.fail("silence", err)
		}
		return
	}
	word := election.Word{}
	if record.Term != 0 && !record.IsSynced(k.config.Node) && record.Primary != k.config.Node {
		word = election.Word{Given: true, Term: record.Term, Revision: record.Revision}
	}
	k.say(word)
}

// silence makes the server silent, where this process has not done so yet.
func (k *Keeper) silence(ctx context.Context) error {
	start := k.startID()
	switch {
	case start == "":
		return errSilent
	case k.silent == start && !k.switchedOn():
		return nil
	case k.host.Now() < k.backoff:
		return errSilent
	}
	k.setAcknowledges("")
	ctx, cancel := k.host.Within(ctx, k.config.GatherTimeout)
	defer cancel()
	if err := k.server.Silence(ctx); err != nil {
		return err
	}
	k.silent, k.silentAt, k.failed = start, k.host.Now(), ""
	k.config.Log.Info("lossless.silent")
	k.host.Look()
	return nil
}

// switchedOn reports whether somebody else has had the server acknowledge since it was made silent.
func (k *Keeper) switchedOn() bool {
	sample := k.host.Sample()
	return sample.Acknowledges && sample.ReadAt > k.silentAt
}

// say changes this node's word.
func (k *Keeper) say(w election.Word) {
	k.mu.Lock()
	changed := k.word != w
	k.word = w
	k.mu.Unlock()
	if changed {
		k.host.Publish()
	}
}

// admissionTimeout bounds the wait for the primary to unlock this server's account. A receiver
// that is refused comes back a second later only.
const admissionTimeout = 2 * time.Second

// errSilent: nothing can be said of a server that does not answer.
var errSilent = errors.New("the server does not answer")

// errNotAdmitted: the primary has locked this server's account, and waits for its word.
var errNotAdmitted = errors.New("the primary has not admitted this server yet")

// AwaitTurn waits until the server of a node lets this one read. At the beginning of a term it
// waits a moment more: whoever holds what the new primary held when it opened enters S at once, and
// had better acknowledge from its first connection on. done says that it does so by now. It may be
// called on nil.
func (k *Keeper) AwaitTurn(ctx context.Context, node string) (done bool, err error) {
	if k == nil {
		return false, nil
	}
	k.Nudge()
	ctx, cancel := k.host.Within(ctx, admissionTimeout)
	defer cancel()
	for ctx.Err() == nil {
		news := k.host.News()
		if p, heard := k.host.Peer(node); heard && slices.Contains(p.Admits, k.config.Node) {
			return k.awaitEntry(ctx, node, p.Executed), nil
		}
		k.host.Await(ctx, news, admissionTimeout)
	}
	return false, errNotAdmitted
}

const (
	// entryPatience is how long a replica that could be in S waits for that before it follows
	// silently, and entryPause how often it looks.
	entryPatience = 500 * time.Millisecond
	entryPause    = 3 * time.Millisecond
)

// awaitEntry reports whether this server acknowledges the node's by now.
func (k *Keeper) awaitEntry(ctx context.Context, node string, opened gtid.Set) bool {
	own := k.host.Own()
	if !own.Executed.Union(own.Received).Contains(opened) {
		return false // it has to fetch something first
	}
	deadline := k.host.Now().Add(entryPatience)
	for ctx.Err() == nil {
		record := k.host.Record()
		synced := record.Primary == node && record.IsSynced(k.config.Node)
		switch {
		case synced && k.acknowledges(k.startID()):
			return true
		case !synced && (k.host.Now() >= deadline || record.Primary == node && len(record.Synced) > 0):
			return false
		}
		k.host.Await(ctx, nil, entryPause)
	}
	return false
}

// letIn reports, where the rule is switched off by which a replica must be in S, whether the primary has let it in.
func (k *Keeper) letIn(primary string) bool {
	p, heard := k.host.Peer(primary)
	return k.config.Mutations.AckBeforeEntry && heard && slices.Contains(p.Admits, k.config.Node)
}
