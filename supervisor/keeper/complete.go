// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"fmt"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// Bar takes out of the choice whose server could not begin a term in which nothing is lost.
func (k *Keeper) Bar(reports []promote.Report, heard map[string]peer.NodeStatus) {
	for i := range reports {
		if weak := heard[reports[i].Node].Weak; len(weak) > 0 {
			reports[i].Eligible, reports[i].Reasons = false, weak
		}
	}
}

// Incomplete returns why this node, which is to win, may lack something that a client was told
// of; "" if it holds everything, or will when it has fetched what it misses. While a change is in
// doubt both records must allow it.
func (k *Keeper) Incomplete(heard map[string]peer.NodeStatus, choice promote.Choice) string {
	return k.short(heard, choice.Missing, true)
}

// Spares reports whether this node holds everything that a client may have been told of without
// what it misses of what was heard: nobody acknowledged that. An operator's leave to lose something
// does not count: what can be fetched need not be lost.
func (k *Keeper) Spares(heard map[string]peer.NodeStatus) bool {
	return k.short(heard, gtid.Set{}, false) == ""
}

// short returns what this node lacks once it has fetched, "" for nothing.
func (k *Keeper) short(heard map[string]peer.NodeStatus, fetched gtid.Set, accept bool) string {
	in := promote.CompletenessInput{Candidate: k.config.Node}
	flavor := k.flavor()
	in.MaxAcks = maxAcks(flavor)
	for name, s := range heard {
		t := promote.Testimony{
			Node: name, Start: s.ServerStartID, Executed: s.Executed, Received: s.Received, Errant: s.Errant, Durable: s.Durable,
		}
		// MariaDB's primary reports also what waits, and nothing tells who wrote it.
		if t.Local = s.Errant; flavor != mysqlcheck.MariaDB {
			t.Local = s.Errant.BySource(s.ServerUUID)
		}
		if name == in.Candidate {
			t.Received = t.Received.Union(fetched)
		}
		in.Heard = append(in.Heard, t)
	}
	for _, record := range k.records() {
		claims, err := claimsOf(record)
		if err != nil {
			return err.Error()
		}
		in.Term, in.Kept = claims.term, claims.kept
		if in.Accepted = nil; accept {
			in.Accepted = claims.accepted
		}
		in.LastSeen = gtid.Set{}
		if p, heard := k.host.Peer(record.Primary); heard {
			in.LastSeen = p.Executed.Union(p.Received)
		}
		if c := promote.Complete(in); !c.Allowed {
			return c.String()
		}
	}
	return ""
}

// records are those that may be in force.
func (k *Keeper) records() []election.ClusterRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doubt != nil {
		return k.doubt.Records()
	}
	return []election.ClusterRecord{k.host.Record()}
}

// claims is what a record says of who may hold what, in the words of package promote.
type claims struct {
	term     promote.Claims
	kept     *promote.Claims
	accepted *promote.Acceptance
}

func claimsOf(r election.ClusterRecord) (claims, error) {
	var c claims
	var err error
	c.term = promote.Claims{Primary: r.Primary, Acks: r.Acks, Alone: r.Alone}
	if c.term.Synced, err = synced(r.Synced); err != nil {
		return c, err
	}
	if k := r.Kept; k != nil {
		c.kept = &promote.Claims{Primary: k.Primary, Acks: k.Acks, Alone: k.Alone}
		if c.kept.Synced, err = synced(k.Synced); err != nil {
			return c, err
		}
	}
	if a := r.AcceptedLoss; a != nil {
		c.accepted = &promote.Acceptance{To: a.To}
	}
	return c, nil
}

func synced(list []election.SyncedNode) ([]promote.Synced, error) {
	var out []promote.Synced
	for _, s := range list {
		errant, err := gtid.Parse(s.Errant)
		if err != nil {
			return nil, fmt.Errorf("read the cluster record: errant transactions of %s: %w", s.Node, err)
		}
		out = append(out, promote.Synced{Node: s.Node, Start: s.Start, Errant: errant})
	}
	return out, nil
}
