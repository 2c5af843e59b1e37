// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// fault is something that goes wrong with a host, and its end.
type fault struct {
	name    string
	summary string // for the list
	what    string // what happened to the host %s
	heal    string // what ends it, "" if nothing is left to mend
	moves   bool   // the role is expected to move
	inside  bool   // clients on the host itself go on writing to it
	double  string // why two hosts may carry the VIP for a while
	begin   func(ctx context.Context, c *cluster.Cluster, h *lab.Host) error
	end     func(ctx context.Context, c *cluster.Cluster, h *lab.Host) error // nil if nothing is left to mend
}

func (f *fault) heals() bool { return f.end != nil }

// faults are all that the demonstration knows, the first is its default.
var faults = []fault{
	{
		name: "kill-server", summary: "the server process is killed (SIGKILL)",
		what: "SIGKILL to the server of %s", heal: "its server is started again", moves: true,
		double: "the old one without a server, to refuse connections at once",
		begin:  func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { h.Server.Kill(); return nil },
		end:    startServer,
	},
	{
		name: "hang-server", summary: "the server process is stopped (SIGSTOP): connections stay, nothing answers",
		what: "SIGSTOP to the server of %s", heal: "its server goes on (SIGCONT), if it still is", moves: true,
		begin: func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.Server.Stop() },
		end: func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error {
			if !h.Server.Alive() { // fenced by Highwater
				return nil
			}
			return h.Server.Cont()
		},
	},
	{
		name: "unplug", summary: "the network cable is pulled: the host loses its carrier",
		what: "the cable of %s is pulled", heal: "the cable is plugged in again", moves: true,
		begin: func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.Unplug() },
		end:   func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.Plug() },
	},
	{
		name: "power-off", summary: "the whole host is gone at once",
		what: "the power of %s fails", heal: "it boots, with server and supervisor", moves: true,
		begin: func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.PowerOff() },
		end: func(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
			return errors.Join(h.PowerOn(ctx), c.StartSupervisor(h))
		},
	},
	{
		name: "freeze-host", summary: "every process of the host is frozen, as by a stalled hypervisor; its kernel goes on",
		what: "all processes of %s are frozen", heal: "they go on", moves: true,
		begin: func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.Freeze() },
		end:   func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { return h.Thaw() },
	},
	{
		name: "kill-supervisor", summary: "highwater is killed and nobody restarts it; the server goes on",
		what: "SIGKILL to highwater on %s", heal: "highwater is started again", moves: true,
		begin: func(_ context.Context, c *cluster.Cluster, h *lab.Host) error { c.Supervisor(h).Kill(); return nil },
		end: func(_ context.Context, c *cluster.Cluster, h *lab.Host) error {
			return c.StartSupervisor(h)
		},
	},
	{
		name: "freeze-supervisor", summary: "highwater is stopped (SIGSTOP); the server goes on",
		what: "SIGSTOP to highwater on %s", heal: "highwater goes on (SIGCONT)", moves: true,
		begin: func(_ context.Context, c *cluster.Cluster, h *lab.Host) error { return c.Supervisor(h).Stop() },
		end:   func(_ context.Context, c *cluster.Cluster, h *lab.Host) error { return c.Supervisor(h).Cont() },
	},
	{
		name: "restart-supervisor", summary: "highwater is restarted, as by an upgrade: nothing moves",
		what:  "SIGTERM to highwater on %s; it is started again at once",
		begin: restartSupervisor,
	},
	{
		name: "partition", summary: "the switch cuts the primary off from all others, which keep the clients",
		what: "the switch cuts %s off; its carrier stays", heal: "the switch lets everything pass again", moves: true, inside: true,
		double: "each on its side of the cut",
		begin:  func(_ context.Context, _ *cluster.Cluster, h *lab.Host) error { _, err := h.Isolate(); return err },
		end:    func(_ context.Context, c *cluster.Cluster, _ *lab.Host) error { return c.Heal() },
	},
	{
		name: "stop", summary: "the operator stops highwater on the primary: a hand-over",
		what: "`highwater stop` on %s", heal: "highwater is started again", moves: true,
		begin: func(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
			_, err := c.Command(ctx, h, "stop")
			return err
		},
		end: func(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
			if err := c.Supervisor(h).Wait(ctx); ctx.Err() != nil {
				return fmt.Errorf("wait for the end of highwater on %s: %w", h, err)
			}
			return c.StartSupervisor(h)
		},
	},
}

func startServer(ctx context.Context, _ *cluster.Cluster, h *lab.Host) error {
	return h.Server.Start(ctx)
}

func restartSupervisor(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	if err := c.Supervisor(h).Signal(unix.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := c.Supervisor(h).Wait(ctx); ctx.Err() != nil {
		return fmt.Errorf("wait for the end of highwater on %s: %w", h, err)
	}
	return c.StartSupervisor(h)
}

func faultNamed(name string) (fault, error) {
	for _, f := range faults {
		if f.name == name {
			return f, nil
		}
	}
	return fault{}, fmt.Errorf("unknown fault %q; -fault help lists them", name)
}

func listFaults(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range faults {
		fmt.Fprintf(table, "%s\t%s\n", f.name, f.summary)
	}
	return table.Flush()
}
