// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/election/quorum"
)

func listed(names ...string) []quorum.Member {
	var list []quorum.Member
	for _, name := range names {
		list = append(list, quorum.Member{Name: name, Witness: strings.HasPrefix(name, "w"), Priority: 100})
	}
	return list
}

// waiting is the standing of a node that has never had a part in a cluster.
func waiting(log string, nodes ...string) Standing {
	return Standing{Log: log, Reason: ReasonAwaitsFounders, Nodes: nodesOf(listed(nodes...))}
}

// founded is the standing of a member of a cluster that those have begun, "name log".
func founded(own string, first ...string) Standing {
	var members []quorum.Member
	for i, f := range first {
		name, log, _ := strings.Cut(f, " ")
		members = append(members, quorum.Member{Name: name, ID: uint64(i + 1), Witness: strings.HasPrefix(name, "w"), Log: log})
	}
	return Standing{Log: own, Origin: quorum.Origin("test", members), Applied: 1, Members: members}
}

// Who has nothing begins a cluster with all who are listed or with nobody, and joins one that exists only when it is told.
func TestDecide(t *testing.T) {
	abc := []string{"db1 A", "db2 B", "db3 C"}
	grown := founded("A", abc...)
	grown.Members, grown.Applied = append(slices.Clone(grown.Members), quorum.Member{Name: "db4", ID: 4, Log: "D"}), 9
	anew := Standing{Log: "A2", Origin: 77, Before: []uint64{grown.Origin}, Applied: 20, Members: []quorum.Member{{Name: "db1", ID: 5, Log: "A2"}}}
	retired := founded("C", abc...)
	retired.Reason = ReasonSuperseded
	for _, tt := range []struct {
		name  string
		fresh fresh
		heard map[string]Standing
		want  string // the members, or the reason and what its detail has
	}{
		{"alone", fresh{node: "db1", log: "A", virgin: true, listed: listed("db1")}, nil, "db1=1/A"},
		{"nobody heard", fresh{node: "db1", log: "A", virgin: true, listed: listed("db1", "db2")}, nil, "awaits_founders db2 is not heard"},
		{
			"all wait",
			fresh{node: "db3", log: "C", virgin: true, listed: listed("db3", "db1", "w2")},
			map[string]Standing{"db1": waiting("A", "db1", "w2", "db3"), "w2": waiting("W", "w2", "db3", "db1")},
			"db1=1/A db3=2/C w2=3/W",
		},
		{
			"another list",
			fresh{node: "db1", log: "A", virgin: true, listed: listed("db1", "db2")},
			map[string]Standing{"db2": waiting("B", "db1", "db2", "db3")},
			"awaits_founders db2 lists db1, db2, db3",
		},
		{
			"a witness here and a server there",
			fresh{node: "db1", log: "A", virgin: true, listed: listed("db1", "db2")},
			map[string]Standing{"db2": {Log: "B", Reason: ReasonAwaitsFounders, Nodes: []string{"db1", "db2 (witness)"}}},
			"awaits_founders db2 lists",
		},
		{
			"one of the first, late",
			fresh{node: "db3", log: "C", virgin: true, listed: listed("db1", "db2", "db3")},
			map[string]Standing{"db1": founded("A", abc...), "db2": waiting("B", "db1", "db2", "db3")},
			"db1=1/A db2=2/B db3=3/C",
		},
		{
			"one of the first, later than a change",
			fresh{node: "db3", log: "C", virgin: true, listed: listed("db1", "db2", "db3")},
			map[string]Standing{"db1": grown},
			"db1=1/A db2=2/B db3=3/C db4=4/D join",
		},
		{
			"one that voted before it was sent anything",
			fresh{node: "db3", log: "C", listed: listed("db1", "db2", "db3")},
			map[string]Standing{"db1": founded("A", abc...)},
			"db1=1/A db2=2/B db3=3/C join",
		},
		{
			"and hears nobody who knows",
			fresh{node: "db3", log: "C", listed: listed("db1", "db3")},
			map[string]Standing{"db1": waiting("A", "db1", "db3")},
			"awaits_add nobody who knows",
		},
		{
			"its log is gone",
			fresh{node: "db3", log: "C2", virgin: true, listed: listed("db1", "db2", "db3")},
			map[string]Standing{"db1": founded("A", abc...), "db2": waiting("B2", "db1", "db2", "db3")},
			"log_replaced member remove db3",
		},
		{
			"those of two are gone",
			fresh{node: "db3", log: "C2", virgin: true, listed: listed("db1", "db2", "db3")},
			map[string]Standing{"db2": {Log: "B2", Reason: ReasonAwaitsFounders, Nodes: nodesOf(listed("db1", "db2", "db3"))}},
			"awaits_founders db1 is not heard",
		},
		{
			"of a node without the names of logs nothing is believed",
			fresh{node: "db3", log: "C", virgin: true, listed: listed("db1", "db3")},
			map[string]Standing{"db1": founded("A", "db1", "db3")},
			"log_replaced",
		},
		{
			"not a member",
			fresh{node: "db4", log: "D", virgin: true, listed: listed("db1", "db2", "db3", "db4")},
			map[string]Standing{"db1": founded("A", abc...), "db2": founded("B", abc...), "db3": founded("C", abc...)},
			"awaits_add member add db4",
		},
		{
			"told by the newest",
			fresh{node: "db4", log: "D", virgin: true, listed: listed("db1", "db2", "db3", "db4")},
			map[string]Standing{"db1": grown, "db2": founded("B", abc...)},
			"db1=1/A db2=2/B db3=3/C db4=4/D join",
		},
		{
			"begun anew",
			fresh{node: "db4", log: "D", virgin: true, listed: listed("db1", "db2", "db4")},
			map[string]Standing{"db1": anew, "db2": grown, "db3": retired},
			"awaits_add member add db4",
		},
		{
			"one who has left is no founder",
			fresh{node: "db4", log: "D", virgin: true, listed: listed("db3", "db4")},
			map[string]Standing{"db3": {Log: "C", Reason: ReasonRemoved}},
			"awaits_founders db3 has had a part in a cluster",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.fresh.cluster = "test"
			got := tt.fresh.decide(tt.heard)
			text := string(got.reason) + " " + got.detail
			if got.members != nil {
				var words []string
				for _, m := range got.members {
					words = append(words, fmt.Sprintf("%s=%d/%s", m.Name, m.ID, m.Log))
				}
				if got.join {
					words = append(words, "join")
				}
				text = strings.Join(words, " ")
			}
			first, rest, _ := strings.Cut(tt.want, " ")
			if !strings.HasPrefix(text, first) || !strings.Contains(text, rest) || got.members != nil && text != tt.want {
				t.Errorf("%q, want %q", text, tt.want)
			}
		})
	}
}

