// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Row is one that a client tried to insert; no row is tried twice.
type Row struct {
	Client int
	Seq    int64
}

// An Ack is a row that a server said it has committed. The times are readings of CLOCK_BOOTTIME.
type Ack struct {
	Row
	Server      string // its hostname, asked when the connection was made
	Sent, Acked time.Duration
}

// A Record is what the clients of a Writer were told. The times are readings of CLOCK_BOOTTIME.
type Record struct {
	Started, Ended time.Duration
	Acks           []Ack
	// Unknown are the rows whose statement ended without a word from the server or with an error that does not say
	// that nothing was written: each may be there or not.
	Unknown []Row
	// Errors counts the failures of connections and statements; LastError is one of them.
	Errors    int
	LastError error

	firstClient, clients int // the numbers of the clients, from and below
}

// An Outage is a stretch in which no client got a commit acknowledged. The times are readings of CLOCK_BOOTTIME.
type Outage struct{ From, To time.Duration }

// Duration is its length.
func (o Outage) Duration() time.Duration { return o.To - o.From }

// Outage is the longest one between the first acknowledgement and the end of the record; without any acknowledgement
// that is all of it.
func (r *Record) Outage() Outage {
	if len(r.Acks) == 0 {
		return Outage{r.Started, r.Ended}
	}
	times := make([]time.Duration, 0, len(r.Acks)+1)
	for _, a := range r.Acks {
		times = append(times, a.Acked)
	}
	slices.Sort(times)
	times = append(times, max(r.Ended, times[len(times)-1]))
	var longest Outage
	for i := range times[1:] {
		if o := (Outage{times[i], times[i+1]}); o.Duration() > longest.Duration() {
			longest = o
		}
	}
	return longest
}

// A Term is a run of acknowledgements by one server.
type Term struct {
	Server      string
	First, Last Ack
	Acks        int
}

// Terms are the acknowledgements in the order in which their statements were sent, as runs of one server. After n
// moves of the primary there are at most n+1; more of them mean that two servers acknowledged at one time.
func (r *Record) Terms() []Term {
	acks := slices.Clone(r.Acks)
	slices.SortFunc(acks, func(a, b Ack) int { return cmp.Compare(a.Sent, b.Sent) })
	var terms []Term
	for _, a := range acks {
		if n := len(terms); n == 0 || terms[n-1].Server != a.Server {
			terms = append(terms, Term{Server: a.Server, First: a})
		}
		term := &terms[len(terms)-1]
		term.Last = a
		term.Acks++
	}
	return terms
}

// Difference is how a server's rows differ from what the clients were told.
type Difference struct {
	// Missing were acknowledged and are not there: lost.
	Missing []Ack
	// Unexpected are there although nobody sent them, or although their server said that it wrote nothing.
	Unexpected []Row
	// Survived counts the rows of unknown fate that are there; that is no fault.
	Survived int
}

// OK reports whether nothing is missing and nothing is too much.
func (d Difference) OK() bool { return len(d.Missing) == 0 && len(d.Unexpected) == 0 }

// String says how many rows are wrong, and names a few.
func (d Difference) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d acknowledged rows missing, %d rows unexpected, %d of unknown fate there",
		len(d.Missing), len(d.Unexpected), d.Survived)
	for i, a := range d.Missing {
		if i == 5 {
			s.WriteString("; ...")
			break
		}
		fmt.Fprintf(&s, "; missing %d/%d acknowledged by %s at %s", a.Client, a.Seq, a.Server, a.Acked)
	}
	return s.String()
}

// Verify compares the record, of clients that were stopped, with what a server has.
func (r *Record) Verify(ctx context.Context, s *Server) (Difference, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT client, seq FROM "+Database+".writes WHERE client >= ? AND client < ?",
		r.firstClient, r.clients)
	if err != nil {
		return Difference{}, fmt.Errorf("read the rows: %w", err)
	}
	defer rows.Close()
	there := map[Row]bool{}
	for rows.Next() {
		var row Row
		if err := rows.Scan(&row.Client, &row.Seq); err != nil {
			return Difference{}, fmt.Errorf("read the rows: %w", err)
		}
		there[row] = true
	}
	if err := rows.Err(); err != nil {
		return Difference{}, fmt.Errorf("read the rows: %w", err)
	}
	return r.compare(there), nil
}

func (r *Record) compare(there map[Row]bool) Difference {
	var d Difference
	known := make(map[Row]bool, len(r.Acks)+len(r.Unknown))
	for _, a := range r.Acks {
		known[a.Row] = true
		if !there[a.Row] {
			d.Missing = append(d.Missing, a)
		}
	}
	for _, row := range r.Unknown {
		known[row] = true
		if there[row] {
			d.Survived++
		}
	}
	for row := range there {
		if !known[row] {
			d.Unexpected = append(d.Unexpected, row)
		}
	}
	return d
}
