// SPDX-License-Identifier: Apache-2.0

package web

import "time"

// Status is the cluster as one node sees it: the one document behind /v1/status, `highwater status --json` and the table.
type Status struct {
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`    // whose view this is
	Version string    `json:"version"` // of its supervisor
	Started time.Time `json:"started"` // its supervisor, wall clock
	At      time.Time `json:"at"`      // wall clock

	// Level, Summary and NextStep are set by [Status.Judge].
	Level    Level  `json:"level"`
	Summary  string `json:"summary"`
	NextStep string `json:"next_step,omitempty"` // empty where there is nothing to do

	Authority  string   `json:"authority"`  // vrrp or quorum
	Durability string   `json:"durability"` // best-effort or lossless
	VIP        []string `json:"vip"`        // addresses with prefix length
	Term       uint64   `json:"term"`       // highest known
	Primary    string   `json:"primary"`    // node that is primary of Term, "" if none
	Paused     bool     `json:"paused"`
	Pause      *Pause   `json:"pause,omitempty"` // of Paused

	// Lossless is what the cluster record says of acknowledgements; null with best-effort.
	Lossless *Lossless `json:"lossless,omitempty"`

	Hosts []Host `json:"hosts"` // in the order of the configuration

	Running      *Failover `json:"running,omitempty"` // the failover or switchover under way
	LastFailover *Failover `json:"last_failover,omitempty"`
	// History and Members are the cluster record's, the same on every host; there is none without a quorum.
	History []Move   `json:"history,omitempty"` // the last failovers, oldest first
	Members []Member `json:"members,omitempty"`
	// NotVoting is why this node has no vote in the quorum, a reason code and more; Unmatched are the nodes that only one of configuration
	// and cluster record has.
	NotVoting []string `json:"not_voting,omitempty"`
	Unmatched []string `json:"unmatched,omitempty"`
	// Notices hold as long as the configuration does: what this setup cannot promise.
	Notices []string `json:"notices,omitempty"`
}

// Lossless is how acknowledged commits are kept (docs/design.md §5).
type Lossless struct {
	Synced []string `json:"synced"`           // S: the replicas that may acknowledge
	Acks   int      `json:"acks"`             // k: how many of them each commit waits for
	Alone  bool     `json:"alone"`            // the primary commits by itself
	Change string   `json:"change,omitempty"` // of these, under way on this node
}

// Level is how bad things are.
type Level string

// Levels. Critical: clients cannot write, or two hosts could be written to. Warning: they can, but something is missing.
const (
	LevelOK       Level = "ok"
	LevelWarning  Level = "warning"
	LevelCritical Level = "critical"
)

// Host is one node and its server. Ages and remaining times are seconds; null means unknown.
type Host struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Self    bool   `json:"self,omitempty"`
	Witness bool   `json:"witness,omitempty"`
	Version string `json:"version,omitempty"` // of its supervisor

	Up           bool     `json:"up"`            // its supervisor answers; always true for Self
	HeardSeconds *float64 `json:"heard_seconds"` // age of what is shown here, null if it was never heard

	Role       string `json:"role"`
	VRRPState  string `json:"vrrp_state"`
	Priority   uint8  `json:"priority"`
	Term       uint64 `json:"term"`                  // highest that the host knows
	Refusal    string `json:"refusal,omitempty"`     // reason code why it last did not stand
	RefusedFor string `json:"refused_for,omitempty"` // what that code leaves open

	VIPHeld      bool    `json:"vip_held"`
	LeaseSeconds float64 `json:"lease_remaining_seconds"`

	ServerVersion string   `json:"server_version,omitempty"`
	Health        string   `json:"health"` // alive, dead or unknown
	Eligible      bool     `json:"eligible"`
	Writable      bool     `json:"writable"`
	Reasons       []string `json:"reasons,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
	NoFailover    bool     `json:"nofailover,omitempty"`
	Stalled       bool     `json:"stalled,omitempty"` // commits wait for acknowledgements, and none comes
	Synced        bool     `json:"synced,omitempty"`  // its acknowledgement counts

	Source      string   `json:"source,omitempty"` // server that it replicates from
	Replicating bool     `json:"replicating"`      // the applier runs, and the receiver is not stopped
	LagSeconds  *float64 `json:"lag_seconds"`
	Queue       uint64   `json:"queue_transactions"`  // received, not applied
	Behind      *uint64  `json:"behind_transactions"` // executed by the primary, not received here
	Errant      string   `json:"errant,omitempty"`    // GTID set that the primary has not
	ErrantCount uint64   `json:"errant_transactions"`
	Held        bool     `json:"held,omitempty"`     // stays fenced because of Errant
	HeldWhy     string   `json:"held_why,omitempty"` // reason code, and what more there is to say
}

// Failover is a move of the role, or the attempt.
type Failover struct {
	ID          string     `json:"id"`
	Kind        string     `json:"kind"`             // failover, switchover or first_start
	Cause       string     `json:"cause"`            // reason code
	Result      string     `json:"result,omitempty"` // done, undone or refused; "" while running
	Reason      string     `json:"reason,omitempty"` // reason code of a result other than done
	Term        uint64     `json:"term"`
	From        string     `json:"from,omitempty"`
	To          string     `json:"to,omitempty"`
	Started     time.Time  `json:"started"` // wall clock
	TookSeconds float64    `json:"took_seconds"`
	Door        string     `json:"door"` // the last one reached; see [Doors]
	Doors       []DoorTime `json:"doors,omitempty"`
}

// DoorTime is how long one door took.
type DoorTime struct {
	Door        string  `json:"door"`
	TookSeconds float64 `json:"took_seconds"`
}

// Doors are the names of the doors (docs/design.md §2) in their order, and of the claim that follows them.
var Doors = []string{"silence", "health", "authority", "completeness", "promotion", "claim"}

// Seconds is for the fields above that can be unknown.
func Seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// Self is the host whose view this is; nil if the document has none.
func (s *Status) Self() *Host { return s.host(func(h *Host) bool { return h.Self }) }

// Host finds a host by name; nil if there is none.
func (s *Status) Host(name string) *Host { return s.host(func(h *Host) bool { return h.Name == name }) }

func (s *Status) host(is func(*Host) bool) *Host {
	for i := range s.Hosts {
		if is(&s.Hosts[i]) {
			return &s.Hosts[i]
		}
	}
	return nil
}

// Candidate says that the host could become primary now.
func (h *Host) Candidate() bool {
	return h.Up && h.Eligible && !h.Witness && !h.NoFailover && !h.Held && h.Role != rolePrimary
}
