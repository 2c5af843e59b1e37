// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"highwater/configs"
	"highwater/election/vrrp"
	"highwater/election/vrrpnet"
	"highwater/mysqlcheck"
	"highwater/promote"
	"highwater/supervisor/control"
	"highwater/supervisor/web"
)

// Finding is one thing that `highwater check` has to say.
type Finding struct {
	Severity mysqlcheck.Severity `json:"severity"`
	Subject  string              `json:"subject"` // configuration, host, server, network, replication
	Problem  string              `json:"problem"`
	Fix      string              `json:"fix,omitempty"`
}

// checkTimeout bounds what the check asks of servers and network.
const checkTimeout = 10 * time.Second

// Check compares a configuration with this host: privileges, server, interface, peers, the
// replication account at their servers, and whether another virtual router uses the VRID. It
// changes nothing.
func Check(ctx context.Context, c *configs.Config, self *configs.Node) []Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout+2*c.Election.AdvertInterval)
	defer cancel()
	var found []Finding
	add := func(severity mysqlcheck.Severity, subject, problem, fix string) {
		found = append(found, Finding{severity, subject, problem, fix})
	}
	for _, w := range c.Warnings {
		add(mysqlcheck.Caution, "configuration", w.Error(), "")
	}
	if err := c.RunnableNow(); err != nil {
		add(mysqlcheck.Blocker, "configuration", err.Error(), "")
	}
	secrets, err := c.LoadSecrets(self)
	if err != nil {
		add(mysqlcheck.Blocker, "configuration", err.Error(), "")
	}
	checkMembers(ctx, c, add)
	if self.Witness { // it has nothing but its peers
		checkPeers(ctx, c, self, add)
		return found
	}
	checkPrivileges(c, add)
	checkInterface(c, add)
	if err == nil {
		checkServer(ctx, c, secrets, self, add)
	}
	checkPeers(ctx, c, self, add)
	if err == nil {
		checkAccount(ctx, c, secrets, self, add)
	}
	checkVRID(ctx, c, add)
	return found
}

type adder func(severity mysqlcheck.Severity, subject, problem, fix string)

// checkPrivileges looks for the capabilities that the effects need (capabilities(7)).
func checkPrivileges(c *configs.Config, add adder) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		add(mysqlcheck.Caution, "host", fmt.Sprintf("read capabilities: %v", err), "")
		return
	}
	needed := []struct {
		name string
		bit  int
		why  string
	}{
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, "adds the VIP and destroys sockets"},
		{"CAP_NET_RAW", unix.CAP_NET_RAW, "sends and receives VRRP"},
	}
	if c.Fencing.KillServer != nil && *c.Fencing.KillServer {
		needed = append(needed, struct {
			name string
			bit  int
			why  string
		}{"CAP_KILL", unix.CAP_KILL, "ends a server that does not obey (fencing.kill_server)"})
	}
	for _, n := range needed {
		if data[n.bit/32].Effective&(1<<(n.bit%32)) == 0 {
			add(mysqlcheck.Blocker, "host", n.name+" is missing: it "+n.why, "run as root, or AmbientCapabilities="+n.name+" in the unit")
		}
	}
}

// checkInterface compares the addresses with the interface.
func checkInterface(c *configs.Config, add adder) {
	i, err := net.InterfaceByName(c.VIP.Interface)
	if err != nil {
		add(mysqlcheck.Blocker, "host", fmt.Sprintf("find interface %s: %v", c.VIP.Interface, err), "see `ip link`")
		return
	}
	if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagRunning == 0 {
		add(mysqlcheck.Caution, "host", c.VIP.Interface+" is down or has no carrier", "ip link set "+c.VIP.Interface+" up")
	}
	addrs, err := i.Addrs()
	if err != nil {
		add(mysqlcheck.Blocker, "host", fmt.Sprintf("read addresses of %s: %v", c.VIP.Interface, err), "")
		return
	}
	var prefixes []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	wrong, warnings := c.CheckInterface(prefixes)
	for _, e := range wrong {
		add(mysqlcheck.Blocker, "host", e.Error(), "")
	}
	for _, e := range warnings {
		add(mysqlcheck.Caution, "host", e.Error(), "")
	}
}

// checkServer looks at the local server: reachable, settings, privileges.
func checkServer(ctx context.Context, c *configs.Config, secrets configs.Secrets, self *configs.Node, add adder) {
	conn, err := serverConn(c, secrets)
	if err != nil {
		add(mysqlcheck.Blocker, "server", err.Error(), "")
		return
	}
	probe := mysqlcheck.NewProbe(mysqlcheck.ProbeConfig{
		Conn: conn, Timeout: c.Check.Timeout, CommitTimeout: c.Check.CommitTimeout,
		Heartbeat: c.MySQL.Heartbeat, Node: self.Name,
	})
	defer probe.Close()
	sample := probe.Sample(ctx, mysqlcheck.Expectation{})
	if f := sample.Failure; f.Class != mysqlcheck.NoFailure {
		add(mysqlcheck.Blocker, "server", fmt.Sprintf("look at %s: %s: %s", c.MySQL.Address, f.Reason, f.Text),
			"start the server, or create the account with `highwater grants`")
		return
	}
	for sample.SettingsAt == 0 && ctx.Err() == nil { // the first look may spend its time connecting
		sample = probe.Sample(ctx, mysqlcheck.Expectation{})
	}
	db := mysqlcheck.OpenDB(conn, 1)
	defer db.Close()
	lossless := c.Durability.Mode == configs.Lossless
	var told map[string]bool
	semiSync := sample.Settings.SemiSync
	if lossless {
		told = checkDurability(ctx, db, c.StateDir, add)
		semiSync.ReplicaEnabled = true // the supervisor will see to that
	}
	for _, f := range mysqlcheck.CheckSettings(sample) {
		if !told[f.Setting] {
			add(f.Severity, "server", f.Setting+": "+f.Problem, f.Fix)
		}
	}
	if problem := unstoppable(c.Fencing, semiSync); problem != "" {
		add(mysqlcheck.Caution, "server", "fencing.kill_server: "+problem, "fencing: {kill_server: true}")
	}
	schema, _, _ := strings.Cut(c.MySQL.Heartbeat, ".")
	missing, err := mysqlcheck.CheckGrants(ctx, db, schema, lossless)
	if err != nil {
		add(mysqlcheck.Blocker, "server", err.Error(), "")
	}
	if len(missing) > 0 {
		add(mysqlcheck.Blocker, "server", fmt.Sprintf("account %s lacks %s", c.MySQL.User, strings.Join(missing, ", ")),
			"run the output of `highwater grants` on the primary")
	}
}