func TestGone(t *testing.T) {
	own := founded("C", "db1 A", "db2 B", "db3 C")
	without := founded("A", "db1 A", "db2 B", "db3 C")
	without.Removed = []uint64{3}
	anew := Standing{Origin: 77, Before: []uint64{5, own.Origin}}
	left := without
	left.Reason = ReasonRemoved
	for _, tt := range []struct {
		heard map[string]Standing
		want  Reason
	}{
		{map[string]Standing{"db1": own}, ""},
		{map[string]Standing{"db1": own, "db2": without}, ReasonRemoved},
		{map[string]Standing{"db1": left}, ""}, // who left knows nothing
		{map[string]Standing{"db1": anew}, ReasonSuperseded},
		{map[string]Standing{"db1": {Origin: 78, Removed: []uint64{3}}}, ""}, // of another cluster
	} {
		if why, _ := gone(own, 3, tt.heard); why != tt.want {
			t.Errorf("%+v: %q, want %q", tt.heard, why, tt.want)
		}
	}
	if why, _ := gone(Standing{}, 3, map[string]Standing{"db1": {Origin: 7, Before: []uint64{0}}}); why != "" {
		t.Errorf("who knows of no cluster is out of one: %q", why)
	}
}

// Nodes begin, lose their disks and come back in any order, and hear each other or not, and what they hear may be old: never do two
// beginnings have a majority of their members each.
func TestOneBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []string{"db1", "db2", "db3", "db4", "w5"}[:rapid.IntRange(1, 5).Draw(t, "size")]
		type host struct {
			log   string
			part  *verdict
			known map[string]Standing // may be old
		}
		hosts := map[string]*host{}
		logs := 0
		wipe := func(name string) {
			logs++
			hosts[name] = &host{log: fmt.Sprintf("%s-%d", name, logs), known: map[string]Standing{}}
		}
		for _, name := range all {
			wipe(name)
		}
		list := listed(all...)
		standing := func(name string) Standing {
			h := hosts[name]
			switch {
			case h.part == nil:
				return Standing{Log: h.log, Reason: ReasonAwaitsFounders, Nodes: nodesOf(list)}
			case h.part.members == nil:
				return Standing{Log: h.log, Reason: h.part.reason}
			}
			return Standing{Log: h.log, Origin: quorum.Origin("test", h.part.members), Applied: 1, Members: h.part.members}
		}
		origins := map[uint64][]quorum.Member{}
		for range rapid.IntRange(10, 80).Draw(t, "steps") {
			name := rapid.SampledFrom(all).Draw(t, "node")
			h := hosts[name]
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				wipe(name)
			case 1, 2, 3, 4, 5, 6:
				if other := rapid.SampledFrom(all).Draw(t, "other"); other != name {
					h.known[other] = standing(other)
				}
			case 7:
				delete(h.known, rapid.SampledFrom(all).Draw(t, "silent"))
			default:
				if h.part != nil && h.part.members != nil {
					continue
				}
				d := fresh{cluster: "test", node: name, log: h.log, listed: list, virgin: true}.decide(h.known)
				h.part = &d
				if d.reason == ReasonAwaitsFounders {
					h.part = nil
				}
				if d.members != nil {
					if d.join {
						t.Fatalf("%s joins, and the members have not changed", name)
					}
					origins[quorum.Origin("test", d.members)] = d.members
				}
			}
			// Who votes in a beginning: it began so, and its log is the one that the others know.
			full := 0
			for origin, members := range origins {
				votes := 0
				for _, m := range members {
					if h := hosts[m.Name]; h.part != nil && h.part.members != nil && h.log == m.Log && quorum.Origin("test", h.part.members) == origin {
						votes++
					}
				}
				if votes > len(members)/2 {
					full++
				}
			}
			if full > 1 {
				t.Fatalf("two beginnings have a majority: %v", slices.Collect(maps.Values(origins)))
			}
		}
	})
}
