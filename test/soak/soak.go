// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// How long the parts of a round may take, or last.
const (
	setUpLimit  = 2 * time.Minute // on a busy machine the servers take their time
	writeBefore = 700 * time.Millisecond
	writeAfter  = 500 * time.Millisecond
	ackLimit    = 20 * time.Second
	endLimit    = 2 * time.Minute // for the last round, and for what is asked in the end
)

// soaking is a soak under way.
type soaking struct {
	o       options
	out     io.Writer
	c       *cluster.Cluster
	rand    *rand.Rand
	deck    []fault // what is drawn next, from its end
	started time.Time
	rounds  []round
	records []*lab.Record // of all clients so far
	steward *steward
}

// soak breaks a cluster until the time is over or a promise is broken.
func soak(ctx context.Context, o options, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, setUpLimit+o.time+o.bound+endLimit)
	defer cancel()
	if err := os.RemoveAll(o.logs); err != nil {
		return err
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(out, "soak of %v: three servers, authority %s, durability %s, seed %d\n", o.time, o.authority, o.durability, o.seed)
	s := &soaking{o: o, out: out, rand: rand.New(rand.NewPCG(o.seed, 0))}
	setUp, cancelSetUp := context.WithTimeout(ctx, setUpLimit)
	defer cancelSetUp()
	if s.c, err = newCluster(setUp, o); err != nil {
		return err
	}
	s.started, s.steward = time.Now(), &steward{c: s.c}
	defer func() { err = errors.Join(err, s.c.Close()) }()
	defer func() { err = errors.Join(err, s.report(err)) }() // before the logs are removed with the lab
	if err := s.c.Hosts()[0].Server.Exec(setUp, "CREATE TABLE lab.long_transaction (n INT)"); err != nil {
		return err
	}
	if err := s.c.StartAll(setUp); err != nil {
		return err
	}
	cancelSetUp()
	s.started = time.Now()
	for n := 1; time.Since(s.started) < o.time; n++ {
		f, role, hold := s.draw()
		r, err := s.round(ctx, f, role, hold)
		if err != nil {
			r.wrong = append(r.wrong, err.Error())
		}
		s.rounds = append(s.rounds, r)
		fmt.Fprintf(out, "%4d %7s  %s\n", n, time.Since(s.started).Round(time.Second), r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(r.wrong) > 0 {
			return errors.New("a promise was broken")
		}
	}
	return s.last(ctx)
}

// newCluster makes the cluster; settings are quicker than the defaults, and patient enough for a
// busy machine.
func newCluster(ctx context.Context, o options) (*cluster.Cluster, error) {
	return cluster.New(ctx, cluster.Config{
		Lab:    lab.Config{Hosts: 3, Flavor: lab.MySQL, SemiSync: o.durability == configs.BestEffort},
		Binary: o.binary, Authority: o.authority, Durability: o.durability,
		AdvertInterval: 250 * time.Millisecond, CheckInterval: 100 * time.Millisecond,
		CheckTimeout: 1500 * time.Millisecond, FenceTimeout: time.Second,
		KillServer: true, // a commit that waits for an acknowledgement lets no server become read-only
		LogLevel:   "debug",
	})
}

// The shortest and the longest time for which a fault lasts: shorter than the lease, and longer
// than every timer of a failover.
const (
	minHold = 200 * time.Millisecond
	maxHold = 9 * time.Second
)

// draw takes the next fault from a deck that is shuffled whenever it is empty, and says whom it
// hits and for how long.
func (s *soaking) draw() (f fault, hits target, hold time.Duration) {
	if len(s.deck) == 0 {
		s.deck = append(s.deck, s.o.faults...)
		s.rand.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	f, s.deck = s.deck[len(s.deck)-1], s.deck[:len(s.deck)-1]
	hits = f.hits
	if lot := s.rand.IntN(3); hits == anyone { // drawn in any case: the rest of the sequence is the same
		hits = primary
		if lot == 0 {
			hits = replica
		}
	}
	return f, hits, minHold + time.Duration(s.rand.Int64N(int64(maxHold-minHold)))
}

// round lets clients write, breaks something, mends it, and waits until all is well again.
func (s *soaking) round(ctx context.Context, f fault, hits target, hold time.Duration) (r round, err error) {
	r = round{fault: f.name, hold: hold}
	before, err := s.healthy(ctx, s.o.bound, &r)
	if err != nil {
		return r, err
	}
	h := s.c.Host(before.Primary)
	if hits == replica {
		h = others(s.c, h)[s.rand.IntN(2)]
	}
	if hits != all {
		r.host = h.Name()
		r.primary = h.Name() == before.Primary
	}
	w, err := s.c.Client().StartWriter(lab.WriterConfig{})
	if err != nil {
		return r, err
	}
	defer w.Stop()
	first, cancel := context.WithTimeout(ctx, ackLimit)
	err = w.WaitAcknowledged(first)
	cancel()
	if err != nil {
		return r, err
	}
	pause(ctx, writeBefore)

	at := mysqlcheck.Boottime()
	mend, err := f.begin(ctx, s.c, h)
	if err != nil {
		return r, fmt.Errorf("%s: %w", f.name, err)
	}
	pause(ctx, hold)
	if mend != nil {
		if err := mend(ctx); err != nil {
			return r, fmt.Errorf("end of %s: %w", f.name, err)
		}
	}
	mended := mysqlcheck.Boottime()
	after, err := s.healthy(ctx, s.o.bound, &r)
	r.recovery = mysqlcheck.Boottime() - mended
	well := err == nil
	if well {
		acked, cancel := context.WithTimeout(ctx, ackLimit)
		err = awaitAck(acked, w)
		cancel()
		pause(ctx, writeAfter)
	}
	record := w.Stop()
	s.records = append(s.records, record)
	r.acks, r.outage = len(record.Acks), outageAfter(record, at)
	terms := record.Terms()
	r.moves = len(terms) - 1
	if !well {
		return r, err
	}
	r.wrong = append(r.wrong, judgeTerms(terms, after.Term-before.Term)...)
	if err != nil {
		return r, err
	}
	return r, s.verify(ctx, &r, s.c.Host(after.Primary), record)
}

// last asks once more for every row of the soak, on every server.
func (s *soaking) last(ctx context.Context) error {
	var r round
	status, err := s.healthy(ctx, s.o.bound, &r)
	if err != nil {
		return err
	}
	source := s.c.Host(status.Primary)
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	if err := s.c.WaitReplicas(ctx, source, others(s.c, source)...); err != nil {
		return err
	}
	acks := 0
	for _, record := range s.records {
		acks += len(record.Acks)
		for _, h := range s.c.Hosts() {
			if err := s.verify(ctx, &r, h, record); err != nil {
				return err
			}
		}
	}
	if len(r.wrong) > 0 {
		return fmt.Errorf("a promise was broken: in the end, %s", r.verdict())
	}
	fmt.Fprintf(s.out, "in the end every server has all %d rows that were acknowledged\n", acks)
	return nil
}

// report prints the table, and keeps it and the logs.
func (s *soaking) report(failed error) error {
	var errs []error
	for _, h := range s.c.Hosts() {
		errs = append(errs, keepLogs(s.c, h, filepath.Join(s.o.logs, h.Name())))
	}
	text := table(s.o, s.rounds, time.Since(s.started), failed)
	fmt.Fprintf(s.out, "\n%s\n", text)
	if failed != nil {
		fmt.Fprintf(s.out, "seed %d; the faults so far:", s.o.seed)
		for _, r := range s.rounds {
			fmt.Fprintf(s.out, " %s", r.fault)
		}
		fmt.Fprintln(s.out)
	}
	fmt.Fprintf(s.out, "logs: %s\n", s.o.logs)
	for _, path := range []string{filepath.Join(s.o.logs, "soak.md"), s.o.markdown} {
		if path != "" {
			errs = append(errs, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	return errors.Join(errs...)
}

// keepLogs copies what a host's supervisor and server have written.
func keepLogs(c *cluster.Cluster, h *lab.Host, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{"highwater.log": c.LogFile(h), "server.log": h.Server.LogPath()}
	state, err := os.ReadDir(c.StateDir(h))
	for _, e := range state {
		if e.Type().IsRegular() {
			files[e.Name()] = filepath.Join(c.StateDir(h), e.Name())
		}
	}
	errs := []error{err}
	for name, from := range files {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
