// SPDX-License-Identifier: Apache-2.0

package quorum

import "highwater/election"

// Output is what the caller has to do after a step, and what it should know.
type Output struct {
	Messages []Message
	Stores   []Store
	Applied  []Applied
	Events   []Event
}

// Message is for another node's core.
type Message struct {
	To   string
	Data []byte
	// Urgent messages are small, and an election or a lease waits for them: they are not to
	// stand in line behind the log or a snapshot.
	Urgent bool
}

// Store is a change of the durable state, to be made as one: first Snapshot, then Entries,
// then HardState.
type Store struct {
	Token     uint64
	HardState []byte    // replaces the one before; nil: unchanged
	Snapshot  *Snapshot // replaces the one before; nil: unchanged
	Entries   []Entry   // each replaces what is stored at its index, and everything after it
	Sync      bool      // the answer says that it is durable; else it may be lost, or left out at once
}

// Snapshot stands for the log up to its index: entries up to it are of no use any more.
type Snapshot struct {
	Index uint64
	Data  []byte
	Reset bool // the entries after it are of no use either
}

// Entry is one entry of the log.
type Entry struct {
	Index uint64
	Data  []byte
}

// Restored is what the storage held at the start: the sum of all that was stored. It is empty
// at the very first start.
type Restored struct {
	HardState []byte
	Snapshot  *Snapshot
	Entries   []Entry
}

// Applied is a version of the record that a majority holds. After a restart those since the last
// snapshot are reported again. The data is not to be changed.
type Applied struct {
	Index   uint64
	Term    uint64 // the raft term in which it was proposed
	Version uint64
	Data    []byte
}

// Event is something that the caller should know. The concrete types are all in this file.
type Event interface{ event() }

// BecameLeader says that this node won an election. It has the right once a majority has
// confirmed it.
type BecameLeader struct{ Term uint64 }

// LostLead says that this node leads no more.
type LostLead struct{ Term uint64 }

// LeaderChanged names the leader that this node hears, "" when it has heard none for a promise:
// with a quorum that is silence, whatever VRRP says.
type LeaderChanged struct {
	Leader string
	Term   uint64
}

// HandOverEnded says that a hand-over was refused or came to nothing. (If it succeeds, the
// event is [LostLead].)
type HandOverEnded struct {
	To     string
	Term   uint64
	Reason Reason
}

// Decided reports the fate of a proposal.
type Decided struct {
	Version uint64
	Outcome Outcome
	Reason  Reason // why refused
}

// RecordRead answers a [Read]: the record that is applied here holds everything that was
// committed before AsOf.
type RecordRead struct{ AsOf election.Instant }

// MemberChanged says that a change of the members was applied.
type MemberChanged struct {
	Member Member
	Change Change
}

// MemberRefused says that a change of the members was not begun.
type MemberRefused struct {
	Name   string
	Reason Reason
}

// Failed says that the core is dead, and why. It holds no right, votes for nobody and has to be
// built anew from what was stored.
type Failed struct{ Err error }

func (BecameLeader) event()  {}
func (LostLead) event()      {}
func (LeaderChanged) event() {}
func (HandOverEnded) event() {}
func (Decided) event()       {}
func (RecordRead) event()    {}
func (MemberChanged) event() {}
func (MemberRefused) event() {}
func (Failed) event()        {}

// Outcome is the fate of a proposal.
type Outcome string

// The fates. Until one of the first two is reported a proposal is in doubt ([Core.Doubt]): it
// counts as committed for all that it forbids, and as not committed for all that it allows.
const (
	OutcomeApplied    Outcome = "applied"    // the record is what was proposed
	OutcomeSuperseded Outcome = "superseded" // it is another, and will not be this one again
	OutcomeRefused    Outcome = "refused"    // it was never proposed
)

// Change is what happened to a member.
type Change string

// The changes.
const (
	ChangeLearner Change = "learner" // it is sent the log, and has no vote
	ChangeVoter   Change = "voter"
	ChangeRemoved Change = "removed"
)

// Reason says why not.
type Reason string

// The reasons.
const (
	ReasonNone        Reason = ""
	ReasonFailed      Reason = "failed"
	ReasonNotLeader   Reason = "not_leader"
	ReasonUnconfirmed Reason = "unconfirmed"  // leader, and no majority has said so yet
	ReasonExpired     Reason = "expired"      // the last confirmation is too old
	ReasonHandedOver  Reason = "handed_over"  // the right was given up in this term
	ReasonNotReady    Reason = "not_ready"    // this term has committed nothing yet
	ReasonInDoubt     Reason = "in_doubt"     // another proposal is
	ReasonVersion     Reason = "version"      // not the one after the record's
	ReasonTooLarge    Reason = "too_large"    //
	ReasonUnknown     Reason = "unknown"      // no such member
	ReasonKnown       Reason = "known"        // there is, or was, such a member
	ReasonInvalid     Reason = "invalid"      //
	ReasonBusy        Reason = "busy"         // another change or hand-over is under way
	ReasonNoServer    Reason = "no_server"    // witness
	ReasonNoVote      Reason = "no_vote"      // learner
	ReasonLastVoter   Reason = "last_voter"   // the last, or the last with a server
	ReasonMajority    Reason = "no_majority"  // of those who would stay too few are heard
	ReasonUnreachable Reason = "unreachable"  // not heard for a promise
	ReasonTimeout     Reason = "timeout"      // the successor has not taken over
	ReasonSelf        Reason = "self"         // to itself
	ReasonDropped     Reason = "raft_dropped" // raft refused
)
