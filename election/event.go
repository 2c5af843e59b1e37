// SPDX-License-Identifier: Apache-2.0

package election

import (
	"time"
)

// Token pairs an action with the event that answers it. Tokens of the Machine count up from
// 1; tokens of requests that came from a peer are the shell's.
type Token uint64

// Event is something that happened. The concrete types are all in this file.
type Event interface{ event() }

// Start is the first event: what the node knew before this process, and what it found.
type Start struct {
	Saved      Saved         `json:"saved"`
	VIPPresent bool          `json:"vip_present"` // one of our addresses is on this host
	ClaimAge   time.Duration `json:"claim_age"`   // since the last claim or renewal on disk
	ClaimDated bool          `json:"claim_dated"` // ClaimAge is of this boot and can be trusted
	LinkUp     bool          `json:"link_up"`     //
}

// Saved is the part of the Machine that survives its process.
type Saved struct {
	Term     uint64 `json:"term"`
	Primary  string `json:"primary"`   // of Term
	Promised uint64 `json:"promised"`  // highest term this node promised; durable before it is answered
	Claimed  bool   `json:"claimed"`   // this node is Primary of Term and claimed the VIP
	ServerID string `json:"server_id"` // the server process that was writable when it did
}

// Tick says that [Machine.Deadline] has come.
type Tick struct{}

// Stalled says that the loop did not run for Gap although it should have.
type Stalled struct {
	Gap time.Duration `json:"gap"`
}

// AdvertReceived is a valid VRRP advertisement of our VRID.
type AdvertReceived struct {
	Advert
	Node string `json:"node,omitempty"` // configured node with that source address, if any
}

// HealthChanged is the newest verdict on the local server. It comes with every probe, so
// that a missing one is noticed.
type HealthChanged struct {
	Health Health `json:"health"`
}

// Health is what the doors need of a mysqlcheck.Verdict.
type Health struct {
	At          Instant     `json:"at"` // when the look began: older than what was done since, it proves nothing
	State       HealthState `json:"state"`
	Eligible    bool        `json:"eligible"`  // door 2 would let it stand
	CaughtUp    bool        `json:"caught_up"` // lag within check.max_lag
	Writable    bool        `json:"writable"`
	Hung        bool        `json:"hung"`
	Failing     bool        `json:"failing"` // alive, and cannot do a primary's work until somebody repairs it
	Reasons     []string    `json:"reasons,omitempty"`
	ServerID    string      `json:"server_id"`        // identifies the server process
	Source      string      `json:"source,omitempty"` // node that the receiver is pointed at
	Receiving   bool        `json:"receiving"`        // the receiver runs or tries to connect
	Replicas    int         `json:"replicas"`         // dump threads seen
	SourceEvent Instant     `json:"source_event"`     // last event or heartbeat from the source; 0 unknown
}

// HealthState is three-valued (docs/design.md §2).
type HealthState uint8

// The three values.
const (
	HealthUnknown HealthState = iota
	HealthAlive
	HealthDead
)

// ServerExited says that the server process is gone.
type ServerExited struct{}

// ServerStarted says that a server process listens again, or that the one which does has been rebuilt.
type ServerStarted struct{}

// LinkChanged is the state of the election interface.
type LinkChanged struct {
	Up bool `json:"up"`
}

// AddressLost says that one of our addresses vanished without our doing.
type AddressLost struct{}

// PeerHeard is a status that a peer pushed, or answered with.
type PeerHeard struct {
	Peer PeerState `json:"peer"`
}

// PeerState is what the doors need of a peer's status.
type PeerState struct {
	Node          string        `json:"node"`
	Incarnation   string        `json:"incarnation"`
	Role          Role          `json:"role"`
	Term          uint64        `json:"term"`
	Primary       string        `json:"primary"`
	Promised      uint64        `json:"promised"`
	Eligible      bool          `json:"eligible"`
	CaughtUp      bool          `json:"caught_up"`
	Writable      bool          `json:"writable"`
	Alive         bool          `json:"alive"` // its server answers
	Replicas      int           `json:"replicas"`
	Source        string        `json:"source"`
	Restarting    bool          `json:"restarting"`     // "back within the lease"
	Seeks         bool          `json:"seeks"`          // it would stand now if it had the right
	SourceEvent   time.Duration `json:"source_event"`   // age of the last event from its source, -1 unknown
	PrimaryHeard  time.Duration `json:"primary_heard"`  // age of the primary supervisor's last sign of life, -1 unknown
	Drained       bool          `json:"drained"`        // it has applied all that it received
	LeaseReleased bool          `json:"lease_released"` // it holds none of the addresses
	ServerID      string        `json:"server_id"`      //
	Fenced        bool          `json:"fenced"`         // its sessions end with its lease, to 50 ms
}

// FarewellReceived says that the primary of Term gave up its right.
type FarewellReceived struct {
	From      string `json:"from"`
	Term      uint64 `json:"term"`
	Reason    Code   `json:"reason"`
	Successor string `json:"successor,omitempty"` // who should stand at once
}

// SealRequested is a candidate's request that this node stop following the old primary.
type SealRequested struct {
	Token      Token  `json:"token"`
	From       string `json:"from"`
	Term       uint64 `json:"term"`
	OldPrimary string `json:"old_primary"`
}

