// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// Action is something that the shell must do. The concrete types are all in this file.
type Action interface{ action() }

// SendAdvert sends a VRRP advertisement.
type SendAdvert struct {
	Priority uint8 `json:"priority"`
}

// Claim adds the addresses as a kernel lease and announces them.
type Claim struct {
	Token Token  `json:"token"`
	Term  uint64 `json:"term"`
}

// Renew extends the kernel lease.
type Renew struct {
	Token Token `json:"token"`
}

// Release removes the addresses and destroys the sockets bound to them, at once and
// unconditionally.
type Release struct {
	Token  Token `json:"token"`
	Reason Code  `json:"reason"`
}

// Announce sends gratuitous ARP and unsolicited NA again.
type Announce struct{}

// Seal stops the local receiver, makes the promise durable and answers the peer whose
// request carried Token.
type Seal struct {
	Token Token  `json:"token"`
	Term  uint64 `json:"term"`
}

// Refuse answers a peer's request with no.
type Refuse struct {
	Token Token `json:"token"`
	Code  Code  `json:"code"`
}

// Accept answers a peer's request with yes.
type Accept struct {
	Token Token `json:"token"`
}

// Gather seals this node and asks every peer to seal itself (door 4). It ends when every
// node in Expect has answered or promote.gather_timeout has passed.
type Gather struct {
	Token      Token    `json:"token"`
	Term       uint64   `json:"term"`
	OldPrimary string   `json:"old_primary,omitempty"`
	Expect     []string `json:"expect,omitempty"`
}

// Promote makes the local server writable (door 5).
type Promote struct {
	Token      Token   `json:"token"`
	Term       uint64  `json:"term"`
	OldPrimary string  `json:"old_primary,omitempty"`
	FetchFrom  string  `json:"fetch_from,omitempty"`
	WaitUntil  Instant `json:"wait_until,omitempty"` // no writes before: the old lease
	Cause      Code    `json:"cause"`
}

// Cancel stops the running effect of Token at its next safe point; it still answers.
type Cancel struct {
	Token Token `json:"token"`
}

// Finish removes the receiver of a promoted server, once the VIP is there.
type Finish struct {
	Token Token `json:"token"`
}

// Demote makes the local server read-only and ends its clients, by the ladder of
// docs/design.md §2.
type Demote struct {
	Token  Token `json:"token"`
	Reason Code  `json:"reason"`
}

// Follow points the local server at the primary.
type Follow struct {
	Token Token  `json:"token"`
	Node  string `json:"node"`
	Term  uint64 `json:"term"`
}

// Farewell tells every peer that this node gave up its right.
type Farewell struct {
	Term      uint64 `json:"term"`
	Reason    Code   `json:"reason"`
	Successor string `json:"successor,omitempty"`
}

// AskToStand asks a peer that is ahead to stand.
type AskToStand struct {
	Node    string `json:"node"`
	Term    uint64 `json:"term"`
	Ordered bool   `json:"ordered,omitempty"` // this node stood by an operator's order
}

// Seek asks the quorum for the right to be primary. It is repeated while it matters.
type Seek struct{}

// HandOver passes the right on. This node holds neither the VIP nor a server that can write. Unused
// is since when nobody has opened a server or claimed the VIP with it, 0 for unknown.
type HandOver struct {
	To     string  `json:"to"`
	Unused Instant `json:"unused,omitempty"`
}

// Establish makes this node the primary of Term in the cluster record. With Drain the server is a
// candidate's: where nothing acknowledged may be lost it applies all that it received first, and
// what FetchFrom holds beyond that, since a relay log can vanish (docs/design.md §5).
type Establish struct {
	Token     Token    `json:"token"`
	Term      uint64   `json:"term"`
	Drain     bool     `json:"drain,omitempty"`
	FetchFrom string   `json:"fetch_from,omitempty"`
	Kind      MoveKind `json:"kind"`
	Cause     Code     `json:"cause"` // what the old primary gave up for, where it said so
}

// Move is what the record is to say of it.
func (a Establish) Move(at int64, holdOff time.Duration) Move {
	return Move{At: at, Kind: a.Kind, Reason: string(a.Cause), Asked: a.Cause == CodeOperator, HoldOff: holdOff}
}

// Publish pushes the status to every peer now rather than at the next interval.
type Publish struct{}

// Save makes the durable part of the state durable.
type Save struct {
	Saved Saved `json:"saved"`
}

// Record is one line of the journal, the log and the metrics.
type Record struct {
	Code   Code   `json:"code"`
	Door   int    `json:"door,omitempty"` // 1-5; 6 is the claim
	Term   uint64 `json:"term,omitempty"`
	Node   string `json:"node,omitempty"` // the other host, where there is one
	Detail string `json:"detail,omitempty"`
}

// Stopped ends the loop.
type Stopped struct {
	Token Token `json:"token,omitempty"`
}

func (SendAdvert) action() {}
func (Claim) action()      {}
func (Renew) action()      {}
func (Release) action()    {}
func (Announce) action()   {}
func (Seal) action()       {}
func (Refuse) action()     {}
func (Accept) action()     {}
func (Gather) action()     {}
func (Promote) action()    {}
func (Cancel) action()     {}
func (Finish) action()     {}
func (Demote) action()     {}
func (Follow) action()     {}
func (Farewell) action()   {}
func (AskToStand) action() {}
func (Seek) action()       {}
func (HandOver) action()   {}
func (Establish) action()  {}
func (Publish) action()    {}
func (Save) action()       {}
func (Record) action()     {}
func (Stopped) action()    {}
