// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"highwater/mysqlcheck/gtid"
)

// Protocol is the version of the messages below. It rises with every added field: a receiver refuses unknown fields of its own version
// and ignores those of a later one, so that a cluster can be upgraded host by host.
const Protocol = 1

// DefaultPort is the TCP port of the peer channel when the configuration names none.
const DefaultPort = 7475

// MaxBody bounds a message in bytes. Only GTID sets make messages long: a set of 10 000 disjoint intervals takes about 200 KiB.
const MaxBody = 4 << 20

// Stamp orders the messages of one sender. Within one incarnation a message older than one of its kind already heard is refused, as is any
// message of an incarnation that another has replaced. An equal Seq is a retry and passes.
type Stamp struct {
	// Incarnation names one run of the sender's process.
	Incarnation string `json:"incarnation"`
	// Seq is the Seq of the sender's latest NodeStatus when the message was made; it never falls within an incarnation.
	Seq uint64 `json:"seq"`
}

// NodeStatus is what a supervisor tells its peers each interval and on each change. Durations are nanoseconds in JSON.
type NodeStatus struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Version string `json:"version"` // of the supervisor
	Stamp
	// Sent is the sender's CLOCK_BOOTTIME in ns. Only differences of two of them, from one incarnation, mean anything.
	Sent int64 `json:"sent"`

	Role         string `json:"role"`
	Witness      bool   `json:"witness,omitempty"`
	VRRPState    string `json:"vrrp_state"`
	Priority     uint8  `json:"priority"` // as advertised; 0 stands back
	Term         uint64 `json:"term"`     // highest known
	Primary      string `json:"primary"`  // node that is primary of Term, "" if none
	PromisedTerm uint64 `json:"promised_term"`

	VIPHeld        bool          `json:"vip_held"`
	LeaseRemaining time.Duration `json:"lease_remaining"`
	// Farewell is the term whose primary, the sender, has given up VIP and writing; 0 means none. A later status without it takes it back.
	Farewell uint64 `json:"farewell,omitempty"`
	// Successor is the node that the sender hands over to, "" if anybody may stand.
	Successor string `json:"successor,omitempty"`
	// SessionFence: sessions through the VIP end with the lease to 50 ms, although the kernel may carry the address up to a second longer.
	SessionFence bool `json:"session_fence,omitempty"`
	// Seeks says that the sender would stand now if it had the right of the quorum.
	Seeks bool `json:"seeks,omitempty"`
	// BackWithin is not 0 when the sender's process is about to restart as planned: silence for that long is no failure.
	BackWithin time.Duration `json:"back_within,omitempty"`

	Health     string   `json:"health"`
	Eligible   bool     `json:"eligible"`
	Reasons    []string `json:"reasons,omitempty"`
	Held       []string `json:"held,omitempty"` // errant transactions that keep the server from rejoining
	NoFailover bool     `json:"no_failover,omitempty"`
	Paused     bool     `json:"paused,omitempty"`

	ServerUUID    string `json:"server_uuid,omitempty"`
	ServerVersion string `json:"server_version,omitempty"`
	ServerStartID string `json:"server_start_id,omitempty"`
	Writable      bool   `json:"writable"`
	Replicas      int    `json:"replicas"` // connected to the sender's server

	Executed gtid.Set `json:"executed"`
	Received gtid.Set `json:"received"`
	Purged   gtid.Set `json:"purged"`
	Errant   gtid.Set `json:"errant"` // executed here and not on the primary
	// JoinedTerm is the last term in which the sender's server was primary, or followed one on the supervisor's word, and JoinedPrimary whose.
	JoinedTerm    uint64 `json:"joined_term"`
	JoinedPrimary string `json:"joined_primary"`
	// SemiSyncAcks is how many acknowledgements the sender's server waits for before it tells a client that a commit is done; 0: none.
	SemiSyncAcks int `json:"semi_sync_acks,omitempty"`

	SourceHost string        `json:"source_host,omitempty"`
	SourceUUID string        `json:"source_uuid,omitempty"`
	Receiver   string        `json:"receiver,omitempty"`
	Applier    string        `json:"applier,omitempty"`
	Lag        time.Duration `json:"lag"`
	LagKnown   bool          `json:"lag_known"`
	Queue      uint64        `json:"queue"` // transactions received and not applied
	DrainETA   time.Duration `json:"drain_eta"`

	// SourceEventAge is the age, at Sent, of the last replication event or heartbeat from the source.
	SourceEventAge   time.Duration `json:"source_event_age"`
	SourceEventKnown bool          `json:"source_event_known"`
	// PrimaryHeardAge is the age, at Sent, of the last sign of life of Primary's supervisor, advert or message.
	PrimaryHeardAge   time.Duration `json:"primary_heard_age"`
	PrimaryHeardKnown bool          `json:"primary_heard_known"`

	// Revision is that of the cluster record on which the sender acts; 0 without a quorum. Word is what it says of its own server, as a
	// replica: since it read that record of that term its receiver was stopped, and semi-sync is off (election.Word).
	Revision     uint64 `json:"revision,omitempty"`
	WordGiven    bool   `json:"word_given,omitempty"`
	WordTerm     uint64 `json:"word_term,omitempty"`
	WordRevision uint64 `json:"word_revision,omitempty"`
	// Stalled: clients of the sender's server, as primary with durability lossless, wait for acknowledgements, and none comes.
	Stalled bool `json:"stalled,omitempty"`
	// Admits are the nodes whose replication accounts are not locked on the sender's server, as primary with durability lossless.
	Admits []string `json:"admits,omitempty"`
	// Weak are the reasons for which the sender's server may not acknowledge, nor be primary of a lossless term (promote.DurabilityReason).
	Weak []string `json:"weak,omitempty"`
	// Durable: what the sender's server has committed survives a crash (both settings are 1/1).
	Durable bool `json:"durable,omitempty"`

	// IdleEvents are the events that do not run on the sender's server although it is primary, or was until lately, as schema.name; nil means
	// not known.
	IdleEvents []string `json:"idle_events,omitzero"`
	// AdvertSources are the source addresses of the sender's VRRP advertisements.
	AdvertSources []netip.Addr `json:"advert_sources,omitempty"`

	MySQLHost string `json:"mysql_host,omitempty"`
	MySQLPort uint16 `json:"mysql_port,omitempty"`

	// Voter is the sender's part in the quorum; nil without one.
	Voter *VoterStatus `json:"voter,omitempty"`
}

