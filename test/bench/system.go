// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"highwater/configs"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// A system is something that moves the VIP, with its settings.
type system struct {
	name  string
	title string
	// leaseOnly says that it differs from another one only in waiting for a lease.
	leaseOnly bool
	// commits says how the servers commit where the system is measured for what it adds to that; empty: it is not.
	commits string
	// open makes a lab with the system set up and not running: replication runs, nobody carries the VIP.
	open func(ctx context.Context, o options, s settings) (testbed, error)
}

// settings are those of a trial, or those of a measurement at rest.
type settings struct {
	// defaults asks for the intervals that a user gets who sets none; otherwise they are those of the benchmarks.
	defaults bool
	// async leaves semi-synchronous replication off where it is not the supervisors' business.
	async bool
}

// A testbed is a lab with a system on its hosts.
type testbed interface {
	network() *lab.Lab
	// start starts the system; when it returns the first host carries the VIP, its server is writable, and the others
	// are ready to take over.
	start(ctx context.Context) error
	// freeze stops what moves the VIP on a host, kill ends it for good.
	freeze(h *lab.Host) error
	kill(h *lab.Host) error
	// pids are the system's processes on a host.
	pids(h *lab.Host) ([]int, error)
	// log is the file where it logs.
	log(h *lab.Host) string
	Close() error
}

var systems = []system{
	{
		name: "keepalived", title: "keepalived 2.2.7 + promote script",
		open: func(ctx context.Context, _ options, _ settings) (testbed, error) {
			return newKeepalived(ctx, recommended)
		},
	},
	{
		name: "keepalived-tuned", title: "the same, tuned",
		open: func(ctx context.Context, _ options, _ settings) (testbed, error) { return newKeepalived(ctx, tuned) },
	},
	{
		name: "highwater", title: "Highwater", commits: "asynchronous replication",
		open: func(ctx context.Context, o options, s settings) (testbed, error) {
			return newHighwater(ctx, o, s, cluster.Config{})
		},
	},
	{
		name: "highwater-eager", title: "Highwater, `wait_for_lease: false`", leaseOnly: true,
		open: func(ctx context.Context, o options, s settings) (testbed, error) {
			return newHighwater(ctx, o, s, cluster.Config{NoWaitForLease: true})
		},
	},
	{
		name: "highwater-quorum", title: "Highwater, `authority: quorum`", commits: "asynchronous replication",
		open: func(ctx context.Context, o options, s settings) (testbed, error) {
			return newHighwater(ctx, o, s, cluster.Config{Authority: configs.AuthorityQuorum, KillServer: true})
		},
	},
	{
		name: "highwater-quorum-eager", title: "the same, `wait_for_lease: false`", leaseOnly: true,
		open: func(ctx context.Context, o options, s settings) (testbed, error) {
			return newHighwater(ctx, o, s, cluster.Config{Authority: configs.AuthorityQuorum, KillServer: true, NoWaitForLease: true})
		},
	},
	{
		name: "highwater-lossless", title: "Highwater, `durability: lossless`", commits: "one of two replicas acknowledges (`AFTER_SYNC`)",
		open: func(ctx context.Context, o options, s settings) (testbed, error) {
			return newHighwater(ctx, o, s, cluster.Config{
				Authority: configs.AuthorityQuorum, Durability: configs.Lossless, KillServer: true,
			})
		},
	},
}

func systemNames() []string {
	var names []string
	for _, s := range systems {
		names = append(names, s.name)
	}
	return names
}

// systemsOf are the systems of which there are trials, in the order of the tables.
func systemsOf(trials []trial) []system {
	return slices.DeleteFunc(slices.Clone(systems), func(s system) bool {
		return !slices.ContainsFunc(trials, func(t trial) bool { return t.System == s.name })
	})
}

// labConfig is the lab of every measurement. With lossless the supervisors see to semi-sync, which
// then is the same.
var labConfig = lab.Config{Hosts: 3, Flavor: lab.MySQL, SemiSync: true}

// highwater is Highwater on three hosts.
type highwater struct{ *cluster.Cluster }

func newHighwater(ctx context.Context, o options, s settings, c cluster.Config) (testbed, error) {
	c.Lab, c.Binary = labConfig, o.binary
	c.Lab.SemiSync = !s.async
	if !s.defaults {
		c = cluster.Fast(c)
	}
	if o.logs != "" {
		c.LogLevel = "debug"
	}
	cl, err := cluster.New(ctx, c)
	if err != nil {
		return nil, err
	}
	return highwater{cl}, nil
}

func (b highwater) network() *lab.Lab { return b.Lab }

func (b highwater) start(ctx context.Context) error { return b.StartAll(ctx) }

func (b highwater) freeze(h *lab.Host) error { return b.Supervisor(h).Stop() }

func (b highwater) kill(h *lab.Host) error {
	b.Supervisor(h).Kill()
	return nil
}

func (b highwater) pids(h *lab.Host) ([]int, error) { return []int{b.Supervisor(h).Pid()}, nil }

func (b highwater) log(h *lab.Host) string { return b.LogFile(h) }

// keepLogs copies the logs of all hosts into a directory.
func keepLogs(bed testbed, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, h := range bed.network().Hosts() {
		text, err := os.ReadFile(bed.log(h))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name()+".log"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
