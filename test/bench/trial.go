// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"highwater/test/lab"
)

// A trial is what one fault did. Durations are seconds.
type trial struct {
	Fault  string `json:"fault"`
	System string `json:"system"`
	Run    int    `json:"run"`
	// Struck is when the fault came, by the wall clock of the logs.
	Struck time.Time `json:"struck"`
	// Outage is the longest stretch without an acknowledged commit; Ended is false if it had not ended when the trial
	// did.
	Outage float64 `json:"outage_seconds"`
	Ended  bool    `json:"ended"`
	// From is the victim, To who acknowledged last.
	From string `json:"from"`
	To   string `json:"to"`
	// Acked counts the acknowledged rows, Lost those of them that the server To has not.
	Acked int `json:"acknowledged_rows"`
	Lost  int `json:"lost_rows"`
	// Overlap is how long two servers acknowledged, Turns how often the role went from one to another as the clients
	// saw it.
	Overlap float64 `json:"overlap_seconds"`
	Turns   int     `json:"turns"`
	// TwoCarriers is how long two hosts carried the VIP, TwoWriters how long in front of writable servers.
	TwoCarriers float64 `json:"two_carriers_seconds"`
	TwoWriters  float64 `json:"two_writers_seconds"`
	// Settled is how long after the fault the VIP was at one other host for good; null: never.
	Settled *float64 `json:"settled_seconds"`
	Load    float64  `json:"load_average"`
	// Error is why there is no result.
	Error string `json:"error,omitempty"`
}

const (
	setUpLimit   = time.Minute      // for a lab and a system on it
	recoverLimit = 30 * time.Second // for the end of an outage
	settle       = time.Second      // of writing to another server before a trial ends
	// The fault comes at a random moment in a stretch that is longer than every period of either system.
	spreadOfFaults = 2 * time.Second
)

// runTrial makes a lab, breaks it and looks.
func runTrial(ctx context.Context, o options, p planned) trial {
	t := trial{Fault: p.fault.name, System: p.system.name, Run: p.run, Load: loadAverage()}
	if err := t.run(ctx, o, p); err != nil {
		t.Error = err.Error()
	}
	return t
}

func (t *trial) run(ctx context.Context, o options, p planned) (err error) {
	setUp, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	bed, err := p.system.open(setUp, o, settings{})
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	if o.logs != "" {
		dir := filepath.Join(o.logs, fmt.Sprintf("%s-%s-%d", t.Fault, t.System, t.Run))
		defer func() { err = errors.Join(err, keepLogs(bed, dir)) }()
	}
	if err := bed.start(setUp); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	primary := bed.network().Hosts()[0]
	writer, err := bed.network().Client().StartWriter(p.fault.client)
	if err != nil {
		return err
	}
	defer writer.Stop()
	if err := writer.WaitAcknowledged(setUp); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	watcher, err := watch(bed.network().Hosts())
	if err != nil {
		return err
	}
	if err := sleep(ctx, settle/2+rand.N(spreadOfFaults)); err != nil {
		watcher.stop()
		return err
	}
	fault := now()
	t.Struck = time.Now().UTC()
	err = p.fault.strike(bed, primary)
	if err == nil {
		err = t.await(ctx, writer, primary.Name(), fault, p.fault.watch)
	}
	record, end := writer.Stop(), now()
	sights := watcher.stop()
	if err != nil {
		return err
	}
	t.judge(record, primary.Name(), fault)
	t.see(look(sights, primary.Name(), fault, end))
	survivor := bed.network().Host(t.To)
	difference, err := record.Verify(ctx, survivor.Server)
	if err != nil {
		return err
	}
	t.Lost = len(difference.Missing)
	if len(difference.Unexpected) > 0 {
		return fmt.Errorf("%s has rows that nobody sent: %s", survivor, difference)
	}
	return nil
}

// await waits until another server than the victim's has acknowledged for a while, but at least for the given time, or
// until recoverLimit.
func (t *trial) await(ctx context.Context, w *lab.Writer, victim string, fault, atLeast time.Duration) error {
	var moved time.Duration
	for {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		at := now()
		if moved == 0 {
			if acks := w.Record().Acks; acks[len(acks)-1].Server != victim {
				moved = at
			}
		}
		t.Ended = moved != 0
		if t.Ended && at-moved >= settle && at-fault >= atLeast || at-fault >= recoverLimit {
			return nil
		}
	}
}

// judge fills in what the clients say.
func (t *trial) judge(r *lab.Record, victim string, fault time.Duration) {
	acks := slices.SortedFunc(slices.Values(r.Acks), func(a, b lab.Ack) int { return cmp.Compare(a.Acked, b.Acked) })
	last := acks[len(acks)-1]
	t.From, t.To = victim, last.Server
	t.Acked, t.Turns = len(acks), len(r.Terms())-1

	// The outage counts from the last acknowledgement before the fault, whatever the machine did earlier.
	begin, _ := slices.BinarySearchFunc(acks, fault, func(a lab.Ack, at time.Duration) int { return cmp.Compare(a.Acked, at) })
	after := *r
	after.Acks = acks[max(begin-1, 0):]
	t.Outage = after.Outage().Duration().Seconds()

	if t.To == victim {
		return
	}
	var first, lastOfVictim time.Duration
	for _, a := range acks {
		if a.Server == victim {
			lastOfVictim = a.Acked
		} else if first == 0 {
			first = a.Acked
		}
	}
	t.Overlap = max(0, lastOfVictim-first).Seconds()
}

// see fills in what the watcher says.
func (t *trial) see(s seen) {
	t.TwoCarriers, t.TwoWriters = s.twoCarriers.Seconds(), s.twoWriters.Seconds()
	if s.settled >= 0 {
		settled := s.settled.Seconds()
		t.Settled = &settled
	}
}

// line is the trial for the log.
func (t *trial) line() string {
	if t.Error != "" {
		return "FAILED: " + t.Error
	}
	words := []string{fmt.Sprintf("outage %s", seconds(t.Outage))}
	if !t.Ended {
		words[0] = "no end of the outage"
	}
	words = append(words, fmt.Sprintf("%d of %d rows lost", t.Lost, t.Acked))
	if t.Settled == nil {
		words = append(words, "VIP never at one other host")
	} else {
		words = append(words, "VIP settled after "+seconds(*t.Settled))
	}
	for _, w := range []struct {
		value float64
		text  string
	}{
		{t.TwoCarriers, "VIP on two hosts"},
		{t.TwoWriters, "two writable servers behind the VIP"},
		{t.Overlap, "two servers acknowledged"},
	} {
		if w.value > 0 {
			words = append(words, w.text+" for "+seconds(w.value))
		}
	}
	return strings.Join(words, ", ")
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// loadAverage is the machine's over one minute, 0 if it does not say.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return 0
	}
	return load
}
