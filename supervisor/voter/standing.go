// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"maps"
	"slices"
	"strings"

	"highwater/election/quorum"
)

// Standing is what a node tells the others of its part in the quorum, so that a process that remembers nothing does not begin a cluster
// beside one that exists, and one that was taken out learns of it.
type Standing struct {
	Log    string // the random name of its log
	Reason Reason // why it does not vote; "" if it does
	// Nodes are those that are to begin a cluster by its configuration, as long as it has never stored anything and knows of no cluster.
	Nodes []string

	// What its log says; Origin is zero where it says nothing yet.
	Origin  uint64
	Before  []uint64 // origins of the clusters that this one replaces
	Applied uint64   // index
	Members []quorum.Member
	Removed []uint64 // IDs of former members
}

// inForce reports whether the node speaks for a cluster that exists.
func (s Standing) inForce() bool {
	return s.Origin != 0 && (s.Reason == "" || s.Reason == ReasonLearner)
}

func (s Standing) member(name string) (quorum.Member, bool) {
	i := slices.IndexFunc(s.Members, func(m quorum.Member) bool { return m.Name == name })
	if i < 0 {
		return quorum.Member{}, false
	}
	return s.Members[i], true
}

// fresh is a node that has stored no part of a cluster.
type fresh struct {
	cluster string
	node    string
	log     string
	listed  []quorum.Member // by its configuration
	virgin  bool            // nothing at all was ever stored: it has given no vote
}

// verdict is what a fresh node does.
type verdict struct {
	reason  Reason          // why it waits
	detail  string          //
	members []quorum.Member // else with whom it starts
	join    bool            // as one who was told so, or at least votes in no election of its own
}

// decide says what a fresh node does, given what those say who are heard now.
//
// A cluster that somebody speaks for is believed: this node is in it with the log that it has, or waits to be taken in. Only where everybody
// who is listed is heard, and has as little as this node, is a cluster begun: whoever is not heard may have one. All who begin do so with the
// same members, and name each one's log, so nobody takes part in two beginnings, and one whose log is replaced later is not taken for itself.
func (f fresh) decide(heard map[string]Standing) verdict {
	if best, ok := f.newest(heard); ok {
		return f.follow(best)
	}
	var missing []string
	first := []quorum.Member{}
	nodes := nodesOf(f.listed)
	for _, m := range f.listed {
		log := f.log
		if m.Name != f.node {
			s, ok := heard[m.Name]
			switch {
			case !ok:
				missing = append(missing, m.Name+" is not heard")
				continue
			case s.Reason != ReasonAwaitsFounders || s.Log == "" || len(s.Nodes) == 0:
				missing = append(missing, m.Name+" has had a part in a cluster")
				continue
			case !slices.Equal(s.Nodes, nodes):
				missing = append(missing, m.Name+" lists "+strings.Join(s.Nodes, ", "))
				continue
			}
			log = s.Log
		}
		first = append(first, quorum.Member{Name: m.Name, Witness: m.Witness, Log: log})
	}
	switch {
	case !f.virgin:
		return verdict{reason: ReasonAwaitsAdd, detail: "it was told once that it is a member, and nobody who knows is heard"}
	case len(missing) > 0:
		return verdict{reason: ReasonAwaitsFounders, detail: strings.Join(missing, "; ")}
	}
	slices.SortFunc(first, func(a, b quorum.Member) int { return strings.Compare(a.Name, b.Name) })
	for i := range first {
		first[i].ID = uint64(i + 1)
	}
	return verdict{members: first}
}

// newest returns the newest word of a cluster that no other one replaces.
func (f fresh) newest(heard map[string]Standing) (best Standing, ok bool) {
	var before []uint64
	for _, s := range heard {
		before = append(before, s.Before...)
	}
	for _, name := range slices.Sorted(maps.Keys(heard)) {
		s := heard[name]
		if s.inForce() && !slices.Contains(before, s.Origin) && (!ok || s.Applied > best.Applied) {
			best, ok = s, true
		}
	}
	return best, ok
}

// follow says what this node is in a cluster that exists.
func (f fresh) follow(s Standing) verdict {
	m, known := s.member(f.node)
	switch {
	case !known:
		return verdict{reason: ReasonAwaitsAdd, detail: "`highwater member add " + f.node + "` takes it in"}
	case m.Log != f.log:
		return verdict{reason: ReasonLogReplaced, detail: "as a member this node had another log; `highwater member remove " + f.node + "`, then add it again"}
	case f.virgin && quorum.Origin(f.cluster, s.Members) == s.Origin:
		return verdict{members: s.Members} // one of the first, a moment late
	default:
		return verdict{members: s.Members, join: true}
	}
}

// gone says why a member with this log votes no more, "" if nobody says so.
func gone(own Standing, id uint64, heard map[string]Standing) (why Reason, by string) {
	for _, name := range slices.Sorted(maps.Keys(heard)) {
		s := heard[name]
		switch {
		case !s.inForce():
		case quorum.Replaces(s.Before, own.Origin):
			return ReasonSuperseded, name
		case s.Origin == own.Origin && slices.Contains(s.Removed, id):
			return ReasonRemoved, name
		}
	}
	return "", ""
}

// nodesOf names nodes so that two lists are the same if they mean the same.
func nodesOf(members []quorum.Member) []string {
	var names []string
	for _, m := range members {
		name := m.Name
		if m.Witness {
			name += " (witness)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
