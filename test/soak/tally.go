// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// round is what came of one fault.
type round struct {
	fault    string
	host     string // "" when it hit all
	primary  bool   // it hit the primary
	hold     time.Duration
	outage   time.Duration // for clients
	recovery time.Duration // from the end of the fault until all was well
	acks     int
	lost     int
	moves    int      // of the server that acknowledges
	rebuilt  int      // hosts that were held
	heldFor  []string // their reason codes
	well     bool     // the cluster was healthy in the end
	from, to string   // the primary before and after

	// What only the matrix asks:
	cloned      int           // hosts that were rebuilt by themselves
	crashLoop   bool          // a host was taken in again that had ended too often
	overlapping int           // rows that a server acknowledged after its successor had begun to
	twice       time.Duration // for which two hosts had the VIP
	notes       []string
	wrong       []string // the promises that were broken
}

func (r round) verdict() string {
	if len(r.wrong) == 0 {
		return "ok"
	}
	return strings.Join(r.wrong, "; ")
}

// String is a line of the progress.
func (r round) String() string {
	whom := "all hosts"
	if r.host != "" {
		whom = r.host + ", a replica"
		if r.primary {
			whom = r.host + ", the primary"
		}
	}
	text := fmt.Sprintf("%-22s %-16s for %s: outage %s, %d rows acknowledged, %d lost, %s, well after %s",
		r.fault, whom, seconds(r.hold), seconds(r.outage), r.acks, r.lost, count(r.moves, "move"), seconds(r.recovery))
	for _, note := range r.notes {
		text += "; " + note
	}
	if len(r.wrong) > 0 {
		text += "; WRONG: " + r.verdict()
	}
	return text
}

// line is what came of one fault in all rounds that hit the same.
type line struct {
	name                   string
	rounds, moved, rebuilt int
	lost                   int
	outages                []time.Duration
	worstRecovery          time.Duration
	wrong                  []string
}

// tally sums the rounds up, by fault and whom it hit, in the order of the names.
func tally(rounds []round) []line {
	var lines []line
	for _, r := range rounds {
		name := r.fault
		switch {
		case r.primary:
			name += ", primary"
		case r.host != "":
			name += ", replica"
		}
		i := slices.IndexFunc(lines, func(l line) bool { return l.name == name })
		if i < 0 {
			i = len(lines)
			lines = append(lines, line{name: name})
		}
		l := &lines[i]
		l.rounds++
		if r.moves > 0 {
			l.moved++
		}
		l.rebuilt += r.rebuilt
		l.lost += r.lost
		l.outages = append(l.outages, r.outage)
		l.worstRecovery = max(l.worstRecovery, r.recovery)
		l.wrong = append(l.wrong, r.wrong...)
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return lines
}

// median is the middle one, of an even number the greater of the two in the middle.
func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

// table is the tally as Markdown.
func table(o options, rounds []round, took time.Duration, failed error) string {
	var text strings.Builder
	verdict := "every promise was kept"
	if failed != nil {
		verdict = "**" + failed.Error() + "**"
	}
	acks, lost := 0, 0
	for _, r := range rounds {
		acks, lost = acks+r.acks, lost+r.lost
	}
	fmt.Fprintf(&text, "Soak of %s: authority %s, durability %s, seed %d: %s, %d rows acknowledged, %d lost; %s.\n\n",
		took.Round(time.Second), o.authority, o.durability, o.seed, count(len(rounds), "fault"), acks, lost, verdict)
	text.WriteString("| fault | rounds | moved | rebuilt | outage, median | worst | lost | well again, worst | verdict |\n")
	text.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, l := range tally(rounds) {
		verdict := "ok"
		if len(l.wrong) > 0 {
			verdict = "**" + strings.ReplaceAll(strings.Join(l.wrong, "; "), "|", "\\|") + "**"
		}
		fmt.Fprintf(&text, "| %s | %d | %d | %d | %s | %s | %d | %s | %s |\n", l.name, l.rounds, l.moved, l.rebuilt,
			seconds(median(l.outages)), seconds(slices.Max(l.outages)), l.lost, seconds(l.worstRecovery), verdict)
	}
	return text.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
