// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"context"
	"iter"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// Server is the local server; a [promote.Server] is one.
type Server interface {
	Durability(context.Context) (promote.Durability, error)
	Relaxed() (promote.Relaxed, error)
	NoteRelaxed(promote.Relaxed) error
	NoteRun(start string, led uint64) error

	SourceState(context.Context) (promote.SourceState, error)
	EnableSource(ctx context.Context, acks int) error
	SetAcks(ctx context.Context, acks int) error
	DisableSource(context.Context) error
	ForeignAckers(ctx context.Context, users []string) error
	LockReplica(ctx context.Context, user string) error
	UnlockReplica(ctx context.Context, user string) error

	Silence(context.Context) error
}

// Host is what surrounds a [Keeper] on its host. All of it may be called from any goroutine.
type Host interface {
	// Now is CLOCK_BOOTTIME.
	Now() election.Instant
	// Within is context.WithTimeout by that clock.
	Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Rest returns after d, when ctx ends, or when somebody has called Nudge since the last Rest.
	Rest(ctx context.Context, d time.Duration)
	Nudge()
	// News is closed when a status comes that was not there when News was called, and Await returns
	// then, after d, or when ctx ends.
	News() <-chan struct{}
	Await(ctx context.Context, news <-chan struct{}, d time.Duration)

	// Status is the Machine's, as of its last step, and Own what this node last told its peers.
	Status() election.Status
	Own() *peer.NodeStatus
	// Publish tells them anew, and Look takes a new look at the server.
	Publish()
	Look()
	// Sample is the last look at the server.
	Sample() Sample
	// Rebuilding: its data are being replaced, and it follows nobody.
	Rebuilding() bool
	// Waits says for how many acknowledgements the server was told to wait.
	Waits(acks int)

	// Record is the cluster record as it was last applied here, and Leader whom this node takes for
	// the quorum's leader; "": nobody.
	Record() election.ClusterRecord
	Leader() string
	// Change has the quorum change the record, and calls ended when the change's fate is known.
	Change(ctx context.Context, next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(context.Context, error))

	// Replicas are the other nodes with a server, and Peer what was last heard of one; false: nothing.
	Replicas() iter.Seq[string]
	Peer(node string) (Peer, bool)
	// Hold asks these server processes until they hold all of the point, and returns those that do:
	// once there are enough it waits for the others a moment only.
	Hold(ctx context.Context, running []election.SyncedNode, point gtid.Set, enough int) []election.SyncedNode

	// Pass commits one transaction on the server and returns, as soon as it has begun, what whoever
	// holds it holds.
	Pass(context.Context) (gtid.Set, error)
	// FollowAcknowledging has the server follow primary's and acknowledge, and AcknowledgeReceived
	// has it acknowledge what it had received before.
	FollowAcknowledging(ctx context.Context, primary string, term uint64) error
	AcknowledgeReceived(ctx context.Context, primary string, term uint64) error
}

// Sample is what a [Keeper] needs of the last look at the local server.
type Sample struct {
	Start    string // names the run of the server; empty: it does not answer
	UUID     string // of the server
	Flavor   mysqlcheck.Flavor
	Executed gtid.Set
	// Acknowledges: semi-sync's replica side is switched on, as read at ReadAt.
	Acknowledges bool
	ReadAt       election.Instant
}

// Peer is what was last heard of another node.
type Peer struct {
	*peer.NodeStatus
	Fresh  bool   // new enough for the node to count as there
	Alive  bool   // and its server answers
	Source string // node that its server replicates from, "" if it is none of ours
}