// checkDurability looks for what keeps the server from losing nothing. It returns the settings
// of which it has told.
func checkDurability(ctx context.Context, db *sql.DB, stateDir string, add adder) map[string]bool {
	d, err := promote.LookAtDurability(ctx, db, stateDir)
	if err != nil {
		add(mysqlcheck.Blocker, "server", err.Error(), "")
	}
	told := map[string]bool{}
	for _, w := range d.Weaknesses {
		severity := mysqlcheck.Caution
		if w.Bars {
			severity = mysqlcheck.Blocker
		}
		add(severity, "server", string(w.Reason)+": "+w.Problem, w.Remedy)
		told[w.Setting] = true
	}
	return told
}

// checkMembers compares the configuration with the cluster record, as the supervisor that runs here has it; where none runs the record is
// not known.
func checkMembers(ctx context.Context, c *configs.Config, add adder) {
	if c.Authority() != configs.AuthorityQuorum {
		return
	}
	document, err := control.NewClient(c.StateDir).Status(ctx)
	if err != nil {
		return
	}
	var s web.Status
	if err := json.Unmarshal(document, &s); err != nil {
		add(mysqlcheck.Caution, "configuration", fmt.Sprintf("compare cluster.nodes with the cluster record: %v", err), "")
		return
	}
	if len(s.NotVoting) > 0 {
		add(mysqlcheck.Caution, "configuration", "this host does not vote: "+strings.Join(s.NotVoting, ": "), "see docs/reasons.md, "+s.NotVoting[0])
		return
	}
	var listed []string
	for _, node := range c.Cluster.Nodes {
		listed = append(listed, node.Name)
	}
	for _, name := range web.Unmatched(listed, s.Members) {
		add(mysqlcheck.Caution, "configuration", "cluster.nodes and the cluster record differ: "+name,
			"the record decides: `highwater member add` or `remove`, or mend cluster.nodes")
	}
}

// checkPeers tries each peer's port.
func checkPeers(ctx context.Context, c *configs.Config, self *configs.Node, add adder) {
	for _, node := range c.Cluster.Nodes {
		if node.Name == self.Name {
			continue
		}
		dialer := net.Dialer{Timeout: c.Check.Timeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(self.Address.Addr(), 0))}
		conn, err := dialer.DialContext(ctx, "tcp", node.Address.String())
		if err != nil {
			add(mysqlcheck.Caution, "network", fmt.Sprintf("reach %s: %v", node.Name, err),
				"start highwater there, and let TCP port "+fmt.Sprint(node.Address.Port())+" through")
			continue
		}
		_ = conn.Close()
	}
}

// checkVRID listens for a virtual router of our VRID that is none of our nodes.
func checkVRID(ctx context.Context, c *configs.Config, add adder) {
	family := vrrpnet.IPv4
	if !c.VIP.Addresses[0].Addr().Is4() {
		family = vrrpnet.IPv6
	}
	conn, err := vrrpnet.Listen(ctx, vrrpnet.Config{
		Interface: c.Election.Interface, Family: family, VRID: c.Election.VRID, Version: vrrp.Version(c.Election.Version),
		Interval: c.Election.AdvertInterval,
	})
	if err != nil {
		add(mysqlcheck.Blocker, "network", fmt.Sprintf("open a VRRP socket on %s: %v", c.Election.Interface, err), "")
		return
	}
	listening, cancel := context.WithTimeout(ctx, 2*max(c.Election.AdvertInterval, time.Second))
	defer cancel()
	stop := context.AfterFunc(listening, func() { _ = conn.Close() }) // ends Receive
	defer stop()
	known := map[netip.Addr]bool{}
	for _, node := range c.Cluster.Nodes {
		known[node.Address.Addr()] = true
	}
	var p vrrpnet.Packet
	for {
		err := conn.Receive(&p)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			add(mysqlcheck.Caution, "network", fmt.Sprintf("listen for VRRP: %v", err), "")
			return
		case family == vrrpnet.IPv4 && !known[p.Source]:
			add(mysqlcheck.Blocker, "network", fmt.Sprintf("VRID %d is in use by %s, priority %d", c.Election.VRID, p.Source, p.Advertisement.Priority),
				"choose another election.vrid, or name it in election.accept_from while you move over")
			return
		}
	}
}

// ServerVersion asks the local server for its version, with the configured account.
func ServerVersion(ctx context.Context, c *configs.Config, secrets configs.Secrets) (string, error) {
	conn, err := serverConn(c, secrets)
	if err != nil {
		return "", err
	}
	db := mysqlcheck.OpenDB(conn, 1)
	defer db.Close()
	v, err := mysqlcheck.ServerVersion(ctx, db)
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", c.MySQL.Address, err)
	}
	return v.Raw, nil
}
