// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// scenario is a row of the matrix: a fault that hits the primary, unless its name says otherwise.
type scenario struct {
	fault
	hold  time.Duration
	times int  // how often, one after the other; 0 is once
	stays bool // nothing is wrong with the primary: it must remain
}

const (
	// long is longer than the lease, with all that the kernel adds, and than a failover.
	long = 6 * time.Second
	// brief is not: the others have begun to move, or have just moved, when the fault ends.
	brief = 2500 * time.Millisecond
)

// of is a scenario with a fault from the soak's list.
func of(name string, hold time.Duration) scenario {
	i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
	s := scenario{fault: faults[i], hold: hold}
	if s.hits == anyone {
		s.hits = primary
	}
	return s
}

// on is the scenario hitting another host, or otherwise than usual, so with a name of its own.
func (s scenario) on(hits target, name, summary string) scenario {
	s.hits, s.name, s.summary = hits, name, summary
	return s
}

// remains says that the primary must.
func (s scenario) remains() scenario {
	s.stays = true
	return s
}

// at is a scenario of its own.
func at(name, summary string, hold time.Duration, begin func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error)) scenario {
	return scenario{fault: fault{name, summary, primary, begin}, hold: hold}
}

// again is a scenario that is repeated.
func again(times int, s scenario) scenario {
	s.times = times
	return s
}

// scenarios are the rows of the matrix, in order. P is the primary, A another host with a server, B the third host,
// with a server or as the witness.
var scenarios = slices.Concat([]scenario{
	of("server-killed", brief),
	of("server-hung", long),
	of("supervisor-killed", long),
	of("supervisor-frozen", long),
	of("supervisor-restarted", brief),
	of("host-frozen", long),
	of("host-frozen", brief).on(primary, "host-frozen-briefly", "every process of the host is frozen and goes on when the others are about to move"),
	of("power-off", long),
	of("cable-pulled", long),
	of("link-down", long),
}, partitions, []scenario{
	of("deaf", long),
	of("mute", long),
	of("deaf", long).on(replica, "deaf-A", "a replica hears no other host and is heard").remains(),
	of("mute", long).on(replica, "mute-A", "a replica hears the other hosts and is not heard").remains(),
	of("lossy", long),
	at("disk-full", "the disk of the server's data is full", long, func(_ context.Context, _ *cluster.Cluster, p *lab.Host) (mend, error) {
		return func(context.Context) error { return p.FreeDisk() }, p.FillDisk()
	}),
	at("disk-hung", "every write to the disk of the server's data hangs", long, func(_ context.Context, _ *cluster.Cluster, p *lab.Host) (mend, error) {
		return func(context.Context) error { return p.ThawDisk() }, p.FreezeDisk()
	}),
	at("connection-storm", "150 clients take every connection that there is, again and again", long, storm).remains(),
	of("long-transaction", long).remains(),
	of("lock-tables", long).remains(),
	of("read-lock", long).remains(),
	of("no-replication", long).on(primary, "semi-sync-stalled", "what the primary sends its replicas is lost, so that commits wait").remains(),
	at("replicas-hung", "the servers of all replicas are stopped (SIGSTOP) and go on", long, hangReplicas).remains(),
	at("stalled-storm", "the servers of all replicas are killed while 150 clients take every connection that there is", long, stalledStorm),
	handover("handover-long-transaction", "the primary is asked to hand over while a session has an open transaction",
		"BEGIN", "INSERT INTO lab.long_transaction VALUES (1)"),
	handover("handover-lock-tables", "the primary is asked to hand over while a session has locked the clients' table",
		"LOCK TABLES lab.writes WRITE"),
	cutHandover("handover-cut-50ms", "the primary is cut off 50 ms after it was asked to hand over", 50*time.Millisecond, false),
	cutHandover("handover-cut-200ms", "the same, 200 ms after", 200*time.Millisecond, false),
	cutHandover("handover-cut-A-100ms", "another host with a server is cut off 100 ms after the primary was asked to hand over", 100*time.Millisecond, true),
}, successions, []scenario{
	of("power-cut", long),
	again(10, at("rejoin", "the server is killed with commits of which no replica has heard, while clients write", 1500*time.Millisecond, killWithTail)),
})

// storm has many clients take connections, hold them for a moment and come back.
func storm(ctx context.Context, c *cluster.Cluster, _ *lab.Host) (mend, error) {
	w, err := c.Client().StartWriter(lab.WriterConfig{Clients: 150, Pause: 500 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	return func(context.Context) error {
		w.Stop()
		return nil
	}, ctx.Err()
}

// stalledStorm kills the servers of all replicas, so that each connection of the storm waits for its commit, also when
// its client has gone.
func stalledStorm(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
	for _, h := range others(c, p) {
		h.Server.Kill()
	}
	return storm(ctx, c, p)
}

// hangReplicas stops the servers of all replicas.
func hangReplicas(_ context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
	var errs []error
	for _, h := range others(c, p) {
		errs = append(errs, h.Server.Stop())
	}
	return func(context.Context) error {
		var errs []error
		for _, h := range others(c, p) {
			errs = append(errs, h.Server.Cont())
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}

// killWithTail kills the primary's server with commits that wait for replicas which do not hear of them.
func killWithTail(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
	// Its socket goes on sending what is in it after the server's end, so the fault lasts on.
	end, err := heal(c.Drop([]*lab.Host{p}, others(c, p), "tcp sport 3306"))
	if err != nil {
		return nil, err
	}
	pause(ctx, 300*time.Millisecond)
	p.Server.Kill()
	return end, nil
}

// stop asks a host to hand over, and returns what waits for the end of its supervisor and starts it again.
func stop(ctx context.Context, c *cluster.Cluster, p *lab.Host) mend {
	answer := make(chan struct{})
	go func() {
		defer close(answer)
		// Whatever it answers, its supervisor ends; that is waited for.
		_, _ = c.Command(ctx, p, "stop")
	}()
	return func(ctx context.Context) error {
		select {
		case <-answer:
		case <-ctx.Done():
			return ctx.Err()
		}
		return errors.Join(awaitEnd(ctx, c, p), c.StartSupervisor(p))
	}
}

// handover asks the primary to hand over while a session is in the way.
func handover(name, summary string, statements ...string) scenario {
	return at(name, summary, long, func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
		end, err := session(ctx, p, statements...)
		if err != nil {
			return nil, err
		}
		pause(ctx, 300*time.Millisecond)
		back := stop(ctx, c, p)
		return func(ctx context.Context) error { return errors.Join(end(ctx), back(ctx)) }, nil
	})
}

// cutHandover asks the primary to hand over, and cuts it or a successor off a moment later.
func cutHandover(name, summary string, after time.Duration, successor bool) scenario {
	return at(name, summary, long, func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
		back := stop(ctx, c, p)
		pause(ctx, after)
		cut := p
		if successor {
			cut = others(c, p)[0]
		}
		end, err := heal(c.Partition([]*lab.Host{cut}, rest(c, cut)))
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return errors.Join(end(ctx), back(ctx)) }, nil
	})
}

func listScenarios(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range scenarios {
		fmt.Fprintf(table, "%s\t%s\n", s.name, s.summary)
	}
	return table.Flush()
}
