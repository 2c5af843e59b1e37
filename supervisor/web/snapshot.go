// SPDX-License-Identifier: Apache-2.0

package web

import "time"

// Snapshot is the moment that a request is answered from. Making one must not wait for the loop.
type Snapshot struct {
	Status Status
	// LoopAge is how long ago the loop completed a step.
	LoopAge time.Duration
	// NotReady says why this node takes no part in its cluster; "" if it does.
	NotReady string

	Config  ConfigInfo
	Adverts Adverts
	Peers   []Peer
	Quorum  *Quorum // nil without one
	// LosslessChanges counts the changes of S and k that this node made, by kind; nil with best-effort.
	LosslessChanges map[string]uint64
	// Rejoins counts what became of a local server with errant transactions, by result.
	Rejoins map[string]uint64
	// PeerRefused counts connections and messages that the peer channel refused, by reason.
	PeerRefused map[string]uint64
	// Replicas is how many replicas are connected to the local server.
	Replicas int

	JournalWritten uint64
	JournalDropped uint64
	LogDropped     uint64 // lines
}

// ConfigInfo says which configuration is in force.
type ConfigInfo struct {
	Hash               string // of the file
	LastReloadOK       bool
	LastReloadOKAt     time.Time // wall clock of the last success
	SupervisorRevision string    // of the source, "" if unknown
}

// Adverts counts VRRP adverts since the start.
type Adverts struct {
	Sent     uint64
	Accepted uint64
	Dropped  map[string]uint64 // by reason
}

// Quorum is this node's part of it.
type Quorum struct {
	Leader       string // who has the right, or is about to; "" if nobody was heard
	Right        bool   // this node has it
	RightSeconds float64
	Votes        bool // this node has a vote
	RaftTerm     uint64
	Record       uint64 // version of the cluster record
	Campaigns    uint64
	Elected      uint64
	Received     uint64            // messages
	Dropped      map[string]uint64 // messages received, by reason
	Unsent       map[string]uint64 // messages to others, by reason
}

// Peer is the channel to one other node.
type Peer struct {
	Name         string
	Up           bool
	RTT          time.Duration // of the last exchange, 0 if there was none
	HeardSeconds *float64      // age of its last message, nil if there was none
	Errors       map[string]uint64
}