// VoterStatus is a node's part in the quorum (voter.Standing).
type VoterStatus struct {
	Log     string        `json:"log"`              // random name of its log
	Reason  string        `json:"reason,omitempty"` // why it does not vote
	Nodes   []string      `json:"nodes,omitempty"`  // that are to begin a cluster
	Origin  uint64        `json:"origin,omitempty"`
	Before  []uint64      `json:"before,omitempty"`
	Applied uint64        `json:"applied,omitempty"`
	Members []VoterMember `json:"members,omitempty"`
	Removed []uint64      `json:"removed,omitempty"`
}

// VoterMember is a member of the quorum as the sender's log has it.
type VoterMember struct {
	Name     string `json:"name"`
	ID       uint64 `json:"id"`
	Witness  bool   `json:"witness,omitempty"`
	Priority uint8  `json:"priority,omitempty"`
	Log      string `json:"log,omitempty"`
}

// SealRequest asks a replica to stop its receiver for Term and to report what it holds (docs/design.md §5). It is idempotent.
type SealRequest struct {
	Stamp
	Term       uint64 `json:"term"`
	Candidate  string `json:"candidate"`
	OldPrimary string `json:"old_primary"`
}

// SealReply is the answer to a SealRequest. Status is read after sealing, so its sets are final for the term.
type SealReply struct {
	Accepted bool       `json:"accepted"`
	Reason   string     `json:"reason,omitempty"`
	Promised uint64     `json:"promised"` // highest term promised, which is above the request's where that was refused for it
	Status   NodeStatus `json:"status"`
}

// StandRequest asks the receiver to stand for Term: the way a primary hands over to the successor it chose. A request is void once a later
// status of the sender (higher Seq) no longer names the receiver as Successor; the handler checks that.
type StandRequest struct {
	Stamp
	Term   uint64 `json:"term"`
	From   string `json:"from"`
	Reason string `json:"reason"`
}

// StandReply is the answer to a StandRequest.
type StandReply struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
}

// HoldRequest asks a replica whether it holds Point, a point in the binary log of its source (docs/design.md §5, barrier). The answer
// comes when it does, or after a moment without.
type HoldRequest struct {
	Stamp
	Point gtid.Set `json:"point"`
}

// HoldReply is the answer to a HoldRequest. Start names the run of the server process that it holds for.
type HoldReply struct {
	Holds  bool   `json:"holds"`
	Start  string `json:"start,omitempty"`
	Reason string `json:"reason,omitempty"` // why it cannot tell
}

// FarewellRequest says that From, primary of Term, has released the VIP and accepts no writes. It speaks of that term only, and is void
// after an undo: the server refuses one that a later status no longer confirms.
type FarewellRequest struct {
	Stamp
	Term      uint64 `json:"term"`
	From      string `json:"from"`
	Reason    string `json:"reason"`
	Successor string `json:"successor,omitempty"`
}

// FarewellReply acknowledges a FarewellRequest.
type FarewellReply struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
}

// Command is an operator's command that another node has to carry out.
type Command struct {
	Stamp
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// CommandReply is the result of a Command; Code is an exit code (docs/design.md §7).
type CommandReply struct {
	Code int    `json:"code"`
	Text string `json:"text"`
}

// ping keeps a connection warm and proves that it lives.
type ping struct {
	Stamp
}

type pong struct{}

// validate checks what JSON types cannot. It does not know the cluster; names are checked by the server and the client.
func (s *NodeStatus) validate() error {
	if s.Node == "" {
		return errors.New("node is missing")
	}
	if s.Incarnation == "" {
		return errors.New("incarnation is missing")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"lease_remaining", s.LeaseRemaining},
		{"back_within", s.BackWithin},
		{"lag", s.Lag},
		{"drain_eta", s.DrainETA},
		{"source_event_age", s.SourceEventAge},
		{"primary_heard_age", s.PrimaryHeardAge},
	} {
		if d.d < 0 {
			return fmt.Errorf("%s is negative", d.name)
		}
	}
	if s.Replicas < 0 {
		return errors.New("replicas is negative")
	}
	return nil
}

// decode reads exactly one JSON value of at most [MaxBody] bytes. Unknown fields are refused unless the sender speaks a later protocol.
func decode(r io.Reader, protocol int, v any) error {
	limited := &io.LimitedReader{R: r, N: MaxBody + 1}
	d := json.NewDecoder(limited)
	if protocol <= Protocol {
		d.DisallowUnknownFields()
	}
	err := d.Decode(v)
	if limited.N <= 0 {
		return errTooLarge
	}
	if err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	rest, err := io.ReadAll(io.MultiReader(d.Buffered(), limited))
	switch {
	case limited.N <= 0:
		return errTooLarge
	case err != nil:
		return fmt.Errorf("read message: %w", err)
	case len(bytes.TrimSpace(rest)) > 0:
		return errors.New("decode message: data after the value")
	}
	return nil
}

var errTooLarge = fmt.Errorf("message exceeds %d bytes", MaxBody)
