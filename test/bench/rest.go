// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/test/lab"
)

// cost is what a system costs one host when nothing happens.
type cost struct {
	System string `json:"system"`
	Host   string `json:"host"`
	Role   string `json:"role"` // primary or replica
	// CPU is the system's own, with that of the scripts it runs, in per cent of one core.
	CPU float64 `json:"cpu_percent"`
	// ServerCPU is the database server's, BareServerCPU the same before the system was started.
	ServerCPU     float64 `json:"server_cpu_percent"`
	BareServerCPU float64 `json:"bare_server_cpu_percent"`
	RSS           int64   `json:"rss_bytes"`
	// Connections are those to the server at one moment; scripts come and go.
	Connections int `json:"connections"`
}

// warmUp is what a system gets before it counts as resting.
const warmUp = 5 * time.Second

// measureRest measures all systems with the intervals that a user gets who sets none. They rest beside each other:
// together they need a small part of a core, and what a process uses is counted for it alone.
func measureRest(ctx context.Context, o options) ([]cost, error) {
	var resting []system
	for _, s := range o.systems {
		if !s.leaseOnly {
			resting = append(resting, s)
		}
	}
	costs := make([][]cost, len(resting))
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range resting {
		group.Go(func() (err error) {
			if costs[i], err = restOf(ctx, o, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	err := group.Wait()
	var all []cost
	for _, c := range costs {
		all = append(all, c...)
	}
	return all, err
}

// restOf measures one system, on the primary and on one replica.
func restOf(ctx context.Context, o options, s system) (costs []cost, err error) {
	setUp, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	bed, err := s.open(setUp, o, settings{defaults: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	if o.logs != "" {
		defer func() { err = errors.Join(err, keepLogs(bed, filepath.Join(o.logs, restName+"-"+s.name))) }()
	}
	hosts := bed.network().Hosts()[:2]

	if err := sleep(ctx, warmUp); err != nil {
		return nil, err
	}
	server := func(h *lab.Host) ([]int, error) { return []int{h.Server.Pid()}, nil }
	bare, err := load(ctx, o.restFor, hosts, server)
	if err != nil {
		return nil, err
	}
	// The waiting above is not part of setting up.
	starting, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	if err := bed.start(starting); err != nil {
		return nil, err
	}
	if err := sleep(ctx, warmUp); err != nil {
		return nil, err
	}
	used, err := load(ctx, o.restFor, hosts, server, bed.pids)
	if err != nil {
		return nil, err
	}
	for i, h := range hosts {
		c := cost{
			System: s.name, Host: h.Name(), Role: "replica",
			BareServerCPU: bare[i][0], ServerCPU: used[i][0], CPU: used[i][1],
		}
		if i == 0 {
			c.Role = "primary"
		}
		if c.RSS, err = memory(bed, h); err != nil {
			return nil, err
		}
		if c.Connections, err = connections(ctx, h); err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// load measures groups of processes on every host for a while; the result, in per cent of one core, is indexed by host
// and group.
func load(ctx context.Context, during time.Duration, hosts []*lab.Host, groups ...func(*lab.Host) ([]int, error)) ([][]float64, error) {
	read := func() ([][]time.Duration, error) {
		var all [][]time.Duration
		for _, h := range hosts {
			var row []time.Duration
			for _, pids := range groups {
				list, err := pids(h)
				if err != nil {
					return nil, err
				}
				var sum time.Duration
				for _, pid := range list {
					u, err := usageOf(pid)
					if err != nil {
						return nil, err
					}
					sum += u.cpu
				}
				row = append(row, sum)
			}
			all = append(all, row)
		}
		return all, nil
	}
	began := now()
	before, err := read()
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, during); err != nil {
		return nil, err
	}
	after, err := read()
	if err != nil {
		return nil, err
	}
	took := now() - began
	result := make([][]float64, len(hosts))
	for i := range hosts {
		for j := range groups {
			result[i] = append(result[i], 100*float64(after[i][j]-before[i][j])/float64(took))
		}
	}
	return result, nil
}

// memory is the resident set of the system's processes on a host.
func memory(bed testbed, h *lab.Host) (int64, error) {
	pids, err := bed.pids(h)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return 0, err
		}
		sum += u.rss
	}
	return sum, nil
}

// connections counts the sessions of the account that both systems use.
func connections(ctx context.Context, h *lab.Host) (int, error) {
	text, err := h.Server.QueryString(ctx, "SELECT COUNT(*) FROM performance_schema.processlist WHERE user = ?", lab.Control.User)
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return n, nil
}
