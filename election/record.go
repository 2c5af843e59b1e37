// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ClusterRecordVersion is the version of the record that this program reads and writes.
const ClusterRecordVersion = 1

// maxFailovers is how many of the last failovers the record keeps.
const maxFailovers = 10

// ClusterRecord is what the quorum has agreed on (docs/design.md §4 and §5). It is a value: a
// transition leaves its receiver alone and returns the next record, or a [*Refusal].
//
// What the record says of S and k never claims more than MySQL has delivered. That holds only if
// each transition is carried out in its order, which its comment gives and a [Change] enforces;
// while a proposed record's fate is unknown, a [View] says what is allowed.
//
// Of every term that has begun exactly one is true: S is not empty, the primary is alone, or
// Kept says what counted before.
type ClusterRecord struct {
	Version  int    `json:"version"`
	Revision uint64 `json:"revision"` // counts the transitions; a proposal is for one revision only

	Term    uint64 `json:"term"`
	Since   uint64 `json:"since"`             // first of the terms that Primary has had without another's in between
	Primary string `json:"primary,omitempty"` // of Term; empty before the first

	Synced []SyncedNode `json:"synced,omitempty"` // S, by name
	Acks   int          `json:"acks,omitempty"`   // k: 1 to |S|, 0 if S is empty
	Left   uint64       `json:"left,omitempty"`   // revision at which a node last left S
	Alone  bool         `json:"alone,omitempty"`  // the primary acknowledges by itself (`when_alone: continue`)
	// WentAlone: in one of the terms Since to Term the primary was alone, and S does not hold all that it told then, or
	// what it told is not known ([ClusterRecord.Recover]).
	WentAlone    bool        `json:"went_alone,omitempty"`
	Kept         *KeptTerm   `json:"kept,omitempty"`
	AcceptedLoss *Acceptance `json:"accepted_loss,omitempty"`

	Paused    *Pause          `json:"paused,omitempty"`
	HoldOff   *HoldOff        `json:"hold_off,omitempty"`
	Members   []ClusterMember `json:"members,omitempty"`
	LastID    uint64          `json:"last_id,omitempty"` // highest member id ever given: raft forbids using one twice
	Failovers []Failover      `json:"failovers,omitempty"`
}

// SyncedNode is a member of S: a replica that may acknowledge.
type SyncedNode struct {
	Node string `json:"node"`
	// Start identifies the server process that last passed a barrier as a member of S, or that
	// entered S. It ran already when that barrier began. One that has started since may have
	// lost relay log which it acknowledged.
	Start string `json:"start"`
	// Errant are the transactions, as GTIDs, that this node has and the primary at the last
	// barrier had not. They are left out of the comparison; such a node leaves S as soon as
	// enough others stay.
	Errant string `json:"errant,omitempty"`
}

// KeptTerm is what the last term in which something could be acknowledged left behind. It counts
// until S of the current term first leaves ∅, or the primary goes alone: until then nobody has
// been told of anything newer.
type KeptTerm struct {
	Term    uint64       `json:"term"` // 0: before the first term, when the first primary is taken to have been alone
	Primary string       `json:"primary"`
	Synced  []SyncedNode `json:"synced,omitempty"`
	Acks    int          `json:"acks,omitempty"`
	Alone   bool         `json:"alone,omitempty"`
}

// Acceptance is an operator's decision to promote although acknowledged transactions may be
// missing. It is good for the end of one term and is void when the next one begins.
type Acceptance struct {
	Term uint64 `json:"term"` // whose transactions may be lost
	By   string `json:"by"`
	At   int64  `json:"at"`            // Unix time in ms, for people
	To   string `json:"to,omitempty"`  // only this node, whatever it lacks; empty: whoever holds all that is heard
	Why  string `json:"why,omitempty"` //
}

// Pause stops failovers that no operator asks for. It holds until [ClusterRecord.Resume] is
// committed: hosts whose clocks differ must not differ about a pause. The leader commits Resume
// when Over says so by its clock.
type Pause struct {
	By    string `json:"by"`
	Since int64  `json:"since"`           // Unix time in ms
	Until int64  `json:"until,omitempty"` // Unix time in ms; 0: until somebody resumes
	Why   string `json:"why,omitempty"`
}

// Over reports whether the pause is to end at wall, the Unix time in ms.
func (p *Pause) Over(wall int64) bool { return p != nil && p.Until != 0 && wall >= p.Until }

