// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// target is whom a fault may hit.
type target int

const (
	anyone  target = iota // the primary or a replica, by lot
	primary               // always
	replica
	all // no host is named
)

// fault is something that goes wrong, and is mended after a while that is drawn too.
type fault struct {
	name    string
	summary string // for the list
	hits    target
	begin   func(ctx context.Context, c *cluster.Cluster, h *lab.Host) (mend, error)
}

// mend ends a fault. Whatever ends by itself, or is ended by highwater, needs none: nil.
type mend func(ctx context.Context) error

// others are the database hosts but one.
func others(c *cluster.Cluster, h *lab.Host) []*lab.Host {
	var list []*lab.Host
	for _, o := range c.Hosts() {
		if o != h {
			list = append(list, o)
		}
	}
	return list
}

// rest are the other voters: the database hosts but one, and the witnesses.
func rest(c *cluster.Cluster, h *lab.Host) []*lab.Host { return append(others(c, h), c.Witnesses()...) }

var faults = []fault{
	{
		"server-killed", "the server process is killed (SIGKILL)", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			h.Server.Kill()
			return nil, nil // a service manager starts it again, see steward
		},
	},
	{
		"server-shut-down", "the server of a replica ends in good order", replica,
		func(ctx context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return nil, h.Server.Shutdown(ctx)
		},
	},
	{
		"server-hung", "the server process is stopped (SIGSTOP) and goes on", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(context.Context) error {
				if err := h.Server.Cont(); !errors.Is(err, os.ErrProcessDone) { // else highwater has killed it
					return err
				}
				return nil
			}, h.Server.Stop()
		},
	},
	{
		"host-frozen", "every process of the host is frozen and goes on", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(context.Context) error { return h.Thaw() }, h.Freeze()
		},
	},
	{
		"supervisor-killed", "highwater is killed (SIGKILL)", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			c.Supervisor(h).Kill()
			return func(context.Context) error { return c.StartSupervisor(h) }, nil
		},
	},
	{
		"supervisor-frozen", "highwater is stopped (SIGSTOP) and goes on", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(context.Context) error { return c.Supervisor(h).Cont() }, c.Supervisor(h).Stop()
		},
	},
	{
		"supervisor-restarted", "highwater ends on SIGTERM and is started at once", anyone,
		func(ctx context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return nil, restart(ctx, c, h)
		},
	},
	{
		"supervisor-upgraded", "highwater is upgraded in its process (SIGUSR2)", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return nil, c.Supervisor(h).Signal(unix.SIGUSR2)
		},
	},
	{
		"supervisor-stopped", "an operator stops highwater, and starts it later", anyone,
		func(ctx context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			if _, err := c.Command(ctx, h, "stop"); err != nil {
				return nil, err
			}
			return func(ctx context.Context) error {
				return errors.Join(awaitEnd(ctx, c, h), c.StartSupervisor(h))
			}, nil
		},
	},
	{
		"link-down", "the host's interface is taken down and up", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(context.Context) error { return h.LinkUp() }, h.LinkDown()
		},
	},
	{
		"cable-pulled", "the host loses its carrier", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(context.Context) error { return h.Plug() }, h.Unplug()
		},
	},
	{
		"isolated", "the switch cuts the host off from everybody", anyone,
		func(_ context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(h.Isolate())
		},
	},
	{
		"split-clients-inside", "the host and the clients are cut off from the other hosts", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(c.Partition([]*lab.Host{h, c.Client()}, rest(c, h)))
		},
	},
	{
		"split-clients-see-all", "the host is cut off from the other hosts, and the clients see all of them", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(c.Partition([]*lab.Host{h}, rest(c, h)))
		},
	},
	{
		"split-everywhere", "no host sees another one, and the clients see all of them", all,
		func(_ context.Context, c *cluster.Cluster, _ *lab.Host) (mend, error) {
			var groups [][]*lab.Host
			for _, h := range c.Supervised() {
				groups = append(groups, []*lab.Host{h})
			}
			return heal(c.Partition(groups...))
		},
	},
	{
		"deaf", "the host hears no other host and is heard", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(c.OneWay(rest(c, h), []*lab.Host{h}))
		},
	},
	{
		"mute", "the host hears the other hosts and is not heard", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(c.OneWay([]*lab.Host{h}, rest(c, h)))
		},
	},
	{
		"lossy", "a third of what the host sends and is sent is lost", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			in, err := c.Loss(nil, []*lab.Host{h}, 33)
			if err != nil {
				return nil, err
			}
			out, err := c.Loss([]*lab.Host{h}, nil, 33)
			return func(context.Context) error { return errors.Join(in.Heal(), out.Heal()) }, err
		},
	},
	{
		"no-replication", "what the primary sends from its server's port to other hosts is lost", primary,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return heal(c.Drop([]*lab.Host{h}, others(c, h), "tcp sport 3306"))
		},
	},
	{
		"no-peer-channel", "the peer channel of the host is cut both ways", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			to, err := c.Drop(rest(c, h), []*lab.Host{h}, "tcp dport 7475")
			if err != nil {
				return nil, err
			}
			from, err := c.Drop([]*lab.Host{h}, rest(c, h), "tcp dport 7475")
			return func(context.Context) error { return errors.Join(to.Heal(), from.Heal()) }, err
		},
	},
	{
		"no-adverts", "VRRP of every host is lost", all,
		func(_ context.Context, c *cluster.Cluster, _ *lab.Host) (mend, error) {
			return heal(c.Drop(nil, nil, "ip protocol 112"))
		},
	},
	{
		"power-off", "the host loses its power and gets it back", anyone,
		func(_ context.Context, c *cluster.Cluster, h *lab.Host) (mend, error) {
			return func(ctx context.Context) error { return powerOn(ctx, c, h) }, h.PowerOff()
		},
	},
	{
		"power-cut", "all hosts lose their power and get it back one by one", all,
		func(_ context.Context, c *cluster.Cluster, _ *lab.Host) (mend, error) {
			for _, h := range c.Hosts() {
				if err := h.PowerOff(); err != nil {
					return nil, err
				}
			}
			return func(ctx context.Context) error {
				for _, h := range c.Hosts() {
					if err := powerOn(ctx, c, h); err != nil {
						return err
					}
				}
				return nil
			}, nil
		},
	},
	{
		"long-transaction", "a session keeps a transaction open on the primary that has written", primary,
		func(ctx context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return session(ctx, h, "BEGIN", "INSERT INTO lab.long_transaction VALUES (1)")
		},
	},
	{
		"lock-tables", "a session locks the clients' table on the primary", primary,
		func(ctx context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return session(ctx, h, "LOCK TABLES lab.writes WRITE")
		},
	},
	{
		"read-lock", "a session takes the global read lock on the primary", primary,
		func(ctx context.Context, _ *cluster.Cluster, h *lab.Host) (mend, error) {
			return session(ctx, h, "FLUSH TABLES WITH READ LOCK")
		},
	},
}

