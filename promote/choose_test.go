// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"highwater/mysqlcheck/gtid"
)

const (
	sourceA = "3e11fa47-71ca-11e1-9e33-c80aa9429562" // the old primary
	sourceB = "4f22fb58-82db-22f2-af44-d91bb053a673" // the primary before, or a stray client
)

// gtids writes A and B for the two sources.
func gtids(s string) gtid.Set {
	set, err := gtid.Parse(strings.NewReplacer("A", sourceA, "B", sourceB).Replace(s))
	if err != nil {
		panic(err)
	}
	return set
}

func shortGTIDs(s gtid.Set) string {
	return strings.NewReplacer(sourceA, "A", sourceB, "B").Replace(s.String())
}

// host is a healthy host that has executed all that it received.
func host(name, received string, with ...func(*Report)) Report {
	r := Report{Node: name, Priority: 100, Heard: true, Eligible: true, Executed: gtids(received), Received: gtids(received)}
	for _, f := range with {
		f(&r)
	}
	return r
}

func priority(p uint8) func(*Report)        { return func(r *Report) { r.Priority = p } }
func drain(eta time.Duration) func(*Report) { return func(r *Report) { r.DrainETA = eta } }
func purged(s string) func(*Report)         { return func(r *Report) { r.Purged = gtids(s) } }
func errant(s string) func(*Report)         { return func(r *Report) { r.Errant = gtids(s) } }
func executed(s string) func(*Report)       { return func(r *Report) { r.Executed = gtids(s) } }
func noFailover(r *Report)                  { r.NoFailover = true }
func hearsPrimary(r *Report)                { r.HearsPrimary = true }

func ineligible(reasons ...string) func(*Report) {
	return func(r *Report) { r.Eligible, r.Reasons = false, reasons }
}

func silent(name string) Report { return Report{Node: name, Priority: 200} }

// outcome is a Choice as the table writes it: the winner or "-" and the reason,
// what it fetches, who is most advanced, and why not each other host.
func outcome(c Choice) string {
	s := c.Winner
	if s == "" {
		s = "- " + string(c.Reason)
	}
	if c.FetchFrom != "" {
		s += " fetches " + shortGTIDs(c.Missing) + " from " + c.FetchFrom
	}
	if c.Winner != "" && !c.ServesAll {
		s += " not for all"
	}
	s += " | " + strings.Join(c.MostAdvanced, " ") + " |"
	var nodes []string
	for node, reasons := range c.Refused {
		nodes = append(nodes, node+":"+strings.Join(reasons, "+"))
	}
	slices.Sort(nodes)
	return strings.TrimSpace(s + " " + strings.Join(nodes, " "))
}