// StandRequested is a candidate's request that this node, being ahead, stand in its place.
type StandRequested struct {
	Token   Token  `json:"token"`
	From    string `json:"from"`
	Term    uint64 `json:"term"`
	Ordered bool   `json:"ordered,omitempty"` // the candidate stood by an operator's order
}

// SealEnded answers [Seal].
type SealEnded struct {
	Token Token  `json:"token"`
	Err   string `json:"err,omitempty"`
}

// GatherEnded answers [Gather].
type GatherEnded struct {
	Token        Token    `json:"token"`
	Winner       string   `json:"winner"`               // "" when nobody may
	FetchFrom    string   `json:"fetch_from,omitempty"` // who holds what the winner lacks
	Code         Code     `json:"code,omitempty"`       // why nobody, or why not this node
	Detail       string   `json:"detail,omitempty"`     // for people
	HearsPrimary []string `json:"hears_primary,omitempty"`
	Promised     uint64   `json:"promised"` // highest term that somebody promised to another
	OldReleased  bool     `json:"old_released"`
	Err          string   `json:"err,omitempty"`
}

// PromoteEnded answers [Promote].
type PromoteEnded struct {
	Token Token  `json:"token"`
	Code  Code   `json:"code,omitempty"`
	Err   string `json:"err,omitempty"`
}

// ClaimEnded answers [Claim].
type ClaimEnded struct {
	Token Token  `json:"token"`
	Err   string `json:"err,omitempty"`
}

// RenewEnded answers [Renew]. Lost says that the address was gone.
type RenewEnded struct {
	Token Token  `json:"token"`
	Lost  bool   `json:"lost,omitempty"`
	Err   string `json:"err,omitempty"`
}

// ReleaseEnded answers [Release].
type ReleaseEnded struct {
	Token Token  `json:"token"`
	Err   string `json:"err,omitempty"`
}

// DemoteEnded answers [Demote].
type DemoteEnded struct {
	Token  Token  `json:"token"`
	Killed bool   `json:"killed,omitempty"` // by SIGKILL
	Err    string `json:"err,omitempty"`
}

// FollowEnded answers [Follow]. Errant names what the primary has not.
type FollowEnded struct {
	Token  Token  `json:"token"`
	Errant string `json:"errant,omitempty"`
	Err    string `json:"err,omitempty"`
}

// FinishEnded answers [Finish].
type FinishEnded struct {
	Token Token  `json:"token"`
	Err   string `json:"err,omitempty"`
}

// RightChanged is the quorum's newest word on who has the right to be primary.
type RightChanged struct {
	Held   bool    `json:"held"`             // by this node
	Until  Instant `json:"until,omitempty"`  // no longer, unless confirmed again
	Leader string  `json:"leader,omitempty"` // who has it as far as this node knows
	Silent bool    `json:"silent,omitempty"` // nobody who has it was heard for as long as a promise lasts
	Unused Instant `json:"unused,omitempty"` // held, and nobody has used it since then, as who had it before says
	Before string  `json:"before,omitempty"` // another node that had it before
	Heard  Instant `json:"heard,omitempty"`  // when Before was last heard as the one that has it
}

// RecordChanged is the part of the cluster record that the doors need, as a majority has it.
type RecordChanged struct {
	Term    uint64 `json:"term"`
	Primary string `json:"primary"`
	Paused  bool   `json:"paused,omitempty"`

	// HoldOff is how much is left of the hold-off that the beginning of HoldOffTerm started.
	HoldOff     time.Duration `json:"hold_off,omitempty"`
	HoldOffTerm uint64        `json:"hold_off_term,omitempty"`
	HoldOffFrom string        `json:"hold_off_from,omitempty"`
}

// EstablishEnded answers [Establish].
type EstablishEnded struct {
	Token Token  `json:"token"`
	Err   string `json:"err,omitempty"`
}

// Command is an operator's order. Token is the shell's, for the answer.
type Command struct {
	Token Token       `json:"token"`
	Name  CommandName `json:"name"`
}

// CommandName is one of the orders below.
type CommandName string

// The orders.
const (
	CommandStop     CommandName = "stop"     // hand over if a successor is ready, else release; then take no part
	CommandRestart  CommandName = "restart"  // tell the peers "back within the lease" and go
	CommandFailover CommandName = "failover" // stand although hosts are missing or none was heard as primary
)

func (Start) event()            {}
func (Tick) event()             {}
func (Stalled) event()          {}
func (AdvertReceived) event()   {}
func (HealthChanged) event()    {}
func (ServerExited) event()     {}
func (ServerStarted) event()    {}
func (LinkChanged) event()      {}
func (AddressLost) event()      {}
func (PeerHeard) event()        {}
func (FarewellReceived) event() {}
func (SealRequested) event()    {}
func (StandRequested) event()   {}
func (SealEnded) event()        {}
func (GatherEnded) event()      {}
func (PromoteEnded) event()     {}
func (ClaimEnded) event()       {}
func (RenewEnded) event()       {}
func (ReleaseEnded) event()     {}
func (DemoteEnded) event()      {}
func (FollowEnded) event()      {}
func (FinishEnded) event()      {}
func (RightChanged) event()     {}
func (RecordChanged) event()    {}
func (EstablishEnded) event()   {}
func (Command) event()          {}
