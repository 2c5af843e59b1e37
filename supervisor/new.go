// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/promote"
	"highwater/supervisor/control"
	"highwater/supervisor/journal"
	"highwater/supervisor/peer"
	"highwater/supervisor/web"
	"highwater/vip"
)

// Options is what a Node needs beside its configuration.
type Options struct {
	Version string
	Log     *slog.Logger
	// LogDropped is how many lines of the log nobody could be given; nil means none.
	LogDropped func() uint64
	Alive      func() // called after every step of the loop, such as to feed a watchdog; may be nil
	// Successor looks at the program that would take this process over, and returns its version,
	// or why it must not. With nil an upgrade is refused.
	Successor func(context.Context) (version string, err error)
}

// New prepares a Node: it reads the state that an earlier process left and opens the peer
// channel's port. Nothing is claimed, sent or changed before [Node.Run]. Close it in any case.
func New(ctx context.Context, c *configs.Config, self *configs.Node, secrets configs.Secrets, o Options) (*Node, error) {
	n := &Node{
		config: c, self: self, version: o.Version, incarnation: newIncarnation(), log: o.Log,
		started:      time.Now(),
		pushInterval: pushInterval(c),
		published:    make(chan struct{}, 1),
		cluster:      newCluster(c.Cluster.Nodes, self, c.MySQL.Port),
		alive:        o.Alive, logDropped: o.LogDropped, successor: o.Successor,
	}
	var err error
	if n.bootID, err = journal.BootID(); err != nil {
		return nil, err
	}
	n.metrics = web.NewMetrics()
	n.recorder = newRecorder(o.Log, c.Cluster.Name, self.Name, n.metrics)
	n.saver = newSaver(c.StateDir, o.Log)
	if n.adverts, err = newAdverts(c, self, o.Log); err != nil {
		return nil, err
	}
	n.rejoin = newRejoin(n)
	// A witness has no server, no address and sends no advertisements: what is left is its vote.
	n.health = &health{check: c.Check, cluster: n.cluster, wake: make(chan struct{}, 1), lossless: c.Durability.Mode == configs.Lossless}
	if !self.Witness {
		err = errors.Join(n.openServer(ctx, secrets), n.openAddresses())
	}
	err = errors.Join(err, n.openPeers(secrets), n.openWeb(), n.openVoter())
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if n.keeper, err = newKeeper(n); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.local, err = control.Listen(control.Config{Dir: c.StateDir, Group: -1, Log: o.Log}, local{n})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.journal, err = journal.Open(journal.Config{Dir: c.StateDir, BootID: n.bootID, Incarnation: n.incarnation})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// closeTimeout bounds the last write of the journal.
const closeTimeout = 2 * time.Second

// Close gives back what New opened. It does not touch the VIP.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if n.peers != nil {
		errs = append(errs, n.peers.Close())
	}
	if n.local != nil {
		errs = append(errs, n.local.Close())
	}
	if n.web != nil {
		errs = append(errs, n.web.Close())
	}
	if n.health.probe != nil {
		n.health.probe.Close()
		n.endWatch()
	}
	if n.controlDB != nil {
		if err := n.controlDB.Close(); err != nil { // the server ended first: nothing is left behind
			n.log.Debug("control.close", "error", err)
		}
	}
	if n.voter != nil {
		errs = append(errs, n.voter.Close())
	}
	if n.addresses != nil {
		errs = append(errs, n.addresses.Close())
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close(ctx))
	}
	return errors.Join(errs...)
}

// controlRead bounds a statement of the control connection below its context; it must exceed
// fencing.timeout and the drain's slices.
const controlRead = time.Minute

// openServer prepares, and does not make, the connections to the local server.
func (n *Node) openServer(ctx context.Context, secrets configs.Secrets) error {
	c := n.config
	conn, err := serverConn(c, secrets)
	if err != nil {
		return err
	}
	watching, endWatch := context.WithCancel(context.WithoutCancel(ctx))
	n.endWatch = endWatch
	watch := mysqlcheck.WatchServer(watching, conn, nil)
	n.health.watch, n.health.took = watch, n.metrics.Probe
	n.health.probe = mysqlcheck.NewProbe(mysqlcheck.ProbeConfig{
		Conn: conn, Timeout: c.Check.Timeout, CommitTimeout: c.Check.CommitTimeout,
		Heartbeat: c.MySQL.Heartbeat, Node: n.self.Name, Process: watch.Process,
	})
	n.health.policy = mysqlcheck.Policy{
		Rise: c.Check.Rise, Fall: c.Check.Fall, MaxLag: c.Check.MaxLag, Timeout: c.Check.Timeout,
		CommitTimeout: c.Check.CommitTimeout, DrainLimit: c.Promote.Timeout,
	}
	control := conn
	control.ReadTimeout, control.Program = max(controlRead, 2*c.Fencing.Timeout), "highwater control"
	db := mysqlcheck.OpenDB(control, controlConns)
	db.SetMaxIdleConns(1)
	n.controlDB = db
	n.server, err = promote.NewServer(promote.Config{
		DB: db, Node: n.self.Name, StateDir: c.StateDir,
		Replication: promote.Replication{
			User:     strings.ReplaceAll(c.MySQL.Replication.User, "{node}", n.self.Name),
			Password: secrets.Replication.Reveal, TLS: sourceTLS(c.MySQL.Replication.TLS),
		},
		KillServer: c.Fencing.KillServer != nil && *c.Fencing.KillServer, FenceTimeout: c.Fencing.Timeout,
		Pid:     watch.Pid,
		Hooks:   promote.Hooks{Before: c.Promote.Hooks.Before, After: c.Promote.Hooks.After, Timeout: c.Promote.Hooks.Timeout},
		Command: c.Promote.Command,
		Log:     n.log,
	})
	return err
}

