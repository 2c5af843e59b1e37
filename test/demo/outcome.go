// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"highwater/test/lab"
)

// outageAfter is the longest time without an acknowledgement that ends after an instant.
func outageAfter(record *lab.Record, at time.Duration) lab.Outage {
	times := make([]time.Duration, 0, len(record.Acks)+1)
	for _, a := range record.Acks {
		times = append(times, a.Acked)
	}
	times = append(times, record.Ended)
	slices.Sort(times)
	var longest lab.Outage
	for i := range times[1:] {
		if o := (lab.Outage{From: times[i], To: times[i+1]}); o.To > at && o.Duration() > longest.Duration() {
			longest = o
		}
	}
	return longest
}

// account compares what the clients were told with what the new primary has.
func (s *story) account(ctx context.Context, record *lab.Record) error {
	d, err := record.Verify(ctx, s.new.Server)
	if err != nil {
		return err
	}
	s.line("rows", "%d acknowledged, %s", len(record.Acks), s.lost(d))
	if n := len(record.Unknown); n > 0 {
		s.line("", "%s without an answer; %d of them there, which is no fault", count(n, "more ended", "more ended"), d.Survived)
	}
	if n := len(d.Unexpected); n > 0 {
		s.bad = append(s.bad, count(n, "row is", "rows are")+" there that nobody sent")
	}
	if terms := record.Terms(); len(terms) > 2 {
		s.bad = append(s.bad, fmt.Sprintf("the acknowledging server changed %d times", len(terms)-1))
	}
	return nil
}

// lost says how many acknowledged rows are not there.
func (s *story) lost(d lab.Difference) string {
	if len(d.Missing) == 0 {
		return s.paint(sgrGreen, "0 lost")
	}
	return s.paint(sgrRed, fmt.Sprintf("%d lost", len(d.Missing)))
}

// accountInside does so for the clients on the old primary's side, when the cut ends.
func (s *story) accountInside(ctx context.Context) error {
	record := s.inside.Stop()
	s.records = append(s.records, record)
	d, err := record.Verify(ctx, s.new.Server)
	if err != nil {
		return err
	}
	after := 0
	for _, a := range record.Acks {
		if a.Acked > s.at {
			after++
		}
	}
	s.line("", "the clients on %s, which wrote to it all the while: %d acknowledged after the cut, %s", s.old, after, s.lost(d))
	return nil
}

// verdict says whether all is well, for people and as the exit code.
func (s *story) verdict(ctx context.Context) error {
	carriers, err := s.c.Carriers(lab.VIP)
	if err != nil {
		return err
	}
	if list := names(carriers); !slices.Equal(list, []string{s.new.Name()}) {
		s.bad = append(s.bad, fmt.Sprintf("carriers of the VIP in the end: %v, the primary is %s", list, s.new))
	}
	acked, lost := 0, 0
	for _, r := range s.records {
		d, err := r.Verify(ctx, s.new.Server)
		if err != nil {
			return err
		}
		acked, lost = acked+len(r.Acks), lost+len(d.Missing)
	}
	if lost > 0 && s.o.semiSync {
		s.bad = append(s.bad, count(lost, "acknowledged row is", "acknowledged rows are")+" lost")
	}
	if len(s.bad) > 0 {
		return errors.New("not as promised: " + strings.Join(s.bad, "; "))
	}
	text := fmt.Sprintf("%s: outage %s, %d rows acknowledged, %d lost; %s alone carries the VIP",
		s.f.name, short(s.outage.Duration()), acked, lost, s.new)
	if _, double := s.watch.seen(0); double > 0 {
		text += fmt.Sprintf(" (two hosts did for %s)", short(double))
	}
	s.say("result", "%s", s.paint(sgrGreen, text))
	if !s.o.semiSync {
		s.line("", "Without semi-sync the number of lost rows is luck.")
	}
	return nil
}

// evidence prints what helps to understand a demonstration that failed.
func (s *story) evidence(ctx context.Context) {
	if ctx.Err() != nil {
		return // interrupted: nothing failed
	}
	s.done("%s", s.paint(sgrRed, "failed"))
	for _, h := range s.c.Hosts() {
		s.say("log", "the last lines of highwater on %s:\n%s", h, tail(s.c.LogFile(h), logLines))
		if !h.Server.Alive() {
			s.say("log", "the last lines of the server on %s:\n%s", h, tail(h.Server.LogPath(), crashLines))
		}
	}
}

// tail returns the last n lines of a log.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// How much of a log is shown: of highwater, and of a server that has ended, perhaps with a stack trace.
const (
	logLines   = 15
	crashLines = 70
)
