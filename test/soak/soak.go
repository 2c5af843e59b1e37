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
	"slices"
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

// trial is a fault that is about to happen.
type trial struct {
	fault
	hits  target // the primary, a replica or all
	hold  time.Duration
	stays bool // the primary must remain
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
	fmt.Fprintf(out, "soak of %v: %s, authority %s, durability %s, seed %d\n", o.time, o.setups[0], o.authority, o.durability, o.seed)
	s := &soaking{o: o, out: out, rand: rand.New(rand.NewPCG(o.seed, 0))}
	if err := s.setUp(ctx, o.setups[0], o.logs); err != nil {
		return err
	}
	s.started = time.Now()
	defer func() { err = errors.Join(err, s.c.Close()) }()
	defer func() { err = errors.Join(err, s.report(err)) }() // before the logs are removed with the lab
	s.started = time.Now()
	for n := 1; time.Since(s.started) < o.time; n++ {
		f, role, hold := s.draw()
		r := s.round(ctx, trial{fault: f, hits: role, hold: hold})
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

// setUp makes the cluster, with every supervisor running. If that fails, the logs are kept.
func (s *soaking) setUp(ctx context.Context, of setup, logs string) error {
	ctx, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	var err error
	if s.c, err = newCluster(ctx, s.o, of); err != nil {
		return err
	}
	s.steward = &steward{c: s.c, held: map[string]time.Time{}}
	if err = s.c.Hosts()[0].Server.Exec(ctx, "CREATE TABLE lab.long_transaction (n INT)"); err == nil {
		err = s.c.StartAll(ctx)
	}
	if err != nil {
		return errors.Join(err, s.keepLogs(logs), s.c.Close())
	}
	return nil
}

// newCluster makes the cluster; settings are quicker than the defaults, and patient enough for a
// busy machine.
func newCluster(ctx context.Context, o options, of setup) (*cluster.Cluster, error) {
	c := cluster.Config{
		Lab:    lab.Config{Hosts: of.hosts, Witnesses: of.witnesses(), Flavor: of.flavor, SemiSync: o.durability == configs.BestEffort},
		Binary: o.binary, Authority: o.authority, Durability: o.durability,
		AdvertInterval: 250 * time.Millisecond, CheckInterval: 100 * time.Millisecond,
		CheckTimeout: 1500 * time.Millisecond, FenceTimeout: time.Second,
		KillServer: true, // a commit that waits for an acknowledgement lets no server become read-only
		LogLevel:   "debug",
	}
	if o.matrix || of.flavor.IsMariaDB() { // which needs it for a server that is held
		c.Lab.DiskSize = diskSize
	}
	if o.matrix {
		c.Lab.ServerOptions = []string{"max_user_connections=90"} // of 100, see docs/safety.md
		c.CommitTimeout = 2 * time.Second                         // so that a fault lasts for longer
	}
	return cluster.New(ctx, c)
}

// diskSize has room for a server and a copy of another one beside it, and 1 GiB free without which a server warns.
const diskSize = 2200 << 20

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
func (s *soaking) round(ctx context.Context, t trial) round {
	r := round{fault: t.name, hold: t.hold}
	if err := s.attempt(ctx, t, &r); err != nil {
		r.wrong = append(r.wrong, err.Error())
	}
	return r
}

func (s *soaking) attempt(ctx context.Context, t trial, r *round) error {
	before, err := s.healthy(ctx, s.o.bound, r)
	if err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	h := s.c.Host(before.Primary)
	if t.hits == replica {
		list := others(s.c, h)
		lot := s.rand.IntN(2) // drawn in any case: the rest of the sequence is the same
		h = list[lot%len(list)]
	}
	if t.hits != all {
		r.host = h.Name()
		r.primary = h.Name() == before.Primary
	}
	clients, err := s.startClients(ctx)
	if err != nil {
		return err
	}
	defer clients.stop()
	watch := watchCarriers(s.c)
	defer watch.stop()
	pause(ctx, writeBefore)

	at := mysqlcheck.Boottime()
	mend, failed := t.begin(ctx, s.c, h)
	if failed != nil {
		failed = fmt.Errorf("%s: %w", t.name, failed)
	} else {
		pause(ctx, t.hold)
	}
	if mend != nil {
		if err := mend(ctx); err != nil {
			return errors.Join(failed, fmt.Errorf("end of %s: %w", t.name, err))
		}
	}
	mended := mysqlcheck.Boottime()
	after, err := s.healthy(ctx, s.o.bound, r)
	r.recovery = mysqlcheck.Boottime() - mended
	r.well = err == nil
	if r.well {
		acked, cancel := context.WithTimeout(ctx, ackLimit)
		err = awaitAck(acked, clients.good)
		cancel()
		pause(ctx, writeAfter)
	}
	err = errors.Join(failed, err)
	sights := watch.stop()
	record, patient := clients.stop()
	s.records = append(s.records, record)
	r.acks, r.outage = len(record.Acks), outageAfter(record, at)
	terms := record.Terms()
	r.moves = len(terms) - 1
	if !r.well {
		return err
	}
	r.from, r.to = before.Primary, after.Primary
	r.wrong = append(r.wrong, judgeTerms(terms, after.Term-before.Term)...)
	if s.o.matrix {
		s.records = append(s.records, patient)
		r.acks += len(patient.Acks)
		told := &lab.Record{Acks: slices.Concat(record.Acks, patient.Acks)}
		r.overlapping = overlapping(told.Terms(), told.Acks)
		r.twice = twice(sights)
		r.wrong = append(r.wrong, judgeMove(t, r, told, sights, mended)...)
		err = errors.Join(err, s.verify(ctx, r, s.c.Host(after.Primary), patient))
	}
	return errors.Join(err, s.verify(ctx, r, s.c.Host(after.Primary), record))
}

// clients write all the while. Patient ones wait for their commits longer than any fault lasts: what a deposed
// primary tells late, they hear.
type clients struct{ good, patient *lab.Writer }

// matrixPause is what each client waits between two rows of the matrix: a replica on a busy machine that applies
// more slowly than clients write makes every failover wait for it.
const matrixPause = 20 * time.Millisecond

// startClients returns when the good ones are being served. Only the matrix has patient ones.
func (s *soaking) startClients(ctx context.Context) (*clients, error) {
	var c clients
	var err error
	var config lab.WriterConfig
	if s.o.matrix {
		config.Pause = matrixPause
	}
	if c.good, err = s.c.Client().StartWriter(config); err != nil {
		return nil, err
	}
	if s.o.matrix {
		config.Clients, config.Timeout, config.ConnectTimeout = 2, s.o.bound, time.Second
		c.patient, err = s.c.Client().StartWriter(config)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, ackLimit)
		defer cancel()
		err = c.good.WaitAcknowledged(ctx)
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return &c, nil
}

// stop ends the clients and returns what they were told; stopping again does nothing more.
func (c *clients) stop() (good, patient *lab.Record) {
	if c.patient != nil {
		patient = c.patient.Stop()
	}
	return c.good.Stop(), patient
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
	errs := []error{s.keepLogs(s.o.logs)}
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

// keepLogs copies what all hosts have written below a directory.
func (s *soaking) keepLogs(dir string) error {
	var errs []error
	for _, h := range s.c.Supervised() {
		errs = append(errs, keepLogs(s.c, h, filepath.Join(dir, h.Name())))
	}
	return errors.Join(errs...)
}

// keepLogs copies what a host's supervisor and server have written.
func keepLogs(c *cluster.Cluster, h *lab.Host, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{"highwater.log": c.LogFile(h)}
	if h.Server != nil {
		files["server.log"] = h.Server.LogPath()
	}
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