// heal is the end of a fault of the network.
func heal(f *lab.Fault, err error) (mend, error) {
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return f.Heal() }, nil
}

// powerOn boots a host, and starts what its service manager would.
func powerOn(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	return errors.Join(h.PowerOn(ctx), c.StartSupervisor(h))
}

// restart restarts a supervisor.
func restart(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	if err := c.Supervisor(h).Signal(unix.SIGTERM); err != nil {
		return err
	}
	return errors.Join(awaitEnd(ctx, c, h), c.StartSupervisor(h))
}

// awaitEnd waits for the end of a supervisor that was asked for.
func awaitEnd(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.Supervisor(h).Wait(ctx); ctx.Err() != nil {
		return fmt.Errorf("wait for the end of highwater on %s: %w", h, err)
	}
	return nil
}

// session runs statements in a session of the host's server, and ends it by its end.
func session(ctx context.Context, h *lab.Host, statements ...string) (mend, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := h.Server.DB().Conn(ctx)
	if err != nil {
		return nil, err
	}
	end := func(context.Context) error {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool must not keep what holds locks
		return nil
	}
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("run %q on %s: %w", statement, h, err), end(ctx))
		}
	}
	return end, nil
}

func listFaults(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range faults {
		fmt.Fprintf(table, "%s\t%s\n", f.name, f.summary)
	}
	return table.Flush()
}