// controlConns is how many control connections may be in use at once; one is kept at rest.
const controlConns = 4

// serverConn says how to reach the local server.
func serverConn(c *configs.Config, secrets configs.Secrets) (mysqlcheck.ConnConfig, error) {
	conn := mysqlcheck.ConnConfig{
		Address: c.MySQL.Address, User: c.MySQL.User, Password: secrets.MySQL.Reveal,
		DialTimeout: c.Check.Timeout, ReadTimeout: c.Check.Timeout,
	}
	if t := c.MySQL.TLS; t != nil {
		config, err := clientTLS(t, conn.Address)
		if err != nil {
			return conn, err
		}
		conn.TLS = config
	}
	return conn, nil
}

// clientTLS loads the files of a tls section.
func clientTLS(t *configs.TLS, address string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("name the server for TLS: %w", err)
		}
		config.ServerName = host
	}
	pool, err := certPool(t.CAFile)
	if err != nil {
		return nil, err
	}
	config.RootCAs = pool
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// openAddresses prepares the VIP.
func (n *Node) openAddresses() error {
	g := n.config.VIP.GARP
	announce := vip.AnnounceConfig{Burst: g.Repeat, Interval: g.Interval, SecondBurst: g.Delay, Refresh: g.Refresh}
	if g.Delay == 0 {
		announce.SecondBurst = -1
	}
	if g.Refresh == 0 {
		announce.Refresh = -1
	}
	m, err := vip.New(vip.Config{
		Interface: n.config.VIP.Interface, Addresses: n.config.VIP.Addresses, Label: n.config.VIP.Label,
		SessionFence: vip.SessionFence(n.config.VIP.SessionFence), Instance: strconv.Itoa(int(n.config.Election.VRID)),
		Announce: announce, Log: n.log,
	})
	n.addresses = m
	return err
}

// openWeb opens the listener for status and metrics, where one is configured.
func (n *Node) openWeb() error {
	if n.config.Web.Listen == "" {
		return nil
	}
	if err := webConfigFile(n.config); err != nil {
		return err
	}
	var err error
	n.web, err = web.Listen(web.Config{Address: n.config.Web.Listen, Snapshot: n.Snapshot, Metrics: n.metrics, Log: n.log})
	return err
}

// webConfigFile refuses what the listener cannot do yet.
func webConfigFile(c *configs.Config) error {
	if c.Web.Listen != "" && c.Web.ConfigFile != "" {
		return errors.New("web.config_file is not supported yet: leave it out and listen on an address that only you reach")
	}
	return nil
}

// identity is what a node proves to its peers.
func identity(c configs.Cluster, self *configs.Node, secrets configs.Secrets) (id *peer.Identity, err error) {
	if c.CertFile != "" {
		id, err = peer.LoadIdentity(self.Name, c.CertFile, c.KeyFile, c.CAFile)
	} else {
		id, err = peer.DeriveIdentity(c.Name, self.Name, []byte(secrets.Cluster.Reveal()))
	}
	if err != nil {
		return nil, fmt.Errorf("prepare peer identity: %w", err)
	}
	return id, nil
}

// openPeers opens the peer channel.
func (n *Node) openPeers(secrets configs.Secrets) error {
	c := n.config.Cluster
	identity, err := identity(c, n.self, secrets)
	if err != nil {
		return err
	}
	others := map[string]string{}
	for _, node := range c.Nodes {
		if node.Name == n.self.Name {
			continue
		}
		others[node.Name] = node.Address.Addr().String()
		client, err := peer.NewClient(peer.ClientConfig{
			Cluster: c.Name, Incarnation: n.incarnation, Identity: identity,
			Peer: node.Name, Address: node.Address.String(), LocalAddress: n.self.Address.Addr(),
			OnStatus: func(from string, s peer.NodeStatus, _ time.Duration) {
				n.heardStatus(context.Background(), from, s)
			},
			Log: n.log,
		})
		if err != nil {
			return err
		}
		n.clients = append(n.clients, client)
	}
	n.peers, err = peer.Listen(peer.ServerConfig{
		Cluster: c.Name, Incarnation: n.incarnation, Identity: identity,
		Address: net.JoinHostPort(n.self.Address.Addr().String(), strconv.Itoa(int(n.self.Address.Port()))),
		Peers:   others, Raft: n.takeRaft, Log: n.log,
	}, n)
	return err
}