// HoldOff keeps failovers by time-out from following one another too soon, and the role from
// going straight back to From.
//
// It is a span, not an instant, since wall clocks differ between hosts: each host counts from
// when it learned of it, on its own monotonic clock.
type HoldOff struct {
	Term uint64 `json:"term"` // whose beginning started it
	From string `json:"from"`
	At   int64  `json:"at"`  // Unix time in ms by the clock of the one who began Term
	For  int64  `json:"for"` // ms
}

// Left returns how much of the hold-off is left when a host learns of it. One that sees it being
// committed passes replayed=false and waits all of it. One that finds it in a record it loads
// passes the wall clock, in Unix ms: the only use of wall clocks, and whatever they say the
// answer is between 0 and all of it.
func (h *HoldOff) Left(wall int64, replayed bool) time.Duration {
	if h == nil {
		return 0
	}
	left := h.For
	if replayed && wall > h.At { // neither overflows: At and wall are times, For is bounded
		left = max(0, h.For-(wall-h.At))
	}
	return time.Duration(left) * time.Millisecond
}

// Changed is what the Machine needs of the record, for a host that learns of it at wall, the Unix
// time in ms; replayed as for [HoldOff.Left].
func (r ClusterRecord) Changed(wall int64, replayed bool) RecordChanged {
	e := RecordChanged{Term: r.Term, Primary: r.Primary, Paused: r.Paused != nil}
	if h := r.HoldOff; h != nil {
		e.HoldOff, e.HoldOffTerm, e.HoldOffFrom = h.Left(wall, replayed), h.Term, h.From
	}
	return e
}

// ClusterMember is a supervisor that votes.
type ClusterMember struct {
	Name    string `json:"name"`
	ID      uint64 `json:"id"` // raft's, never given twice
	Witness bool   `json:"witness,omitempty"`
}

// Failover is one change of the primary.
type Failover struct {
	At     int64    `json:"at"`   // Unix time in ms
	Term   uint64   `json:"term"` // of To
	From   string   `json:"from"`
	Since  uint64   `json:"since"` // first and last term of From's run
	Last   uint64   `json:"last"`
	To     string   `json:"to"`
	Kind   MoveKind `json:"kind"`
	Reason string   `json:"reason,omitempty"`
	Loss   bool     `json:"loss,omitempty"`  // an operator accepted the loss of acknowledged transactions
	Alone  bool     `json:"alone,omitempty"` // From's WentAlone, then
}

// MoveKind is a way in which the role of primary moves.
type MoveKind string

// The ways.
const (
	MoveFailover   MoveKind = "failover"
	MoveSwitchover MoveKind = "switchover"
)

// NewClusterRecord returns the record of a cluster in which no term has begun.
func NewClusterRecord(members ...ClusterMember) (ClusterRecord, error) {
	r := ClusterRecord{Version: ClusterRecordVersion, Members: slices.Clone(members)}
	for _, m := range members {
		r.LastID = max(r.LastID, m.ID)
	}
	if err := r.Validate(); err != nil {
		return ClusterRecord{}, err
	}
	return r, nil
}

// Member returns the member of that name.
func (r ClusterRecord) Member(name string) (ClusterMember, bool) {
	i := slices.IndexFunc(r.Members, func(m ClusterMember) bool { return m.Name == name })
	if i < 0 {
		return ClusterMember{}, false
	}
	return r.Members[i], true
}

// IsSynced reports whether node is in S.
func (r ClusterRecord) IsSynced(node string) bool { return indexSynced(r.Synced, node) >= 0 }

// replicas are the data members but the primary.
func (r ClusterRecord) replicas() []string {
	var names []string
	for _, m := range r.Members {
		if !m.Witness && m.Name != r.Primary {
			names = append(names, m.Name)
		}
	}
	return names
}

// LedSince returns the first of the terms that node led and that still count: the present one and
// those before it, or what is kept. It is 0 if there are none, and 1 if that is not known any more.
func (r ClusterRecord) LedSince(node string) uint64 {
	switch {
	case node == "":
		return 0
	case r.Primary == node:
		return r.Since
	case r.Kept == nil || r.Kept.Primary != node:
		return 0
	}
	for _, f := range slices.Backward(r.Failovers) {
		if f.From == node && f.Last == r.Kept.Term {
			return f.Since
		}
	}
	return 1
}

