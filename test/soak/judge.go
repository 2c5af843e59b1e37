// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// verify compares what clients were told with what a server has.
func (s *soaking) verify(ctx context.Context, r *round, h *lab.Host, record *lab.Record) error {
	d, err := record.Verify(ctx, h.Server)
	if err != nil {
		return err
	}
	r.lost += len(d.Missing)
	if !d.OK() {
		r.wrong = append(r.wrong, fmt.Sprintf("rows on %s: %v", h, d))
	}
	return nil
}

// backAndForth is less than any two moves of the role take.
const backAndForth = 300 * time.Millisecond

// judgeTerms says whether two servers accepted commits at one time. The server that acknowledges
// changes only with the cluster's term, which has risen by raised; and since a term may rise without
// that too, nobody acknowledges between two commits of another one that lie close together.
func judgeTerms(terms []lab.Term, raised uint64) []string {
	var wrong []string
	if changes := len(terms) - 1; changes > 0 && uint64(changes) > raised {
		wrong = append(wrong, fmt.Sprintf("the server that acknowledges changed %d times while the term rose by %d: %s",
			changes, raised, sequence(terms)))
	}
	for i := 1; i+1 < len(terms); i++ {
		before, after := terms[i-1], terms[i+1]
		if gap := after.First.Sent - before.Last.Acked; before.Server == after.Server && gap < backAndForth {
			wrong = append(wrong, fmt.Sprintf("%s acknowledged while %s did so within %v: %s",
				terms[i].Server, before.Server, gap, sequence(terms)))
			break
		}
	}
	return wrong
}

// overlapping counts the rows that a server acknowledged after a later one had begun to.
func overlapping(terms []lab.Term, acks []lab.Ack) int {
	n := 0
	for _, a := range acks {
		if slices.ContainsFunc(terms, func(t lab.Term) bool {
			return a.Server != t.Server && a.Sent < t.First.Sent && a.Acked > t.First.Acked
		}) {
			n++
		}
	}
	return n
}

// grace is what a host that goes on after a fault may need to notice that it is not primary any more. It
// acknowledges nothing meanwhile.
const grace = time.Second

// judgeMove says what is wrong with who was primary.
func judgeMove(t trial, r *round, told *lab.Record, sights []sight, mended time.Duration) []string {
	var wrong []string
	if r.overlapping > 0 {
		wrong = append(wrong, fmt.Sprintf("%d rows were acknowledged after another server had begun to: %s", r.overlapping, sequence(told.Terms())))
	}
	if t.stays && (r.moves > 0 || r.from != r.to) {
		wrong = append(wrong, fmt.Sprintf("the primary moved from %s to %s, without need", r.from, r.to))
	}
	// Whoever was replaced while the fault lasted comes back without the VIP.
	var last lab.Ack
	for _, a := range told.Acks {
		if a.Acked > last.Acked && a.Acked < mended {
			last = a
		}
	}
	if r.from != r.to && last.Server == r.to {
		if hosts := strays(sights, r.to, mended+grace); len(hosts) > 0 {
			wrong = append(wrong, fmt.Sprintf("the VIP was on %s after the fault had ended, the primary is %s", strings.Join(hosts, ", "), r.to))
		}
	}
	return wrong
}

// sequence names who acknowledged in turns, and how many rows.
func sequence(terms []lab.Term) string {
	var words []string
	for i, t := range terms {
		if i == 12 {
			words = append(words, "...")
			break
		}
		words = append(words, fmt.Sprintf("%s:%d", t.Server, t.Acks))
	}
	return strings.Join(words, " ")
}

// outageAfter is the longest time without an acknowledgement that ends after an instant.
func outageAfter(record *lab.Record, at time.Duration) time.Duration {
	times := make([]time.Duration, 0, len(record.Acks)+1)
	for _, a := range record.Acks {
		times = append(times, a.Acked)
	}
	times = append(times, record.Ended)
	slices.Sort(times)
	var longest time.Duration
	for i := range times[1:] {
		if times[i+1] > at {
			longest = max(longest, times[i+1]-times[i])
		}
	}
	return longest
}

// awaitAck waits until clients are being served again.
func awaitAck(ctx context.Context, w *lab.Writer) error {
	since := mysqlcheck.Boottime()
	for {
		record := w.Record()
		if n := len(record.Acks); n > 0 && record.Acks[n-1].Sent > since {
			return nil
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("clients are not served although all is well: %w", record.LastError)
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
