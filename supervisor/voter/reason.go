// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"errors"

	"highwater/election"
	"highwater/election/quorum"
)

// Reason says in one word why a node does not vote, or why an order about the members is refused. It is the heading in docs/reasons.md.
type Reason string

// Why a node does not vote.
const (
	ReasonAwaitsFounders Reason = "awaits_founders" // the first start, and not everybody who is listed is there
	ReasonAwaitsAdd      Reason = "awaits_add"      // there is a cluster, and this node is not in it
	ReasonLogReplaced    Reason = "log_replaced"    // it is a member with another log
	ReasonRemoved        Reason = "removed"         // it was a member
	ReasonSuperseded     Reason = "superseded"      // its cluster was begun anew by others
	ReasonLearner        Reason = "learner"         // it catches up
)

// Why an order about the members is refused.
const (
	ReasonNeedsQuorum   Reason = "needs_quorum"    // authority vrrp has no members
	ReasonNoMember      Reason = "no_member"       //
	ReasonKnownMember   Reason = "already_member"  //
	ReasonNotConfigured Reason = "not_configured"  // the leader has no address of it
	ReasonMemberSilent  Reason = "member_silent"   // on the peer channel
	ReasonNotEmpty      Reason = "not_empty"       // its log is of another cluster, or of its former self
	ReasonNoMajority    Reason = "no_majority"     // of those who would stay too few are heard
	ReasonLastVoter     Reason = "last_voter"      // with a server
	ReasonPrimaryStays  Reason = "primary_stays"   //
	ReasonSyncedStays   Reason = "synced_stays"    // it is in S
	ReasonKeptStays     Reason = "kept_stays"      // it counts for the end of the last term
	ReasonUnsettled     Reason = "members_settle"  // another change is under way
	ReasonStillRunning  Reason = "still_running"   // recover, beside a supervisor
	ReasonNoCluster     Reason = "no_cluster"      // recover, with nothing to begin from
	ReasonLogDamaged    Reason = "log_damaged"     // recover, from a log that vouches for nothing
	ReasonNoServer      Reason = "recover_witness" // recover, on a witness
)

// Refusal is why an order about the members is refused. Nothing has changed.
type Refusal struct {
	Reason Reason
	Node   string
	Detail string
}

// Error begins with the reason's word.
func (r *Refusal) Error() string {
	text := string(r.Reason)
	if r.Node != "" {
		text += ": " + r.Node
	}
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return text
}

func refuse(r Reason, node, detail string) error {
	return &Refusal{Reason: r, Node: node, Detail: detail}
}

// fromRecord gives a refusal of the record's own word.
func fromRecord(err error) error {
	var refused *election.Refusal
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code {
	case election.RefusedUnknown:
		return refuse(ReasonNoMember, refused.Node, "see `highwater member list`")
	case election.RefusedDuplicate:
		return refuse(ReasonKnownMember, refused.Node, "")
	case election.RefusedIsPrimary:
		return refuse(ReasonPrimaryStays, refused.Node, "move the role first, with `highwater stop` there or `highwater failover` elsewhere")
	case election.RefusedSynced:
		return refuse(ReasonSyncedStays, refused.Node, "commits may wait for its acknowledgement; it leaves S a few seconds after `highwater stop` there, if another replica can take its place")
	case election.RefusedKept:
		return refuse(ReasonKeptStays, refused.Node, "it may hold what the last primary acknowledged; "+refused.Detail)
	case election.RefusedOnlyMembers:
		return refuse(ReasonLastVoter, refused.Node, "")
	}
	return err
}

// fromCore gives the core's reason its word here.
func fromCore(r quorum.Reason, node string) error {
	switch r {
	case quorum.ReasonNone:
		return nil
	case quorum.ReasonUnknown:
		return refuse(ReasonNoMember, node, "see `highwater member list`")
	case quorum.ReasonLastVoter:
		return refuse(ReasonLastVoter, node, "nobody else who votes has a server")
	case quorum.ReasonMajority:
		return refuse(ReasonNoMajority, node, "without it too few of the others answer to go on")
	default: // not leader, handed over, not ready, busy, unconfirmed: it passes
		return refuse(ReasonUnsettled, node, string(r))
	}
}
