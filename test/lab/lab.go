// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Config says what a lab consists of.
type Config struct {
	// Hosts is the number of hosts db1, db2, ... with a database server each, Witnesses that of w1, w2, ... without
	// one. There is always one more host, client.
	Hosts, Witnesses int
	// Flavor is the servers'; empty means no servers at all, only hosts and a network.
	Flavor Flavor
	// SemiSync makes Bootstrap turn semi-synchronous replication on: at the primary its source half, at the replicas
	// their half. No server boots with either: a replica that is a semi-sync source too would have its applier wait
	// for an acknowledgement, on MySQL 9.7 and MariaDB 10.11.
	SemiSync bool
	// ServerOptions are more lines for every server's option file.
	ServerOptions []string
	// ControlGrants replaces the statements that make the account Control; by default it may do everything.
	ControlGrants []string
	// DiskSize gives every database host a disk of its own, in bytes, that can be filled and frozen, for its data;
	// MySQL wants 400 MiB. 0 means none.
	DiskSize int64
	// Dir is the directory below which the lab makes its own: os.TempDir() by default. A short path, please:
	// the servers' sockets are below it.
	Dir string
}

// The addresses of a lab. Every lab has a network of its own, so they are the same in each: 10.77.0.11 and fd77::11 is
// db1, .12 db2, .21 w1, .22 w2, .200 the client.
var (
	Subnet  = netip.MustParsePrefix("10.77.0.0/24")
	Subnet6 = netip.MustParsePrefix("fd77::/64")
	// VIP is an address that no host has at first.
	VIP  = netip.MustParseAddr("10.77.0.100")
	VIP6 = netip.MustParseAddr("fd77::100")
)

// Interface is the name of every host's link to the switch, MySQLPort where every server listens.
const (
	Interface = "eth0"
	MySQLPort = 3306
	AdminPort = 33062
)

// A Lab is a set of hosts on one switch.
type Lab struct {
	config  Config
	dir     string
	janitor *janitor
	sw      *lan

	hosts     []*Host // db1, db2, ...
	witnesses []*Host
	client    *Host

	clients atomic.Int64 // numbers given to clients of Writers

	closing    sync.Once
	closeError error
}

// labs counts the labs of this process, for their names.
var labs atomic.Int64

// New makes the switch, the hosts and, with a flavour, the servers: started read-only, not replicating (see
// Bootstrap). It needs root. What it made is gone after Close, and soon after the program's end without it.
func New(ctx context.Context, c Config) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("make lab: needs root")
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if err := Sweep(c.Dir); err != nil {
		return nil, err
	}
	l := &Lab{config: c}
	name := fmt.Sprintf("hwlab-%d-%d", os.Getpid(), labs.Add(1))
	if l.janitor, err = newJanitor(c.Dir, name); err != nil {
		return nil, err
	}
	l.dir = l.janitor.dir
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.sw, err = newLAN(); err != nil {
		return nil, err
	}
	add := func(list *[]*Host, name string, number int, disk int64) error {
		h, err := l.newHost(name, number, disk)
		if err != nil {
			return err
		}
		*list = append(*list, h)
		return nil
	}
	for i := range c.Hosts {
		if err := add(&l.hosts, fmt.Sprintf("db%d", i+1), 11+i, c.DiskSize); err != nil {
			return nil, err
		}
	}
	for i := range c.Witnesses {
		if err := add(&l.witnesses, fmt.Sprintf("w%d", i+1), 21+i, 0); err != nil {
			return nil, err
		}
	}
	if l.client, err = l.newHost("client", 200, 0); err != nil {
		return nil, err
	}
	if c.Flavor == "" {
		return l, nil
	}
	return l, l.startServers(ctx)
}

// startServers starts all servers at once.
func (l *Lab) startServers(ctx context.Context) error {
	result := make(chan error, len(l.hosts))
	for _, h := range l.hosts {
		go func() { result <- h.startServer(ctx) }()
	}
	var errs []error
	for range l.hosts {
		errs = append(errs, <-result)
	}
	return errors.Join(errs...)
}

// Close ends everything that runs in the lab at once and removes what it made. Closing again does nothing.
func (l *Lab) Close() error {
	l.closing.Do(func() { l.closeError = l.close() })
	return l.closeError
}

func (l *Lab) close() error {
	var errs []error
	for _, h := range l.all() {
		errs = append(errs, h.close())
	}
	if l.sw != nil {
		l.sw.close()
	}
	return errors.Join(append(errs, l.janitor.close())...)
}

// Hosts are the database hosts: db1, db2, ...
func (l *Lab) Hosts() []*Host { return l.hosts }

// Witnesses are the hosts without a server: w1, w2, ...
func (l *Lab) Witnesses() []*Host { return l.witnesses }

// Client is the host to write from.
func (l *Lab) Client() *Host { return l.client }

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.all() {
		if h.name == name {
			return h
		}
	}
	return nil
}

func (l *Lab) all() []*Host {
	all := append(append([]*Host(nil), l.hosts...), l.witnesses...)
	if l.client != nil {
		all = append(all, l.client)
	}
	return all
}

// Dir is the lab's directory; every host has one below it.
func (l *Lab) Dir() string { return l.dir }

// Carriers are the hosts that have the address on their interface. A host that is off has none.
func (l *Lab) Carriers(address netip.Addr) ([]*Host, error) {
	var carriers []*Host
	for _, h := range l.all() {
		has, err := h.Carries(address)
		if err != nil {
			return nil, err
		}
		if has {
			carriers = append(carriers, h)
		}
	}
	return carriers, nil
}

func (l *Lab) hostDir(name string) string { return filepath.Join(l.dir, name) }