func TestChoose(t *testing.T) {
	const limit = 30 * time.Second
	for _, tt := range []struct {
		name    string
		reports []Report
		want    string
	}{
		// Who is most advanced.
		{
			"all equal: the priority decides",
			[]Report{host("db1", "A:1-9", priority(90)), host("db2", "A:1-9", priority(120)), host("db3", "A:1-9")},
			"db2 | db1 db2 db3 | db1:lower_priority db3:lower_priority",
		},
		{
			"all equal in all: the name decides",
			[]Report{host("db3", "A:1-9"), host("db2", "A:1-9")},
			"db2 | db2 db3 | db3:later_name",
		},
		{
			"a host alone",
			[]Report{host("db1", "A:1-9")},
			"db1 | db1 |",
		},
		{
			"nothing written ever",
			[]Report{host("db1", ""), host("db2", "")},
			"db1 | db1 db2 | db2:later_name",
		},
		{
			"the higher priority is behind and fetches",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-7", priority(200))},
			"db1 | db1 | db2:behind",
		},
		{
			"received counts, not executed",
			[]Report{host("db1", "A:1-9", executed("A:1-3"), drain(time.Second)), host("db2", "A:1-7")},
			"db1 | db1 | db2:behind",
		},
		{
			"nothing retrieved since a restart: executed counts too",
			[]Report{host("db1", "", executed("A:1-9")), host("db2", "A:1-7")},
			"db1 | db1 | db2:behind",
		},
		{
			"inclusion, not counting",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-9,B:1"), host("db3", "A:1-8,B:1")},
			"db2 | db2 | db1:behind db3:behind",
		},
		{
			"a tag is another sequence",
			[]Report{host("db1", "A:1-9:x:1"), host("db2", "A:1-9")},
			"db1 | db1 | db2:behind",
		},
		{
			"MariaDB: the larger number, whoever wrote it",
			[]Report{host("db1", "0-2-9,1-1-4"), host("db2", "0-1-8,1-1-4")},
			"db1 | db1 | db2:behind",
		},

		// Divergence.
		{
			"each has what the other lacks",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-8,B:1")},
			"- diverged | db1 db2 | db1:diverged db2:diverged",
		},
		{
			"diverged, and a third behind both",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-8,B:1"), host("db3", "A:1-8")},
			"- diverged | db1 db2 | db1:diverged db2:diverged db3:diverged",
		},
		{
			"diverged: eligibility does not matter",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-8,B:1", ineligible("delayed"))},
			"- diverged | db1 db2 | db1:diverged db2:delayed+diverged",
		},
		{
			"holes of parallel appliers are no divergence if one has all",
			[]Report{host("db1", "A:1-7:9"), host("db2", "A:1-6:8-9"), host("db3", "A:1-9")},
			"db3 | db3 | db1:behind db2:behind",
		},
		{
			"complementary holes: nobody has all",
			[]Report{host("db1", "A:1-7:9"), host("db2", "A:1-8")},
			"- diverged | db1 db2 | db1:diverged db2:diverged",
		},
		{
			"MariaDB: one number from two servers",
			[]Report{host("db1", "0-1-9"), host("db2", "0-2-9")},
			"- diverged | db1 db2 | db1:diverged db2:diverged",
		},
		{
			"two flavors",
			[]Report{host("db1", "A:1-9"), host("db2", "0-1-9")},
			"- diverged | db1 db2 | db1:diverged db2:diverged",
		},

		// Silence.
		{
			"nobody heard",
			[]Report{silent("db1"), silent("db2")},
			"- nobody_heard |  | db1:not_heard db2:not_heard",
		},
		{"no hosts", nil, "- nobody_heard |  |"},
		{
			"a silent host does not count, whatever it reported before",
			[]Report{host("db1", "A:1-9", func(r *Report) { r.Heard = false }), host("db2", "A:1-7")},
			"db2 | db2 | db1:not_heard",
		},
		{
			"a host still hears the primary",
			[]Report{host("db1", "A:1-9"), host("db2", "A:1-9", hearsPrimary)},
			"- hears_primary | db1 db2 | db1:hears_primary db2:hears_primary",
		},
		{
			"a host that was not sealed hears the primary",
			[]Report{host("db1", "A:1-9"), {Node: "db2", HearsPrimary: true}},
			"- hears_primary | db1 | db1:hears_primary db2:not_heard+hears_primary",
		},

		// Eligibility.
		{
			"nobody eligible",
			[]Report{host("db1", "A:1-9", ineligible("delayed", "filters")), host("db2", "A:1-9", noFailover)},
			"- no_successor | db1 db2 | db1:delayed+filters db2:nofailover",
		},
		{
			"ineligible without a word",
			[]Report{host("db1", "A:1-9", ineligible(), noFailover)},
			"- no_successor | db1 | db1:ineligible+nofailover",
		},
		{
			"reasons of an eligible host are no refusal",
			[]Report{host("db1", "A:1-9", func(r *Report) { r.Reasons = []string{"lagging"} }), host("db2", "A:1-9")},
			"db1 | db1 db2 | db2:later_name",
		},
		{
			"the most advanced is nofailover: fetch from it",
			[]Report{host("db1", "A:1-9", noFailover), host("db2", "A:1-7")},
			"db2 fetches A:8-9 from db1 | db1 | db1:nofailover",
		},
		{
			"the most advanced is ineligible: the least behind fetches, whatever its priority",
			[]Report{host("db1", "A:1-9", ineligible("delayed")), host("db2", "A:1-7"), host("db3", "A:1-5", priority(200))},
			"db2 fetches A:8-9 from db1 | db1 | db1:delayed db3:behind",
		},
		{
			"equally behind: the priority decides",
			[]Report{host("db1", "A:1-9", noFailover), host("db2", "A:1-7"), host("db3", "A:1-7", priority(200))},
			"db3 fetches A:8-9 from db1 | db1 | db1:nofailover db2:lower_priority",
		},
		{
			"behind with different holes: the priority decides",
			[]Report{host("db1", "A:1-9", noFailover), host("db2", "A:1-7:9"), host("db3", "A:1-8", priority(200))},
			"db3 fetches A:9 from db1 | db1 | db1:nofailover db2:lower_priority",
		},
		{
			"two to fetch from: the one that has applied it",
			[]Report{
				host("db1", "A:1-9", noFailover, executed("A:1-5"), drain(time.Second)),
				host("db2", "A:1-9", noFailover), host("db3", "A:1-7"),
			},
			"db3 fetches A:8-9 from db2 | db1 db2 | db1:nofailover db2:nofailover",
		},
		{
			"MariaDB: fetch what is beyond",
			[]Report{host("db1", "0-1-9", noFailover), host("db2", "0-1-7")},
			"db2 fetches 0-1-8..9 from db1 | db1 | db1:nofailover",
		},

		// Binary logs that are gone.
		{
			"the source has purged what the winner lacks",
			[]Report{host("db1", "A:1-9", noFailover, purged("A:1-8")), host("db2", "A:1-7")},
			"- purged | db1 | db1:nofailover db2:purged",
		},
		{
			"only the further one can still fetch",
			[]Report{host("db1", "A:1-9", noFailover, purged("A:1-6")), host("db2", "A:1-7"), host("db3", "A:1-5", priority(200))},
			"db2 fetches A:8-9 from db1 | db1 | db1:nofailover db3:purged",
		},
		{
			"another source has not purged it",
			[]Report{host("db1", "A:1-9", noFailover, purged("A:1-8")), host("db2", "A:1-9", noFailover), host("db3", "A:1-7")},
			"db3 fetches A:8-9 from db2 | db1 db2 | db1:nofailover db2:nofailover",
		},
		{
			"purging costs the priority if an equal host serves all",
			[]Report{host("db1", "A:1-9", priority(200), purged("A:1-8")), host("db2", "A:1-9"), host("db3", "A:1-7")},
			"db2 | db1 db2 | db1:cannot_serve_all db3:behind",
		},
		{
			"no equal host: the purger, and it says so",
			[]Report{host("db1", "A:1-9", purged("A:1-8")), host("db3", "A:1-7")},
			"db1 not for all | db1 | db3:purged",
		},
		{
			"purged, and nobody needs it",
			[]Report{host("db1", "A:1-9", priority(200), purged("A:1-7")), host("db2", "A:1-9"), host("db3", "A:1-7")},
			"db1 | db1 db2 | db2:lower_priority db3:behind",
		},
		{
			"a sibling needs only what it has not received",
			[]Report{host("db1", "A:1-9", priority(200), purged("A:1-7")), host("db2", "A:1-9", executed("A:1-3"), drain(time.Second))},
			"db1 | db1 db2 | db2:lower_priority",
		},

		// Errant transactions.
		{
			"an errant host is not promoted",
			[]Report{host("db1", "A:1-9,B:1", errant("B:1"), priority(200)), host("db2", "A:1-9")},
			"db2 | db1 db2 | db1:errant_transactions",
		},
		{
			"errant transactions do not count as ahead",
			[]Report{host("db1", "A:1-7,B:1-5", errant("B:1-5")), host("db2", "A:1-9")},
			"db2 | db2 | db1:errant_transactions",
		},
		{
			"only an errant host has what is needed",
			[]Report{host("db1", "A:1-9,B:1", errant("B:1")), host("db2", "A:1-7")},
			"- errant_transactions | db1 | db1:errant_transactions db2:errant_transactions",
		},
		{
			"an errant and a clean source",
			[]Report{host("db1", "A:1-9,B:1", errant("B:1")), host("db2", "A:1-9", noFailover), host("db3", "A:1-7")},
			"db3 fetches A:8-9 from db2 | db1 db2 | db1:errant_transactions db2:nofailover",
		},
		{
			"all errant",
			[]Report{host("db1", "A:1-9,B:1", errant("B:1")), host("db2", "A:1-9:x:1", errant("A:x:1"))},
			"- no_successor | db1 db2 | db1:errant_transactions db2:errant_transactions",
		},
		{
			"MariaDB: an errant tail",
			[]Report{host("db1", "0-1-12", errant("0-1-10..12")), host("db2", "0-1-9")},
			"db2 | db1 db2 | db1:errant_transactions",
		},

		// The drain.
		// A preference among hosts is not worth seconds without a primary.
		{
			"who is ready now before a priority that drains, also if that fits",
			[]Report{host("db1", "A:1-9", priority(120), drain(20*time.Second)), host("db2", "A:1-9")},
			"db2 | db1 db2 | db1:longer_drain",
		},
		{
			"about equally quick: the priority decides",
			[]Report{host("db1", "A:1-9", priority(120), drain(drainMargin)), host("db2", "A:1-9")},
			"db1 | db1 db2 | db2:lower_priority",
		},
		{
			"just no longer equally quick",
			[]Report{host("db1", "A:1-9", priority(120), drain(drainMargin+1)), host("db2", "A:1-9")},
			"db2 | db1 db2 | db1:longer_drain",
		},
		{
			"the margin is from the quickest, not from one to the next",
			[]Report{
				host("db1", "A:1-9"), host("db2", "A:1-9", priority(110), drain(800*time.Millisecond)),
				host("db3", "A:1-9", priority(120), drain(1600*time.Millisecond)),
			},
			"db2 | db1 db2 db3 | db1:lower_priority db3:longer_drain",
		},
		{
			"the margin is from the quickest of those that serve all",
			[]Report{
				host("db1", "A:1-9", purged("A:1-8")), host("db2", "A:1-9", drain(5*time.Second)),
				host("db3", "A:1-9", priority(120), drain(20*time.Second)), host("db4", "A:1-7"),
			},
			"db2 | db1 db2 db3 | db1:cannot_serve_all db3:longer_drain db4:behind",
		},
		{
			"equally behind: who is ready now, then it fetches",
			[]Report{
				host("db1", "A:1-9", noFailover), host("db2", "A:1-7"),
				host("db3", "A:1-7", priority(200), drain(20*time.Second)),
			},
			"db2 fetches A:8-9 from db1 | db1 | db1:nofailover db3:longer_drain",
		},
		{
			"a drain of just the limit fits",
			[]Report{host("db1", "A:1-9", priority(120), drain(limit)), host("db2", "A:1-9", drain(limit-drainMargin))},
			"db1 | db1 db2 | db2:lower_priority",
		},
		{
			"a drain over the limit costs the priority",
			[]Report{host("db1", "A:1-9", priority(120), drain(limit+1)), host("db2", "A:1-9")},
			"db2 | db1 db2 | db1:drain_over_limit",
		},
		{
			"equal priority: the shorter drain",
			[]Report{host("db1", "A:1-9", drain(2*time.Second)), host("db2", "A:1-9", drain(time.Second))},
			"db2 | db1 db2 | db1:longer_drain",
		},
		{
			"nobody fits: the one ready first drains",
			[]Report{host("db1", "A:1-9", priority(120), drain(2*time.Minute)), host("db2", "A:1-9", drain(time.Minute))},
			"db2 | db1 db2 | db1:longer_drain",
		},
		{
			"a drain that fits before serving all",
			[]Report{host("db1", "A:1-9", drain(time.Minute)), host("db2", "A:1-9", purged("A:1-8")), host("db3", "A:1-7")},
			"db2 not for all | db1 db2 | db1:drain_over_limit db3:behind",
		},
		{
			"less data is never the faster way",
			[]Report{host("db1", "A:1-9", drain(time.Minute)), host("db2", "A:1-8")},
			"db1 | db1 | db2:behind",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(Choose("", tt.reports, limit)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestChooseWithoutLimit(t *testing.T) {
	// An hour is no worse than half a minute: both would lose against a host that is ready now.
	reports := []Report{
		host("db1", "A:1-9", priority(120), drain(time.Hour)), host("db2", "A:1-9", drain(time.Hour-drainMargin)),
	}
	if got := Choose("", reports, 0); got.Winner != "db1" {
		t.Errorf("got %s", outcome(got))
	}
}

// TestChooseUnsealed: a host that is not sealed itself may not decide; a witness,
// which has no report, may.
func TestChooseUnsealed(t *testing.T) {
	reports := []Report{silent("db1"), host("db2", "A:1-9")}
	for self, want := range map[string]string{
		"db1": "- not_sealed | db2 | db1:not_heard db2:not_sealed",
		"db2": "db2 | db2 | db1:not_heard",
		"w1":  "db2 | db2 | db1:not_heard",
	} {
		if got := outcome(Choose(self, reports, 0)); got != want {
			t.Errorf("%s: got %s, want %s", self, got, want)
		}
	}
}

func drawReports(t *rapid.T) []Report {
	sets := []string{"", "A:1-3", "A:1-5", "A:1-9", "A:1-9", "A:1-9"}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 1:
		sets = append(sets, "A:1-9,B:1", "A:1-5,B:1-2", "A:1-4:6-9")
	case 2:
		sets = []string{"", "0-1-3", "0-1-9", "0-1-9", "0-2-9", "0-1-9,1-1-1", "0-1-5,0-2-9"}
	}
	draw := func(name string) gtid.Set { return gtids(rapid.SampledFrom(sets).Draw(t, name)) }
	var reports []Report
	for i := range rapid.IntRange(1, 5).Draw(t, "hosts") {
		often := func(name string) bool { return rapid.IntRange(0, 4).Draw(t, name) > 0 }
		r := Report{
			Node:     fmt.Sprintf("db%d", i+1),
			Priority: rapid.SampledFrom([]uint8{100, 100, 120}).Draw(t, "priority"),
			Heard:    often("heard"), Eligible: often("eligible"), NoFailover: !often("nofailover"),
			Received: draw("received"),
			DrainETA: rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second, time.Minute}).Draw(t, "drain"),
		}
		if r.Executed = draw("executed"); !r.Received.Contains(r.Executed) {
			r.Executed = r.Received
		}
		if r.Purged = draw("purged"); !r.Executed.Contains(r.Purged) {
			r.Purged = gtid.Set{}
		}
		if !often("errant") {
			r.Errant = r.Received.Subtract(draw("not errant"))
		}
		if !r.Eligible {
			r.Reasons = []string{"delayed"}
		}
		reports = append(reports, r)
	}
	return reports
}

func TestChooseLaws(t *testing.T) {
	const limit = 30 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		reports := drawReports(t)
		c := Choose("", reports, limit)
		held := func(r Report) gtid.Set { return r.Received.Union(r.Executed).Subtract(r.Errant) }
		byNode := make(map[string]Report)
		for _, r := range reports {
			byNode[r.Node] = r
		}
		check := func(ok bool, law string) {
			if !ok {
				t.Fatalf("%s: not for %s of %+v", law, outcome(c), reports)
			}
		}

		// The same for all who compute it, from reports in any order.
		shuffled := slices.Clone(reports)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		for _, r := range reports {
			if r.Heard {
				check(cmp.Diff(c, Choose(r.Node, shuffled, limit)) == "", "any host, any order: the same choice")
			}
		}
		withSilent := Choose("", append(shuffled, silent("db9")), limit)
		check(withSilent.Winner == c.Winner && withSilent.Reason == c.Reason, "a silent host changes nothing")

		// Every other host has a reason, and no choice has none.
		check((c.Winner == "") == (c.Reason != ""), "a winner or a reason")
		for _, r := range reports {
			check((len(c.Refused[r.Node]) == 0) == (r.Node == c.Winner), "every host but the winner has a reason")
		}
		for _, node := range c.MostAdvanced {
			check(byNode[node].Heard, "the most advanced were heard")
		}

		if c.Winner == "" {
			check(c.FetchFrom == "" && c.Missing.IsEmpty() && !c.ServesAll, "nobody fetches nothing")
			return
		}
		w := byNode[c.Winner]
		check(w.Heard && w.Eligible && !w.NoFailover && w.Errant.IsEmpty(), "the winner may stand")
		check((c.FetchFrom == "") == c.Missing.IsEmpty(), "who misses something fetches it")
		for _, r := range reports {
			if r.Heard {
				check(held(w).Union(c.Missing).Contains(held(r)), "with what it fetches the winner has all")
				check(!c.ServesAll || r.Received.Contains(w.Purged), "who serves all has purged nothing that is needed")
			}
		}
		if c.FetchFrom != "" {
			from := byNode[c.FetchFrom]
			check(from.Heard && from.Errant.IsEmpty(), "the source is clean")
			check(held(from).Contains(c.Missing), "the source has what is missing")
			check(held(w).Contains(from.Purged), "the source can send it")
			check(slices.Contains(c.MostAdvanced, c.FetchFrom), "the source is most advanced")
		}
		for _, r := range reports {
			if r.Node == w.Node || !r.Heard || !r.Eligible || r.NoFailover || !r.Errant.IsEmpty() || held(r).Compare(held(w)) != gtid.Equal {
				continue
			}
			better := r.DrainETA <= limit && w.DrainETA > limit
			check(!better, "nobody equal would be ready in time where the winner is not")
			if w.DrainETA <= limit && r.DrainETA <= limit && c.ServesAll {
				purger := c.Refused[r.Node][0] == "cannot_serve_all"
				check(w.DrainETA <= r.DrainETA+drainMargin || purger, "no priority is worth more than the margin")
				check(r.DrainETA > w.DrainETA+drainMargin || w.Priority > r.Priority ||
					w.Priority == r.Priority && w.DrainETA <= r.DrainETA ||
					c.Refused[r.Node][0] == "longer_drain" || purger, "among the quick priority, then drain")
			}
		}
	})
}

// TestChooseFindsSomebody: where nothing has diverged, was purged or is errant,
// one eligible host is enough.
func TestChooseFindsSomebody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var reports []Report
		eligible := false
		for i := range rapid.IntRange(1, 5).Draw(t, "hosts") {
			r := host(fmt.Sprintf("db%d", i+1), fmt.Sprintf("A:1-%d", rapid.IntRange(1, 9).Draw(t, "received")))
			r.Heard, r.Eligible, r.NoFailover = rapid.Bool().Draw(t, "heard"), rapid.Bool().Draw(t, "eligible"), rapid.Bool().Draw(t, "nofailover")
			r.DrainETA = time.Duration(rapid.IntRange(0, 100).Draw(t, "drain")) * time.Second
			eligible = eligible || r.Heard && r.Eligible && !r.NoFailover
			reports = append(reports, r)
		}
		if c := Choose("", reports, 30*time.Second); (c.Winner != "") != eligible {
			t.Fatalf("eligible: %t, got %s", eligible, outcome(c))
		}
	})
}