// Untold returns nil if the record proves that nobody was told of the transactions which node
// wrote as primary of term and its successors lack, given that node's server ended by a crash or
// SIGKILL: it was not alone in the end, and neither its end nor that of any term after
// it was one with accepted loss (docs/design.md §5). Otherwise the error says why not.
func (r ClusterRecord) Untold(node string, term uint64) error {
	if node == r.Primary {
		return refuse("call its transactions untold", RefusedIsPrimary, node, "it is the primary of record")
	}
	i := slices.IndexFunc(r.Failovers, func(f Failover) bool { return f.From == node && f.Since <= term && term <= f.Last })
	if i < 0 {
		return refuse("call its transactions untold", RefusedUnknown, node, fmt.Sprintf("the record does not tell how its term %d ended", term))
	}
	if r.Failovers[i].Alone {
		return refuse("call its transactions untold", RefusedAlone, node, fmt.Sprintf("it acknowledged alone in its terms %d to %d", r.Failovers[i].Since, r.Failovers[i].Last))
	}
	for _, f := range r.Failovers[i:] {
		if f.Loss {
			return refuse("call its transactions untold", RefusedLoss, node, fmt.Sprintf("loss was accepted when %s became primary of term %d", f.To, f.Term))
		}
	}
	return nil
}

// UntoldLast is [ClusterRecord.Untold] for the last run of terms of node, which must be the one
// of term: whatever it wrote later is not what the record is about.
func (r ClusterRecord) UntoldLast(node string, term uint64) error {
	for _, f := range slices.Backward(r.Failovers) {
		if f.From == node {
			if term < f.Since || f.Last < term {
				return refuse("call its transactions untold", RefusedUnknown, node,
					fmt.Sprintf("it was last primary in its terms %d to %d, and itself knows of term %d", f.Since, f.Last, term))
			}
			break
		}
	}
	return r.Untold(node, term)
}

// indexSynced returns where node is in list, -1 if it is not.
func indexSynced(list []SyncedNode, node string) int {
	return slices.IndexFunc(list, func(s SyncedNode) bool { return s.Node == node })
}

// sortSynced returns a copy of list by name.
func sortSynced(list []SyncedNode) []SyncedNode {
	return slices.SortedFunc(slices.Values(list), func(a, b SyncedNode) int { return strings.Compare(a.Node, b.Node) })
}

// Refusal is why a transition of the record is not possible. Nothing has changed.
type Refusal struct {
	Transition string
	Code       RefusalCode
	Node       string // whom it is about, if it is about one
	Detail     string
}

// RefusalCode says in one word why.
type RefusalCode string

// Why a transition is refused.
const (
	RefusedStale       RefusalCode = "stale"         // the term, or the revision, is not newer
	RefusedNoTerm      RefusalCode = "no_term"       // none has begun
	RefusedUnknown     RefusalCode = "unknown"       // not in the record
	RefusedWitness     RefusalCode = "witness"       // has no server
	RefusedIsPrimary   RefusalCode = "is_primary"    //
	RefusedSynced      RefusalCode = "synced"        // is in S
	RefusedNotSynced   RefusalCode = "not_synced"    // is not in S
	RefusedKept        RefusalCode = "kept"          // counts until S leaves ∅
	RefusedEmpty       RefusalCode = "empty"         // S is empty: it leaves ∅ by raising k
	RefusedLast        RefusalCode = "last"          // S would become empty
	RefusedBarrier     RefusalCode = "barrier"       // too few have passed one
	RefusedAcks        RefusalCode = "acks"          // k out of range
	RefusedNoStart     RefusalCode = "no_start"      // the server process is not known
	RefusedErrant      RefusalCode = "errant"        //
	RefusedAlone       RefusalCode = "alone"         //
	RefusedLoss        RefusalCode = "accepted_loss" //
	RefusedUnchanged   RefusalCode = "unchanged"     // it says so already
	RefusedIncomplete  RefusalCode = "incomplete"    // something that is required was not said
	RefusedDuplicate   RefusalCode = "duplicate"     //
	RefusedStage       RefusalCode = "stage"         // a change is not at that stage
	RefusedSuperseded  RefusalCode = "superseded"    // another change was committed instead
	RefusedDamaged     RefusalCode = "damaged"       // the result would break the record's own rules
	RefusedOnlyMembers RefusalCode = "only_member"   // the last one cannot leave
	RefusedPaused      RefusalCode = "paused"        // nobody asked for this failover
)

// Error names the transition, the node and the reason.
func (f *Refusal) Error() string {
	text := "refuse to " + f.Transition
	if f.Node != "" {
		text += " (" + f.Node + ")"
	}
	text += ": " + string(f.Code)
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	return text
}

func refuse(transition string, code RefusalCode, node, detail string) error {
	return &Refusal{Transition: transition, Code: code, Node: node, Detail: detail}
}
